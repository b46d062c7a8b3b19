//! `doctor`: what this machine allows, what protection is missing for what it does not, and the remedy.

use owo_colors::OwoColorize;
use serde::Serialize;
use ward_engine::probe;
use ward_server::doctor::{Program, programs};
use ward_types::view::{LogView, StatusView};

use super::{Context, Trouble};
use crate::printer::Status;

#[derive(Serialize)]
struct Report {
    /// Why no instance can run here; absent when they can.
    refused: Option<String>,
    /// Protections that the kernel denies.
    missing: Vec<String>,
    programs: Vec<Program>,
    /// Whether the log is whole; absent when there is none.
    log: Option<LogView>,
}

pub(crate) async fn doctor(context: &Context) -> Result<Status, Trouble> {
    let exe = std::env::current_exe()
        .map_err(|error| Trouble::failure(format!("cannot find the ward binary: {error}"), None))?;
    let probed = probe::sandbox(&exe).map_err(|error| super::processes::chain(&error));
    let report = Report {
        missing: probed.clone().unwrap_or_default(),
        refused: probed.err(),
        programs: programs(&context.home),
        log: log(context).await,
    };
    if context.printer.is_json() {
        context.printer.json(&report);
    } else {
        sandbox(context, &report);
        report
            .programs
            .iter()
            .for_each(|found| program(context, found));
        report.log.iter().for_each(|log| whole(context, log));
    }
    let altered = matches!(report.log, Some(LogView::Altered { .. }));
    Ok(if report.refused.is_none() && !altered {
        Status::Success
    } else {
        Status::Failure
    })
}

/// What the server found; where none runs, what this process finds.
async fn log(context: &Context) -> Option<LogView> {
    if let Ok(status) = context.client.get::<StatusView>("/v1/status").await {
        return Some(status.server.log);
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
            format!("{} {message}\n        {hint}", "altered".red().bold())
        }
    };
    context.printer.data(&line);
}

fn sandbox(context: &Context, report: &Report) {
    let (ok, missing) = ("ok     ", "missing");
    match &report.refused {
        Some(why) => context.printer.data(&format!(
            "{} no instance can run here: {why}",
            "fatal  ".red().bold()
        )),
        None => context.printer.data(&format!(
            "{} sandboxes: namespaces, a read-only root, no capabilities, a system call filter",
            ok.green()
        )),
    }
    for sentence in &report.missing {
        context
            .printer
            .data(&format!("{} {sentence}", missing.yellow().bold()));
    }
    if report.refused.is_none() && report.missing.is_empty() {
        context
            .printer
            .data(&format!("{} limits of memory and of processes", ok.green()));
    }
}

fn program(context: &Context, program: &Program) {
    if program.found {
        context
            .printer
            .data(&format!("{} {}", "ok     ".green(), program.name));
        return;
    }
    context.printer.data(&format!(
        "{} {}: {}",
        "missing".yellow().bold(),
        program.name,
        program.without
    ));
    context.printer.data(&format!("        {}", program.remedy));
}
