//! Replays the terminal sessions of a document, so that it stays true.
//!
//! A session is a fenced block marked `console`: a line that begins with `$ ` is a command, what follows
//! is what it prints, on both outputs. `…` stands for any text in a line, and alone on a line for any
//! number of lines. All blocks of a document are one session, in one shell folder with one state folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::run::{root, say};

struct Step {
    line: usize,
    command: String,
    expected: Vec<String>,
}

/// Replays every session of `document` with the binary in `bin`, on ports and a state folder of its own.
pub(crate) fn replay(document: &Path, bin: &Path) -> Result<(), String> {
    let text = fs::read_to_string(document)
        .map_err(|error| format!("cannot read {}: {error}", document.display()))?;
    let steps = steps(&text);
    if steps.is_empty() {
        return Err(format!("{} has no session", document.display()));
    }
    let home = std::env::temp_dir().join(format!("ward-replay-{}", std::process::id()));
    let result = steps.iter().try_for_each(|step| play(step, bin, &home));
    let _ = shell("ward down --purge --yes", bin, &home); // Also after a failure nothing stays behind.
    let _ = fs::remove_dir_all(&home);
    result.map_err(|error| format!("{}: {error}", document.display()))
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    line: number + 1,
                    command: command.to_owned(),
                    expected: Vec::new(),
                }),
                (None, Some(step)) => step.expected.push(line.to_owned()),
                (None, None) => {}
            },
            (false, _) => {}
        }
    }
    steps
}

fn play(step: &Step, bin: &Path, home: &Path) -> Result<(), String> {
    say(&format!("$ {}", step.command));
    let printed = shell(&step.command, bin, home)?;
    let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let expected: Vec<&str> = step.expected.iter().map(|line| line.trim_end()).collect();
    if lines_match(&expected, &lines) {
        return Ok(());
    }
    Err(format!(
        "line {}: `{}` printed\n\n{}\n\nwhere the document says\n\n{}",
        step.line,
        step.command,
        lines.join("\n"),
        expected.join("\n")
    ))
}

fn shell(command: &str, bin: &Path, home: &Path) -> Result<String, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(root())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("WARD_HOME", home)
        .env("WARD_HTTP_ADDR", "127.0.0.1:18080")
        .env("WARD_HTTPS_ADDR", "127.0.0.1:18443")
        .env("WARD_REGISTRY_ADDR", "127.0.0.1:15050")
        .env("WARD_METRICS_ADDR", "127.0.0.1:18090")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot run bash: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `…` alone matches any number of lines.
fn lines_match(expected: &[&str], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((&"…", rest)) => (0..=lines.len()).any(|skip| lines_match(rest, &lines[skip..])),
        Some((first, rest)) => match lines.split_first() {
            Some((line, others)) => text_matches(first, line) && lines_match(rest, others),
            None => false,
        },
    }
}

/// `…` in a line matches any text.
fn text_matches(expected: &str, line: &str) -> bool {
    match expected.split_once('…') {
        None => expected == line,
        Some((head, tail)) => line.strip_prefix(head).is_some_and(|rest| {
            let mut cuts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            cuts.any(|at| text_matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsis_stands_for_any_text() {
        assert!(text_matches("a … c …", "a b c d"));
        assert!(!text_matches("a … c", "a b d"));
        assert!(lines_match(
            &["one", "…", "two …"],
            &["one", "x", "y", "two three"]
        ));
        assert!(!lines_match(&["one"], &["one", "two"]));
    }
}
