//! `events` and `audit`: the log of what was done, and the proof that it is whole.

use owo_colors::OwoColorize;
use ward_api::ClientError;
use ward_types::event::{Event, Record};
use ward_types::release::{Phase, Verdict};
use ward_types::view::{AuditView, EventsView};

use super::status::moment;
use super::{Context, Trouble};
use crate::args::{Audit, Events};
use crate::printer::Status;

pub(crate) async fn events(context: &Context, events: Events) -> Result<Status, Trouble> {
    let env = match &events.env.env {
        Some(name) => format!(
            "&env={}",
            crate::env::find(&context.client, Some(name)).await?
        ),
        None => String::new(),
    };
    let view: EventsView = context
        .client
        .get(&format!("/v1/events?limit={}{env}", events.limit))
        .await?;
    for record in &view.records {
        show(context, record);
    }
    if events.follow {
        let after = view
            .records
            .last()
            .map(|record| format!("&after={}", record.seq))
            .unwrap_or_default();
        let mut lines = context
            .client
            .get_lines(&format!("/v1/events?follow=true{after}{env}"))
            .await?;
        while let Some(record) = lines.next::<Record>().await? {
            show(context, &record);
        }
    }
    Ok(Status::Success)
}

fn show(context: &Context, record: &Record) {
    if context.printer.is_json() {
        context.printer.json(record);
        return;
    }
    let env = record
        .event
        .env()
        .map(|env| format!("{env} "))
        .unwrap_or_default();
    let why = if record.why.is_empty() {
        String::new()
    } else {
        format!("  “{}”", record.why)
    };
    let head = format!(
        "{:>5}  {}  {:<16}",
        record.seq,
        moment(record.at),
        record.who
    );
    context.printer.data(&format!(
        "{}  {env}{}{why}",
        head.dimmed(),
        sentence(&record.event)
    ));
}

fn sentence(event: &Event) -> String {
    match event {
        Event::EnvironmentCreated { .. } => "environment created".to_owned(),
        Event::ReleaseRecorded { release, .. } => format!(
            "release {} recorded ({})",
            release.id, release.build.version
        ),
        Event::ReleaseRetired { release, .. } => format!("release {release} retired"),
        Event::DeploymentQueued { deployment, .. } => {
            format!("deployment {} to {} queued", deployment.id, deployment.to)
        }
        Event::DeploymentMoved {
            deployment, phase, ..
        } => format!("deployment {deployment} {}", word(phase)),
        Event::DeploymentPaused { deployment, .. } => format!("deployment {deployment} paused"),
        Event::DeploymentResumed { deployment, .. } => format!("deployment {deployment} resumed"),
        Event::DeploymentPromoted { deployment, .. } => {
            format!("deployment {deployment} promoted")
        }
        Event::DeploymentCancelled { deployment, .. } => {
            format!("deployment {deployment} cancelled")
        }
        Event::GoalChanged { goal, .. } => format!("goal {goal:?}").to_lowercase(),
        Event::InstanceEnded { instance, how, .. } => format!("{instance} {how}"),
        Event::CommandExecuted {
            instance, program, ..
        } => format!("{program} run in {instance}"),
        Event::BuildEnded { message, .. } => message.clone(),
        Event::ServerStarted { version, upgraded } => match upgraded {
            true => format!("server upgraded ({version})"),
            false => format!("server started ({version})"),
        },
        Event::GatewayStarted { pid } => {
            format!("gateway started again (process {pid}): the one before was gone")
        }
        Event::LogFoundAltered { breaks, .. } => {
            format!("the log was found altered: {}", breaks.join("; "))
        }
    }
}

fn word(phase: &Phase) -> String {
    match phase {
        Phase::Queued => "queued".to_owned(),
        Phase::Preparing => "preparing".to_owned(),
        Phase::Rolling { stage: 0 } => "rolling".to_owned(),
        Phase::Rolling { stage } => format!("rolling: stage {}", stage + 1),
        Phase::Reverting { failure } => format!("reverting: {}", failure.message),
        Phase::Finished { verdict, .. } => Verdict::as_str(*verdict).to_owned(),
    }
}

pub(crate) async fn audit(context: &Context, audit: &Audit) -> Result<Status, Trouble> {
    let Audit::Verify = audit;
    let view = verified(context).await?;
    let whole = view.breaks.is_empty();
    if context.printer.is_json() {
        context.printer.json(&view);
    } else if whole {
        context.printer.data(&format!(
            "{} events, none altered; root {}",
            view.events, view.root
        ));
    } else {
        for sentence in &view.breaks {
            context.printer.data(sentence);
        }
    }
    Ok(if whole {
        Status::Success
    } else {
        Status::Failure
    })
}

/// What the server finds; where none runs, what this process finds, because a log that was tampered with
/// may be what keeps the server from starting.
async fn verified(context: &Context) -> Result<AuditView, Trouble> {
    let not_running = match context.client.get("/v1/audit/verify").await {
        Err(error @ ClientError::NotRunning { .. }) => error,
        answer => return Ok(answer?),
    };
    match ward_server::audit::verify(&context.home) {
        Ok(Some(view)) => Ok(view),
        Ok(None) => Err(not_running.into()),
        Err(refusal) => Err(Trouble::failure(refusal.message, refusal.hint)),
    }
}
