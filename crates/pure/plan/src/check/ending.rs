//! Ends: only what ended by itself is recorded as such, once, and before it is removed. Release commands are
//! meant to end.

use ward_types::keeper::{InstanceState, Role};
use ward_types::release::Gap;

use super::Objection;
use super::facts::{Case, runs};
use crate::action::Action;
use crate::observed::SeenInstance;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    for action in &case.plan.actions {
        match action {
            Action::Report { id, .. } => {
                let ended = case.seen(id).is_some_and(ended_by_itself);
                if !ended || case.env.ended.contains(&id.ordinal()) {
                    objections.push(Objection::FalseEnd { id: id.clone() });
                }
            }
            Action::Exchanged { deployment, gap } => {
                let active = case.active().filter(|d| d.id == *deployment);
                let same = |g: &&Gap| (&g.service, g.release) == (&gap.service, gap.release);
                let told = active.is_some_and(|d| d.gaps.iter().any(|g| same(&g)));
                if active.is_none() || told {
                    let service = gap.service.clone();
                    objections.push(Objection::FalseGap { service });
                }
            }
            Action::Remove { id } => {
                let ended = case.seen(id).is_some_and(ended_by_itself);
                if ended && !case.env.ended.contains(&id.ordinal()) {
                    objections.push(Objection::RemovesUnrecorded { id: id.clone() });
                }
            }
            _ => {}
        }
    }
}

fn ended_by_itself(instance: &SeenInstance) -> bool {
    let asked = matches!(
        instance.status.state,
        InstanceState::Exited { asked: true, .. }
    );
    !runs(instance) && !asked && instance.facts.role != Role::ReleaseCommand
}
