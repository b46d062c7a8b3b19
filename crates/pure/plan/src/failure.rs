//! What a person reads when a deployment fails: what, where, and which setting or command comes next.

use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::keeper::{Exit, InstanceState, Role};
use ward_types::life::Cause;
use ward_types::release::{Deployment, Environment, Failure, Phase};
use ward_types::schema::{ChangeEnd, SchemaChange};
use ward_types::spec::{Schema, ServiceSpec};
use ward_types::time::{Millis, Timestamp};

use crate::analysis::Judgement;
use crate::databases;
use crate::limits::OUTPUT_LINES;
use crate::observed::{SeenGateway, SeenInstance};
use crate::roll::Lacking;
use crate::scene::Scene;
use crate::waiting::{Bound, Span, Takes, Until};
use crate::watch::Judged;

fn of_instance(instance: &SeenInstance, message: String, hint: String) -> Failure {
    let skipped = instance.output.len().saturating_sub(OUTPUT_LINES);
    Failure {
        message,
        output: instance.output[skipped..].to_vec(),
        hint: Some(hint),
    }
}

fn plain(message: String, hint: &str) -> Failure {
    Failure {
        message,
        output: Vec::new(),
        hint: Some(hint.to_owned()),
    }
}

pub(crate) fn cancelled(deployment: &Deployment, by: &str) -> Failure {
    let (id, to) = (deployment.id, deployment.to);
    plain(
        format!("{id} to {to} was cancelled by {by}."),
        "`ward deploy` makes it anew; `ward releases` shows what serves.",
    )
}

pub(crate) fn ended_early(instance: &SeenInstance) -> Failure {
    let facts = &instance.facts;
    let (id, service, end) = (&facts.id, &facts.component, end(&instance.status.state));
    let message = match instance.status.state {
        InstanceState::Failed { .. } => format!("{id} of service {service} {end}."),
        _ => format!("{id} of service {service} {end} before it was healthy."),
    };
    of_instance(instance, message, see_logs(instance))
}

pub(crate) fn on_trial(
    release: ReleaseId,
    instance: &SeenInstance,
    takes: &[(Name, u8)],
) -> Failure {
    let facts = &instance.facts;
    let (id, service) = (&facts.id, &facts.component);
    let how = match instance.is_over() {
        true => end(&instance.status.state),
        false => format!("failed its health check ({})", health(instance)),
    };
    let takes = Takes(takes);
    let message = format!("{id} of service {service} {how} while {release} took {takes}.");
    of_instance(instance, message, see_logs(instance))
}

/// What took the requests of a service is not well any more, and the release that serves could answer them.
pub(crate) fn nobody_answers(
    release: ReleaseId,
    serves: ReleaseId,
    service: &Name,
    instance: Option<&SeenInstance>,
) -> Failure {
    let lost = format!(
        "No instance of {release} that took the requests of {service} is well any more, and {serves} can serve"
    );
    let Some(instance) = instance else {
        let hint = format!("`ward logs {service}` shows everything that it wrote.");
        return plain(format!("{lost}."), &hint);
    };
    let id = &instance.facts.id;
    let how = match instance.is_over() {
        true => end(&instance.status.state),
        false => format!("is not healthy ({})", health(instance)),
    };
    of_instance(instance, format!("{lost}: {id} {how}."), see_logs(instance))
}

/// What was to take requests when its deployment was resumed is not well, `why` without a full stop.
pub(crate) fn not_well_again(
    instance: &SeenInstance,
    deployment: DeploymentId,
    why: &str,
) -> Failure {
    let (id, service) = (&instance.facts.id, &instance.facts.component);
    let message =
        format!("{id} of service {service} was not well when {deployment} was resumed: {why}.");
    of_instance(instance, message, see_logs(instance))
}

/// A release that fails more often or answers later than the one before.
pub(crate) fn answers_worse(
    (new, old): (ReleaseId, ReleaseId),
    judged: &Judged<'_>,
    now: Timestamp,
) -> Option<Failure> {
    let (service, span) = (judged.service, Span(now.since(judged.since)));
    let message = match judged.judgement {
        Judgement::Fails {
            new: (failed, of),
            old: (0, 0),
        } => format!("{new} failed {failed} of {of} requests of {service} in {span}."),
        Judgement::Fails {
            new: (failed, of),
            old: (before, of_before),
        } => format!(
            "{new} failed {failed} of {of} requests of {service} in {span}, {old} {before} of {of_before}."
        ),
        Judgement::Slower {
            percentile,
            new: later,
            old: sooner,
        } => format!(
            "{percentile} % of the answers of {service} by {new} came within {} in {span}, by {old} within {}.",
            Span(later),
            Span(sooner)
        ),
        Judgement::AsGood | Judgement::Inconclusive { .. } => return None,
    };
    let hint = format!(
        "`ward logs {service}` shows everything that it wrote; `analysis` in service.{service}.deploy says how it is compared."
    );
    Some(plain(message, &hint))
}

/// A release of which too little was seen.
pub(crate) fn unproven(
    release: ReleaseId,
    service: &Name,
    (requests, enough): (u64, u64),
    span: Millis,
) -> Failure {
    let message = format!(
        "{release} had {requests} requests of {service} in {}, too few to say whether it is as good as the one before: {enough} are asked for.",
        Span(span)
    );
    let hint = format!(
        "Let the gateway make requests of its own with `analysis.probe` in service.{service}.deploy; or set `inconclusive` or fewer `requests` in its `analysis`, or give it more time or a greater weight."
    );
    plain(message, &hint)
}

/// Nobody said for a day what should become of it.
pub(crate) fn forgotten(deployment: &Deployment, until: &Until, bound: &Bound) -> Failure {
    let (id, to, limit) = (deployment.id, deployment.to, Span(bound.limit));
    match until {
        Until::Resumed { by } => plain(
            format!("{id} to {to} was paused by {by} and not resumed within {limit}."),
            "`ward deploy` makes it anew; `ward deployment resume` lets one that is paused go on; `stack.deadlines.promote` says how long it waits.",
        ),
        Until::Enough {
            service,
            requests,
            enough,
        } => plain(
            format!(
                "{to} had {requests} of the {enough} requests of {service} that are asked for within {limit}."
            ),
            "`ward deploy` makes it anew; `ward deployment promote` lets one that is held go on; `stack.deadlines.promote` says how long it waits.",
        ),
        Until::Told | Until::Time | Until::Baked { .. } => plain(
            format!("{id} to {to} was not told to go on within {limit}."),
            "`ward deploy` makes it anew; `ward deployment promote` lets one that is held go on; `stack.deadlines.promote` says how long it waits.",
        ),
    }
}

pub(crate) fn keeps_ending(instance: &SeenInstance, times: usize) -> Failure {
    let facts = &instance.facts;
    let message = format!(
        "Instances of {} ended {times} times during the deployment; the last was {} of service {}, which {}.",
        facts.release,
        facts.id,
        facts.component,
        end(&instance.status.state)
    );
    of_instance(instance, message, see_logs(instance))
}

pub(crate) fn never_healthy(
    instance: &SeenInstance,
    service: &ServiceSpec,
    bound: &Bound,
) -> Failure {
    let facts = &instance.facts;
    let message = format!(
        "{} of service {} was not healthy within {}: {}.",
        facts.id,
        facts.component,
        Span(bound.limit),
        health(instance)
    );
    let check = match &service.health {
        Some(health) => format!("see that it answers GET {} with a 2xx status", health.path),
        None => "see what it waits for".to_owned(),
    };
    let name = &facts.component;
    let hint = format!("Raise `start_timeout` of service.{name} if it needs longer, or {check}.");
    of_instance(instance, message, hint)
}

/// A rollout whose time was out: what it lacked, and the setting that gives that more time.
pub(crate) fn rolling(release: ReleaseId, lacking: &Lacking<'_>, bound: &Bound) -> Failure {
    let late = format!("{release} was not complete within {}", whole(bound));
    match lacking {
        Lacking::Healthy(instance) => {
            let (id, service) = (&instance.facts.id, &instance.facts.component);
            let why = health(instance);
            let message = format!("{late}: {id} of service {service} was not healthy: {why}.");
            let hint = format!("Raise `start_timeout` of service.{service} if it needs longer.");
            of_instance(instance, message, hint)
        }
        Lacking::Room(instance) => {
            let (id, service) = (&instance.facts.id, &instance.facts.component);
            let message = format!("{late}: {id} of service {service} had not made room.");
            let hint = format!(
                "`drain_timeout`, `long_drain_timeout` and `stop_timeout` of service.{service} say how long it may take to leave; `ward status` shows it."
            );
            plain(message, &hint)
        }
        Lacking::Acknowledgement => plain(
            format!("{late}: the gateway had not put its routes into force."),
            GATEWAY,
        ),
        Lacking::Database(database) => plain(
            format!("{late}: the database {database} was not healthy."),
            &format!(
                "`ward logs {database}` shows everything that it wrote. Raise `{}` if it needs longer.",
                databases::START
            ),
        ),
        Lacking::Instances => plain(
            format!("{late}: not all of its instances were started."),
            "See `ward status`, and server.log in the state folder for what could not be done.",
        ),
    }
}

/// A limit, and what it is the sum of.
fn whole(bound: &Bound) -> String {
    let limit = Span(bound.limit);
    match bound.setting {
        Some(setting) => format!("{limit} (`{setting}`)"),
        None => limit.to_string(),
    }
}

/// What may be wrong with a gateway that does not do as it is told.
const GATEWAY: &str = "See `ward status` for the gateway and gateway.log in the state folder, then deploy again; `stack.deadlines.acknowledge` says how long it may take.";

pub(crate) fn not_acknowledged(
    release: ReleaseId,
    gateway: Option<&SeenGateway>,
    bound: &Bound,
) -> Failure {
    let limit = Span(bound.limit);
    let how = match gateway {
        Some(_) => "did not put its routes into force",
        None => "did not answer",
    };
    plain(
        format!("All instances of {release} are healthy, but the gateway {how} within {limit}."),
        GATEWAY,
    )
}

pub(crate) fn command(instance: &SeenInstance, bound: &Bound) -> Failure {
    match instance.facts.role {
        Role::Copy => {
            let into = instance.facts.component.to_string();
            return copy(instance, &into, bound);
        }
        Role::VolumeCopy => {
            let into = format!("the volume {}", instance.facts.component);
            return copy(instance, &into, bound);
        }
        Role::Seed => return seed(instance, bound),
        Role::Snapshot => return snapshot(instance, bound),
        Role::Service | Role::ReleaseCommand | Role::Database | Role::Drill(_) | Role::Run(_) => {}
    }
    let (id, service) = (&instance.facts.id, &instance.facts.component);
    let (what, hint) = match instance.is_over() {
        true => (
            end(&instance.status.state),
            format!("Mend `release.command` of service.{service}, then deploy again."),
        ),
        false => (
            format!("did not end within {}", Span(bound.limit)),
            format!("Raise `release.timeout` of service.{service} if it needs longer."),
        ),
    };
    let message = format!("The release command of service {service} ({id}) {what}.");
    of_instance(instance, message, hint)
}

fn seed(instance: &SeenInstance, bound: &Bound) -> Failure {
    let (id, service) = (&instance.facts.id, &instance.facts.component);
    let (what, hint) = match instance.is_over() {
        true => (
            end(&instance.status.state),
            format!(
                "Mend `seed.command` of service.{service}, then deploy again: it runs anew on what is there."
            ),
        ),
        false => (
            format!("did not end within {}", Span(bound.limit)),
            format!("Raise `seed.timeout` of service.{service} if it needs longer."),
        ),
    };
    let message = format!("The seed command of service {service} ({id}) {what}.");
    of_instance(instance, message, hint)
}

fn copy(instance: &SeenInstance, into: &str, bound: &Bound) -> Failure {
    let id = &instance.facts.id;
    let what = match instance.is_over() {
        true => end(&instance.status.state),
        false => format!("did not end within {}", Span(bound.limit)),
    };
    let message = format!("The data could not be copied into {into}: {id} {what}.");
    let hint =
        "Nothing of the new environment is left behind: make it again when the cause is gone.";
    of_instance(instance, message, hint.to_owned())
}

fn snapshot(instance: &SeenInstance, bound: &Bound) -> Failure {
    let (id, volume) = (&instance.facts.id, &instance.facts.component);
    let what = match instance.is_over() {
        true => end(&instance.status.state),
        false => format!("did not end within {}", Span(bound.limit)),
    };
    let message = format!("The snapshot of the volume {volume} could not be made: {id} {what}.");
    let hint = format!(
        "Nothing of the release has run. Make room, or remove what the output names, then deploy again; `volume.{volume}.snapshot = \"never\"` goes without."
    );
    of_instance(instance, message, hint)
}

pub(crate) fn database(database: &Name, newest: Option<&SeenInstance>, bound: &Bound) -> Failure {
    let Some(instance) = newest else {
        let limit = Span(bound.limit);
        let message = format!("The database {database} was not started within {limit}.");
        return plain(message, "See server.log in the state folder.");
    };
    let id = &instance.facts.id;
    match &instance.status.state {
        InstanceState::Failed { message } => {
            let message = format!(
                "The database {database} ({id}) could not be started: {}.",
                trimmed(message)
            );
            of_instance(instance, message, see_logs(instance))
        }
        _ => {
            let message = format!(
                "The database {database} ({id}) was not healthy within {}: {}.",
                Span(bound.limit),
                health(instance)
            );
            let hint = format!(
                "{} Raise `{}` if it needs longer.",
                see_logs(instance),
                databases::START
            );
            of_instance(instance, message, hint)
        }
    }
}

/// A deployment that was not ready in all of its time; `left` is what had to be removed first.
pub(crate) fn preparing(release: ReleaseId, left: Option<&SeenInstance>, bound: &Bound) -> Failure {
    let late = format!("{release} was not ready to start within {}", whole(bound));
    match left {
        Some(instance) => plain(
            format!(
                "{late}: what is left of {} was not removed.",
                instance.facts.id
            ),
            "See server.log in the state folder for what keeps it, then deploy again.",
        ),
        None => plain(
            format!("{late}."),
            "Raise `release.timeout` of its services if their release commands need longer, or `stack.deadlines.database_start` if its databases do.",
        ),
    }
}

/// It waited too long for its turn.
pub(crate) fn not_its_turn(
    deployment: &Deployment,
    behind: Option<DeploymentId>,
    bound: &Bound,
) -> Failure {
    let (id, to, limit) = (deployment.id, deployment.to, Span(bound.limit));
    let message = match behind {
        Some(behind) => {
            format!("{id} to {to} waited for {behind} to end for {limit}, and never began.")
        }
        None => format!(
            "{id} to {to} waited for what is left of earlier deployments to be removed for {limit}, and never began."
        ),
    };
    plain(
        message,
        "`--supersede` cancels what is before it; `stack.deadlines.queue` says how long it waits.",
    )
}

/// The same failure, of one that was not taken back in full in its time.
pub(crate) fn not_cleared(failure: &Failure, release: ReleaseId, bound: &Bound) -> Failure {
    let late = format!(
        "{release} was not taken back in full within {}; `ward status` shows what is left of it.",
        whole(bound)
    );
    with_more(failure, &late)
}

/// The same failure, with another sentence for what to do.
fn with_more(failure: &Failure, more: &str) -> Failure {
    let hint = match &failure.hint {
        Some(hint) => format!("{hint} {more}"),
        None => more.to_owned(),
    };
    Failure {
        hint: Some(hint),
        ..failure.clone()
    }
}

/// A way back that the schema cannot take.
pub(crate) fn barred(scene: &Scene, deployment: &Deployment, change: &SchemaChange) -> Failure {
    let (id, to) = (deployment.id, deployment.to);
    let message =
        format!("{id} cannot go to {to}, which does not run on the schema since {change}.");
    let back = scene.env.newest_way_back();
    let back = back
        .map(|back| format!("`ward rollback --to {back}` goes to the newest release that does; "));
    let hint = format!(
        "{}`ward deploy` brings a fix forward; `--despite-schema REASON` goes there all the same.",
        back.unwrap_or_default()
    );
    plain(message, &hint)
}

/// The same failure, where release commands have taken something away from earlier releases.
pub(crate) fn on_moved_data(scene: &Scene, deployment: &Deployment, failure: Failure) -> Failure {
    let ours = scene.env.schema.iter();
    let ours = ours.filter(|change| change.deployment == deployment.id);
    let Some(change) =
        ours.max_by_key(|change| (change.schema == Schema::Irreversible, change.oldest))
    else {
        return failure;
    };
    let (service, oldest, to) = (&change.service, change.oldest, deployment.to);
    let how = done(deployment, change);
    let behind = scene.current().filter(|serves| *serves < oldest);
    let earlier = scene.env.releases.range(..oldest).next().is_some();
    let more = match (change.schema, behind) {
        (Schema::Irreversible, Some(serves)) => format!(
            "The irreversible release command of {service} {how}: {serves} serves on what is meant for {to}; see whether it does, and deploy a fix forward."
        ),
        (Schema::Irreversible, None) => format!(
            "The irreversible release command of {service} {how}: {}deploy a fix forward.",
            match earlier {
                true => format!("no release before {oldest} can be gone back to any more; "),
                false => String::new(),
            }
        ),
        // What is the oldest bars nothing.
        (Schema::Contract, _) if !earlier => return failure,
        (Schema::Contract, _) => format!(
            "The contracting release command of {service} {how}: no release before {oldest} can be gone back to any more."
        ),
        (Schema::None | Schema::Expand, _) => return failure,
    };
    with_more(&failure, &more)
}

/// What a release command has done, by the log.
fn done(deployment: &Deployment, change: &SchemaChange) -> &'static str {
    match (&deployment.phase, change.end) {
        (Phase::Preparing, _) | (_, ChangeEnd::Begun | ChangeEnd::Failed) => {
            "has begun and may have changed the data"
        }
        (_, ChangeEnd::Ended) => "has changed the data",
    }
}

pub(crate) fn not_retained(release: ReleaseId) -> Failure {
    plain(
        format!("{release} is not retained, so it cannot be started."),
        "See `ward releases` for those that are.",
    )
}

pub(crate) fn went_down(env: &Environment, release: ReleaseId) -> Failure {
    let name = env.id.env();
    match env.ending().map(|ending| ending.cause) {
        Some(Cause::Expired) => {
            return plain(
                format!("The time of the environment was over before {release} was deployed."),
                &format!("`ward env create {name}` makes it again; `--ttl` says for how long."),
            );
        }
        Some(Cause::Asked | Cause::Unmade) => {
            return plain(
                format!("The environment was deleted before {release} was deployed."),
                &format!("`ward env create {name}` makes it again."),
            );
        }
        None => {}
    }
    plain(
        format!("The environment was taken down before {release} was deployed."),
        "`ward up` brings it up again.",
    )
}

/// What could not be started wrote nothing.
fn see_logs(instance: &SeenInstance) -> String {
    let component = &instance.facts.component;
    match instance.status.state {
        InstanceState::Failed { .. } => {
            "Mend that, then deploy again; `ward doctor` says what else is missing.".to_owned()
        }
        _ => format!("`ward logs {component}` shows everything that it wrote."),
    }
}

/// Why an instance is not healthy, without a full stop.
fn health(instance: &SeenInstance) -> String {
    let state = &instance.status.state;
    match (ailment(instance), instance.is_over()) {
        (_, true) => format!("it {}", end(state)),
        (Some(ailment), false) => ailment,
        (None, false) if instance.facts.role == Role::Service => {
            "its health check was never answered".to_owned()
        }
        (None, false) => "it did not answer".to_owned(),
    }
}

/// What is known to be wrong with an instance that runs, in a clause. That one is stopped no health check has found out.
pub(crate) fn ailment(instance: &SeenInstance) -> Option<String> {
    let failure = trimmed(instance.status.last_failure.as_deref()?);
    Some(match instance.status.stopped {
        true => failure.to_owned(),
        false => format!("last health check: {failure}"),
    })
}

/// How an instance ended, as a predicate.
pub(crate) fn end(state: &InstanceState) -> String {
    match state {
        InstanceState::Exited {
            exit: Exit::Code(code),
            ..
        } => format!("ended with exit code {code}"),
        InstanceState::Exited {
            exit: Exit::Signal(signal),
            ..
        } => format!("was ended by {}", signal_name(*signal)),
        InstanceState::Failed { message } => {
            format!("could not be started: {}", trimmed(message))
        }
        InstanceState::Lost => "was lost: its keeper was killed".to_owned(),
        InstanceState::Starting
        | InstanceState::Healthy
        | InstanceState::Unhealthy
        | InstanceState::Stopping => "is still running".to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn trimmed(text: &str) -> &str {
    text.trim_end().trim_end_matches('.')
}
