//! `pipeline`: a build on its way through environments.

use std::fs;
use std::time::{Duration, Instant};

use ward_api::ClientError;
use ward_types::id::{Name, PipelineRunId};
use ward_types::pipeline::{Approval, By, Outcome, Position, Word};
use ward_types::text::{command, shown};
use ward_types::view::{PipelineRequest, PipelineRunView, Until, VoteRequest};

use super::deploy::{absolute, followed, left};
use super::status::{columns, moment};
use super::{Context, Trouble};
use crate::args::{Pipeline, Vote};
use crate::env::{stack_here, stack_in};
use crate::platform;
use crate::printer::Status;

pub(crate) async fn pipeline(context: &Context, asked: Pipeline) -> Result<Status, Trouble> {
    match asked {
        Pipeline::Run {
            pipeline,
            dir,
            build,
            no_wait,
            why,
            addresses,
        } => {
            platform::ensure(&context.home, &addresses, &context.printer).await?;
            let stack = stack_in(&dir);
            let request = PipelineRequest {
                dir: absolute(&dir)?,
                pipeline: pipeline.clone(),
                build,
                why: why.text,
                until: match no_wait {
                    true => Until::Queued,
                    false => Until::Verdict,
                },
            };
            let lines = context.client.post_lines("/v1/pipelines", &request).await?;
            match followed(context, lines).await? {
                Some(status) => Ok(status),
                None => Ok(left_alone(context, stack.as_ref(), &pipeline).await),
            }
        }
        Pipeline::Show { run } => show(context, run).await,
        Pipeline::List => show(context, None).await,
        Pipeline::Watch { run } => watch(context, run).await,
        Pipeline::Approve(vote) => give(context, vote, Word::Approve).await,
        Pipeline::Reject(vote) => give(context, vote, Word::Reject).await,
    }
}

/// What was asked for does not end with the terminal that asked: which run it is, if its build was made by then.
async fn left_alone(context: &Context, stack: Option<&Name>, pipeline: &Name) -> Status {
    let runs = context.client.get::<Vec<PipelineRunView>>("/v1/pipelines");
    let runs = runs.await.unwrap_or_default();
    let ours = |run: &&PipelineRunView| {
        let over = matches!(run.position, Position::Ended { .. });
        !over && run.pipeline == *pipeline && stack.is_none_or(|stack| run.stack == *stack)
    };
    left(
        context,
        &match runs.iter().find(ours).map(|run| run.id) {
            Some(id) => format!(
                "`ward pipeline show {id}` says how it goes, `ward pipeline reject {id}` ends it"
            ),
            None => "`ward pipeline show` lists it as soon as its build is made".to_owned(),
        },
    )
}

async fn give(context: &Context, vote: Vote, word: Word) -> Result<Status, Trouble> {
    let stack = match vote.run {
        Some(_) => None,
        None => meant()?,
    };
    let request = VoteRequest {
        run: vote.run,
        stack,
        word,
        why: vote.why.text,
    };
    let run: PipelineRunView = context.client.post("/v1/pipelines/vote", &request).await?;
    if context.printer.is_json() {
        context.printer.json(&run);
        return Ok(Status::Success);
    }
    if let Some(vote) = &run.already {
        let gate = run.stages.get(vote.stage);
        let env = gate.map_or_else(String::new, |stage| format!("{}/{}", run.stack, stage.env));
        let at = vote.at.map(|at| format!(" on {}", moment(at)));
        let (id, by, at) = (run.id, &vote.by, at.unwrap_or_default());
        let message = format!(
            "{id} was approved already, behind {env} by {by}{at}; nothing was recorded: {}",
            run.stands
        );
        context.printer.done(&message);
        if let Some(way_on) = &run.way_on {
            context.printer.say(way_on);
        }
        return Ok(Status::Success);
    }
    let id = run.id;
    context.printer.done(&match word {
        Word::Approve => {
            format!("{id} is approved; `ward pipeline show {id}` says how it goes on")
        }
        Word::Reject => format!("{id} is rejected: it goes no further"),
    });
    if let Some(rollout) = &run.rollout {
        context.printer.say(rollout);
    }
    Ok(Status::Success)
}

/// The stack whose run is meant where none is named: the one in this folder, if there is one.
fn meant() -> Result<Option<Name>, Trouble> {
    let stack = stack_here();
    match stack.is_none() && fs::exists("ward.toml").unwrap_or(false) {
        false => Ok(stack),
        true => {
            let message =
                "ward.toml cannot be read, and without it nobody can tell whose run is meant";
            let hint = "name the run, such as p3: `ward pipeline show` lists them; `ward check` says what is wrong";
            Err(Trouble::failure(message.to_owned(), Some(hint.to_owned())))
        }
    }
}

async fn show(context: &Context, run: Option<PipelineRunId>) -> Result<Status, Trouble> {
    let path = match run {
        Some(run) => format!("/v1/pipelines?run={}", run.0),
        None => "/v1/pipelines".to_owned(),
    };
    let runs: Vec<PipelineRunView> = context.client.get(&path).await?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&runs);
        return Ok(Status::Success);
    }
    if let (Some(_), Some(one)) = (run, runs.first()) {
        detail(context, one);
        return Ok(Status::Success);
    }
    if runs.is_empty() {
        printer.say("no pipeline was run yet; `ward pipeline run NAME` begins one");
        return Ok(Status::Success);
    }
    let mut table = columns(&["RUN", "PIPELINE", "VERSION", "BEGAN", "BY", "STANDS"]);
    for run in &runs {
        table.add_row(vec![
            run.id.to_string(),
            format!("{}/{}", run.stack, run.pipeline),
            run.version.clone(),
            moment(run.began),
            run.author.clone(),
            run.stands.clone(),
        ]);
    }
    printer.table(&table, "");
    Ok(Status::Success)
}

/// How often a run that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long no server may answer whoever follows a run.
const AWAY_FOR: Duration = Duration::from_secs(600);

/// Tells of each step that a run takes, to its end.
async fn watch(context: &Context, run: PipelineRunId) -> Result<Status, Trouble> {
    let path = format!("/v1/pipelines?run={}", run.0);
    let printer = &context.printer;
    let (mut said, mut away) = (String::new(), None);
    loop {
        let runs: Vec<PipelineRunView> = match context.client.get(&path).await {
            Ok(runs) => runs,
            Err(refused @ ClientError::Refused(_)) => return Err(refused.into()),
            // A run goes on without the server, and with the next one.
            Err(error) => {
                let since = *away.get_or_insert_with(|| {
                    printer.say("no server answers; the run is followed again when one does");
                    Instant::now()
                });
                if since.elapsed() > AWAY_FOR {
                    return Err(Trouble::from(error).ending_with(Status::Program(2)));
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
        };
        away = None;
        let Some(one) = runs.first() else {
            return Err(Trouble::failure(format!("there is no run {run}"), None));
        };
        let ended = match &one.position {
            Position::Ended { outcome } => Some(outcome),
            _ => None,
        };
        if !printer.is_json() && one.stands != said {
            printer.say(&format!("{run}: {}", one.stands));
            if let Some(way_on) = one.way_on.as_ref().filter(|_| ended.is_none()) {
                printer.say(way_on);
            }
            said.clone_from(&one.stands);
        }
        let Some(outcome) = ended else {
            tokio::time::sleep(LOOK_EVERY).await;
            continue;
        };
        if printer.is_json() {
            printer.json(one);
        }
        return Ok(match outcome {
            Outcome::Succeeded => Status::Success,
            _ => Status::Failure,
        });
    }
}

fn detail(context: &Context, run: &PipelineRunView) {
    let printer = &context.printer;
    let PipelineRunView {
        id,
        stack,
        pipeline,
        version,
        ..
    } = run;
    printer.sentence(&format!(
        "{id} of the pipeline {pipeline} of {stack}: {version}"
    ));
    if let Some(provenance) = &run.provenance {
        printer.sentence(&format!("made of {provenance}"));
    }
    let why = quoted(&run.why);
    printer.sentence(&format!(
        "begun by {} on {}{why}",
        run.author,
        moment(run.began)
    ));
    printer.sentence(&format!("{}, since {}", run.stands, moment(run.since)));
    if let Some(way_on) = &run.way_on {
        printer.sentence(way_on);
    }
    stages(context, run);
}

/// The words in which somebody said why.
pub(super) fn quoted(why: &str) -> String {
    match why {
        "" => String::new(),
        why => format!(" “{}”", shown(why)),
    }
}

/// Whose word a gate needs.
fn word_of(approval: &Approval) -> String {
    let people = approval.people.iter().map(|one| shown(one).to_string());
    let people: Vec<String> = people.collect();
    let other = match approval.by {
        By::Anybody => "",
        By::Another => ", another person than its author",
    };
    format!("word of a {} ({}){other}", approval.role, people.join(", "))
}

/// Each stage with its gate, then every word that was given.
pub(super) fn stages(context: &Context, run: &PipelineRunView) {
    let printer = &context.printer;
    let ended = matches!(run.position, Position::Ended { .. });
    for (at, stage) in run.stages.iter().enumerate() {
        let release = run
            .reached
            .get(at)
            .map(|reached| reached.release.to_string());
        let mut gate = Vec::new();
        gate.extend(
            stage
                .gate
                .check
                .as_ref()
                .map(|check| format!("check {}", command(&check.command))),
        );
        if stage.gate.soak.0 > 0 {
            gate.push(format!(
                "soak {}",
                ward_types::unit::format_duration(stage.gate.soak)
            ));
        }
        gate.extend(stage.gate.approve.as_ref().map(word_of));
        let gate = match gate.is_empty() {
            true => String::new(),
            false => format!("   gate: {}", gate.join(", ")),
        };
        let left = if ended { "not begun" } else { "to come" };
        let release = release.unwrap_or_else(|| left.to_owned());
        printer.sentence(&format!("  {:<12} {release}{gate}", stage.env));
    }
    for vote in &run.votes {
        let word = match vote.word {
            Word::Approve => "approved",
            Word::Reject => "rejected",
        };
        let (by, why) = (&vote.by, quoted(&vote.why));
        let at = vote.at.map(|at| format!(" on {}", moment(at)));
        let at = at.unwrap_or_default();
        let stage = run.stages.get(vote.stage);
        let behind = stage.map_or_else(String::new, |stage| format!(" behind {}", stage.env));
        printer.sentence(&match &vote.refused {
            None => format!("  {word}{behind} by {by}{at}{why}"),
            Some(refused) => format!("  not {word}{behind}{at}: {by} {refused}{why}"),
        });
    }
}
