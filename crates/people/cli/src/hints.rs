//! Commands in sentences name the environment that the sentence is about.
//!
//! What the server and the planner say names commands as whoever looks at one environment would type them. What the
//! default is depends on the folder in which they are typed, so each is given its environment here, at the one place
//! that is on the way of all sentences to a person. Which commands take one clap knows. A bare name means the stack of the
//! folder, so outside of it those that stand there already become STACK/NAME.

use clap::{Arg, Command, CommandFactory};
use ward_types::id::{EnvId, Name};
use ward_types::view::Progress;

use crate::args::Cli;

/// What a command ends with that is no argument of it, or must stay its end.
const ENDS: [&str; 4] = [" < ", " | ", " -- ", " > "];

/// Where a command is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// That of the environment's stack.
    Own,
    /// Another one's, or nobody's.
    Other,
}

/// A sentence whose commands, in backticks, act on this environment.
pub(crate) fn on(env: &EnvId, text: &str) -> String {
    if !text.contains('`') {
        return text.to_owned();
    }
    let folder = match crate::env::stack_here() == Some(env.stack()) {
        true => Folder::Own,
        false => Folder::Other,
    };
    typed_in(folder, env, text)
}

fn typed_in(folder: Folder, env: &EnvId, text: &str) -> String {
    let cli = Cli::command();
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(at, part)| match at % 2 {
        0 => part.to_owned(),
        _ => {
            let part = match folder {
                Folder::Own => part.to_owned(),
                Folder::Other => in_full(&cli, env, part),
            };
            command(&cli, env, &part).unwrap_or(part)
        }
    });
    parts.collect::<Vec<_>>().join("`")
}

/// The same of all sentences of a step; those of an operation on several environments have one each.
pub(crate) fn of(progress: &Progress, env: Option<&EnvId>) -> Progress {
    let mut told = progress.clone();
    if let (Progress::Environment { env, outcome, .. }, _) = (&mut told, env) {
        let own = self::of(outcome, Some(env));
        **outcome = own;
        return told;
    }
    let Some(env) = env else { return told };
    let say = |text: &mut String| *text = on(env, text);
    match &mut told {
        Progress::Step { message, .. } | Progress::Done { message, .. } => say(message),
        Progress::Waiting { on } => on.iter_mut().for_each(say),
        Progress::Moved { hint, .. } | Progress::Warning { hint, .. } => say(hint),
        Progress::Failed { hint, .. } => hint.iter_mut().for_each(say),
        Progress::Ended { deployment, .. } => {
            let failure = deployment.failure.as_mut();
            let hint = failure.and_then(|failure| failure.hint.as_mut());
            hint.into_iter().for_each(say);
        }
        Progress::Output { .. }
        | Progress::Mistakes { .. }
        | Progress::Planned { .. }
        | Progress::Forbidden { .. }
        | Progress::Drops { .. }
        | Progress::Built { .. }
        | Progress::Environment { .. } => {}
    }
    told
}

/// The subcommand that a text runs, where it is one of ward's, and how many of its words name that.
fn subcommand<'a>(cli: &'a Command, text: &str) -> Option<(&'a Command, usize)> {
    let mut words = text.split(' ').enumerate();
    words.find(|(_, word)| *word == "ward")?;
    let (at, first) = words.next()?;
    let mut found = (cli.find_subcommand(first)?, at + 1);
    for (at, word) in words {
        match found.0.find_subcommand(word) {
            Some(deeper) => found = (deeper, at + 1),
            None => break,
        }
    }
    Some(found)
}

/// The command with this environment, and what it would be a copy of, as STACK/NAME where it names them without.
fn in_full(cli: &Command, env: &EnvId, text: &str) -> String {
    let Some((found, from)) = subcommand(cli, text) else {
        return text.to_owned();
    };
    let own = env.env();
    let (flag, copied) = (argument(found, "env"), argument(found, "from"));
    let (flag, copied) = (takes(flag, "ENV"), takes(copied, "ENV"));
    let positional = takes(found.get_positionals().next(), "ENV");
    let mut before = "";
    let words = text.split(' ').enumerate().map(|(at, word)| {
        let asked = match before {
            "--env" | "-e" => flag && *word == *own.as_str(),
            "--from" => copied,
            _ => at == from && positional && *word == *own.as_str(),
        };
        before = word;
        match Name::parse(word).ok().filter(|_| asked) {
            Some(name) => EnvId::new(&env.stack(), &name).to_string(),
            None => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The command with its environment; nothing where it takes none, or names one.
fn command(cli: &Command, env: &EnvId, text: &str) -> Option<String> {
    let (found, _) = subcommand(cli, text)?;
    let flag = argument(found, "env")?;
    if text
        .split(' ')
        .any(|word| speaks_for_itself(found, flag, word))
    {
        return None;
    }
    let env = match takes(Some(flag), "NAME") {
        true => env.env().to_string(),
        false => env.to_string(),
    };
    let end = ENDS.iter().filter_map(|end| text.find(end)).min();
    let (before, after) = text.split_at(end.unwrap_or(text.len()));
    Some(format!("{before} --env {env}{after}"))
}

/// Whether an argument's value is called so.
fn takes(argument: Option<&Arg>, value: &str) -> bool {
    let names = argument.and_then(Arg::get_value_names).unwrap_or_default();
    names.iter().any(|name| name.as_str() == value)
}

fn argument<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let mut all = command.get_arguments();
    all.find(|argument| argument.get_long() == Some(long))
}

/// Whether a word names an environment, or what none is named beside.
fn speaks_for_itself(command: &Command, env: &Arg, word: &str) -> bool {
    let long = word.strip_prefix("--").and_then(|w| w.split('=').next());
    match long {
        // The first is about no environment, the second has one in its file.
        Some("env" | "platform" | "plan") => true,
        Some(long) => {
            let conflicts = command.get_arg_conflicts_with(env);
            let against = argument(command, long).is_some_and(|argument| {
                let others = command.get_arg_conflicts_with(argument);
                others.iter().any(|other| other.get_id() == env.get_id())
            });
            against || conflicts.iter().any(|a| a.get_long() == Some(long))
        }
        None => word == "-e",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn said(text: &str) -> String {
        on(&"shop/test".parse().unwrap(), text)
    }

    #[test]
    fn a_command_is_given_its_environment() {
        for (before, after) in [
            (
                "`ward logs web` shows everything",
                "`ward logs web --env shop/test` shows everything",
            ),
            (
                "`ward deploy` makes it anew; `ward releases` shows what serves.",
                "`ward deploy --env test` makes it anew; `ward releases --env shop/test` shows what serves.",
            ),
            (
                "`ward secret set NAME < FILE`",
                "`ward secret set NAME --env shop/test < FILE`",
            ),
            (
                "`ward deployment watch` follows it",
                "`ward deployment watch --env shop/test` follows it",
            ),
            (
                "`env -u EDITOR ward secret set NAME`",
                "`env -u EDITOR ward secret set NAME --env shop/test`",
            ),
        ] {
            assert_eq!(said(before), after);
            assert_eq!(said(after), after, "said twice");
        }
    }

    #[test]
    fn what_takes_none_or_has_one_stays() {
        for text in [
            "no command, and `stack.deadlines.promote` is none",
            "`ward doctor` says more",
            "`ward pipeline show` says more",
            "`ward env create test` makes it again",
            "`ward up --platform` starts it",
            "`ward deploy --plan FILE` carries it out",
            "`ward deploy --envs dev,test` goes on",
            "`ward build --list` lists them",
            "`ward logs web --env shop/dev` and `ward logs web -e dev`",
            "one backtick ` and `ward",
        ] {
            assert_eq!(said(text), text);
        }
    }

    #[test]
    fn outside_its_folder_what_is_named_is_named_in_full() {
        let said = |folder, text| typed_in(folder, &"shop/test".parse().unwrap(), text);
        for (text, full) in [
            (
                "`ward env extend test --ttl 7d` gives it more time",
                "`ward env extend shop/test --ttl 7d` gives it more time",
            ),
            (
                "`ward env create test --from prod` makes it again",
                "`ward env create test --from shop/prod` makes it again",
            ),
            (
                "`ward down --env test` stops it",
                "`ward down --env shop/test` stops it",
            ),
        ] {
            assert_eq!(said(Folder::Own, text), text);
            assert_eq!(said(Folder::Other, text), full);
        }
        let deploy = "`ward deploy --env test` takes a folder, whose stack it is";
        assert_eq!(said(Folder::Other, deploy), deploy);
    }

    /// All Rust sources below a folder but tests'.
    fn sources(dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("tests" | "target") => {}
                _ if path.is_dir() => sources(&path, found),
                Some(name) if name.ends_with(".rs") => {
                    found.push(fs::read_to_string(path).unwrap())
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_command_that_is_named_is_there() {
        let mut all = Vec::new();
        let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        sources(Path::new(crates), &mut all);
        let cli = Cli::command();
        let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
        let mut count = 0;
        for text in all.iter().flat_map(|text| text.split("`ward ").skip(1)) {
            let named = text.split('`').next().unwrap_or_default();
            let mut words = named.split(' ').take_while(is_word);
            let Some(first) = words.next().filter(|word| !word.is_empty()) else {
                continue; // A placeholder, or the end of a line.
            };
            let found = cli.find_subcommand(first);
            let found = found.unwrap_or_else(|| panic!("there is no `ward {first}`"));
            if let (true, Some(second)) = (found.has_subcommands(), words.next()) {
                let known = found.find_subcommand(second).is_some();
                assert!(known, "there is no `ward {first} {second}`");
            }
            count += 1;
        }
        assert!(count > 300, "{count} commands were read");
    }
}
