//! Decision: which releases are retained (promises P2 and P9).
//!
//! The newest, as many as the release that serves declares, and as many of the newest that once served, so
//! that a row of failures takes no way back; beside them whatever can be needed, whatever
//! still has an instance, and in the environment `prod` each release that ever served. The others are
//! retired, one event each, when no deployment is under way: from then on no command can name them, and
//! what only they refer to may be collected. The log itself keeps all of them for ever.

use std::collections::BTreeSet;

use ward_types::id::ReleaseId;
use ward_types::release::Environment;

use crate::action::Action;
use crate::draft::Draft;
use crate::scene::Scene;

/// The environment whose releases are evidence: what patients were served with can be shown again.
const PRODUCTION: &str = "prod";

/// Retires what need not be retained.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    if scene.active().is_some() || scene.env.next_queued().is_some() {
        return;
    }
    let keep = scene
        .env
        .current_release()
        .map(|release| release.spec.keep_releases as usize);
    let Some(keep) = keep else { return };
    let running: BTreeSet<ReleaseId> = scene.seen().map(|i| i.facts.release).collect();
    let served: BTreeSet<ReleaseId> = scene.env.once_served().collect();
    let newest_served: BTreeSet<ReleaseId> = served.iter().rev().take(keep).copied().collect();
    let surplus = scene.env.releases.keys().rev().skip(keep);
    let retired = surplus.filter(|id| {
        let kept = newest_served.contains(id) || running.contains(id);
        !kept && !is_retained(scene.env, **id)
    });
    for release in retired.copied().collect::<BTreeSet<_>>() {
        draft.act(Action::Retire { release });
    }
}

fn is_retained(env: &Environment, release: ReleaseId) -> bool {
    let evidence = env.id.env().as_str() == PRODUCTION;
    env.needs(release) || (evidence && env.once_served().any(|id| id == release))
}
