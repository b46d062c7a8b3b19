//! `job` and `run`: commands that run to their end in an instance of their own.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use owo_colors::OwoColorize;
use ward_types::id::{EnvId, Name};
use ward_types::run::{
    JobView, Outcome, Run, RunProgress, RunRequest, RunUntil, RunView, RunsView, StopRequest, What,
};

use ward_types::text::command;

use super::status::moment;
use super::{Context, Trouble};
use crate::args;
use crate::printer::{Status, seconds};

/// What `timeout` of the coreutils ends with.
const LATE: u8 = 124;

pub(crate) async fn job(context: &Context, job: args::Job) -> Result<Status, Trouble> {
    match job {
        args::Job::List(of) => list(context, of.env.as_deref()).await,
        args::Job::History { job, of, limit } => {
            let view = view(context, of.env.as_deref()).await?;
            let ours = |run: &RunView| job.is_none() || run.run.job == job;
            if let Some(job) = &job
                && !view.runs.iter().any(ours)
            {
                declared(&view, job)?;
            }
            let runs: Vec<RunView> = view.runs.into_iter().filter(ours).collect();
            let newest = &runs[runs.len().saturating_sub(limit)..];
            history(context, &view.env, newest);
            Ok(Status::Success)
        }
        args::Job::Run { job, asked } => begin(context, What::Job(job), None, asked).await,
        args::Job::Stop { run, of, why } => {
            let env = crate::env::find(context, of.env.as_deref()).await?;
            let env = Some(env);
            let request = StopRequest {
                env,
                run,
                why: why.text,
            };
            let run: Run = context.client.post("/v1/runs/stop", &request).await?;
            match context.printer.is_json() {
                true => context.printer.json(&run),
                false => context
                    .printer
                    .data(&format!("{} is asked to stop", run.id)),
            }
            Ok(Status::Success)
        }
    }
}

pub(crate) async fn run(context: &Context, run: args::Run) -> Result<Status, Trouble> {
    let what = What::Command {
        service: run.service,
        command: run.command,
    };
    begin(context, what, run.deadline, run.asked).await
}

async fn begin(
    context: &Context,
    what: What,
    deadline: Option<ward_types::time::Millis>,
    asked: args::AskedRun,
) -> Result<Status, Trouble> {
    let request = RunRequest {
        env: Some(crate::env::find(context, asked.of.env.as_deref()).await?),
        what,
        deadline,
        why: asked.why.text,
        until: match asked.no_wait {
            true => RunUntil::Queued,
            false => RunUntil::Ended,
        },
    };
    let mut lines = context.client.post_lines("/v1/runs", &request).await?;
    let mut status = None;
    while let Some(progress) = lines.next::<RunProgress>().await? {
        if context.printer.is_json() {
            context.printer.json(&progress);
        }
        status = tell(context, progress, asked.no_wait).or(status);
    }
    status.ok_or_else(|| {
        let message = "the server went away before the run had ended".to_owned();
        let hint = "it goes on: `ward job history` says what became of it";
        Trouble::failure(message, Some(hint.to_owned()))
    })
}

/// Prints a step; the status of the last one.
fn tell(context: &Context, progress: RunProgress, detached: bool) -> Option<Status> {
    let printer = &context.printer;
    let text = !printer.is_json();
    match progress {
        RunProgress::Queued { env, run } => {
            let (id, release) = (run.id, run.release);
            if text && detached {
                printer.data(&format!(
                    "{id} is recorded; `ward job history --env {}` shows how it ends",
                    env.env()
                ));
            } else if text {
                printer.say(&format!("{id} with {} of {release}", run.service));
            }
            detached.then_some(Status::Success)
        }
        RunProgress::Waiting { on } => {
            if text {
                printer.say(&on);
            }
            None
        }
        RunProgress::Output { line } => {
            if text {
                printer.data(&line.text);
            }
            None
        }
        RunProgress::Tried { attempt } => {
            if text {
                let ended = ended(&attempt.outcome);
                printer.say(&format!("the attempt {ended}; it is tried again"));
            }
            None
        }
        RunProgress::Ended { run } => Some(last_word(context, &run)),
        RunProgress::Failed { message, hint } => {
            if text {
                printer.error(&message, hint.as_deref());
            }
            Some(Status::Failure)
        }
    }
}

fn last_word(context: &Context, run: &Run) -> Status {
    let Some(outcome) = run.outcome() else {
        return Status::Failure;
    };
    let sentence = format!("{} {}", run.id, ended(outcome));
    if !context.printer.is_json() {
        match outcome {
            Outcome::Succeeded => context.printer.say(&sentence),
            _ => context.printer.error(&sentence, None),
        }
    }
    match outcome {
        Outcome::Succeeded => Status::Success,
        Outcome::Failed {
            status: Some(status),
            ..
        } => Status::Program(*status),
        Outcome::Late => Status::Program(LATE),
        Outcome::Failed { .. } | Outcome::Stopped { .. } => Status::Failure,
    }
}

async fn view(context: &Context, env: Option<&str>) -> Result<RunsView, Trouble> {
    let env = crate::env::find(context, env).await?;
    Ok(context.client.get(&format!("/v1/runs?env={env}")).await?)
}

async fn list(context: &Context, env: Option<&str>) -> Result<Status, Trouble> {
    let view = view(context, env).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&view.jobs);
        return Ok(Status::Success);
    }
    if view.jobs.is_empty() {
        let env = &view.env;
        printer.say(&format!("the release that serves in {env} declares no job"));
        return Ok(Status::Success);
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["JOB", "SCHEDULE", "NEXT", "LAST"]);
    for job in &view.jobs {
        let mut runs = view.runs.iter().rev();
        let last = runs.find(|run| run.run.job.as_ref() == Some(&job.name));
        table.add_row([
            job.name.to_string(),
            schedule(job),
            job.next.map_or("-".to_owned(), moment),
            last.map_or("-".to_owned(), state),
        ]);
    }
    printer.table(&table, "");
    Ok(Status::Success)
}

/// A job that never ran is one of the release that serves, or none at all.
fn declared(view: &RunsView, job: &Name) -> Result<(), Trouble> {
    let names: Vec<&str> = view.jobs.iter().map(|one| one.name.as_str()).collect();
    if names.contains(&job.as_str()) {
        return Ok(());
    }
    let env = &view.env;
    let message = format!("there is no job {job} in {env}, and none of that name has run");
    let hint = match ward_stack::closest(job.as_str(), names.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None if names.is_empty() => "the release that serves declares no job".to_owned(),
        None => format!("there are: {}", names.join(", ")),
    };
    Err(Trouble::failure(message, Some(hint)))
}

fn schedule(job: &JobView) -> String {
    match &job.spec.schedule {
        Some(schedule) => format!("{} ({})", schedule.cron, schedule.time_zone),
        None => "when asked".to_owned(),
    }
}

fn history(context: &Context, env: &EnvId, runs: &[RunView]) {
    let printer = &context.printer;
    if printer.is_json() {
        return printer.json(&runs);
    }
    if runs.is_empty() {
        return printer.say(&format!("nothing was run in {env}"));
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["RUN", "WHAT", "RELEASE", "ASKED FOR", "BY", "TOOK", "STATE"]);
    for view in runs.iter().rev() {
        let run = &view.run;
        let what = match &run.job {
            Some(job) => job.to_string(),
            None => format!("{}: {}", run.service, command(&run.command)),
        };
        table.add_row([
            run.id.to_string(),
            shortened(&what),
            run.release.to_string(),
            moment(run.requested),
            run.by.clone(),
            took(view),
            state(view),
        ]);
    }
    printer.table(&table, "");
}

fn shortened(text: &str) -> String {
    let most = 40;
    let mut short: String = text.chars().take(most).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

fn took(view: &RunView) -> String {
    let run = &view.run;
    // Of all attempts, and of what was waited for in between.
    let began = run.attempts.iter().find_map(|attempt| attempt.started);
    let last = run.attempts.last().filter(|_| !view.open);
    let ended = last.map(|last| last.ended);
    let span = ended.zip(began).map(|(ended, began)| ended.since(began));
    span.map_or("-".to_owned(), seconds)
}

fn state(view: &RunView) -> String {
    let tries = match view.run.attempts.len() {
        0 | 1 => String::new(),
        more => format!(" (attempt {more})"),
    };
    match view.run.outcome().filter(|_| !view.open) {
        Some(outcome @ Outcome::Succeeded) => format!("{}{tries}", ended(outcome).green()),
        Some(outcome) => format!("{}{tries}", ended(outcome).red()),
        None => "goes on".to_owned(),
    }
}

/// How an attempt ended, as a predicate.
pub(crate) fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Succeeded => "succeeded".to_owned(),
        Outcome::Failed { how, .. } => format!("failed: it {how}"),
        Outcome::Late => "was stopped: its deadline was out".to_owned(),
        Outcome::Stopped { by } => format!("was stopped by {by}"),
    }
}
