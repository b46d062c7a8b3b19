//! `secret`: names, versions and who gets them; never a value.

use std::collections::BTreeMap;
use std::path::Path;

use ward_api::client::Lines;
use ward_types::secrets::{Origin, SecretName};
use ward_types::text::shown;
use ward_types::view::{
    RekeyRequest, RekeyView, RotateRequest, SecretRequest, SecretSetting, SecretVersionView,
    SecretView, SecretsView,
};

use super::status::{columns, moment};
use super::{Context, Trouble, deploy};
use crate::args;
use crate::dotenv;
use crate::printer::Status;
use crate::value::{self, LineEnd, Signals};

pub(crate) async fn secret(context: &Context, asked: args::Secret) -> Result<Status, Trouble> {
    match asked {
        args::Secret::Set {
            name,
            misplaced,
            exact,
            change,
        } => {
            if !misplaced.is_empty() {
                return Err(on_the_command_line());
            }
            let name = parsed(&name)?;
            let end = match exact {
                true => LineEnd::Kept,
                false => LineEnd::TakenOff,
            };
            let asked = value::ask(name.as_str(), end).await?;
            let value = Some(asked.value);
            let changes = vec![SecretSetting { name, value }];
            match asked.signals {
                None => send(context, changes, change).await,
                Some(signals) => send_unless(signals, context, changes, change).await,
            }
        }
        args::Secret::Unset { names, change } => {
            let unset =
                |name: &String| parsed(name).map(|name| SecretSetting { name, value: None });
            let changes: Result<_, _> = names.iter().map(unset).collect();
            send(context, changes?, change).await
        }
        args::Secret::Import { change } => {
            let changes = settings(&value::piped()?, "standard input")?;
            send(context, changes, change).await
        }
        args::Secret::List(env) => list(context, env).await,
        args::Secret::History { name, env } => history(context, name.as_deref(), env).await,
        args::Secret::Rotate { name, change } => rotate(context, &name, change).await,
        args::Secret::Rekey { why } => rekey(context, why.text).await,
    }
}

fn on_the_command_line() -> Trouble {
    let message = "a value has no place on a command line, where others can read it, and now it is in your shell's \
                   history: give it on standard input, as in `ward secret set NAME < FILE`, and use another value";
    Trouble::usage(message.to_owned())
}

/// Reads a name. What is no name is not repeated: it may hold a value.
fn parsed(text: &str) -> Result<SecretName, Trouble> {
    if text.contains('=') {
        return Err(on_the_command_line());
    }
    SecretName::parse(text).map_err(|error| {
        Trouble::usage(format!(
            "that is not a name of a secret: expected {}",
            error.expected
        ))
    })
}

/// The secrets of a `.env` file that is to be had there; `-` is standard input.
pub(super) fn imported(file: &Path) -> Result<Vec<SecretSetting>, Trouble> {
    match file.as_os_str() == "-" {
        true => settings(&value::piped()?, "standard input"),
        false => settings(&value::of_file(file)?, &file.display().to_string()),
    }
}

fn settings(text: &str, of: &str) -> Result<Vec<SecretSetting>, Trouble> {
    let pairs = dotenv::read(text).map_err(|wrong| {
        let message = format!("line {} of {of}: {}", wrong.line, wrong.what);
        let hint = "each line is NAME=VALUE; nothing was changed".to_owned();
        Trouble::failure(message, Some(hint))
    })?;
    let setting = |(name, value): (String, _)| {
        let value = Some(value);
        parsed(&name).map(|name| SecretSetting { name, value })
    };
    pairs.into_iter().map(setting).collect()
}

async fn send(
    context: &Context,
    changes: Vec<SecretSetting>,
    change: args::Change,
) -> Result<Status, Trouble> {
    let lines = posted(context, changes, change).await?;
    deploy::follow(context, lines).await
}

/// The same where nothing but this heeds signals: until it is sent, and then those that do not mean the following.
async fn send_unless(
    mut signals: Signals,
    context: &Context,
    changes: Vec<SecretSetting>,
    change: args::Change,
) -> Result<Status, Trouble> {
    let lines = tokio::select! {
        lines = posted(context, changes, change) => lines?,
        status = signals.any() => return Ok(status),
    };
    tokio::select! {
        done = deploy::follow(context, lines) => done,
        status = signals.but_interrupt() => Ok(status),
    }
}

async fn posted(
    context: &Context,
    changes: Vec<SecretSetting>,
    change: args::Change,
) -> Result<Lines, Trouble> {
    let asked = change.env.env.as_deref();
    let (env, dir) = crate::env::find_or_declared(context, asked).await?;
    let request = SecretRequest {
        env: Some(env),
        expect: change.expect(),
        dir,
        changes,
        others: change.pace.others(),
        until: change.pace.until(),
        why: change.why.text,
    };
    let lines = context.client.post_lines("/v1/secrets", &request).await?;
    Ok(lines)
}

async fn rotate(context: &Context, name: &str, change: args::Change) -> Result<Status, Trouble> {
    let env = crate::env::find(context, change.env.env.as_deref()).await?;
    let request = RotateRequest {
        env: Some(env),
        name: parsed(name)?,
        others: change.pace.others(),
        until: change.pace.until(),
        why: change.why.text,
    };
    let lines = context
        .client
        .post_lines("/v1/secrets/rotate", &request)
        .await?;
    deploy::follow(context, lines).await
}

async fn rekey(context: &Context, why: String) -> Result<Status, Trouble> {
    let view: RekeyView = context
        .client
        .post("/v1/secrets/rekey", &RekeyRequest { why })
        .await?;
    if context.printer.is_json() {
        context.printer.json(&view);
        return Ok(Status::Success);
    }
    let from = match view.from.is_empty() {
        true => String::new(),
        false => format!(" in place of {}", view.from.join(", ")),
    };
    let (values, to) = (view.values, view.to);
    context.printer.data(&format!(
        "{values} values are sealed under the master key {to}{from}"
    ));
    Ok(Status::Success)
}

async fn list(context: &Context, env: args::OfEnv) -> Result<Status, Trouble> {
    let env = crate::env::find(context, env.env.as_deref()).await?;
    let view: SecretsView = context
        .client
        .get(&format!("/v1/secrets?env={env}"))
        .await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&view);
        return Ok(Status::Success);
    }
    if view.secrets.is_empty() {
        printer.say(&format!("{env} has no secrets"));
        return Ok(Status::Success);
    }
    let mut table = columns(&["SECRET", "VERSION", "DIGEST", "SET", "BY", "USED BY"]);
    for secret in &view.secrets {
        table.add_row(row(secret));
    }
    printer.table(&table, "");
    for secret in view.secrets.iter().filter(|secret| is_older(secret)) {
        let newest = secret.newest.as_ref().map_or(0, |newest| newest.version);
        let (name, in_force) = (&secret.name, secret.in_force.unwrap_or(0));
        printer.say(&format!(
            "what serves has version {in_force} of {name}, not {newest}"
        ));
    }
    let replaced = view
        .secrets
        .iter()
        .filter_map(|secret| secret.replaced.as_ref());
    replaced.for_each(|until| printer.say(until));
    Ok(Status::Success)
}

fn is_older(secret: &SecretView) -> bool {
    let newest = secret.newest.as_ref().map(|newest| newest.version);
    secret.in_force.is_some() && newest.is_some() && secret.in_force != newest
}

fn row(secret: &SecretView) -> Vec<String> {
    let users: Vec<String> = secret.used_by.iter().map(ToString::to_string).collect();
    let users = match users.is_empty() {
        true => "-".to_owned(),
        false => users.join(", "),
    };
    match &secret.newest {
        Some(newest) => vec![
            secret.name.to_string(),
            newest.version.to_string(),
            newest.digest.chars().take(12).collect(),
            format!("{}{}", moment(newest.at), by_what(newest.origin)),
            newest.by.clone(),
            users,
        ],
        None => {
            let name = secret.name.to_string();
            let cells = [
                name,
                "-".into(),
                "-".into(),
                "not set".into(),
                "-".into(),
                users,
            ];
            cells.into()
        }
    }
}

fn by_what(origin: Option<Origin>) -> &'static str {
    match origin {
        Some(Origin::Set) => "",
        Some(Origin::Generated) => " (made by Ward)",
        Some(Origin::Rotated) => " (rotated)",
        None => " (unset)",
    }
}

async fn history(
    context: &Context,
    name: Option<&str>,
    env: args::OfEnv,
) -> Result<Status, Trouble> {
    let env = crate::env::find(context, env.env.as_deref()).await?;
    let name = name.map(parsed).transpose()?;
    let name = name.map(|name| format!("&name={name}")).unwrap_or_default();
    let path = format!("/v1/secrets/history?env={env}{name}");
    let all: BTreeMap<SecretName, Vec<SecretVersionView>> = context.client.get(&path).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&all);
        return Ok(Status::Success);
    }
    let mut table = columns(&[
        "SECRET", "VERSION", "DIGEST", "SET", "BY", "RELEASES", "WHY",
    ]);
    for (name, version) in all
        .iter()
        .flat_map(|(n, all)| all.iter().map(move |v| (n, v)))
    {
        let releases: Vec<String> = version.releases.iter().map(ToString::to_string).collect();
        let number = match version.origin {
            Some(_) => version.version.to_string(),
            None => "-".to_owned(),
        };
        table.add_row(vec![
            name.to_string(),
            number,
            version.digest.chars().take(12).collect(),
            format!("{}{}", moment(version.at), by_what(version.origin)),
            version.by.clone(),
            releases.join(" "),
            shown(&version.why),
        ]);
    }
    printer.table(&table, "");
    Ok(Status::Success)
}
