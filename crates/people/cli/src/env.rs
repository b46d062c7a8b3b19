//! Which environment a command means when it is not named in full.

use std::path::Path;

use ward_api::Client;
use ward_types::id::{EnvId, Name};
use ward_types::release::Goal;
use ward_types::view::{EnvironmentView, StatusView};

use crate::commands::Trouble;

/// The environment that `asked` names: `STACK/NAME` as it is; `NAME` of the stack in this folder, or of the
/// only stack that has it; nothing: `dev` of the stack in this folder, or the only one, or the only one that
/// is up. The folder comes first, so that a command in one stack's folder never reaches another's by chance.
///
/// # Errors
/// A sentence that lists what there is.
pub(crate) async fn find(client: &Client, asked: Option<&str>) -> Result<EnvId, Trouble> {
    if let Some(full) = asked.filter(|text| text.contains('/')) {
        return EnvId::parse(full).map_err(|error| Trouble::usage(error.to_string()));
    }
    let known = known(client).await?;
    let name =
        Name::parse(asked.unwrap_or("dev")).map_err(|error| Trouble::usage(error.to_string()))?;
    let here = stack_here().map(|stack| EnvId::new(&stack, &name));
    let all: Vec<EnvId> = known.iter().map(|env| env.id.clone()).collect();
    let up = known.into_iter().filter(|env| env.goal == Goal::Up);
    let up: Vec<EnvId> = up.map(|env| env.id).collect();
    here.filter(|id| all.contains(id))
        .or_else(|| only(&all, asked))
        .or_else(|| only(&up, asked))
        .ok_or_else(|| unclear(&all, asked))
}

async fn known(client: &Client) -> Result<Vec<EnvironmentView>, Trouble> {
    let status: StatusView = client.get("/v1/status").await?;
    Ok(status.environments)
}

fn only(known: &[EnvId], asked: Option<&str>) -> Option<EnvId> {
    let mut fitting = known
        .iter()
        .filter(|id| asked.is_none_or(|name| id.env().as_str() == name));
    let first = fitting.next()?;
    fitting.next().is_none().then(|| first.clone())
}

fn stack_here() -> Option<Name> {
    let text = std::fs::read_to_string(Path::new("ward.toml")).ok()?;
    let reading = ward_stack::read("ward.toml", &text);
    reading.stack.map(|stack| stack.name)
}

fn unclear(known: &[EnvId], asked: Option<&str>) -> Trouble {
    let list: Vec<&str> = known.iter().map(EnvId::as_str).collect();
    let message = match asked {
        Some(name) if list.is_empty() => {
            format!("there is no environment {name}: nothing was deployed yet")
        }
        Some(name) if known.iter().any(|id| id.env().as_str() == name) => {
            format!("several stacks have an environment {name}")
        }
        Some(name) => format!("there is no environment {name}"),
        None if list.is_empty() => "there is no environment yet".to_owned(),
        None => "there are several environments".to_owned(),
    };
    let hint = if list.is_empty() {
        "bring one up with `ward up DIR`".to_owned()
    } else {
        format!("name one with --env: {}", list.join(", "))
    };
    Trouble::failure(message, Some(hint))
}
