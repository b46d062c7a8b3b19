//! Decision: databases first, then snapshots of volumes ([`crate::snapshot`]), then the release commands, one at a time, then the rollout. New data is filled in
//! between ([`crate::fill`]).
//!
//! Commands run for a new release (`Reason::Deploy`), and for any on data that was not prepared for it. A
//! service that is linked, over whatever services between, to another one with a command waits for that one.
//! A command that is seen to have ended well is never run again; its instance is kept until the deployment
//! leaves this phase. If what was observed is lost it does run again: release commands must bear that. One
//! that takes something away from earlier releases is recorded before it is started. Anything but exit code 0
//! is a failure, and so is a sandbox for a database that cannot be made.

use std::collections::BTreeSet;

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::{Exit, InstanceState, Role};
use ward_types::release::{Deployment, Failure, Phase};
use ward_types::spec::{EnvSpec, ReleaseCommand, ServiceSpec};
use ward_types::time::Millis;

use crate::action::Action;
use crate::cancel;
use crate::databases;
use crate::draft::Draft;
use crate::failure;
use crate::fill;
use crate::hold;
use crate::limits::CLEARING;
use crate::observed::SeenInstance;
use crate::scene::Scene;
use crate::snapshot;
use crate::waiting::{Bound, Waiting};

/// One step towards the rollout.
pub(crate) fn step(scene: &Scene, draft: &mut Draft, deployment: &Deployment) {
    let Some(spec) = scene.spec(deployment.to) else {
        return draft.revert(deployment, failure::not_retained(deployment.to));
    };
    if let Some(failure) = has_failed(scene, deployment, spec) {
        let failure = failure::on_moved_data(scene, deployment, failure);
        return draft.revert(deployment, failure);
    }
    if let Some(waiting) = hold::holding(scene, deployment) {
        return draft.wait(waiting);
    }
    let ready = databases::missing(scene, deployment.to).is_empty()
        && snapshot::are_made(scene, draft, deployment)
        && fill::is_copied(scene, draft, deployment, spec)
        && commands_are_done(scene, draft, deployment, spec)
        && fill::is_seeded(scene, draft, deployment, spec)
        && is_cleared(scene, draft, deployment.to);
    if ready {
        draft.enter(deployment, Phase::Rolling { stage: 0 });
    }
}

fn has_failed(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    cancel::asked(deployment)
        .or_else(|| database_failed(scene, deployment))
        .or_else(|| command_failed(scene, deployment, spec))
        .or_else(|| took_too_long(scene, deployment, spec))
}

fn database_failed(scene: &Scene, deployment: &Deployment) -> Option<Failure> {
    let bound = databases_bound(scene, deployment);
    let missing = databases::missing(scene, deployment.to);
    missing.iter().find_map(|database| {
        let newest = scene
            .group(Role::Database, databases::RELEASE, database)
            .pop();
        let refused =
            newest.is_some_and(|i| matches!(i.status.state, InstanceState::Failed { .. }));
        (refused || scene.is_past(&bound)).then(|| failure::database(database, newest, &bound))
    })
}

/// How long a deployment waits for its databases. Once a command was started they had been healthy; then
/// the whole phase's limit counts.
pub(crate) fn databases_bound(scene: &Scene, deployment: &Deployment) -> Bound {
    let since = scene.phase_since(deployment);
    match scene.spec(deployment.to) {
        Some(spec) if any_command_seen(scene, deployment.to) => whole(scene, deployment, spec),
        _ => {
            let limit = scene.deadlines(deployment.to).database_start;
            Bound::setting(since, limit, databases::START)
        }
    }
}

fn any_command_seen(scene: &Scene, release: ReleaseId) -> bool {
    scene.seen().any(|i| is_at_work_for(i, release))
}

fn is_command_of(instance: &SeenInstance, release: ReleaseId) -> bool {
    instance.facts.role == Role::ReleaseCommand && instance.facts.release == release
}

/// The same of what fills its data.
fn is_at_work_for(instance: &SeenInstance, release: ReleaseId) -> bool {
    instance.facts.role.is_command() && instance.facts.release == release
}

fn command_failed(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    let mut commands = scene.seen().filter(|i| is_at_work_for(i, deployment.to));
    commands.find_map(|instance| {
        let bound = match instance.facts.role {
            Role::Seed | Role::Copy | Role::VolumeCopy => {
                fill::bound(scene, deployment.to, instance)
            }
            Role::Snapshot => snapshot::bound(instance),
            _ => command_bound(instance, command_of(spec, &instance.facts.component)?),
        };
        let late = !instance.is_over() && scene.is_past(&bound);
        let ended_badly = instance.is_over() && !has_succeeded(instance);
        (late || ended_badly).then(|| failure::command(instance, &bound))
    })
}

fn took_too_long(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Option<Failure> {
    if let Some(Waiting::Stage { until, bound, .. }) = hold::holding(scene, deployment) {
        let late = scene.is_past(&bound);
        return late.then(|| failure::forgotten(deployment, &until, &bound));
    }
    let bound = whole(scene, deployment, spec);
    let late = scene.is_past(&bound);
    let ours = |i: &&SeenInstance| i.facts.release == deployment.to;
    let mut left = scene.seen().filter(ours);
    let left = left.find(|i| i.facts.role == Role::Service && i.is_over());
    late.then(|| failure::preparing(deployment.to, left, &bound))
}

/// The databases, each command's own timeout, and the time to clear away.
fn whole(scene: &Scene, deployment: &Deployment, spec: &EnvSpec) -> Bound {
    let since = scene.phase_since(deployment);
    let commands = spec.services.values().filter_map(|s| s.release.as_ref());
    let commands: u64 = commands
        .map(|c| c.timeout.0.saturating_add(CLEARING.0))
        .sum();
    let filling = fill::whole(scene.env, spec);
    let snapshots = snapshot::whole(scene, deployment);
    let limit = spec.deadlines.database_start.0 + CLEARING.0 + commands;
    let limit = Millis(limit.saturating_add(filling.0).saturating_add(snapshots.0));
    let commands = spec.services.values().any(|s| s.release.is_some());
    let setting = match (commands, filling) {
        (true, Millis(0)) => "stack.deadlines.database_start + release.timeout of each service",
        (false, Millis(0)) => databases::START,
        _ => "stack.deadlines.database_start + release.timeout and seed.timeout of each service",
    };
    Bound::setting(since, limit, setting)
}

fn command_of<'a>(spec: &'a EnvSpec, service: &Name) -> Option<&'a ReleaseCommand> {
    spec.services.get(service)?.release.as_ref()
}

fn command_bound(instance: &SeenInstance, command: &ReleaseCommand) -> Bound {
    Bound::setting(instance.facts.started, command.timeout, "release.timeout")
}

fn has_succeeded(instance: &SeenInstance) -> bool {
    let state = &instance.status.state;
    matches!(
        state,
        InstanceState::Exited {
            exit: Exit::Code(0),
            ..
        }
    )
}

fn commands_are_done(
    scene: &Scene,
    draft: &mut Draft,
    deployment: &Deployment,
    spec: &EnvSpec,
) -> bool {
    if !scene.env.runs_commands(deployment) {
        return true;
    }
    let seen = scene.seen().filter(|i| is_command_of(i, deployment.to));
    let seen = seen.filter(|i| command_of(spec, &i.facts.component).is_some());
    let (over, running): (Vec<_>, Vec<_>) = seen.partition(|i| i.is_over());
    for instance in &running {
        wait_for(draft, spec, instance);
    }
    let done = over.iter().map(|i| &i.facts.component).collect();
    let next = next_in_order(spec, &done, |service| service.release.is_some());
    if let (Some(service), true) = (next, running.is_empty()) {
        begin(scene, draft, deployment, service);
    }
    next.is_none() && running.is_empty()
}

/// What takes something away from earlier releases is in the log before it starts: it may have done that
/// however it ends.
fn begin(scene: &Scene, draft: &mut Draft, deployment: &Deployment, service: &Name) {
    let declared = scene.service(deployment.to, service);
    let schema = declared.and_then(|s| Some(s.release.as_ref()?.schema));
    let recorded = scene.env.schema_change(deployment.id, service).is_some();
    match schema.filter(|schema| schema.takes_away() && !recorded) {
        Some(schema) => draft.act(Action::ChangeSchema {
            deployment: deployment.id,
            service: service.clone(),
            schema,
        }),
        None => draft.start(service, deployment.to, Role::ReleaseCommand),
    }
}

fn wait_for(draft: &mut Draft, spec: &EnvSpec, instance: &SeenInstance) {
    let service = instance.facts.component.clone();
    if let Some(command) = command_of(spec, &service) {
        draft.wait(Waiting::ReleaseCommand {
            service,
            instance: instance.facts.id.clone(),
            bound: command_bound(instance, command),
        });
    }
}

/// The first by name whose turn it is. In a circle, which a stack file cannot have, the first by name.
pub(crate) fn next_in_order<'a>(
    spec: &'a EnvSpec,
    done: &BTreeSet<&Name>,
    has_command: impl Fn(&ServiceSpec) -> bool,
) -> Option<&'a Name> {
    let commands = spec.services.iter().filter(|(_, s)| has_command(s));
    let left: Vec<&Name> = commands
        .map(|(name, _)| name)
        .filter(|name| !done.contains(name))
        .collect();
    let free = left.iter().find(|name| {
        let linked = linked_from(spec, name);
        !left
            .iter()
            .any(|other| other != *name && linked.contains(other))
    });
    free.or(left.first()).copied()
}

/// Every service that is reached over links, directly or not.
fn linked_from<'a>(spec: &'a EnvSpec, service: &'a Name) -> BTreeSet<&'a Name> {
    let mut reached = BTreeSet::new();
    let mut open = vec![service];
    while let Some(name) = open.pop() {
        let links = spec.services.get(name).map(|s| s.links.iter());
        for link in links.into_iter().flatten() {
            if reached.insert(link) {
                open.push(link);
            }
        }
    }
    reached
}

/// Instances of the release that ended earlier would be taken for failures of this rollout.
fn is_cleared(scene: &Scene, draft: &mut Draft, release: ReleaseId) -> bool {
    let over = scene
        .seen()
        .filter(|i| i.facts.role == Role::Service && i.facts.release == release && i.is_over());
    let mut cleared = true;
    for instance in over {
        cleared = false;
        let instance = instance.facts.id.clone();
        draft.wait(Waiting::Removal { instance });
    }
    cleared
}
