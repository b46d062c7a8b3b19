//! `doctor`: what this machine allows, what protection is missing for what it does not, and the remedy.

use owo_colors::OwoColorize;
use serde::Serialize;
use ward_sandbox::preflight::{self, Finding};
use ward_server::doctor::{Program, programs};

use super::Context;
use crate::printer::Status;

#[derive(Serialize)]
struct Report {
    kernel: Vec<Finding>,
    programs: Vec<Program>,
}

pub(crate) fn doctor(context: &Context) -> Status {
    let report = Report {
        kernel: preflight::findings(),
        programs: programs(&context.home),
    };
    if context.printer.is_json() {
        context.printer.json(&report);
    } else {
        report
            .kernel
            .iter()
            .for_each(|finding| kernel(context, finding));
        report
            .programs
            .iter()
            .for_each(|found| program(context, found));
    }
    let fatal = report.kernel.iter().any(Finding::is_fatal);
    if fatal {
        Status::Failure
    } else {
        Status::Success
    }
}

fn kernel(context: &Context, finding: &Finding) {
    if finding.is_ok() {
        context
            .printer
            .data(&format!("{} {}", "ok     ".green(), finding.name));
    } else {
        missing(context, &finding.name, &finding.weakens, &finding.remedy);
    }
}

fn program(context: &Context, program: &Program) {
    if program.found {
        context
            .printer
            .data(&format!("{} {}", "ok     ".green(), program.name));
    } else {
        missing(context, &program.name, &program.without, &program.remedy);
    }
}

fn missing(context: &Context, name: &str, consequence: &str, remedy: &str) {
    context.printer.data(&format!(
        "{} {name}: {consequence}",
        "missing".yellow().bold()
    ));
    if !remedy.is_empty() {
        context.printer.data(&format!("        {remedy}"));
    }
}
