//! What has no health check is taken to be well when it has run for a while in a new release: a program
//! that ends at once has never been well. A release that once served is not asked again.

use std::time::Duration;

use ward_plan::{Observed, SeenInstance};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Environment, Reason};
use ward_types::time::{Millis, Timestamp};

/// How long it has to run.
const SETTLES_IN: Millis = Millis::secs(1);

/// Shows the instances without a health check that a deploy has just started as starting; how long the
/// next of them still takes.
pub(crate) fn settle(
    env: &Environment,
    observed: &mut Observed,
    now: Timestamp,
) -> Option<Duration> {
    let deployment = env
        .active()
        .filter(|active| active.reason == Reason::Deploy)?;
    let spec = &env.releases.get(&deployment.to)?.spec;
    let unchecked = |seen: &&mut SeenInstance| {
        let service = spec.services.get(&seen.facts.component);
        seen.facts.role == Role::Service
            && seen.facts.release == deployment.to
            && seen.status.state == InstanceState::Healthy
            && service.is_some_and(|service| service.health.is_none())
    };
    let mut next: Option<Duration> = None;
    for seen in observed.instances.values_mut().filter(unchecked) {
        let left = SETTLES_IN - now.since(seen.since);
        if left > Millis(0) {
            seen.status.state = InstanceState::Starting;
            next = Some(next.map_or(left.duration(), |next| next.min(left.duration())));
        }
    }
    next
}
