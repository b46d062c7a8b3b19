//! Which releases can be gone back to, for any history: the fold of the events against a set of the releases that
//! run on the data as it is.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that is skipped or fails says why"
)]

mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use ward_plan::Waiting;
use ward_types::event::{Event, MisfitEvent, State};
use ward_types::id::{DeploymentId, EnvId, ReleaseId};
use ward_types::keeper::Role;
use ward_types::release::{Deployment, Failure, Goal, Phase, Reason, Verdict};
use ward_types::spec::Schema;
use ward_types::time::Timestamp;
use world::{Behaviour, Dice, World, cases, name, release_of, returns, seeds, with_schema};

/// How far a deployment comes: it fails at its command, while it rolls out, or not.
#[derive(Clone, Copy, PartialEq)]
enum Comes {
    Command,
    Rollout,
    End,
}

/// The log of one environment, and beside it what runs.
struct History {
    state: State,
    id: EnvId,
    /// The releases that run on the data as it is.
    run: BTreeSet<ReleaseId>,
}

impl History {
    fn new() -> Self {
        let id = EnvId::parse("returns/dev").unwrap();
        let mut state = State::default();
        let created = Event::created(id.clone());
        state.apply(Timestamp(0), &created).unwrap();
        let run = BTreeSet::new();
        Self { state, id, run }
    }

    fn env(&self) -> &ward_types::release::Environment {
        &self.state.environments[&self.id]
    }

    fn say(&mut self, event: &Event) {
        self.state.apply(Timestamp(1), event).unwrap();
    }

    fn moved(&mut self, deployment: DeploymentId, phase: Phase) {
        let env = self.id.clone();
        self.say(&Event::DeploymentMoved {
            env,
            deployment,
            phase,
        });
    }

    fn wish(&self, to: ReleaseId, reason: Reason, despite: Option<&str>) -> Deployment {
        Deployment {
            id: self.env().next_deployment(),
            reason,
            from: self.env().current,
            to,
            requested: Timestamp(1),
            started: None,
            phase_since: Timestamp(1),
            by: "anna".into(),
            paused: None,
            resumed: None,
            promoted: 0,
            served: None,
            plan: None,
            gaps: Vec::new(),
            cancelled: None,
            despite_schema: despite.map(str::to_owned),
            phase: Phase::Queued,
        }
    }

    fn queue(&mut self, deployment: Deployment) -> Result<DeploymentId, MisfitEvent> {
        let (env, id) = (self.id.clone(), deployment.id);
        let deployment = Box::new(deployment);
        let queued = Event::DeploymentQueued { env, deployment };
        self.state.apply(Timestamp(1), &queued).map(|_| id)
    }

    fn ends(&mut self, deployment: DeploymentId, verdict: Verdict) {
        let failure = Failure {
            message: "It failed.".into(),
            output: Vec::new(),
            hint: None,
        };
        let failure = (verdict != Verdict::Succeeded).then_some(failure);
        let at = Timestamp(1);
        self.moved(
            deployment,
            Phase::Finished {
                verdict,
                failure,
                at,
            },
        );
    }

    fn deploy(&mut self, schema: Schema, comes: Comes) {
        let to = self.env().next_release();
        let spec = with_schema(returns(), schema);
        let (env, release) = (
            self.id.clone(),
            Box::new(release_of(to, spec, Timestamp(1))),
        );
        self.say(&Event::ReleaseRecorded { env, release });
        let up = self.id.clone();
        self.say(&Event::GoalChanged {
            env: up,
            goal: Goal::Up,
        });
        let id = self.queue(self.wish(to, Reason::Deploy, None)).unwrap();
        self.moved(id, Phase::Preparing);
        if schema.takes_away() {
            let (env, service) = (self.id.clone(), name("web"));
            self.say(&Event::SchemaChanging {
                env,
                deployment: id,
                service,
                schema,
            });
        }
        let serves = self.env().current;
        self.run.retain(|other| match schema {
            Schema::None | Schema::Expand => true,
            Schema::Contract => serves.is_some_and(|serves| *other >= serves),
            Schema::Irreversible => false,
        });
        self.run.insert(to);
        if comes == Comes::Command {
            return self.ends(id, Verdict::FailedOldServing);
        }
        self.moved(id, Phase::Rolling { stage: 0 });
        match comes {
            Comes::End => self.ends(id, Verdict::Succeeded),
            _ => self.ends(id, Verdict::FailedOldServing),
        }
    }

    /// By the log, and by whoever is asked before: both say the same.
    fn go_back(&mut self, to: ReleaseId, dice: &mut Dice) -> Result<(), TestCaseError> {
        let reason = match self.env().current < Some(to) {
            true => Reason::Rollforward,
            false => Reason::Rollback,
        };
        let serves = self.env().current == Some(to);
        let may = serves || self.run.contains(&to);
        prop_assert_eq!(self.env().barred(to).is_none(), may, "{}", to);
        let wish = self.wish(to, reason, None);
        prop_assert_eq!(self.env().schema_refuses(&wish).is_none(), may);
        let queued = match (self.queue(wish), dice.chance(30)) {
            (Ok(id), _) => {
                prop_assert!(may, "{} is taken", to);
                id
            }
            (Err(misfit), again) => {
                prop_assert!(!may, "{} is refused: {}", to, misfit);
                prop_assert!(matches!(misfit, MisfitEvent::Barred(..)), "{}", misfit);
                if !again {
                    return Ok(());
                }
                let despite = self.wish(to, reason, Some("I said so"));
                self.queue(despite).unwrap()
            }
        };
        self.moved(queued, Phase::Preparing);
        self.moved(queued, Phase::Rolling { stage: 0 });
        self.ends(queued, Verdict::Succeeded);
        Ok(())
    }

    fn purge(&mut self) {
        let env = self.id.clone();
        let goal = Goal::Purged;
        let before = self.env().schema.clone();
        self.say(&Event::GoalChanged {
            env: env.clone(),
            goal,
        });
        assert_eq!(self.env().schema, before, "the data is not gone yet");
        self.say(&Event::DataPurged { env });
        self.run = self.env().releases.keys().copied().collect();
    }
}

fn walk(seed: u64) -> Result<(), TestCaseError> {
    let mut dice = Dice::new(seed);
    let mut history = History::new();
    let kinds = [
        Schema::None,
        Schema::Expand,
        Schema::Expand,
        Schema::Contract,
        Schema::Irreversible,
    ];
    let comes = [Comes::Command, Comes::Rollout, Comes::End];
    for _ in 0..30 {
        let releases: Vec<ReleaseId> = history.env().releases.keys().copied().collect();
        match dice.below(10) {
            0 => history.purge(),
            1..5 if !releases.is_empty() => {
                let to = *dice.pick(&releases);
                history.go_back(to, &mut dice)?;
            }
            _ => history.deploy(*dice.pick(&kinds), *dice.pick(&comes)),
        }
        let env = history.env();
        if let Some(back) = env.newest_way_back() {
            prop_assert!(history.run.contains(&back) && Some(back) < env.current);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn what_runs_can_be_gone_back_to_and_nothing_else(seed in seeds()) {
        walk(seed)?;
    }
}

#[test]
fn a_rollback_that_was_asked_for_before_does_not_begin() {
    let mut history = History::new();
    history.deploy(Schema::Expand, Comes::End);
    history.deploy(Schema::Expand, Comes::End);
    let wish = history.wish(ReleaseId(1), Reason::Rollback, None);
    let id = history.queue(wish).unwrap();
    history.deploy(Schema::Irreversible, Comes::End);
    let begins = Event::DeploymentMoved {
        env: history.id.clone(),
        deployment: id,
        phase: Phase::Preparing,
    };
    let refused = history.state.apply(Timestamp(1), &begins);
    assert!(
        matches!(refused, Err(MisfitEvent::Barred(..))),
        "{refused:?}"
    );
}

/// What the release of a deployment does to the schema, and who ends badly in it: its command or its service.
fn hint_of(kinds: &[(Schema, Role)]) -> String {
    let mut world = World::new();
    let mut last = None;
    for (number, (schema, fails)) in (1..).zip(kinds.to_vec()) {
        world.behave = Box::new(move |start| match start.role {
            role if role == fails && start.release == number => Behaviour::exits(50, 1, &[]),
            Role::ReleaseCommand => Behaviour::exits(50, 0, &[]),
            _ => Behaviour::default(),
        });
        last = Some(world.deploy(with_schema(returns(), schema)));
        world.settle();
    }
    match &world.env().deployments[&last.unwrap()].phase {
        Phase::Finished { failure, .. } => failure.clone().unwrap().hint.unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A database has the role of nothing that ends here.
const WELL: Role = Role::Database;
const COMMAND: Role = Role::ReleaseCommand;
const SERVICE: Role = Role::Service;

fn says(kinds: &[(Schema, Role)], sentence: &str) {
    let hint = hint_of(kinds);
    assert!(hint.ends_with(sentence), "{hint}");
}

fn says_nothing(kinds: &[(Schema, Role)]) {
    let hint = hint_of(kinds);
    let said = hint.contains("no release before") || hint.contains("release command of");
    assert!(!said, "{hint}");
}

#[test]
fn a_contraction_that_failed_says_what_can_be_gone_back_to() {
    let well = (Schema::Expand, WELL);
    says(
        &[well, well, (Schema::Contract, COMMAND)],
        "The contracting release command of web has begun and may have changed the data: no release before r2 can be gone back to any more.",
    );
    says(
        &[well, well, (Schema::Contract, SERVICE)],
        "The contracting release command of web has changed the data: no release before r2 can be gone back to any more.",
    );
    // Nothing serves; r1 never did.
    says(
        &[(Schema::Expand, SERVICE), (Schema::Contract, COMMAND)],
        "The contracting release command of web has begun and may have changed the data: no release before r2 can be gone back to any more.",
    );
}

#[test]
fn a_contraction_before_which_there_is_nothing_takes_nothing_away() {
    says_nothing(&[(Schema::Contract, COMMAND)]);
    // r1 serves meanwhile, and goes on running.
    says_nothing(&[(Schema::Expand, WELL), (Schema::Contract, SERVICE)]);
    says_nothing(&[(Schema::Expand, WELL), (Schema::Expand, SERVICE)]);
}

#[test]
fn what_is_irreversible_says_what_serves_if_anything_does() {
    let well = (Schema::Expand, WELL);
    says(
        &[well, (Schema::Irreversible, COMMAND)],
        "The irreversible release command of web has begun and may have changed the data: r1 serves on what is meant for r2; see whether it does, and deploy a fix forward.",
    );
    says(
        &[(Schema::Expand, SERVICE), (Schema::Irreversible, SERVICE)],
        "The irreversible release command of web has changed the data: no release before r2 can be gone back to any more; deploy a fix forward.",
    );
    says(
        &[(Schema::Irreversible, COMMAND)],
        "The irreversible release command of web has begun and may have changed the data: deploy a fix forward.",
    );
}

#[test]
fn new_data_is_meant_for_the_release_that_comes_up_on_it() {
    let mut world = World::new();
    let good = |start: &world::Start| match start.role {
        Role::ReleaseCommand => Behaviour::exits(50, 0, &[]),
        _ => Behaviour::default(),
    };
    world.behave = Box::new(good);
    world.deploy(with_schema(returns(), Schema::Irreversible));
    world.settle();
    world.goal(Goal::Purged);
    world.run(60_000);
    world.behave = Box::new(move |start| match start.role {
        Role::Service => Behaviour::exits(50, 1, &[]),
        _ => good(start),
    });
    world.goal(Goal::Up);
    let id = world.queue(ReleaseId(1), Reason::Up);
    world.settle();
    let Phase::Finished { failure, .. } = &world.env().deployments[&id].phase else {
        panic!("it has ended");
    };
    let hint = failure.clone().unwrap().hint.unwrap();
    let says = "has changed the data: deploy a fix forward.";
    assert!(hint.ends_with(says), "{hint}");
}

#[test]
fn what_is_kept_warm_says_whether_a_rollback_may_lead_to_it() {
    let sentence = |schema| {
        let mut world = World::new();
        world.behave = Box::new(|start| match start.role {
            Role::ReleaseCommand => Behaviour::exits(50, 0, &[]),
            _ => Behaviour::default(),
        });
        world.deploy(returns());
        world.settle();
        world.deploy(with_schema(returns(), schema));
        world.settle();
        let waiting = world.plan().waiting;
        let warm = waiting.iter().find(|w| matches!(w, Waiting::Warm { .. }));
        warm.expect("r1 is kept warm").to_string()
    };
    let open = "Keeping the instances of r1 running, so that a rollback is immediate. (";
    for schema in [Schema::Expand, Schema::Contract] {
        assert!(sentence(schema).starts_with(open), "{}", sentence(schema));
    }
    let barred = "Keeping the instances of r1 running; it does not run on the schema any more: only `ward rollback --to r1 --despite-schema REASON` goes back to it. (";
    let said = sentence(Schema::Irreversible);
    assert!(said.starts_with(barred), "{said}");
}
