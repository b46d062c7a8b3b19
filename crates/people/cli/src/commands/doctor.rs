//! `doctor`: what this machine allows, what protection is missing for what it does not, and the remedy.

use owo_colors::OwoColorize;
use serde::Serialize;
use ward_engine::probe::{self, Finding};
use ward_server::doctor::{Program, programs};
use ward_types::id::EnvId;
use ward_types::view::{KeysMissing, LogView, StatusView};

use super::{Context, Trouble};
use crate::printer::Status;

#[derive(Serialize)]
struct Report {
    /// Why no instance can run here, and what to do; absent when they can.
    refused: Option<Refused>,
    /// Protections that the kernel denies.
    missing: Vec<Finding>,
    programs: Vec<Program>,
    /// Databases that have no backup that is young enough, as far as a server says so.
    backups: Vec<Missing>,
    /// What of the master keys is missing; absent when nothing is.
    keys: Option<KeysMissing>,
    /// Whether the log is whole; absent when there is none.
    log: Option<LogView>,
    /// That the program which gets notices does not take them.
    notices: Option<Untaken>,
    /// What is wrong with the installation's policy; absent when nothing is.
    policy: Option<Misread>,
}

/// That a file cannot be taken as it is.
#[derive(Serialize)]
struct Misread {
    message: String,
    hint: String,
}

/// That notices are not taken.
#[derive(Serialize)]
struct Untaken {
    message: String,
    hint: String,
}

/// That a database has no backup that is young enough.
#[derive(Serialize)]
struct Missing {
    env: EnvId,
    message: String,
    hint: String,
}

#[derive(Serialize)]
struct Refused {
    message: String,
    remedy: String,
}

pub(crate) async fn doctor(context: &Context) -> Result<Status, Trouble> {
    let exe = std::env::current_exe()
        .map_err(|error| Trouble::failure(format!("cannot find the ward binary: {error}"), None))?;
    let (missing, refused) = match probe::sandbox(&exe) {
        Ok(missing) => (missing, None),
        Err(error) => {
            let message = super::processes::chain(&error);
            let remedy = error.remedy().to_owned();
            (Vec::new(), Some(Refused { message, remedy }))
        }
    };
    let status = context
        .client
        .get::<StatusView>("/v1/status?keys=true")
        .await;
    let report = Report {
        refused,
        missing,
        programs: programs(&context.home),
        keys: keys(context, status.as_ref().ok()).await,
        log: log(context, status.as_ref().ok()),
        notices: status.as_ref().ok().and_then(notices),
        policy: policy(context),
        backups: backups(status.ok()),
    };
    if context.printer.is_json() {
        context.printer.json(&report);
    } else {
        sandbox(context, &report);
        report
            .programs
            .iter()
            .for_each(|found| program(context, found));
        volumes(context);
        report.backups.iter().for_each(|one| backup(context, one));
        report.keys.iter().for_each(|keys| key(context, keys));
        report.log.iter().for_each(|log| whole(context, log));
        report.notices.iter().for_each(|one| untaken(context, one));
        report.policy.iter().for_each(|one| misread(context, one));
    }
    let altered = matches!(report.log, Some(LogView::Altered { .. }));
    let gone = report.keys.as_ref().is_some_and(|keys| !keys.unknown);
    let protected = report.backups.is_empty() && !gone && report.notices.is_none();
    let protected = protected && report.policy.is_none();
    Ok(if report.refused.is_none() && !altered && protected {
        Status::Success
    } else {
        Status::Failure
    })
}

/// What the server knows of backups; nothing where none runs.
fn backups(status: Option<StatusView>) -> Vec<Missing> {
    let environments = status.into_iter().flat_map(|status| status.environments);
    let overdue = environments.flat_map(|env| {
        let all = env.overdue_backups.iter();
        let told = all.map(|overdue| Missing {
            message: super::backups::sentence(overdue),
            hint: super::backups::hint(&env.id, overdue),
            env: env.id.clone(),
        });
        told.collect::<Vec<_>>()
    });
    overdue.collect()
}

fn backup(context: &Context, missing: &Missing) {
    let word = "late   ".red().bold().to_string();
    let line = format!("{word} {}: {}", missing.env, missing.message);
    context.printer.data(&line);
    remedy(context, &missing.hint);
}

/// What the server knows of notices; nothing where none runs.
fn notices(status: &StatusView) -> Option<Untaken> {
    let (message, hint) = super::status::not_taken(status.server.notices.as_ref()?)?;
    Some(Untaken { message, hint })
}

fn untaken(context: &Context, one: &Untaken) {
    let word = "untold ".red().bold().to_string();
    context.printer.data(&format!("{word} {}", one.message));
    remedy(context, &one.hint);
}

fn policy(context: &Context) -> Option<Misread> {
    let refusal = ward_server::policing::installation(&context.home).err()?;
    let hint = refusal.hint.unwrap_or_default();
    let message = refusal.message;
    Some(Misread { message, hint })
}

fn misread(context: &Context, one: &Misread) {
    let word = "fatal  ".red().bold().to_string();
    context.printer.data(&format!("{word} {}", one.message));
    remedy(context, &one.hint);
}

/// What the server says of its keys; where none runs, what one that is started from here would find.
async fn keys(context: &Context, status: Option<&StatusView>) -> Option<KeysMissing> {
    if let Some(status) = status {
        return status.server.keys.clone();
    }
    let home = context.home.clone();
    let looked = tokio::task::spawn_blocking(move || ward_server::keys::missing(&home));
    looked.await.ok().flatten()
}

fn key(context: &Context, missing: &KeysMissing) {
    let word = match missing.unknown {
        true => "sealed ".yellow().bold().to_string(),
        false => "sealed ".red().bold().to_string(),
    };
    context.printer.data(&format!("{word} {}", missing.message));
    if let Some(hint) = &missing.hint {
        remedy(context, hint);
    }
}

/// What the server found; where none runs, what this process finds.
fn log(context: &Context, status: Option<&StatusView>) -> Option<LogView> {
    if let Some(status) = status {
        return Some(status.server.log.clone());
    }
    match ward_server::audit::verify(&context.home) {
        Ok(view) => view.map(|view| ward_server::audit::told(&context.home, &view)),
        Err(refusal) => Some(ward_server::audit::unaudited(refusal)),
    }
}

fn whole(context: &Context, log: &LogView) {
    let line = match log {
        LogView::Whole { .. } => format!("{} the log: no event was altered", "ok     ".green()),
        LogView::Unaudited => format!("{} the log is being audited", "       ".dimmed()),
        LogView::Altered { message, hint, .. } => {
            let now = "what now:".cyan();
            format!("{} {message}\n        {now} {hint}", "altered".red().bold())
        }
    };
    context.printer.data(&line);
}

fn sandbox(context: &Context, report: &Report) {
    let line = |text: String| context.printer.data(&text);
    match &report.refused {
        Some(refused) => {
            let word = "fatal  ".red().bold().to_string();
            line(format!("{word} {}", refused.message));
            remedy(context, &refused.remedy);
        }
        None => line(format!(
            "{} sandboxes: namespaces, a read-only root, no capabilities, a system call filter",
            "ok     ".green()
        )),
    }
    for finding in &report.missing {
        let because = match finding.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        line(format!("{} {}{because}", missing(), finding.missing));
        line(format!("        so {}", finding.weakens));
        remedy(context, &finding.remedy);
    }
    if report.refused.is_none() && report.missing.is_empty() {
        line(format!(
            "{} limits of memory and of processes",
            "ok     ".green()
        ));
    }
}

/// The same on every machine: a folder has no bound of its own.
fn volumes(context: &Context) {
    let text = "sizes of volumes: the kernel holds single files to them; the sum is measured and told, and bars deploys";
    context
        .printer
        .data(&format!("{} {text}", "partly ".yellow()));
}

fn missing() -> String {
    "missing".yellow().bold().to_string()
}

fn remedy(context: &Context, line: &str) {
    let text = format!("        {} {line}", "mend it:".cyan());
    context.printer.data(&text);
}

fn program(context: &Context, program: &Program) {
    if program.found {
        let text = format!("{} {}", "ok     ".green(), program.name);
        return context.printer.data(&text);
    }
    let text = format!("{} {}", missing(), program.name);
    context.printer.data(&text);
    context
        .printer
        .data(&format!("        so {}", program.without));
    remedy(context, &program.remedy);
}
