//! Runs that cannot go on for a trouble of the moment.
//!
//! Decision: what is forbidden ends a run, and what Ward cannot do now does not: a disk that is full, a vault that does not
//! answer, or a policy that cannot be read say nothing against the build, and what it has passed stays passed. It is
//! tried again as before the end of a freeze. No event tells of it, because the log may be what fails; whoever looks is told.

use std::collections::BTreeMap;

use tokio::sync::watch;
use ward_types::id::PipelineRunId;
use ward_types::pipeline::{Position, Run};

use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;
use crate::deploy::Stop;

/// Why runs could not go on when it was tried last.
pub(crate) struct Hindered(watch::Sender<BTreeMap<PipelineRunId, Refusal>>);

impl Default for Hindered {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }
}

impl Hindered {
    /// Changes whenever another thing hinders a run, or nothing more.
    pub(super) fn changed(&self) -> watch::Receiver<BTreeMap<PipelineRunId, Refusal>> {
        self.0.subscribe()
    }

    fn of(&self, id: PipelineRunId) -> Option<Refusal> {
        self.0.borrow().get(&id).cloned()
    }

    pub(super) fn by(&self, id: PipelineRunId, why: &Refusal) {
        self.0.send_if_modified(|all| {
            let news = all.get(&id) != Some(why);
            if news {
                tracing::warn!(run = %id, error = why.message, "a pipeline cannot go on now");
                all.insert(id, why.clone());
            }
            news
        });
    }

    pub(super) fn no_more(&self, id: PipelineRunId) {
        self.0.send_if_modified(|all| all.remove(&id).is_some());
    }
}

impl Control {
    /// What keeps a stage from its release now, where it speaks against nothing.
    pub(super) fn hindrance<'a>(&self, stop: &'a Stop) -> Option<&'a Refusal> {
        let Stop::Refused(refusal) = stop else {
            return None;
        };
        // A policy with mistakes lets nothing through, whoever asks.
        let cannot = refusal.kind == RefusalKind::Failed || self.installation().is_err();
        cannot.then_some(refusal)
    }

    /// What keeps a run from its next stage now, as a sentence without its end, and how it goes on.
    pub(super) fn hindered(&self, run: &Run) -> Option<(String, String)> {
        let Position::Deploying { stage } = run.position else {
            return None;
        };
        if run.reached.len() > stage {
            return None;
        }
        let (env, id) = (run.env(stage)?, run.id);
        let Refusal { message, hint, .. } = self.0.hindered.of(id)?;
        let version = &run.build.version;
        let mends = hint.map_or_else(String::new, |hint| format!("{hint}; "));
        let on = format!(
            "{mends}{id} tries again every half a minute, `ward pipeline reject {id}` ends it"
        );
        Some((format!("{env} cannot get {version} now: {message}"), on))
    }

    /// What a run waits for before its next stage that is nobody's word, and how it goes on.
    pub(super) fn held_up(&self, run: &Run) -> Option<(String, String)> {
        self.waits_for_freeze(run).or_else(|| self.hindered(run))
    }
}
