//! Which environment a command means when it is not named in full.

use std::path::Path;

use ward_api::Client;
use ward_types::id::{EnvId, Name};
use ward_types::view::StatusView;

use crate::commands::Trouble;

/// The environment that `asked` names: `STACK/NAME` as it is; `NAME` if one stack has it, or the stack
/// in this folder has; nothing: the only one, or `dev` of the stack in this folder.
///
/// # Errors
/// A sentence that lists what there is.
pub(crate) async fn find(client: &Client, asked: Option<&str>) -> Result<EnvId, Trouble> {
    if let Some(full) = asked.filter(|text| text.contains('/')) {
        return EnvId::parse(full).map_err(|error| Trouble::usage(error.to_string()));
    }
    let known = known(client).await?;
    if let Some(found) = only(&known, asked) {
        return Ok(found);
    }
    let stack = stack_here().ok_or_else(|| unclear(&known, asked))?;
    let name =
        Name::parse(asked.unwrap_or("dev")).map_err(|error| Trouble::usage(error.to_string()))?;
    let id = EnvId::new(&stack, &name);
    if known.contains(&id) {
        Ok(id)
    } else {
        Err(unclear(&known, asked))
    }
}

async fn known(client: &Client) -> Result<Vec<EnvId>, Trouble> {
    let status: StatusView = client.get("/v1/status").await?;
    Ok(status.environments.into_iter().map(|env| env.id).collect())
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
