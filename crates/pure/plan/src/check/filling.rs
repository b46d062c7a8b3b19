//! Filling: only new data, by each thing once, a copy before any release command, files behind all rows, and a seed
//! behind them all.

use ward_types::id::{Name, ReleaseId};
use ward_types::keeper::Role;
use ward_types::life::Filling;
use ward_types::release::{DataState, Phase};
use ward_types::spec::EnvSpec;

use super::Objection;
use super::facts::Case;
use super::moving::{has_run, have_run};
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    for action in &case.plan.actions {
        let Action::Fill {
            deployment,
            filling,
            component,
        } = action
        else {
            continue;
        };
        let active = case.active().filter(|d| d.id == *deployment);
        let active = active.filter(|d| d.phase == Phase::Preparing);
        let role = match filling {
            Filling::Copy => Role::Copy,
            Filling::Volume => Role::VolumeCopy,
            Filling::Seed => Role::Seed,
        };
        let ran = active.is_some_and(|d| has_run(case, d.to, component, role));
        if !ran || recorded(case, role).contains(&component) {
            let component = component.clone();
            objections.push(Objection::FalseFilling { component });
        }
    }
}

fn recorded<'a>(case: &Case<'a>, role: Role) -> Vec<&'a Name> {
    let life = &case.env.life;
    match role {
        Role::Copy => life.copied.iter().collect(),
        Role::VolumeCopy => life.copied_volumes.iter().collect(),
        _ => life.seeded.iter().collect(),
    }
}

/// What is to be copied or seeded, and was not.
fn wanted<'a>(case: &Case<'a>, spec: &'a EnvSpec, role: Role) -> Vec<&'a Name> {
    let new = case.env.data == DataState::New;
    let copies = case.env.life.copies.is_some();
    let rows_of_now = case.env.life.restores.is_empty();
    let all: Vec<&Name> = match role {
        Role::Copy if new && copies => spec.databases.keys().collect(),
        Role::VolumeCopy if new && copies && rows_of_now => spec.volumes.keys().collect(),
        Role::Seed if new && !copies && spec.seeded => {
            let seeds = spec.services.iter().filter(|(_, s)| s.seed.is_some());
            seeds.map(|(name, _)| name).collect()
        }
        _ => Vec::new(),
    };
    let recorded = recorded(case, role);
    let left = all.into_iter().filter(|name| !recorded.contains(name));
    left.collect()
}

/// Whether one may begin now.
pub(super) fn may_start(case: &Case, release: ReleaseId, role: Role, component: &Name) -> bool {
    let Some(spec) = case.spec(release) else {
        return false;
    };
    let again = case.all().any(|i| {
        let facts = &i.facts;
        facts.role == role && facts.release == release && facts.component == *component
    });
    let in_turn = match role {
        Role::Copy => before_commands(case),
        // What a row leads to is there when the row is.
        Role::VolumeCopy => before_commands(case) && wanted(case, spec, Role::Copy).is_empty(),
        _ => have_run(case, release, spec),
    };
    in_turn && !again && wanted(case, spec, role).contains(&component)
}

fn before_commands(case: &Case) -> bool {
    !case.all().any(|i| i.facts.role == Role::ReleaseCommand)
}

/// Whether nothing is left to be filled.
pub(super) fn is_done(case: &Case, spec: &EnvSpec) -> bool {
    let mut roles = [Role::Copy, Role::VolumeCopy, Role::Seed].into_iter();
    roles.all(|role| wanted(case, spec, role).is_empty())
}
