//! Retiring: never what runs, what a command can lead to, or what ever reached production.

use std::collections::BTreeSet;

use ward_types::id::ReleaseId;
use ward_types::release::{Phase, Verdict};

use super::Objection;
use super::facts::Case;
use crate::action::Action;

pub(super) fn examine(case: &Case, objections: &mut Vec<Objection>) {
    let retired = case.plan.actions.iter().filter_map(|action| match action {
        Action::Retire { release } => Some(*release),
        _ => None,
    });
    let needed = needed(case);
    objections.extend(
        retired
            .filter(|release| needed.contains(release))
            .map(|release| Objection::RetiresNeeded { release }),
    );
}

fn needed(case: &Case) -> BTreeSet<ReleaseId> {
    let env = case.env;
    let ended_well = |phase: &Phase| {
        let succeeded = Verdict::Succeeded;
        matches!(phase, Phase::Finished { verdict, .. } if *verdict == succeeded)
    };
    let in_production = env.id.env().as_str() == "prod";
    let deployments = env.deployments.values();
    let led_to = deployments.filter(|d| match &d.phase {
        Phase::Finished { .. } => in_production && ended_well(&d.phase),
        _ => true,
    });
    let mut needed: BTreeSet<_> = led_to.map(|d| d.to).collect();
    needed.extend(case.all().map(|i| i.facts.release));
    needed.extend(env.current.into_iter().chain(env.previous));
    needed.extend(
        env.rollback_target()
            .into_iter()
            .chain(env.rollforward_target()),
    );
    let kept = kept(case);
    needed.extend(case.env.releases.keys().rev().take(kept));
    let served: BTreeSet<_> = env
        .deployments
        .values()
        .filter(|d| ended_well(&d.phase) && env.releases.contains_key(&d.to))
        .map(|d| d.to)
        .collect();
    needed.extend(served.into_iter().rev().take(kept));
    needed
}

/// As many as the release that serves declares, of all and of those that served; all, while none serves.
fn kept(case: &Case) -> usize {
    let serving = case.env.current.and_then(|current| case.spec(current));
    serving.map_or(usize::MAX, |spec| spec.keep_releases as usize)
}
