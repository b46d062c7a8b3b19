//! Stages to which nothing is deployed today, because of a change freeze.
//!
//! Decision: a run waits before such a stage, and goes on when the freeze is over or somebody answers for it. What it has
//! passed stays passed. Nobody is told of it by an event, because nothing changes: the day decides, and whoever looks is
//! told what it waits for.

use ward_store::Log;
use ward_types::id::{EnvId, PipelineRunId};
use ward_types::pipeline::{Position, Run};
use ward_types::policy::{Rule, Violation};
use ward_types::time::Millis;
use ward_types::view::{PipelineRunView, Progress};

use super::telling::view;
use crate::actor::Actor;
use crate::control::Control;
use crate::deploy::{Steps, Stop};

/// How often a run looks whether a freeze is over, or what Ward could not do can be done, beside what is in the log.
pub(super) const LOOKS: Millis = Millis::secs(30);

/// A stage that gets nothing today.
struct Frozen {
    env: EnvId,
    /// From when to when, as a clause.
    what: String,
    /// Whether nothing else forbids it.
    alone: bool,
}

/// Whether a stage cannot get its release for a freeze and for nothing else.
pub(super) fn is_why(stop: &Stop) -> bool {
    let Stop::Word(word) = stop else {
        return false;
    };
    match &**word {
        Progress::Forbidden { violations, .. } => is_alone(violations),
        _ => false,
    }
}

fn is_alone(violations: &[Violation]) -> bool {
    let mut denied = violations.iter().filter(|one| one.is_denied()).peekable();
    denied.peek().is_some() && denied.all(|one| one.rule == Rule::Freeze)
}

impl Control {
    /// Says at the beginning of a run which stages behind the first get nothing today, of those that are still to come.
    pub(crate) async fn tell_freezes(&self, id: PipelineRunId, steps: &Steps) {
        let state = self.store().state();
        let Some(run) = state.pipelines.get(&id) else {
            return;
        };
        for stage in run.reached.len().max(1)..run.stages.len() {
            let Some(Frozen { env, what, .. }) = self.frozen(run, stage) else {
                continue;
            };
            let message = format!("{env}, a later stage, is frozen: {what}");
            let hint = format!(
                "{id} goes as far as that and waits there for the end of the freeze; {} lets it go on before",
                Rule::Freeze.waiver(Some(&env))
            );
            let _ = steps.send(Progress::Warning { message, hint }).await;
        }
    }

    /// The end of which freeze a run waits for, as a sentence without its end, and how it goes on.
    pub(super) fn waits_for_freeze(&self, run: &Run) -> Option<(String, String)> {
        let Position::Deploying { stage } = run.position else {
            return None;
        };
        if run.reached.len() > stage {
            return None;
        }
        let Frozen { env, what, .. } = self.frozen(run, stage).filter(|frozen| frozen.alone)?;
        let id = run.id;
        let hint = format!(
            "{} lets it go on now, `ward pipeline reject {id}` ends it",
            Rule::Freeze.waiver(Some(&env))
        );
        Some((format!("{env} waits for the end of a freeze: {what}"), hint))
    }

    /// Where a run that is under way stands now, as a sentence without its end, and how it goes on.
    pub(crate) fn stands_now(&self, run: &Run) -> (String, String) {
        self.held_up(run).unwrap_or_else(|| {
            let id = run.id;
            let hint = format!(
                "wait for it (`ward pipeline show {id}` says how it goes), or end it: `ward pipeline reject {id}`"
            );
            (run.stands(), hint)
        })
    }

    /// A run as people see it now.
    pub(super) fn view_of(&self, run: &Run) -> PipelineRunView {
        let mut view = view(run);
        if let Some((sentence, hint)) = self.held_up(run) {
            (view.stands, view.way_on) = (sentence, Some(hint));
        }
        view
    }

    fn frozen(&self, run: &Run, stage: usize) -> Option<Frozen> {
        let offer = self.stage_offer(run, stage).ok()?;
        let author = Actor {
            who: run.author.clone(),
        };
        let denied = self.forbidden(&author, &offer).ok()?;
        let freeze = denied.iter().find(|one| one.rule == Rule::Freeze)?;
        Some(Frozen {
            env: offer.spec.id.clone(),
            what: freeze.message.clone(),
            alone: is_alone(&denied),
        })
    }
}
