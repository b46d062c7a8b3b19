//! Simulated instances.

use ward_plan::SeenInstance;
use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::keeper::{Exit, InstanceFacts, InstanceState, InstanceStatus, Role};
use ward_types::time::Timestamp;

use crate::dice::Dice;

/// What an instance will do, in milliseconds from its start.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    healthy_after: Option<u64>,
    exit: Option<(u64, Exit)>,
    /// From the signal to its end, if it heeds it.
    stop_takes: u64,
    /// It could not even be started.
    refused: bool,
}

impl Behaviour {
    /// As it should be.
    pub(crate) fn good(role: Role) -> Self {
        let exits = role.is_meant_to_end().then_some((150, Exit::Code(0)));
        Self {
            healthy_after: (!role.is_meant_to_end()).then_some(300),
            exit: exits,
            stop_takes: 100,
            refused: false,
        }
    }

    /// Four in five do what they should.
    pub(crate) fn any(dice: &mut Dice, role: Role) -> Self {
        let good = Self::good(role);
        match dice.below(30) {
            0 => Self {
                healthy_after: None,
                exit: Some((dice.below(2000), Exit::Code(1))),
                ..good
            },
            // A database that hangs gets ever more time, a snapshot an hour, and a run is to end.
            1 if !matches!(role, Role::Database | Role::Snapshot) => Self {
                healthy_after: None,
                exit: None,
                ..good
            },
            2 => Self {
                refused: true,
                ..good
            },
            3 | 4 => Self {
                exit: Some((400 + dice.below(20_000), Exit::Signal(11))),
                ..good
            },
            5 => Self {
                stop_takes: 60_000,
                ..good
            },
            6 => Self {
                healthy_after: good.healthy_after.map(|_| dice.below(40_000)),
                ..good
            },
            _ => good,
        }
    }
}

/// One instance. What is shown of it is what it was a while ago.
pub(crate) struct Copy {
    pub(crate) facts: InstanceFacts,
    behaviour: Behaviour,
    started: u64,
    /// When it ends because it was asked to.
    ends: Option<u64>,
    ill: bool,
    /// A signal stopped it: it answers nobody, and its end is told as ever.
    stopped: bool,
    /// Other hands changed its files.
    altered: bool,
    /// Another was started in its place while it was ill.
    replaced: bool,
    /// When a check of its health ends, of which deployment, and what comes of it.
    checkup: Option<(u64, Checkup)>,
    /// Its states so far: when each began in the world's own time, and by the clock.
    states: Vec<(u64, Timestamp, InstanceState)>,
}

impl Copy {
    pub(crate) fn new(
        facts: InstanceFacts,
        behaviour: Behaviour,
        now: u64,
        wall: Timestamp,
    ) -> Self {
        let state = match behaviour.refused {
            true => InstanceState::Failed {
                message: "no room".into(),
            },
            false => InstanceState::Starting,
        };
        Self {
            facts,
            behaviour,
            started: now,
            ends: None,
            ill: false,
            stopped: false,
            altered: false,
            replaced: false,
            checkup: None,
            states: vec![(now, wall, state)],
        }
    }

    fn latest(&self) -> &(u64, Timestamp, InstanceState) {
        self.states
            .last()
            .unwrap_or_else(|| unreachable!("it has one from the start"))
    }

    pub(crate) fn state(&self) -> &InstanceState {
        &self.latest().2
    }

    /// As the engine shows it: what it did by itself is shown `lag` later, what Ward made it do at once.
    pub(crate) fn seen(&self, now: u64, lag: u64) -> SeenInstance {
        let known = |(at, _, state): &&(u64, Timestamp, InstanceState)| {
            *state == InstanceState::Stopping || at + lag <= now
        };
        let shown = self.states.iter().rev().find(known);
        let (_, since, state) = shown.unwrap_or(&self.states[0]);
        let failing = matches!(state, InstanceState::Starting | InstanceState::Unhealthy);
        SeenInstance {
            facts: self.facts.clone(),
            status: InstanceStatus {
                state: state.clone(),
                pid: None,
                keeper_pid: 1,
                last_failure: failing.then(|| "connection refused".to_owned()),
                missing: Vec::new(),
                stopped: self.stopped && *state == InstanceState::Unhealthy,
            },
            since: *since,
            output: Vec::new(),
            altered: self.altered.then(|| "app.py was edited".to_owned()),
            checkup: self.checkup.as_ref().map(|(ends, checkup)| Checkup {
                of: checkup.of,
                found: match *ends <= now {
                    true => checkup.found.clone(),
                    false => Found::Awaited,
                },
            }),
        }
    }

    /// A check of its health, for a deployment: what it is, and not what is shown of it. What is stopped is seen to be, and
    /// what else is ill does not answer.
    pub(crate) fn check(&mut self, of: Occasion, now: u64, within: u64) {
        if self.is_checked_for(of) {
            return;
        }
        let (takes, found) = match self.is_healthy() {
            true => (3, Found::Well),
            false if self.stopped || self.is_over() => (3, Found::Ill("it is stopped".into())),
            false => (within, Found::Ill("it does not answer".into())),
        };
        self.checkup = Some((now + takes, Checkup { of, found }));
    }

    fn is_checked_for(&self, occasion: Occasion) -> bool {
        let known = self.checkup.as_ref();
        known.is_some_and(|(_, known)| known.of == occasion)
    }

    /// Whoever had it checked is gone, and what came of it with that.
    pub(crate) fn forget_its_checkup(&mut self) {
        self.checkup = None;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state().is_over()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        *self.state() == InstanceState::Healthy
    }

    /// Whether it was healthy at any time after `since`.
    pub(crate) fn was_healthy_since(&self, since: u64) -> bool {
        let mut ends = self.states.iter().skip(1).map(|(at, _, _)| *at);
        let mut states = self.states.iter().map(|(_, _, state)| state);
        states.any(|state| {
            let end = ends.next().unwrap_or(u64::MAX);
            *state == InstanceState::Healthy && end >= since
        })
    }

    /// Whether it was started before that moment.
    pub(crate) fn ran_before(&self, moment: u64) -> bool {
        self.started < moment
    }

    /// Runs, and was not asked to stop.
    pub(crate) fn is_live(&self) -> bool {
        !self.is_over() && *self.state() != InstanceState::Stopping
    }

    /// Another of its release and service is started: it makes up for this one where this one is ill, as far
    /// as is seen.
    pub(crate) fn beside(&mut self, another: &InstanceFacts, now: u64, lag: u64) {
        let alike =
            self.facts.release == another.release && self.facts.component == another.component;
        let seen = self.seen(now, lag).status.state;
        let ill = [self.state(), &seen].contains(&&InstanceState::Unhealthy);
        self.replaced |= alike && (ill || self.altered);
    }

    /// Whether it counts among those that a release declares. One that was replaced because it was ill is
    /// to leave as soon as the gateway says that it may, also if it is well again by then.
    pub(crate) fn is_declared(&self) -> bool {
        let changed = self.replaced || self.altered;
        self.is_live() && !changed && *self.state() != InstanceState::Unhealthy
    }

    /// Whether Ward asked it to stop.
    pub(crate) fn was_stopped(&self) -> bool {
        self.ends.is_some()
    }

    fn enter(&mut self, state: InstanceState, now: u64, wall: Timestamp) {
        self.states.push((now, wall, state));
    }

    pub(crate) fn stop(&mut self, now: u64, wall: Timestamp, grace: u64) {
        if self.is_live() {
            self.ends = Some(now + self.behaviour.stop_takes.min(grace));
            self.enter(InstanceState::Stopping, now, wall);
        }
    }

    /// `kill -9` of the instance.
    pub(crate) fn kill(&mut self, now: u64, wall: Timestamp) {
        let exit = Exit::Signal(9);
        let asked = *self.state() == InstanceState::Stopping;
        if !self.is_over() {
            self.enter(InstanceState::Exited { exit, asked }, now, wall);
        }
    }

    /// `kill -9` of its keeper.
    pub(crate) fn lose(&mut self, now: u64, wall: Timestamp) {
        if !self.is_over() {
            self.enter(InstanceState::Lost, now, wall);
        }
    }

    /// SIGSTOP. Its health check fails, if it has one; if not, its keeper says that it is stopped.
    pub(crate) fn pause(&mut self, now: u64, wall: Timestamp) {
        self.turn(false, now, wall);
        self.stopped = true;
    }

    /// Other hands change the files that it runs from.
    pub(crate) fn alter(&mut self) {
        self.altered = true;
    }

    /// Whether it runs from files that other hands changed.
    pub(crate) fn is_altered(&self) -> bool {
        self.altered && self.is_live()
    }

    /// Its health check fails from now on, or succeeds again.
    pub(crate) fn turn(&mut self, well: bool, now: u64, wall: Timestamp) {
        self.ill = !well;
        self.stopped = false;
        let next = match (self.state(), well) {
            (InstanceState::Healthy, false) => InstanceState::Unhealthy,
            (InstanceState::Unhealthy, true) => InstanceState::Healthy,
            _ => return,
        };
        self.enter(next, now, wall);
    }

    fn moments(&self) -> [Option<u64>; 3] {
        let from_start = |after| self.started + after;
        [
            self.behaviour.exit.map(|(after, _)| from_start(after)),
            self.ends,
            self.behaviour.healthy_after.map(from_start),
        ]
    }

    /// The next moment at which it does something, or at which that is shown.
    pub(crate) fn next_event(&self, now: u64, lag: u64) -> Option<u64> {
        let shown = self.latest().0 + lag;
        let own = self.moments().into_iter().flatten();
        let own = own.filter(|_| !self.is_over());
        let checkup = self.checkup.as_ref().map(|(ends, _)| *ends);
        own.chain([shown])
            .chain(checkup)
            .filter(|at| *at > now)
            .min()
    }

    /// Lets it do what is due; what that was, in words.
    pub(crate) fn advance(&mut self, now: u64, wall: Timestamp) -> Option<&'static str> {
        let [exit, ends, healthy] = self.moments().map(|t| t.is_some_and(|t| t <= now));
        let stopping = *self.state() == InstanceState::Stopping;
        match self.state() {
            _ if self.is_over() => None,
            InstanceState::Stopping if ends => {
                let exit = Exit::Code(0);
                self.enter(InstanceState::Exited { exit, asked: true }, now, wall);
                Some("has stopped")
            }
            _ if exit => {
                let (_, exit) = self.behaviour.exit?;
                let asked = stopping;
                self.enter(InstanceState::Exited { exit, asked }, now, wall);
                Some("ended")
            }
            InstanceState::Starting if healthy && !self.ill => {
                self.enter(InstanceState::Healthy, now, wall);
                Some("is healthy")
            }
            _ => None,
        }
    }
}
