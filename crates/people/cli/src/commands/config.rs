//! `config`: values over the stack file's own.

use ward_types::configuration::ConfigChange;
use ward_types::id::Name;
use ward_types::text;
use ward_types::view::{ConfigRequest, ConfigStep, ConfigVersion, ConfigView, Expect};

use super::status::{columns, moment};
use super::{Context, Trouble, deploy};
use crate::args;
use crate::printer::Status;

pub(crate) async fn config(context: &Context, asked: args::Config) -> Result<Status, Trouble> {
    match asked {
        args::Config::Set { values, change } => {
            let changes: Result<Vec<_>, _> = values.iter().map(|text| assignment(text)).collect();
            let changes = changes?;
            for change in changes.iter().filter(|change| sounds_secret(&change.key)) {
                let key = &change.key;
                let message = format!(
                    "{key} sounds like a secret, and whoever reads the log can read what it is set to"
                );
                let hint = format!(
                    "`ward secret set {key}` keeps a value sealed; one that was here should be changed"
                );
                context.printer.warning(&message, &hint);
            }
            send(context, changes, change).await
        }
        args::Config::Unset { keys, change } => {
            let changes: Result<_, _> = keys.iter().map(|text| unset(text)).collect();
            send(context, changes?, change).await
        }
        args::Config::List(env) => list(context, env).await,
        args::Config::History(env) => history(context, env).await,
    }
}

impl args::Change {
    pub(super) fn expect(&self) -> Expect {
        match self.new {
            true => Expect::ToCome,
            false => Expect::There,
        }
    }
}

async fn send(
    context: &Context,
    changes: Vec<ConfigChange>,
    change: args::Change,
) -> Result<Status, Trouble> {
    let asked = change.env.env.as_deref();
    let (env, dir) = crate::env::find_or_declared(context, asked).await?;
    let request = ConfigRequest {
        env: Some(env),
        expect: change.expect(),
        dir,
        changes,
        others: change.pace.others(),
        until: change.pace.until(),
        why: change.why.text,
    };
    let lines = context.client.post_lines("/v1/config", &request).await?;
    deploy::follow(context, lines).await
}

/// Whether a variable has the name of what nobody should read.
fn sounds_secret(key: &str) -> bool {
    const ENDS: [&str; 7] = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
    ];
    let key = key.to_ascii_uppercase();
    ENDS.iter().any(|end| key.ends_with(end))
}

fn assignment(text: &str) -> Result<ConfigChange, Trouble> {
    let Some((place, value)) = text.split_once('=') else {
        let message = format!("`{text}` sets nothing: it has no `=`");
        let hint = "write KEY=VALUE or SERVICE.KEY=VALUE; `ward config unset` takes a value away";
        return Err(Trouble::usage(format!("{message}; {hint}")));
    };
    let (service, key) = parts(place)?;
    let value = Some(value.to_owned());
    Ok(ConfigChange {
        service,
        key,
        value,
    })
}

fn unset(text: &str) -> Result<ConfigChange, Trouble> {
    if text.contains('=') {
        let message = "a value has no place here: write KEY or SERVICE.KEY";
        return Err(Trouble::usage(message.to_owned()));
    }
    let (service, key) = parts(text)?;
    Ok(ConfigChange {
        service,
        key,
        value: None,
    })
}

fn parts(place: &str) -> Result<(Option<Name>, String), Trouble> {
    let Some((service, key)) = place.split_once('.') else {
        return Ok((None, place.to_owned()));
    };
    let service = Name::parse(service).map_err(|error| Trouble::usage(error.to_string()))?;
    Ok((Some(service), key.to_owned()))
}

async fn list(context: &Context, env: args::OfEnv) -> Result<Status, Trouble> {
    let env = crate::env::find(context, env.env.as_deref()).await?;
    let view: ConfigView = context.client.get(&format!("/v1/config?env={env}")).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&view);
        return Ok(Status::Success);
    }
    if view.values.is_empty() {
        printer.say(&format!(
            "nothing is set in {env}: all values are the stack file's own"
        ));
    } else {
        let mut table = columns(&["SERVICE", "KEY", "VALUE", "VERSION", "SET", "BY"]);
        for value in &view.values {
            table.add_row(vec![
                service(value.service.as_ref()),
                value.key.clone(),
                shown(&value.value),
                value.version.to_string(),
                moment(value.at),
                value.by.clone(),
            ]);
        }
        printer.table(&table, "");
    }
    if let (true, Some(in_force)) = (view.outdated, view.in_force) {
        let message = format!(
            "what serves runs with configuration {in_force}, not {}",
            view.version
        );
        printer.warning(
            &message,
            "`ward deploy` or the next `ward config set` brings it into force",
        );
    }
    Ok(Status::Success)
}

async fn history(context: &Context, env: args::OfEnv) -> Result<Status, Trouble> {
    let env = crate::env::find(context, env.env.as_deref()).await?;
    let path = format!("/v1/config/history?env={env}");
    let versions: Vec<ConfigVersion> = context.client.get(&path).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&versions);
        return Ok(Status::Success);
    }
    if versions.is_empty() {
        printer.say(&format!("nothing was ever set in {env}"));
        return Ok(Status::Success);
    }
    let mut table = columns(&["VERSION", "SET", "BY", "CHANGE", "WHY"]);
    for version in &versions {
        let mut head = vec![
            version.version.to_string(),
            moment(version.at),
            version.by.clone(),
        ];
        let mut why = text::shown(&version.why);
        for step in &version.changes {
            head.extend([changed(step), std::mem::take(&mut why)]);
            table.add_row(std::mem::take(&mut head));
            head = vec![String::new(); 3];
        }
    }
    printer.table(&table, "");
    Ok(Status::Success)
}

fn service(name: Option<&Name>) -> String {
    name.map_or("(all)".to_owned(), ToString::to_string)
}

/// A value on one line, and no longer than a line.
fn shown(value: &str) -> String {
    let escaped: String = value
        .chars()
        .take(60)
        .flat_map(char::escape_debug)
        .collect();
    match value.chars().nth(60) {
        Some(_) => format!("{escaped}…"),
        None => escaped,
    }
}

fn changed(step: &ConfigStep) -> String {
    let place = match &step.change.service {
        Some(service) => format!("{service}.{}", step.change.key),
        None => step.change.key.clone(),
    };
    match (&step.before, &step.change.value) {
        (None, Some(value)) => format!("{place}={}", shown(value)),
        (Some(before), Some(value)) => {
            format!("{place}={} (was {})", shown(value), shown(before))
        }
        (before, None) => {
            let before = before.as_deref().unwrap_or_default();
            format!("{place} unset (was {})", shown(before))
        }
    }
}
