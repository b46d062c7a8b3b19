//! The whole way from text to stack.

use std::collections::{BTreeMap, BTreeSet};

use ward_types::id::{EnvId, Name};

use crate::lines::Lines;
use crate::mistake::{Code, Mistake, Span};
use crate::stack::{DEFAULT_ENVIRONMENT, Stack};
use crate::syntax::{self, Extent, Parsed};
use crate::tree::{Table, Value};
use crate::{decode, fit, inputs, overrides, pipelines, shape};

/// The most that a stack file may hold, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// What a stack file says.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The name to show for the file.
    pub name: String,
    /// The stack; `None` when there is any mistake, so that nothing is ever changed by a file that
    /// has one.
    pub stack: Option<Stack>,
    /// Everything that is wrong, in the order of the file, at most [`MOST_MISTAKES`].
    pub mistakes: Vec<Mistake>,
}

/// How many mistakes are looked for. A file with more is most likely no stack file at all.
pub const MOST_MISTAKES: usize = 1000;

/// Reads the text of the stack file that is shown as `name`, and checks all of its environments.
///
/// A text of more than [`MAX_BYTES`] is not looked at; whoever reads the file can say so before the whole
/// of it is in memory with [`too_large`].
#[must_use]
pub fn read(name: &str, text: &str) -> Reading {
    let name = name.to_owned();
    if text.len() > MAX_BYTES {
        return Reading {
            name,
            stack: None,
            mistakes: vec![too_large(text.len() as u64)],
        };
    }
    let Parsed {
        file,
        mistakes: mut errors,
        extent,
    } = syntax::parse(text);
    let mut mistakes = shape::check(&file, text);
    mistakes.extend(overrides::undeclared(&file));
    let environments = environments(&file);
    mistakes.extend(pipelines::check(&file, &environments));
    mistakes.extend(misfits(&file, &environments, &mistakes));
    drop_consequences(&mut mistakes, &errors, extent, text);
    errors.append(&mut mistakes);
    let mistakes = in_order(errors);
    let stack = mistakes
        .is_empty()
        .then(|| stack(&file, &environments))
        .flatten();
    Reading {
        name,
        stack,
        mistakes,
    }
}

/// The mistake of a file of `bytes` bytes, more than [`MAX_BYTES`].
#[must_use]
pub fn too_large(bytes: u64) -> Mistake {
    let message = format!("the file is too large to be a stack file: {bytes} bytes");
    Mistake::at(Span::START, Code::TooLarge, message).expected("at most 1 MiB")
}

pub(crate) type Environment<'a> = (&'a str, Span);

/// The environments in the order of the file; `dev` where it declares none.
fn environments(file: &Table) -> Vec<Environment<'_>> {
    let mut declared: Vec<_> = file
        .tables("environment")
        .map(|(name, place, _)| (name, place))
        .collect();
    declared.sort_by_key(|(_, place)| *place);
    if declared.is_empty() {
        declared.push((DEFAULT_ENVIRONMENT, Span::START));
    }
    declared
}

/// What is wrong with the environments, each mistake once; one that not all of them have says which.
fn misfits(file: &Table, environments: &[Environment<'_>], so_far: &[Mistake]) -> Vec<Mistake> {
    // Too many tables are a mistake of their own and would make this take too long.
    if so_far.iter().any(|mistake| mistake.note == "one too many") {
        return Vec::new();
    }
    let mut found: Vec<(Mistake, Vec<&str>)> = Vec::new();
    let mut index: BTreeMap<(Code, Span, String), usize> = BTreeMap::new();
    for (env, _) in environments {
        for mistake in fit::check(&overrides::apply(file, env)) {
            let key = (mistake.code, mistake.span, mistake.message.clone());
            let at = *index.entry(key).or_insert(found.len());
            match found.get_mut(at) {
                Some((_, envs)) => envs.push(env),
                None => found.push((mistake, vec![env])),
            }
        }
    }
    let all = environments.len();
    found
        .into_iter()
        .map(|(mistake, envs)| naming(mistake, &envs, all))
        .collect()
}

fn naming(mut mistake: Mistake, envs: &[&str], all: usize) -> Mistake {
    match envs {
        envs if envs.len() == all => {}
        [env] => mistake
            .message
            .push_str(&format!(", in the environment `{env}`")),
        envs => mistake
            .message
            .push_str(&format!(", in the environments `{}`", envs.join("`, `"))),
    }
    mistake
}

/// Leaves out what could be the consequence of a syntax error: mistakes on the same line, those in a table
/// whose header cannot be read, and those about what is not there in a file that was read in part.
fn drop_consequences(mistakes: &mut Vec<Mistake>, errors: &[Mistake], extent: Extent, text: &str) {
    let lines = Lines::of(text);
    let errors = errors
        .iter()
        .filter(|error| error.code != Code::DuplicateKey);
    let mut broken: BTreeSet<usize> = errors.map(|error| lines.number(error.span.start)).collect();
    let mut headless = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with('[') {
            headless = broken.contains(&number);
        } else if headless {
            broken.insert(number);
        }
    }
    mistakes.retain(|mistake| {
        let beside = broken.contains(&lines.number(mistake.span.start));
        let lost = match extent {
            Extent::Whole => false,
            Extent::LinesLost => mistake.misses_a_key(),
            Extent::Part => mistake.misses_a_key() || mistake.misses_a_part(),
        };
        !beside && !lost
    });
}

fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    mistakes.sort_by(|a, b| (a.span, a.code, &a.message).cmp(&(b.span, b.code, &b.message)));
    mistakes.truncate(MOST_MISTAKES);
    mistakes.dedup_by(|a, b| (a.code, a.span, &a.message) == (b.code, b.span, &b.message));
    mistakes
}

fn stack(file: &Table, environments: &[Environment<'_>]) -> Option<Stack> {
    let stack = file.table("stack")?;
    let (name, named) = stack.text("name")?;
    let name = Name::parse(name).ok()?;
    let (mut specs, mut inputs) = (BTreeMap::new(), BTreeMap::new());
    let mut names = Vec::new();
    for (env, _) in environments {
        let env = Name::parse(env).ok()?;
        let id = EnvId::new(&name, &env);
        let applied = overrides::apply(file, env.as_str());
        specs.insert(env.clone(), decode::spec(id, &applied)?);
        inputs.insert(env.clone(), inputs::of(&applied));
        names.push(env);
    }
    let places = match file.get("environment").map(|entry| &entry.node.value) {
        Some(Value::Table(table)) if !table.entries.is_empty() => {
            let places = environments.iter().map(|(_, place)| *place);
            names.iter().cloned().zip(places).collect()
        }
        _ => Vec::new(),
    };
    Some(Stack {
        name,
        version: stack.text("version")?.0.to_owned(),
        environments: names,
        specs,
        inputs,
        pipelines: decode::pipelines(file)?,
        places,
        named,
    })
}
