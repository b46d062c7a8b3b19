//! The one place that writes to the terminal: data to standard output, the rest to standard error.
//!
//! Readable without colour; `NO_COLOR` is honoured, and a pipe gets none.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};

use comfy_table::Table;
use owo_colors::{OwoColorize, Style};
use serde::Serialize;
use ward_types::id::EnvId;
use ward_types::policy::{Rule, Violation};
use ward_types::release::Verdict;
use ward_types::time::Millis;
use ward_types::view::{self, CancelledStage, Progress};

use crate::args::{Global, Output};
use crate::changes;
use crate::commands::build;
use crate::hints;
use crate::layout;

/// How the command ended, as the shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It was done.
    Success,
    /// It was tried and did not succeed.
    Failure,
    /// It could not be tried: bad input.
    Usage,
    /// It found changes (`ward plan`).
    Changes,
    /// A program ended with this code.
    Program(u8),
}

impl From<Status> for std::process::ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Success => 0,
            Status::Failure => 1,
            Status::Usage | Status::Changes => 2,
            Status::Program(code) => code,
        })
    }
}

/// Writes what a command has to say.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    output: Output,
    quiet: bool,
    verbose: bool,
    about: Arc<OnceLock<EnvId>>,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            output: global.output,
            quiet: global.quiet,
            verbose: global.verbose,
            about: Arc::default(),
        }
    }

    /// The environment that this command is about, from now on: what is suggested acts on it. The first one stays.
    pub(crate) fn about(&self, env: &EnvId) {
        self.about.get_or_init(|| env.clone());
    }

    /// A sentence whose commands act on the environment that this command is about.
    pub(crate) fn meant(&self, text: &str) -> String {
        match self.about.get() {
            Some(env) => hints::on(env, text),
            None => text.to_owned(),
        }
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// How many columns the terminal has that data goes to; `None` where it goes to a file or a pipe.
    pub(crate) fn width(&self) -> Option<usize> {
        size(std::io::stdout()).0
    }

    /// How many lines the terminal has that data goes to.
    pub(crate) fn height(&self) -> Option<usize> {
        size(std::io::stdout()).1
    }

    /// What is said behind its beginning, to standard error.
    fn behind(begin: &str, text: &str) {
        for line in layout::behind(begin, text, size(std::io::stderr()).0) {
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// The same, unless only errors were asked for.
    fn tell(&self, begin: &str, text: &str) {
        if !self.quiet {
            Self::behind(begin, text);
        }
    }

    /// What a terminal obeys, to standard output as it is.
    pub(crate) fn raw(&self, text: &str) {
        let mut terminal = std::io::stdout().lock();
        let written = terminal.write_all(text.as_bytes());
        if written.and_then(|()| terminal.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// A line of data, to standard output. A reader that went away (`| head`) ends the program quietly.
    pub(crate) fn data(&self, line: &str) {
        if writeln!(anstream::stdout(), "{line}").is_err() {
            std::process::exit(0);
        }
    }

    /// A table, each line behind `indent`.
    pub(crate) fn table(&self, table: &Table, indent: &str) {
        let width = self.width().map(|width| width.saturating_sub(indent.len()));
        for line in layout::table(table, width) {
            self.data(&format!("{indent}{line}"));
        }
    }

    /// A sentence of data, broken between words where the terminal is too narrow.
    pub(crate) fn sentence(&self, text: &str) {
        for line in text.split('\n') {
            let lines = layout::sentence(line, self.width());
            lines.iter().for_each(|line| self.data(line));
        }
    }

    /// What is said of one thing, broken between its parts where the terminal is too narrow.
    pub(crate) fn parts(&self, parts: &[String]) {
        let lines = layout::parts(parts, self.width());
        lines.iter().for_each(|line| self.data(line));
    }

    /// Phrases of data, as many in a line as fit.
    pub(crate) fn phrases(&self, begin: &str, phrases: &[String]) {
        let lines = layout::phrases(begin, phrases, self.width());
        lines.iter().for_each(|line| self.data(line));
    }

    /// A value as JSON, to standard output.
    pub(crate) fn json(&self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => self.data(&text),
            Err(error) => self.error(&error.to_string(), None),
        }
    }

    /// A sentence about what happens, to standard error.
    pub(crate) fn say(&self, line: &str) {
        self.tell("", line);
    }

    /// What was rendered elsewhere, to standard error.
    pub(crate) fn text(&self, rendered: &str) {
        let _ = write!(anstream::stderr(), "{rendered}");
    }

    /// An error with its hint, to standard error; where JSON was asked for, as JSON to standard output.
    pub(crate) fn error(&self, message: &str, hint: Option<&str>) {
        let hint = hint.map(|hint| self.meant(hint));
        if self.is_json() {
            self.json(&serde_json::json!({ "error": message, "hint": hint }));
            return;
        }
        let error = "error:".style(Style::new().red().bold());
        Self::behind(&format!("{error} "), message);
        if let Some(hint) = hint {
            Self::hint(&hint);
        }
    }

    fn hint(text: &str) {
        let hint = " hint:".style(Style::new().cyan().bold());
        Self::behind(&format!("{hint} "), text);
    }

    /// Something that is wrong although the command succeeds, to standard error, also when only errors were
    /// asked for; where JSON was asked for, as JSON to standard output.
    pub(crate) fn warning(&self, message: &str, hint: &str) {
        let hint = self.meant(hint);
        if self.is_json() {
            self.json(&serde_json::json!({ "warning": message, "hint": hint }));
            return;
        }
        let warning = "warning:".style(Style::new().red().bold());
        Self::behind(&format!("{warning} "), message);
        if !hint.is_empty() {
            Self::hint(&hint);
        }
    }

    /// One line of an operation's progress; what it means for the command's end, when it is the last.
    pub(crate) fn progress(&self, progress: &Progress) -> Option<Status> {
        let progress = &hints::of(progress, self.about.get());
        let status = ending(progress);
        if self.is_json() {
            self.json(progress);
            return status;
        }
        match progress {
            Progress::Step { message, took } => self.step(message, *took),
            Progress::Output { source, line } if self.verbose => {
                self.say(&format!("  {} {line}", source.dimmed()))
            }
            Progress::Output { .. } => {}
            Progress::Waiting { on } => self.waiting(on),
            Progress::Mistakes { rendered, .. } => {
                let _ = write!(anstream::stderr(), "{rendered}");
            }
            Progress::Ended {
                deployment,
                addresses,
            } => self.ended(deployment, addresses),
            Progress::Done { message, addresses } => {
                self.done(message);
                self.addresses(addresses);
            }
            Progress::Built { build } => build::made(self, build),
            Progress::Environment { outcome, .. } => {
                let _ = self.progress(outcome);
            }
            Progress::Failed { message, hint } if self.verbose => {
                self.error(unsaid(message), hint.as_deref());
            }
            Progress::Failed { message, hint } => self.error(message, hint.as_deref()),
            Progress::Warning { message, hint } => self.warning(message, hint),
            Progress::Drops {
                from,
                to,
                changes,
                rules,
            } => {
                for line in changes::dropped((*from, *to), changes, rules.as_deref()) {
                    self.say(&line);
                }
            }
            Progress::Planned { plan, rendered, .. } => changes::plan(self, plan, rendered),
            Progress::Forbidden {
                env,
                rendered,
                violations,
                way_up,
            } => {
                self.text(rendered);
                let message = "the policy forbids it; nothing was changed";
                let up = way_up.iter().map(|way| format!("{way}; or "));
                let hint: String = up.chain([ways_out(violations)]).collect();
                let hint = env
                    .as_ref()
                    .map_or(hint.clone(), |env| hints::on(env, &hint));
                self.error(message, Some(&hint));
            }
            Progress::Moved {
                message,
                hint,
                changes,
            } => {
                self.error(message, Some(hint));
                for line in changes::lines(changes) {
                    let _ = writeln!(anstream::stderr(), "{line}");
                }
            }
        }
        status
    }

    /// Says that a build has begun to write, where its lines themselves are not shown: a first one can
    /// take minutes.
    pub(crate) fn building(&self, source: &str) {
        if !self.is_json() && !self.verbose {
            self.done(&format!("{source}: building (-v shows its output)"));
        }
    }

    /// Something that was done, to standard error.
    pub(crate) fn done(&self, message: &str) {
        self.step(message, None);
    }

    fn step(&self, message: &str, took: Option<Millis>) {
        let took = took
            .map(|took| format!(" ({})", seconds(took)))
            .unwrap_or_default();
        let text = format!("{message}{}", took.dimmed());
        self.tell(&format!("{} ", "•".green()), &text);
    }

    fn waiting(&self, on: &[String]) {
        for sentence in on {
            self.tell("  ", &sentence.dimmed().to_string());
        }
    }

    fn ended(&self, deployment: &ward_types::view::DeploymentView, addresses: &[String]) {
        let verdict = deployment.verdict.unwrap_or(Verdict::Unknown);
        let line = format!(
            "{} to {}: {} ({})",
            deployment.id,
            deployment.to,
            view::ending(verdict, deployment.cancelled.as_ref()),
            seconds(deployment.took)
        );
        let good = deployment.verdict == Some(Verdict::Succeeded);
        let style = if good {
            Style::new().green().bold()
        } else {
            Style::new().red().bold()
        };
        self.say(&line.style(style).to_string());
        for gap in &deployment.gaps {
            self.say(&format!("  {gap}"));
        }
        if let Some(failure) = &deployment.failure {
            self.error(&failure.message, None);
            // Part of the error: shown also when only errors were asked for.
            for line in &failure.output {
                let _ = writeln!(anstream::stderr(), "  {} {line}", "|".dimmed());
            }
            if let Some(hint) = &failure.hint {
                Self::hint(hint);
            }
        }
        if let Some(sentence) = aftermath(deployment) {
            self.say(&self.meant(&sentence));
        }
        self.addresses(addresses);
    }

    fn addresses(&self, addresses: &[String]) {
        for address in addresses {
            self.data(address);
        }
    }
}

/// What can be done about rules that forbid something: the report says what to change; and by what somebody answers
/// for each.
pub(crate) fn ways_out(violations: &[Violation]) -> String {
    let denied = violations.iter().filter(|violation| violation.is_denied());
    let rules: BTreeSet<Rule> = denied.map(|denied| denied.rule).collect();
    let waivers = rules
        .into_iter()
        .map(|rule| format!("\n{}", rule.waiver(None)));
    let waivers: String = waivers.collect();
    format!("change it as the report says; or somebody answers for it:{waivers}")
}

/// Columns and lines of a terminal; `None` of what is none, or does not know.
fn size(of: impl AsFd) -> (Option<usize>, Option<usize>) {
    let size = rustix::termios::tcgetwinsize(of).ok();
    let known = |count: u16| Some(usize::from(count)).filter(|count| *count > 0);
    let columns = size.and_then(|size| known(size.ws_col));
    (columns, size.and_then(|size| known(size.ws_row)))
}

/// What a deployment that did not succeed left behind, for those who do not know the verdicts' words.
fn aftermath(deployment: &ward_types::view::DeploymentView) -> Option<String> {
    let cancelled = deployment.cancelled.as_ref();
    if cancelled.is_some_and(|cancelled| cancelled.stage == CancelledStage::BeforeItBegan) {
        return None; // It left nothing behind, and does not know what serves by now.
    }
    match (deployment.verdict?, deployment.from) {
        (Verdict::FailedOldServing, Some(from)) if !deployment.gaps.is_empty() => {
            Some(format!("{from} serves as before"))
        }
        (Verdict::FailedOldServing, Some(from)) => {
            Some(format!("{from} serves as before; it never stopped"))
        }
        (Verdict::RolledBack, Some(from)) => Some(format!("{from} serves again")),
        (Verdict::FailedDegraded, _) => {
            Some("no release serves in full now; `ward status` shows what runs".to_owned())
        }
        _ => None,
    }
}

/// A message without the last lines of a build, which were shown while they were written.
fn unsaid(message: &str) -> &str {
    message.split("\n  | ").next().unwrap_or(message)
}

fn ending(progress: &Progress) -> Option<Status> {
    match progress {
        Progress::Ended { deployment, .. } if deployment.verdict == Some(Verdict::Succeeded) => {
            Some(Status::Success)
        }
        Progress::Ended { .. } | Progress::Failed { .. } => Some(Status::Failure),
        Progress::Done { .. } | Progress::Planned { .. } | Progress::Built { .. } => {
            Some(Status::Success)
        }
        Progress::Forbidden { .. } | Progress::Moved { .. } => Some(Status::Failure),
        Progress::Mistakes { .. } => Some(Status::Usage),
        Progress::Step { .. }
        | Progress::Environment { .. }
        | Progress::Output { .. }
        | Progress::Waiting { .. }
        | Progress::Drops { .. }
        | Progress::Warning { .. } => None,
    }
}

/// A span as people read it: `0.31 s`, `42 s`.
pub(crate) fn seconds(span: Millis) -> String {
    if span.0 < 10_000 {
        format!("{}.{:02} s", span.0 / 1000, span.0 % 1000 / 10)
    } else {
        format!("{} s", span.0 / 1000)
    }
}
