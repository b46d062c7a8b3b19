//! `events` and `audit`: the log of what was done, and the proof that it is whole.

use owo_colors::OwoColorize;
use ward_api::ClientError;
use ward_types::event::{Event, Record};
use ward_types::keeper::Disclosure;
use ward_types::life::{Cause, Filling};
use ward_types::pipeline::{Position, Word};
use ward_types::release::{Build, Phase, Verdict};
use ward_types::run::Run;
use ward_types::secrets::Origin;
use ward_types::sleep::{Alarm, Drowsiness};
use ward_types::source::{Commit, Place};
use ward_types::text::{command, shown};
use ward_types::time::Timestamp;
use ward_types::unit::parse_duration;
use ward_types::view::{AuditView, EventsView};

use super::environments::{point, size};
use super::status::{moment, now};
use super::{Context, Trouble, runs};
use crate::args::{Audit, Events};
use crate::layout;
use crate::printer::Status;

pub(crate) async fn events(context: &Context, events: Events) -> Result<Status, Trouble> {
    let env = sought(context, &events).await?;
    let view: EventsView = context
        .client
        .get(&format!("/v1/events?limit={}{env}", events.limit))
        .await?;
    for record in &view.records {
        show(context, record);
    }
    if view.records.is_empty() && !events.follow {
        exists(context, &events).await?;
    }
    if view.records.is_empty() {
        let yet = if events.follow { " yet" } else { "" };
        context.printer.say(&format!("no events match{yet}"));
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

/// Whether anything is known of the environment that is named.
async fn exists(context: &Context, events: &Events) -> Result<(), Trouble> {
    let Some(name) = &events.env.env else {
        return Ok(());
    };
    let env = crate::env::find(context, Some(name)).await?;
    let any: EventsView = context
        .client
        .get(&format!("/v1/events?limit=1&env={env}"))
        .await?;
    match any.records.is_empty() {
        true => Err(crate::env::unknown(context, &env).await?),
        false => Ok(()),
    }
}

/// The query of what is sought. Numbers of releases and deployments are those of one environment.
async fn sought(context: &Context, events: &Events) -> Result<String, Trouble> {
    let mut query = String::new();
    let numbered = events.release.is_some() || events.deployment.is_some();
    if let Some(name) = &events.env.env {
        let env = crate::env::find(context, Some(name)).await?;
        query.push_str(&format!("&env={env}"));
    } else if let Some(stack) = crate::env::stack_here().filter(|_| numbered) {
        query.push_str(&format!("&stack={stack}"));
    }
    for (key, text) in [("since", &events.since), ("until", &events.until)] {
        if let Some(text) = text {
            query.push_str(&format!("&{key}={}", time(text)?.0));
        }
    }
    if let Some(by) = &events.by {
        let plain = |c: char| c.is_ascii_alphanumeric() || ":()_-.@\\".contains(c);
        if !by.chars().all(plain) || by.is_empty() {
            let message = format!(
                "{by:?} is no person such as uid:1000, anna or source:shop; the log has all names: `ward events`"
            );
            return Err(Trouble::usage(message));
        }
        query.push_str(&format!("&by={}", by.replace('\\', "%5C")));
    }
    if let Some(release) = events.release {
        query.push_str(&format!("&release={}", release.0));
    }
    if let Some(deployment) = events.deployment {
        query.push_str(&format!("&deployment={}", deployment.0));
    }
    Ok(query)
}

/// A moment, or how long ago.
fn time(text: &str) -> Result<Timestamp, Trouble> {
    match parse_duration(text) {
        Ok(ago) => Ok(Timestamp(now().0.saturating_sub(ago.0))),
        Err(_) => point(text),
    }
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
    let sentence = sentence(&record.event);
    let why = format!("“{}”", shown(&record.why));
    // Some sentences have it already.
    let why = match record.why.is_empty() || sentence.contains(&why) {
        true => String::new(),
        false => format!("  {why}"),
    };
    let head = format!(
        "{:>5}  {}  {:<16}",
        record.seq,
        moment(record.at),
        record.who
    );
    let said = format!("{env}{sentence}{why}");
    let indent = head.chars().count() + 2;
    let room = context.printer.width().unwrap_or(usize::MAX);
    let lines = layout::lines(&said, room.saturating_sub(indent));
    context.printer.data(&format!(
        "{}  {}",
        head.dimmed(),
        lines.join(&format!("\n{:indent$}", ""))
    ));
}

fn sentence(event: &Event) -> String {
    match event {
        Event::EnvironmentCreated {
            origin,
            copies,
            restores,
            until,
            ..
        } => {
            let restored: Vec<String> = restores.values().map(ToString::to_string).collect();
            let with = match (copies, restored.as_slice()) {
                (None, _) => String::new(),
                (Some(_), []) => " with its data".to_owned(),
                (Some(_), all) => format!(" with what {} holds", all.join(", ")),
            };
            let of = origin.as_ref().map(|o| format!(" as a copy of {}", o.from));
            let until = until.map(|until| format!(", until {}", moment(until)));
            let (of, until) = (of.unwrap_or_default(), until.unwrap_or_default());
            format!("environment created{of}{with}{until}")
        }
        Event::EnvironmentAwaited { .. } => {
            "it is not made yet: what is set is kept for it".to_owned()
        }
        Event::EnvironmentExtended { until, .. } => match until {
            Some(until) => format!("it is to end on {}", moment(*until)),
            None => "it has no end any more".to_owned(),
        },
        Event::ExpiryNear { .. } => "its end is near".to_owned(),
        Event::EnvironmentSlept { cause, .. } => match cause {
            Drowsiness::Idle => "it sleeps: nobody asked it for anything".to_owned(),
            Drowsiness::Asked => "it sleeps: somebody wanted it so".to_owned(),
        },
        Event::EnvironmentWoken { by, .. } => match by {
            Alarm::Request => "it wakes: a request came".to_owned(),
            Alarm::Asked => "it wakes: somebody wanted it so".to_owned(),
            Alarm::Deployment => "it wakes: it is deployed".to_owned(),
            Alarm::Run => "it wakes: a job or a command is to run".to_owned(),
        },
        Event::EnvironmentEnding { cause, .. } => match cause {
            Cause::Expired => "its time is over: it is deleted".to_owned(),
            Cause::Unmade => "it could not be made: it is deleted".to_owned(),
            Cause::Asked => "it is to be deleted".to_owned(),
        },
        Event::EnvironmentDeleted { .. } => "environment deleted".to_owned(),
        Event::ReleaseRecorded { release, .. } => format!(
            "release {} recorded ({})",
            release.id,
            version(&release.build)
        ),
        Event::ReleaseRetired { release, .. } => format!("release {release} retired"),
        Event::DeploymentQueued { deployment, .. } => {
            let despite = deployment.despite_schema.as_ref();
            let despite = despite.map(|why| format!(" despite the schema (“{}”)", shown(why)));
            let (id, to) = (deployment.id, deployment.to);
            format!(
                "deployment {id} to {to} queued{}",
                despite.unwrap_or_default()
            )
        }
        Event::DeploymentMoved {
            deployment, phase, ..
        } => format!("deployment {deployment} {}", word(phase)),
        Event::DeploymentServed {
            deployment, stage, ..
        } => match stage {
            Some(stage) => format!(
                "the release of deployment {deployment} takes requests, at stage {}",
                stage + 1
            ),
            None => format!("something of the release of deployment {deployment} was at work"),
        },
        Event::DeploymentPaused { deployment, .. } => format!("deployment {deployment} paused"),
        Event::DeploymentResumed { deployment, .. } => format!("deployment {deployment} resumed"),
        Event::DeploymentPromoted { deployment, .. } => {
            format!("deployment {deployment} promoted")
        }
        Event::DeploymentCancelled { deployment, .. } => {
            format!("deployment {deployment} cancelled")
        }
        Event::SchemaChanging {
            deployment,
            service,
            schema,
            ..
        } => format!(
            "the release command of {service} in {deployment} begins ({}): releases that need what it takes away do not run from here on",
            schema.as_str()
        ),
        Event::ServiceExchanged {
            deployment, gap, ..
        } => format!("deployment {deployment}: {gap}"),
        Event::MaintenanceBegan {
            service,
            maintenance,
            ..
        } => {
            let of = service.as_ref().map(|service| format!(" of {service}"));
            let of = of.unwrap_or_default();
            format!("maintenance{of} begins: “{}”", shown(&maintenance.message))
        }
        Event::MaintenanceEnded { service, .. } => match service {
            Some(service) => format!("maintenance of {service} ends"),
            None => "maintenance ends".to_owned(),
        },
        Event::PolicyWaived {
            rule,
            until,
            reason,
            ..
        } => {
            let until = moment(*until);
            format!(
                "the rule {rule} is waived until {until}: “{}”",
                shown(reason)
            )
        }
        Event::PolicyEnforced { rule, .. } => format!("the rule {rule} holds again"),
        Event::ConfigChanged {
            version, changes, ..
        } => {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            format!("configuration {version}: {}", changes.join(", "))
        }
        Event::SecretChanged {
            name,
            version,
            digest,
            origin,
            ..
        } => {
            let how = match origin {
                Origin::Set => "",
                Origin::Generated => ", made by Ward",
                Origin::Rotated => ", rotated",
            };
            let digest: String = digest.chars().take(12).collect();
            format!("secret {name}: version {version}{how} ({digest})")
        }
        Event::SecretUnset { name, .. } => format!("secret {name} unset"),
        Event::PasswordWithdrawn { name, version, .. } => {
            format!("secret {name}: version {version} is withdrawn, nothing uses it")
        }
        Event::SecretsRekeyed { from, to } => {
            format!(
                "secrets are sealed under the master key {to}, in place of {}",
                from.join(", ")
            )
        }
        Event::GoalChanged { goal, .. } => format!("goal {goal:?}").to_lowercase(),
        Event::DataFilled {
            filling, component, ..
        } => match filling {
            Filling::Copy => format!("the data was copied into {component}"),
            Filling::Volume => format!("files were copied into the volume {component}"),
            Filling::Seed => format!("the seed command of {component} has filled its data"),
        },
        Event::VolumeSnapshotted {
            volume, snapshot, ..
        } => format!("{snapshot} is a snapshot of the volume {volume}"),
        Event::VolumeRestored {
            volume,
            snapshot,
            kept,
            ..
        } => format!("the volume {volume} holds what {snapshot} held; before that {kept}"),
        Event::VolumeDeleted { volume, .. } => {
            format!("the volume {volume} is deleted, with its snapshots")
        }
        Event::BackupBegan {
            backup, database, ..
        } => format!("{backup} of the database {database} is to be taken"),
        Event::BackupTaken { backup, file, .. } => {
            format!("{backup} is whole on the disk, {} sealed", size(file.bytes))
        }
        Event::BackupRestored { backup, proof, .. } => {
            format!("{backup} was restored, and counts: {proof}")
        }
        Event::BackupFailed { backup, why, .. } => format!("{backup} failed, and is none: {why}"),
        Event::DataPurged { .. } => "its data is removed".to_owned(),
        Event::RunQueued { run, .. } => queued(run),
        Event::RunTried {
            run,
            attempt,
            again,
            ..
        } => {
            let again = again.map(|_| ", and is tried again");
            let ended = runs::ended(&attempt.outcome);
            format!("{run} {ended}{}", again.unwrap_or_default())
        }
        Event::RunStopped { run, .. } => format!("{run} is to stop"),
        Event::RunLeftOut {
            job, due, because, ..
        } => format!("job {job}, due {}, is left out: {because}", moment(*due)),
        Event::InstanceEnded { instance, how, .. } => format!("{instance} {how}"),
        Event::InstanceGivenUp {
            instance, because, ..
        } => format!("{instance} {because}, and is given up"),
        Event::CommandExecuted {
            instance,
            program,
            command,
            secrets,
            ..
        } => {
            let ran = command.as_ref().unwrap_or(program);
            match secrets {
                Some(Disclosure::Given) => format!("{ran} run in {instance}, with its secrets"),
                Some(Disclosure::Withheld) | None => format!("{ran} run in {instance}"),
            }
        }
        Event::BuildEnded { message, .. } => message.clone(),
        Event::PipelineBegan { run, .. } => format!(
            "{} of pipeline {} begins with {}",
            run.id,
            run.pipeline,
            version(&run.build)
        ),
        Event::BuildMade { build } => {
            format!("build {} of {} made", version(&build.build), build.stack)
        }
        Event::BuildDropped { stack, version } => {
            format!("build {version} of {stack} is kept no more")
        }
        Event::SourceAdded { source } => {
            let place = match &source.place {
                Place::Remote(address) => address,
                Place::Hosted => "a repository of its own",
            };
            format!(
                "source {} added: {} of {place}",
                source.name, source.follows
            )
        }
        Event::SourceTokenSet { source, login } => {
            format!(
                "source {source} has token {} of {}",
                login.version, login.user
            )
        }
        Event::SourceRemoved { source } => format!("source {source} removed"),
        Event::CommitSeen { source, seen } => {
            let Commit { id, author, .. } = &seen.commit;
            format!("source {source}: {} by {author} seen", id.short())
        }
        Event::CommitMoved {
            source,
            commit,
            standing,
        } => format!("source {source}: {} {standing}", commit.short()),
        Event::PipelineReached { run, reached, .. } => match reached.deployment {
            Some(deployment) => format!("{run} goes by {deployment} to {}", reached.release),
            None => format!("{run} found {} serving", reached.release),
        },
        Event::PipelineMoved { run, position, .. } => format!("{run} {}", place(position)),
        Event::PipelineVoted { run, vote, .. } => match (&vote.refused, vote.word) {
            (Some(why), Word::Approve) => format!("{run} was not approved by {}: {why}", vote.by),
            (Some(why), Word::Reject) => format!("{run} was not rejected by {}: {why}", vote.by),
            (None, Word::Approve) => format!("{run} approved by {}", vote.by),
            (None, Word::Reject) => format!("{run} rejected by {}", vote.by),
        },
        Event::ServerStarted {
            version,
            upgraded,
            term,
        } => match upgraded {
            true => format!("server upgraded ({version}, {term})"),
            false => format!("server started ({version}, {term})"),
        },
        Event::GatewayStarted { pid } => {
            format!("gateway started again (process {pid}): the one before was gone")
        }
        Event::LogFoundAltered { breaks, .. } => {
            format!("the log was found altered: {}", breaks.join("; "))
        }
    }
}

/// With its commit, where git knows it.
fn version(build: &Build) -> String {
    match &build.provenance {
        Some(provenance) => format!("{} of {provenance}", build.version),
        None => build.version.clone(),
    }
}

fn queued(run: &Run) -> String {
    let Run {
        id,
        service,
        release,
        ..
    } = run;
    let what = match (&run.job, run.due) {
        (Some(job), Some(due)) => format!("job {job}, due {}", moment(due)),
        (Some(job), None) => format!("job {job}"),
        (None, _) => format!("`{}`", command(&run.command)),
    };
    format!("{id} queued: {what}, with {service} of {release}")
}

fn place(position: &Position) -> String {
    match position {
        Position::Deploying { .. } => "goes on to the next stage".to_owned(),
        Position::Checking { .. } => "begins the check of its gate".to_owned(),
        Position::Soaking { until, .. } => format!("soaks until {}", moment(*until)),
        Position::Approving { .. } => "waits for a word".to_owned(),
        Position::Ended { outcome } => format!("is over: {outcome}"),
    }
}

fn word(phase: &Phase) -> String {
    match phase {
        Phase::Queued => "queued".to_owned(),
        Phase::Preparing => "preparing".to_owned(),
        Phase::Rolling { stage: 0 } => "rolling".to_owned(),
        Phase::Rolling { stage } => format!("rolling: stage {}", stage + 1),
        Phase::Reverting { failure } => format!("reverting: {}", failure.message),
        Phase::Finished { verdict, .. } => Verdict::in_words(*verdict).to_owned(),
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
