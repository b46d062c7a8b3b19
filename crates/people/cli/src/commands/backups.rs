//! `db backup`, `db backups` and `db restore`.

use owo_colors::OwoColorize;
use ward_types::backup::{Overdue, Stand};
use ward_types::environments::{CopiedData, CreateRequest, Trial};
use ward_types::id::{EnvId, Name};
use ward_types::unit::format_duration;
use ward_types::view::{BackupRequest, BackupView, BackupsView, Until};

use super::environments::{copied, size};
use super::status::{columns, moment};
use super::{Context, Trouble, deploy};
use crate::args;
use crate::printer::Status;

pub(crate) async fn backup(
    context: &Context,
    database: Option<Name>,
    env: &args::OfEnv,
    why: String,
) -> Result<Status, Trouble> {
    let request = BackupRequest {
        env: Some(crate::env::find(context, env.env.as_deref()).await?),
        database,
        why,
    };
    let lines = context.client.post_lines("/v1/backups", &request).await?;
    deploy::follow(context, lines).await
}

pub(crate) async fn restore(context: &Context, asked: args::Restore) -> Result<Status, Trouble> {
    let from = crate::env::with_backups(context, asked.env.env.as_deref()).await?;
    let env = EnvId::new(&from.stack(), &asked.into);
    context.printer.about(&env);
    let request = CreateRequest {
        name: asked.into,
        from,
        hosts: asked.hosts.unwrap_or_default(),
        data: CopiedData::None,
        restores: asked.backups,
        ttl: asked.ttl,
        sleep: None,
        why: asked.why.text,
        until: match asked.no_wait {
            true => Until::Queued,
            false => Until::Verdict,
        },
        trial: Trial::No,
    };
    copied(context, &env, &request, asked.secrets.as_deref()).await
}

pub(crate) async fn list(context: &Context, env: &args::OfEnv) -> Result<Status, Trouble> {
    let env = crate::env::with_backups(context, env.env.as_deref()).await?;
    context.printer.about(&env);
    let path = format!("/v1/backups?env={env}");
    let view: BackupsView = context.client.get(&path).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&view);
        return Ok(Status::Success);
    }
    if view.backups.is_empty() {
        printer.say(&format!("{env} has no backup"));
    } else {
        let header = [
            "BACKUP", "DATABASE", "TAKEN", "SIZE", "RELEASE", "BY", "RESTORED",
        ];
        let mut table = columns(&header);
        for one in &view.backups {
            table.add_row(row(one));
        }
        printer.table(&table, "");
    }
    if let Some(next) = view.next {
        printer.say(&format!("the next is due on {}", moment(next)));
    }
    printer.say(&format!("they lie in {}", view.folder));
    for overdue in &view.overdue {
        printer.warning(&sentence(overdue), &hint(&env, overdue));
    }
    Ok(Status::Success)
}

fn row(one: &BackupView) -> Vec<String> {
    let backup = &one.backup;
    let release = match (&backup.release, &one.version) {
        (Some(release), Some(version)) => format!("{release} ({version})"),
        (Some(release), None) => release.to_string(),
        (None, _) => String::new(),
    };
    let restored = match &backup.stand {
        Stand::Asked => "is being taken".to_owned(),
        Stand::Taken { .. } => "not yet".to_owned(),
        Stand::Restored { at, proof, .. } => {
            format!("{}: {proof}", moment(*at))
        }
        Stand::Failed { why, .. } => format!("failed: {why}"),
    };
    vec![
        one.id.to_string(),
        backup.database.to_string(),
        moment(backup.began),
        backup
            .file()
            .map(|file| size(file.bytes))
            .unwrap_or_default(),
        release,
        backup.by.clone(),
        restored,
    ]
}

/// That a database has no backup that is young enough, for `ward status` and others.
pub(crate) fn sentence(overdue: &Overdue) -> String {
    let every = format_duration(overdue.every);
    let newest = match overdue.newest {
        Some(at) => format!("the newest backup that was restored is of {}", moment(at)),
        None => "no backup was ever restored".to_owned(),
    };
    let why = match &overdue.why {
        Some(why) => format!("; the last attempt failed: {why}"),
        None => String::new(),
    };
    let database = &overdue.database;
    format!("database {database}: {newest}, and one is due every {every}{why}")
}

/// What to do about it.
pub(crate) fn hint(env: &EnvId, overdue: &Overdue) -> String {
    let database = &overdue.database;
    format!(
        "`ward db backup {database} --env {env}` makes one now; `ward db backups --env {env}` lists what there is"
    )
}

/// As a line of `ward status`.
pub(crate) fn line(overdue: &Overdue) -> String {
    sentence(overdue).red().to_string()
}
