//! Decision: a run has one instance at a time. It is started when it may be, stopped when its deadline is out or
//! somebody says so, and what became of it is in the log before what is left of it is removed.
//!
//! Runs are apart from deployments: one goes on in the release that it began in, however long that is replaced. It
//! begins when its databases are healthy and its release's commands have run on them; of one job one at a time, unless
//! the job says otherwise. Where the environment goes down all of them end.

use ward_types::keeper::{Exit, InstanceState, Role};
use ward_types::release::Goal;
use ward_types::run::{Attempt, Outcome, Overlap, Run};
use ward_types::time::Millis;

use crate::action::Action;
use crate::databases;
use crate::draft::Draft;
use crate::drift;
use crate::failure;
use crate::observed::SeenInstance;
use crate::purpose::Purpose;
use crate::rest;
use crate::scene::Scene;
use crate::waiting::{Bound, Waiting};

/// Who ends what still runs when an environment goes down.
const WENT_DOWN: &str = "ward, because the environment went down";

/// One step with every run that has not ended.
pub(crate) fn step(scene: &Scene, draft: &mut Draft) {
    for run in scene.env.runs.open.values() {
        match instance_of(scene, run) {
            Some(instance) if instance.is_over() => draft.act(tried(scene, run, instance)),
            Some(instance) if is_wanted(scene, run, instance) => draft.wait(Waiting::Run {
                run: run.id,
                instance: instance.facts.id.clone(),
                bound: given_up_at(run, instance),
            }),
            // It is being stopped.
            Some(_) => {}
            None => match &run.stopped {
                Some(by) => draft.act(never_began(scene, run, by)),
                None => begin(scene, draft, run),
            },
        }
    }
}

/// The environment goes down: what has no instance, or whose instance has ended, ends.
pub(crate) fn end(scene: &Scene, draft: &mut Draft) {
    for run in scene.env.runs.open.values() {
        match instance_of(scene, run) {
            Some(instance) if instance.is_over() => draft.act(tried(scene, run, instance)),
            Some(_) => {}
            None => {
                let by = run.stopped.as_deref().unwrap_or(WENT_DOWN);
                draft.act(never_began(scene, run, by));
            }
        }
    }
}

/// What an instance of a run is there for.
pub(crate) fn purpose(scene: &Scene, instance: &SeenInstance) -> Purpose {
    let Role::Run(id) = instance.facts.role else {
        return Purpose::Done;
    };
    let run = scene.env.runs.open.get(&id);
    let up = scene.env.goal == Goal::Up;
    match run.filter(|run| !run.has_tried(&instance.facts.id)) {
        Some(_) if instance.is_over() => Purpose::History,
        Some(run) if up && is_wanted(scene, run, instance) => Purpose::Needed,
        _ => Purpose::Done,
    }
}

/// The instance of the attempt that is under way, or whose end is not recorded.
fn instance_of<'a>(scene: &Scene<'a>, run: &Run) -> Option<&'a SeenInstance> {
    let mut seen = scene.seen();
    seen.find(|i| i.facts.role == Role::Run(run.id) && !run.has_tried(&i.facts.id))
}

fn is_wanted(scene: &Scene, run: &Run, instance: &SeenInstance) -> bool {
    let late = scene.is_past(&bound(run, instance));
    run.stopped.is_none() && !late && !drift::is_stuck(scene, instance)
}

fn bound(run: &Run, instance: &SeenInstance) -> Bound {
    let setting = match run.job {
        Some(_) => "job.deadline",
        None => "ward run --deadline",
    };
    Bound::setting(instance.facts.started, run.deadline, setting)
}

/// When an instance is stopped at the latest.
fn given_up_at(run: &Run, instance: &SeenInstance) -> Bound {
    let deadline = bound(run, instance);
    let stopped = drift::stopped_bound(instance);
    let stopped = stopped.filter(|stopped| stopped.until < deadline.until);
    stopped.unwrap_or(deadline)
}

fn begin(scene: &Scene, draft: &mut Draft, run: &Run) {
    if let Some(waiting) = held(scene, run) {
        return draft.wait(waiting);
    }
    let service = scene.service(run.release, &run.service);
    if service.is_some_and(|service| databases::are_ready_for(scene, run.release, service)) {
        draft.start(&run.service, run.release, Role::Run(run.id));
    }
}

/// What keeps a run from beginning now, beside databases.
fn held(scene: &Scene, run: &Run) -> Option<Waiting> {
    let id = run.id;
    let pause = run.again.filter(|again| scene.now < *again);
    if let (Some(again), Some(last)) = (pause, run.attempts.last()) {
        let limit: Millis = again.since(last.ended);
        let bound = Bound::fixed(last.ended, limit);
        return Some(Waiting::RunAgain { run: id, bound });
    }
    let before = |other: &&Run| other.id < id && other.job.is_some() && other.job == run.job;
    let before = scene.env.runs.open.values().find(before);
    if let Some(before) = before.filter(|_| run.overlap != Overlap::Allow) {
        let behind = before.id;
        return Some(Waiting::RunQueue { run: id, behind });
    }
    rest::is_unprepared(scene, run.release).then_some(Waiting::RunUnprepared { run: id })
}

fn tried(scene: &Scene, run: &Run, instance: &SeenInstance) -> Action {
    let outcome = outcome(scene, run, instance);
    let up = scene.env.goal == Goal::Up;
    let again = run.again_after(&outcome, scene.now).filter(|_| up);
    Action::Tried {
        run: run.id,
        attempt: Box::new(Attempt {
            instance: Some(instance.facts.id.clone()),
            started: Some(instance.facts.started),
            ended: scene.now,
            outcome,
        }),
        again,
    }
}

fn never_began(scene: &Scene, run: &Run, by: &str) -> Action {
    Action::Tried {
        run: run.id,
        attempt: Box::new(Attempt {
            instance: None,
            started: None,
            ended: scene.now,
            outcome: Outcome::Stopped { by: by.to_owned() },
        }),
        again: None,
    }
}

fn outcome(scene: &Scene, run: &Run, instance: &SeenInstance) -> Outcome {
    let state = &instance.status.state;
    let asked = matches!(state, InstanceState::Exited { asked: true, .. });
    let status = match state {
        // One that was asked to stop may not have done what it was for, whatever it says.
        InstanceState::Exited {
            exit: Exit::Code(0),
            asked: false,
        } => return Outcome::Succeeded,
        InstanceState::Exited {
            exit: Exit::Code(code),
            ..
        } => Some(*code),
        _ => None,
    };
    let stopped = run.stopped.as_deref().filter(|_| asked);
    let stopped = stopped.or((asked && scene.env.goal != Goal::Up).then_some(WENT_DOWN));
    match stopped {
        Some(by) => Outcome::Stopped { by: by.to_owned() },
        None if asked && scene.is_past(&bound(run, instance)) => Outcome::Late,
        None => Outcome::Failed {
            how: match scene.env.given_up.contains(&instance.facts.id.ordinal()) {
                true => drift::stopped(),
                false => failure::end(state),
            },
            status: status.and_then(|status| u8::try_from(status).ok()),
        },
    }
}
