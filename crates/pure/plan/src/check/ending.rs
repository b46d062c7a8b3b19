//! Ends: only what is changed or was found ill is given up, and that is recorded once. Only what ended by itself is
//! recorded as such, once, and before it is removed. Release commands and runs are meant to end; of a run each attempt is
//! recorded, before it is removed.

use ward_types::checkup::Found;
use ward_types::id::RunId;
use ward_types::keeper::{Exit, InstanceState, Role};
use ward_types::release::{Gap, Reason};
use ward_types::run::{Attempt, Outcome};

use super::Objection;
use super::facts::{Case, runs};
use super::returning::is_asked_by;
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
            Action::GiveUp { id, .. } => {
                let told = case.env.given_up.contains(&id.ordinal());
                let reason = |i: &SeenInstance| is_changed(i) || was_found_ill(case, i);
                if told || !case.seen(id).is_some_and(reason) {
                    objections.push(Objection::FalseGivingUp { id: id.clone() });
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
            Action::Tried { run, attempt, .. } if !is_true(case, *run, attempt) => {
                objections.push(Objection::FalseTry { run: *run });
            }
            Action::Remove { id } => {
                let seen = case.seen(id);
                let ended = seen.is_some_and(ended_by_itself);
                let ended = ended && !case.env.ended.contains(&id.ordinal());
                if ended || seen.is_some_and(|instance| is_untold(case, instance)) {
                    objections.push(Objection::RemovesUnrecorded { id: id.clone() });
                }
            }
            _ => {}
        }
    }
}

/// Whether it is an attempt of a run whose end is not recorded.
fn is_untold(case: &Case, instance: &SeenInstance) -> bool {
    let Role::Run(run) = instance.facts.role else {
        return false;
    };
    let open = case.env.runs.open.get(&run);
    open.is_some_and(|run| !run.has_tried(&instance.facts.id))
}

/// Whether an attempt has ended, as is said of it, and was not recorded.
fn is_true(case: &Case, id: RunId, attempt: &Attempt) -> bool {
    let Some(run) = case.env.runs.open.get(&id) else {
        return false;
    };
    let untold = |i: &&SeenInstance| i.facts.role == Role::Run(id) && is_untold(case, i);
    let Some(instance) = &attempt.instance else {
        let none = case.all().find(untold).is_none();
        return none && (run.stopped.is_some() || !case.is_up());
    };
    let seen = case.seen(instance).filter(untold);
    let seen = seen.filter(|instance| !runs(instance));
    let well = |instance: &SeenInstance| {
        let state = &instance.status.state;
        matches!(
            state,
            InstanceState::Exited {
                exit: Exit::Code(0),
                asked: false,
            }
        )
    };
    seen.is_some_and(|instance| well(instance) == (attempt.outcome == Outcome::Succeeded))
}

fn ended_by_itself(instance: &SeenInstance) -> bool {
    let asked = matches!(
        instance.status.state,
        InstanceState::Exited { asked: true, .. }
    );
    !runs(instance) && !asked && !instance.facts.role.is_meant_to_end()
}

/// Whether an instance runs that was not well when the deployment under way had it checked. A deploy gives up nothing of
/// its own: it fails.
fn was_found_ill(case: &Case, instance: &SeenInstance) -> bool {
    let checkup = instance.checkup.as_ref();
    let ill = checkup.is_some_and(|checkup| {
        let returns = case.active().filter(|d| d.reason != Reason::Deploy);
        let asked = returns.is_some_and(|d| is_asked_by(d, checkup));
        asked && matches!(checkup.found, Found::Ill(_))
    });
    ill && runs(instance)
}

/// Whether an instance runs that other hands did something to.
fn is_changed(instance: &SeenInstance) -> bool {
    runs(instance) && (instance.status.stopped || instance.altered.is_some())
}
