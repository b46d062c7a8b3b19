//! What people ask for.

use ward_types::event::Event;
use ward_types::id::{DeploymentId, Name, ReleaseId};
use ward_types::life::Cause;
use ward_types::release::{Deployment, Goal, Phase, Reason};
use ward_types::run::{Overlap, Run};
use ward_types::sleep::{Alarm, Drowsiness};
use ward_types::spec::EnvSpec;
use ward_types::time::Millis;

use crate::dice::Dice;
use crate::inner::Inner;
use crate::specs;

impl Inner {
    pub(crate) fn deploy(&mut self, spec: EnvSpec) -> DeploymentId {
        let release = specs::release(self.env().next_release(), spec, self.wall());
        let to = release.id;
        let (env, release) = (self.id.clone(), Box::new(release));
        self.append(&Event::ReleaseRecorded { env, release });
        self.queue(to, Reason::Deploy, None)
    }

    /// To a release that is there, whatever way that is.
    pub(crate) fn go_to(&mut self, to: ReleaseId) -> DeploymentId {
        let reason = match self.env().current {
            Some(current) if current > to => Reason::Rollback,
            Some(current) if current < to => Reason::Rollforward,
            _ => Reason::Up,
        };
        self.queue(to, reason, None)
    }

    /// The same, although the schema cannot take it.
    pub(crate) fn go_to_despite(&mut self, to: ReleaseId, why: &str) -> DeploymentId {
        let despite_schema = Some(why.to_owned());
        self.queue(to, Reason::Rollback, despite_schema)
    }

    fn queue(
        &mut self,
        to: ReleaseId,
        reason: Reason,
        despite_schema: Option<String>,
    ) -> DeploymentId {
        let id = self.env().next_deployment();
        let deployment = Deployment {
            id,
            reason,
            from: self.env().current,
            to,
            requested: self.wall(),
            started: None,
            phase_since: self.wall(),
            by: "anna".into(),
            paused: None,
            resumed: None,
            promoted: 0,
            served: None,
            cancelled: None,
            despite_schema,
            plan: None,
            gaps: Vec::new(),
            phase: Phase::Queued,
        };
        self.say(|| format!("> {reason:?} {to} is asked for as {id}"));
        self.asked.insert(id, self.now);
        let env = self.id.clone();
        let deployment = Box::new(deployment);
        self.append(&Event::DeploymentQueued { env, deployment });
        id
    }

    pub(crate) fn pause(&mut self, deployment: DeploymentId) {
        self.say(|| format!("> {deployment} is paused"));
        let (env, by) = (self.id.clone(), "anna".to_owned());
        self.append(&Event::DeploymentPaused {
            env,
            deployment,
            by,
        });
    }

    /// Whatever waits for a word gets it.
    pub(crate) fn go_on(&mut self) {
        let active = self.env().active().map(|d| d.id);
        for deployment in self.unfinished() {
            let env = self.id.clone();
            let paused = self.env().deployments.get(&deployment);
            let paused = paused.is_some_and(|d| d.paused.is_some());
            if paused {
                self.say(|| format!("> {deployment} is resumed"));
                self.append(&Event::DeploymentResumed { env, deployment });
                self.resumed.insert(deployment, self.now);
                self.begin_phase_again();
            } else if Some(deployment) == active {
                self.say(|| format!("> {deployment} is promoted"));
                self.append(&Event::DeploymentPromoted {
                    env,
                    deployment,
                    to: u32::MAX,
                });
            }
        }
    }

    pub(crate) fn cancel(&mut self, deployment: DeploymentId) {
        self.say(|| format!("> {deployment} is cancelled"));
        let (env, by) = (self.id.clone(), "anna".to_owned());
        self.append(&Event::DeploymentCancelled {
            env,
            deployment,
            by,
        });
    }

    pub(crate) fn goal(&mut self, goal: Goal) {
        self.say(|| format!("> the goal is {goal:?}"));
        let env = self.id.clone();
        self.append(&Event::GoalChanged { env, goal });
    }

    /// It ends so long after this moment, or not by itself.
    pub(crate) fn lasts(&mut self, millis: Option<u64>) {
        self.say(|| format!("> it lasts for {millis:?} ms"));
        let until = millis.map(|millis| self.wall() + Millis(millis));
        let env = self.id.clone();
        self.append(&Event::EnvironmentExtended { env, until });
    }

    /// A request comes for a service that is reached: an instance answers it, or the gateway holds it, and calls by
    /// the sleep that its table names. Where there is neither, something else has to be wrong.
    pub(crate) fn asks(&mut self) {
        let Some(pool) = self.gateway.table.first().cloned() else {
            return;
        };
        match (pool.endpoints.first(), pool.asleep) {
            (Some(endpoint), _) => self.gateway.answer(&endpoint.instance),
            (None, Some(held)) => {
                self.say(|| "> a request is held".into());
                self.gateway.held = true;
                if self
                    .env()
                    .asleep()
                    .is_some_and(|asleep| asleep.since == held)
                {
                    self.wakes(Alarm::Request);
                }
            }
            (None, None) => {}
        }
    }

    /// Who waited has an answer, or has gone away.
    pub(crate) fn is_answered(&mut self) {
        self.gateway.held = false;
    }

    pub(crate) fn wakes(&mut self, by: Alarm) {
        if self.env().asleep().is_some() {
            self.say(|| format!("> it wakes: {by:?}"));
            let env = self.id.clone();
            self.append(&Event::EnvironmentWoken { env, by });
        }
    }

    /// Somebody puts it to sleep, where that can be.
    pub(crate) fn sleeps(&mut self) {
        if self.env().may_sleep() {
            self.say(|| "> it shall sleep".into());
            let (env, cause) = (self.id.clone(), Drowsiness::Asked);
            self.append(&Event::EnvironmentSlept { env, cause });
        }
    }

    /// A command in some service's image, where a release serves: a job's or nobody's.
    pub(crate) fn runs(&mut self, dice: &mut Dice) {
        let up = self.env().goal == Goal::Up;
        let Some(current) = self.env().current_release().filter(|_| up).cloned() else {
            return;
        };
        let services: Vec<Name> = current.spec.services.keys().cloned().collect();
        let Some(service) = dice.pick(&services) else {
            return;
        };
        let run = Run {
            id: self.env().runs.last.next(),
            job: dice.chance(70).then(|| specs::name("close-month")),
            due: None,
            service,
            release: current.id,
            command: vec!["close-month".into()],
            deadline: Millis(dice.below(20_000) + 1000),
            retries: u32::try_from(dice.below(3)).unwrap_or(0),
            overlap: dice
                .pick(&[Overlap::Queue, Overlap::Allow])
                .unwrap_or_default(),
            requested: self.wall(),
            by: "anna".into(),
            attempts: Vec::new(),
            again: None,
            stopped: None,
        };
        let id = run.id;
        self.say(|| format!("> {id} is asked for"));
        let (env, run) = (self.id.clone(), Box::new(run));
        self.append(&Event::RunQueued { env, run });
    }

    /// The newest.
    pub(crate) fn stop_a_run(&mut self) {
        let Some(run) = self.env().runs.open.keys().next_back().copied() else {
            return;
        };
        self.say(|| format!("> {run} is to stop"));
        let (env, by) = (self.id.clone(), "anna".to_owned());
        self.append(&Event::RunStopped { env, run, by });
    }

    pub(crate) fn delete(&mut self) {
        self.say(|| "> it is to be deleted".into());
        let (env, by, why) = (self.id.clone(), "anna".to_owned(), String::new());
        let cause = Cause::Asked;
        self.append(&Event::EnvironmentEnding {
            env,
            cause,
            by,
            why,
        });
    }

    pub(crate) fn create(&mut self) {
        self.say(|| "> it is created again".into());
        let created = Event::created(self.id.clone());
        self.append(&created);
    }

    /// Its data is to be another one's.
    pub(crate) fn create_clone(&mut self) {
        self.say(|| "> it is created again, as a clone".into());
        let mut created = Event::created(self.id.clone());
        if let Event::EnvironmentCreated { copies, .. } = &mut created {
            *copies = Some(specs::env("returns/prod"));
        }
        self.append(&created);
    }

    /// The deployments that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<DeploymentId> {
        let all = self.env().deployments.values();
        let unfinished = all.filter(|d| !matches!(d.phase, Phase::Finished { .. }));
        unfinished.map(|d| d.id).collect()
    }
}
