//! `doctor`: what this machine allows, what protection is missing for what it does not, and the remedy.

use owo_colors::OwoColorize;
use serde::Serialize;
use ward_engine::probe;
use ward_server::doctor::{Program, programs};

use super::{Context, Trouble};
use crate::printer::Status;

#[derive(Serialize)]
struct Report {
    /// Why no instance can run here; absent when they can.
    refused: Option<String>,
    /// Protections that the kernel denies.
    missing: Vec<String>,
    programs: Vec<Program>,
}

pub(crate) fn doctor(context: &Context) -> Result<Status, Trouble> {
    let exe = std::env::current_exe()
        .map_err(|error| Trouble::failure(format!("cannot find the ward binary: {error}"), None))?;
    let probed = probe::sandbox(&exe).map_err(|error| super::processes::chain(&error));
    let report = Report {
        missing: probed.clone().unwrap_or_default(),
        refused: probed.err(),
        programs: programs(&context.home),
    };
    if context.printer.is_json() {
        context.printer.json(&report);
    } else {
        sandbox(context, &report);
        report
            .programs
            .iter()
            .for_each(|found| program(context, found));
    }
    let usable = report.refused.is_none();
    Ok(if usable {
        Status::Success
    } else {
        Status::Failure
    })
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
