//! Which environment a command means when it is not named in full.

use std::path::Path;

use ward_types::id::{EnvId, Name};
use ward_types::release::Goal;
use ward_types::view::{EnvironmentView, StatusView};

use crate::args;
use crate::commands::{Context, Trouble};

/// The environment that `asked` names: `STACK/NAME` as it is; `NAME` of the stack in this folder, or of the
/// only stack that has it; nothing: `dev` of the stack in this folder, or the only one, or the only one that
/// is up. The folder comes first, so that a command in one stack's folder never reaches another's by chance.
/// One that was purged is meant only by its name. From then on what is suggested acts on it.
///
/// # Errors
/// A sentence that lists what there is.
pub(crate) async fn find(context: &Context, asked: Option<&str>) -> Result<EnvId, Trouble> {
    let env = named(context, asked).await?;
    context.printer.about(&env);
    Ok(env)
}

/// The same for a command that is about others too.
///
/// # Errors
/// A sentence that lists what there is.
pub(crate) async fn named(context: &Context, asked: Option<&str>) -> Result<EnvId, Trouble> {
    named_among(context, asked, &[]).await
}

/// The same; `declared` may be meant as well by who mistypes.
async fn named_among(
    context: &Context,
    asked: Option<&str>,
    declared: &[Name],
) -> Result<EnvId, Trouble> {
    if let Some(full) = asked.filter(|text| text.contains('/')) {
        return EnvId::parse(full).map_err(|error| Trouble::usage(error.to_string()));
    }
    let name =
        Name::parse(asked.unwrap_or("dev")).map_err(|error| Trouble::usage(error.to_string()))?;
    let here = stack_here().map(|stack| EnvId::new(&stack, &name));
    let status: StatusView = context.client.get("/v1/status?purged=true").await?;
    let (purged, there): (Vec<_>, Vec<_>) = status
        .environments
        .into_iter()
        .partition(|env| env.goal == Goal::Purged);
    let (all, up) = (
        ids(&there),
        ids(there.iter().filter(|env| env.goal == Goal::Up)),
    );
    let by_name = || asked.and_then(|_| among(&ids(&purged), here.as_ref(), asked));
    among(&all, here.as_ref(), asked)
        .or_else(|| only(&up, asked))
        .or_else(by_name)
        .ok_or_else(|| unclear(&all, declared, asked))
}

/// The same for a command about backups, which stay where the data was removed.
///
/// # Errors
/// A sentence that lists what there is.
pub(crate) async fn with_backups(context: &Context, asked: Option<&str>) -> Result<EnvId, Trouble> {
    let trouble = match (named(context, asked).await, asked) {
        (Err(trouble), None) => trouble,
        (found, _) => return found,
    };
    let status: StatusView = context.client.get("/v1/status?purged=true").await?;
    let all = || status.environments.iter();
    let purged = ids(all().filter(|env| env.goal == Goal::Purged && env.life.deleted.is_none()));
    let there = ids(all().filter(|env| env.goal != Goal::Purged));
    let here = stack_here().map(|stack| EnvId::new(&stack, &args::dev()));
    if let Some(id) = purged_one(&purged, &there, here.as_ref()) {
        return Ok(id);
    }
    if purged.is_empty() || !there.is_empty() {
        return Err(trouble);
    }
    let list: Vec<&str> = purged.iter().map(EnvId::as_str).collect();
    let message = "several environments were purged, and may have backups".to_owned();
    let hint = format!("name one with --env: {}", list.join(", "));
    Err(Trouble::failure(message, Some(hint)))
}

/// The one that was purged and is meant: that of the folder, or the only one where nothing else is there.
fn purged_one(purged: &[EnvId], there: &[EnvId], here: Option<&EnvId>) -> Option<EnvId> {
    match there.is_empty() {
        true => among(purged, here, None),
        false => here.filter(|id| purged.contains(id)).cloned(),
    }
}

/// The same for a command that may be the first about an environment: by its name it can be one that the stack in
/// this folder declares and that is not there yet. Also the folder, where there is a stack in it.
///
/// # Errors
/// A sentence that lists what there is.
pub(crate) async fn find_or_declared(
    context: &Context,
    asked: Option<&str>,
) -> Result<(EnvId, Option<String>), Trouble> {
    let here = declared_here(asked.unwrap_or("dev"));
    let dir = std::env::current_dir()
        .ok()
        .filter(|_| stack_here().is_some());
    let dir = dir.and_then(|dir| dir.to_str().map(str::to_owned));
    if let (Some(id), Some(_)) = (&here, asked) {
        context.printer.about(id);
        return Ok((id.clone(), dir));
    }
    let id = match (named_among(context, asked, &declared()).await, here) {
        (Ok(id), _) | (Err(_), Some(id)) => id,
        (Err(trouble), None) => return Err(trouble),
    };
    context.printer.about(&id);
    Ok((id, dir))
}

/// What the stack in this folder declares.
fn declared() -> Vec<Name> {
    let read = ward_server::source::read(Path::new("")).ok();
    let stack = read.and_then(|(file, text)| ward_stack::read(&file, &text).stack);
    stack.map_or_else(Vec::new, |stack| stack.environments)
}

fn declared_here(name: &str) -> Option<EnvId> {
    let (file, text) = ward_server::source::read(Path::new("")).ok()?;
    let stack = ward_stack::read(&file, &text).stack?;
    let name = Name::parse(name).ok()?;
    let declared = stack.environments.contains(&name);
    declared.then(|| EnvId::new(&stack.name, &name))
}

fn ids<'a>(environments: impl IntoIterator<Item = &'a EnvironmentView>) -> Vec<EnvId> {
    environments.into_iter().map(|env| env.id.clone()).collect()
}

fn among(known: &[EnvId], here: Option<&EnvId>, asked: Option<&str>) -> Option<EnvId> {
    let here = here.filter(|id| known.contains(id)).cloned();
    here.or_else(|| only(known, asked))
}

fn only(known: &[EnvId], asked: Option<&str>) -> Option<EnvId> {
    let mut fitting = known
        .iter()
        .filter(|id| asked.is_none_or(|name| id.env().as_str() == name));
    let first = fitting.next()?;
    fitting.next().is_none().then(|| first.clone())
}

/// What is suggested from now on acts on this environment of the stack in a folder; where none can be read there, on
/// no environment in particular: what is wrong the server says.
pub(crate) fn of_folder(context: &Context, dir: &str, name: &Name) {
    if let Some(stack) = stack_in(Path::new(dir)) {
        context.printer.about(&EnvId::new(&stack, name));
    }
}

/// The stack in this folder.
pub(crate) fn stack_here() -> Option<Name> {
    stack_in(Path::new(""))
}

/// The stack in a folder, where it declares no environment of this name.
pub(crate) fn lacks(dir: &Path, env: &Name) -> Option<Name> {
    let (file, text) = ward_server::source::read(dir).ok()?;
    let stack = ward_stack::read(&file, &text).stack?;
    (!stack.environments.contains(env)).then_some(stack.name)
}

pub(crate) fn stack_in(dir: &Path) -> Option<Name> {
    let (name, text) = ward_server::source::read(dir).ok()?;
    let reading = ward_stack::read(&name, &text);
    reading.stack.map(|stack| stack.name)
}

/// That there is no such environment, and never was.
///
/// # Errors
/// When the server cannot be asked for those that there are.
pub(crate) async fn unknown(context: &Context, env: &EnvId) -> Result<Trouble, Trouble> {
    let status: StatusView = context.client.get("/v1/status?purged=true").await?;
    let known = ids(&status.environments);
    let list: Vec<&str> = known.iter().map(EnvId::as_str).collect();
    let hint = match ward_stack::closest(env.as_str(), list.iter().copied()) {
        Some(meant) => format!("did you mean {meant}? There are: {}", list.join(", ")),
        None => format!("there are: {}", list.join(", ")),
    };
    Ok(Trouble::failure(
        format!("there is no environment {env}, and there never was one"),
        Some(hint),
    ))
}

fn unclear(known: &[EnvId], declared: &[Name], asked: Option<&str>) -> Trouble {
    let list: Vec<&str> = known.iter().map(EnvId::as_str).collect();
    let names: Vec<Name> = known.iter().map(EnvId::env).collect();
    let names = || names.iter().map(Name::as_str);
    let message = match asked {
        Some(name) if names().any(|one| one == name) => {
            format!("several stacks have an environment {name}")
        }
        Some(name) => format!("there is no environment {name}"),
        None if list.is_empty() => "there is no environment".to_owned(),
        None => "there are several environments".to_owned(),
    };
    let declared: Vec<&str> = declared.iter().map(Name::as_str).collect();
    let is_known = names().any(|one| asked == Some(one));
    let mistyped = asked.filter(|_| !is_known);
    let meant = mistyped.and_then(|asked| ward_stack::closest(asked, names()));
    let here = mistyped.and_then(|asked| ward_stack::closest(asked, declared.iter().copied()));
    let hint = match (meant, here) {
        (Some(meant), _) => format!("did you mean {meant}? There are: {}", list.join(", ")),
        (None, Some(meant)) => format!(
            "did you mean {meant}? The stack file here declares: {}",
            declared.join(", ")
        ),
        _ if list.is_empty() => "bring one up with `ward up DIR`".to_owned(),
        _ => format!("name one with --env: {}", list.join(", ")),
    };
    Trouble::failure(message, Some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_purged_is_meant_by_its_folder_or_where_it_is_the_only_one() {
        let id = |name: &str| EnvId::parse(name).unwrap();
        let (dev, old) = (id("shop/dev"), id("shop/old"));
        let purged = std::slice::from_ref(&old);
        assert_eq!(purged_one(purged, &[], None), Some(old.clone()));
        assert_eq!(purged_one(purged, &[], Some(&dev)), Some(old.clone()));
        let there = [id("shop/a"), id("shop/b")];
        assert_eq!(purged_one(purged, &there, None), None);
        assert_eq!(purged_one(purged, &there, Some(&dev)), None);
        let both = [dev.clone(), old];
        assert_eq!(purged_one(&both, &[], None), None);
        assert_eq!(purged_one(&both, &there, Some(&dev)), Some(dev));
    }
}
