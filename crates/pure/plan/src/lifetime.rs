//! Decision: an environment whose time is over ends as one that somebody deletes: it goes down, its data is removed,
//! and what is left then is its history.
//!
//! The end is an event before anything is done, so that nothing brings the environment up again in between, and a
//! server that was away meanwhile finds it due at its first look. Nothing else is planned together with it. That the
//! end is near is an event too, once for each end.

use ward_types::life::Cause;

use crate::action::Action;
use crate::draft::Draft;
use crate::scene::Scene;

/// Whether its time is over, and that is not recorded yet.
pub(crate) fn is_over(scene: &Scene) -> bool {
    let life = &scene.env.life;
    let over = life.expires.is_some_and(|expiry| expiry.at <= scene.now);
    over && life.ending.is_none()
}

/// Ends what is over.
pub(crate) fn end(draft: &mut Draft) {
    let cause = Cause::Expired;
    draft.act(Action::End { cause });
}

/// Tells of an end that is near, and lets go of what has ended.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    if scene.env.ending().is_some() {
        return delete(scene, draft);
    }
    let life = &scene.env.life;
    let Some(expiry) = life.expires.filter(|_| life.ending.is_none()) else {
        return;
    };
    if expiry.warned.is_none() {
        match expiry.is_near(scene.now) {
            true => draft.act(Action::WarnOfEnd),
            false => draft.alarm(expiry.warns()),
        }
    }
    draft.alarm(expiry.at);
}

fn delete(scene: &Scene, draft: &mut Draft) {
    let nothing_left = scene.observed.instances.is_empty() && scene.pools().is_empty();
    if nothing_left && scene.env.has_ended() {
        draft.act(Action::Delete);
    }
}
