//! Snapshots: of what the release before had, before any command of the new one, each recorded when it is whole.

use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Phase, Reason};
use ward_types::volume::{Occasion, Snapshots};

use super::Objection;
use super::facts::Case;
use super::moving::has_run;
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    for action in &case.plan.actions {
        let Action::Snapshotted {
            deployment,
            volume,
            snapshot,
            ..
        } = action
        else {
            continue;
        };
        let active = case.active().filter(|d| d.id == *deployment);
        let active = active.filter(|d| d.phase == Phase::Preparing);
        let made = active.is_some_and(|d| {
            let mut all = case.all();
            let its_own = all.any(|i| {
                let facts = &i.facts;
                let same = facts.role == Role::Snapshot && facts.id.ordinal() == snapshot.0;
                same && facts.release == d.to && facts.component == *volume
            });
            its_own && has_run(case, d.to, volume, Role::Snapshot)
        });
        if !made || is_recorded(case, *deployment, volume) {
            let volume = volume.clone();
            objections.push(Objection::FalseSnapshot { volume });
        }
    }
}

fn is_recorded(case: &Case, deployment: DeploymentId, volume: &Name) -> bool {
    let mut kept = case.env.snapshots.values();
    kept.any(|one| one.occasion == Occasion::Deployment(deployment) && one.volume == *volume)
}

/// The volumes of which there must be a snapshot, and is none.
fn wanted<'a>(case: &Case<'a>, deployment: &Deployment) -> Vec<&'a Name> {
    let specs = case
        .env
        .current
        .and_then(|before| case.spec(before))
        .zip(case.spec(deployment.to));
    let Some((before, to)) = specs.filter(|_| deployment.reason == Reason::Deploy) else {
        return Vec::new();
    };
    let asks = to
        .volumes
        .iter()
        .filter(|(_, spec)| spec.snapshot == Snapshots::BeforeRelease);
    let names = asks.map(|(name, _)| name);
    names
        .filter(|name| before.volumes.contains_key(*name))
        .filter(|name| !is_recorded(case, deployment.id, name))
        .collect()
}

/// Whether one may begin now: none of the same volume runs or is left, and no command of the release has begun.
pub(super) fn may_start(case: &Case, deployment: &Deployment, volume: &Name) -> bool {
    let again = case.all().any(|i| {
        let facts = &i.facts;
        let same = facts.role == Role::Snapshot && facts.component == *volume;
        same && facts.release == deployment.to
    });
    wanted(case, deployment).contains(&volume) && !again && !any_command(case, deployment.to)
}

fn any_command(case: &Case, release: ReleaseId) -> bool {
    let commands = [Role::ReleaseCommand, Role::Seed];
    case.all()
        .any(|i| i.facts.release == release && commands.contains(&i.facts.role))
}

/// Whether nothing is left to be made.
pub(super) fn are_made(case: &Case, deployment: &Deployment) -> bool {
    wanted(case, deployment).is_empty()
}
