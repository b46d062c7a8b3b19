//! Simulated instances.

use ward_plan::SeenInstance;
use ward_types::checkup::{Checkup, Found, Occasion};
use ward_types::keeper::{Exit, InstanceFacts, InstanceState, InstanceStatus, Role};
use ward_types::time::Timestamp;

/// What an instance will do, in milliseconds from its start.
#[derive(Debug, Clone)]
pub struct Behaviour {
    pub healthy_after: Option<u64>,
    pub exit: Option<(u64, Exit)>,
    /// From the signal to its end, if it heeds it.
    pub stop_takes: u64,
    pub refused: Option<String>,
    pub output: Vec<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            healthy_after: Some(300),
            exit: None,
            stop_takes: 100,
            refused: None,
            output: Vec::new(),
        }
    }
}

impl Behaviour {
    pub fn exits(after: u64, code: i32, output: &[&str]) -> Self {
        Self {
            healthy_after: None,
            exit: Some((after, Exit::Code(code))),
            output: output.iter().map(|line| (*line).to_owned()).collect(),
            ..Self::default()
        }
    }

    pub fn hangs() -> Self {
        Self {
            healthy_after: None,
            output: vec!["listening soon".into()],
            ..Self::default()
        }
    }

    pub fn refused(message: &str) -> Self {
        Self {
            refused: Some(message.into()),
            ..Self::default()
        }
    }
}

pub struct Sim {
    pub facts: InstanceFacts,
    behaviour: Behaviour,
    state: InstanceState,
    since: Timestamp,
    started: u64,
    /// When it ends because it was asked to.
    ends: Option<u64>,
    ill: bool,
    stopped: bool,
    altered: Option<String>,
    /// It answers nobody, and its health check has not found out yet.
    hung: bool,
    /// When a check ends, of which deployment, and what comes of it.
    checkup: Option<(u64, Checkup)>,
}

impl Sim {
    pub fn new(facts: InstanceFacts, behaviour: Behaviour, now: u64, wall: Timestamp) -> Self {
        let state = match &behaviour.refused {
            Some(message) => InstanceState::Failed {
                message: message.clone(),
            },
            None => InstanceState::Starting,
        };
        Self {
            facts,
            behaviour,
            state,
            since: wall,
            started: now,
            ends: None,
            ill: false,
            stopped: false,
            altered: None,
            hung: false,
            checkup: None,
        }
    }

    pub fn seen(&self, now: u64) -> SeenInstance {
        let waits = matches!(self.state, InstanceState::Starting) && self.facts.port.is_some();
        let failing = waits || self.state == InstanceState::Unhealthy;
        let runs = matches!(
            self.state,
            InstanceState::Starting | InstanceState::Unhealthy
        );
        let stopped = self.stopped && runs;
        let said = match stopped {
            true => "it is stopped by a signal, and makes no progress",
            false => "connection refused",
        };
        SeenInstance {
            facts: self.facts.clone(),
            status: InstanceStatus {
                state: self.state.clone(),
                pid: None,
                keeper_pid: 1,
                last_failure: failing.then(|| said.to_owned()),
                missing: Vec::new(),
                stopped,
            },
            since: self.since,
            output: self.behaviour.output.clone(),
            altered: self.altered.clone(),
            checkup: self.checkup.as_ref().map(|(ends, checkup)| Checkup {
                of: checkup.of,
                found: match *ends <= now {
                    true => checkup.found.clone(),
                    false => Found::Awaited,
                },
            }),
        }
    }

    /// What is well answers in 3 ms, and what hangs not at all.
    pub fn check(&mut self, of: Occasion, now: u64, within: u64) {
        if self
            .checkup
            .as_ref()
            .is_some_and(|(_, known)| known.of == of)
        {
            return;
        }
        let ill = |why: &str| Found::Ill(why.to_owned());
        let (ends, found) = match self.state {
            InstanceState::Healthy if self.hung => (now + within, ill("no answer")),
            InstanceState::Healthy => (now + 3, Found::Well),
            _ => (now + 3, ill("connection refused")),
        };
        self.checkup = Some((ends, Checkup { of, found }));
    }

    /// Stops it so that nobody has noticed yet.
    pub fn hang(&mut self) {
        self.hung = true;
    }

    /// What a client would notice.
    pub fn answers(&self) -> bool {
        self.is_healthy() && !self.hung
    }

    pub fn is_over(&self) -> bool {
        self.state.is_over()
    }

    pub fn is_healthy(&self) -> bool {
        self.state == InstanceState::Healthy
    }

    pub fn is_live_service(&self) -> bool {
        let stays = !self.is_over() && self.state != InstanceState::Stopping;
        stays && self.facts.role == Role::Service
    }

    fn enter(&mut self, state: InstanceState, wall: Timestamp) {
        self.state = state;
        self.since = wall;
    }

    pub fn stop(&mut self, now: u64, wall: Timestamp, grace: u64) {
        if self.is_over() || self.state == InstanceState::Stopping {
            return;
        }
        self.ends = Some(now + self.behaviour.stop_takes.min(grace));
        self.enter(InstanceState::Stopping, wall);
    }

    /// `kill -9` of the instance.
    pub fn kill(&mut self, wall: Timestamp) {
        let exit = Exit::Signal(9);
        let asked = self.state == InstanceState::Stopping;
        if !self.is_over() {
            self.enter(InstanceState::Exited { exit, asked }, wall);
        }
    }

    /// `kill -9` of its keeper.
    pub fn lose(&mut self, wall: Timestamp) {
        if !self.is_over() {
            self.enter(InstanceState::Lost, wall);
        }
    }

    /// SIGSTOP.
    pub fn pause(&mut self, wall: Timestamp) {
        self.turn(false, wall);
        self.stopped = true;
    }

    /// Other hands change the files that it runs from.
    pub fn alter(&mut self, what: &str) {
        self.altered = Some(what.to_owned());
    }

    /// Its health check fails from now on, or succeeds again.
    pub fn turn(&mut self, well: bool, wall: Timestamp) {
        self.ill = !well;
        self.stopped = false;
        match (&self.state, well) {
            (InstanceState::Healthy, false) => self.enter(InstanceState::Unhealthy, wall),
            (InstanceState::Unhealthy, true) => self.enter(InstanceState::Healthy, wall),
            _ => {}
        }
    }

    fn moments(&self) -> [Option<u64>; 3] {
        let from_start = |after| self.started + after;
        [
            self.behaviour.exit.map(|(after, _)| from_start(after)),
            self.ends,
            self.behaviour.healthy_after.map(from_start),
        ]
    }

    pub fn next_event(&self, now: u64) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        let checkup = self.checkup.as_ref().map(|(ends, _)| *ends);
        let moments = self.moments().into_iter().flatten().chain(checkup);
        moments.filter(|t| *t > now).min()
    }

    pub fn advance(&mut self, now: u64, wall: Timestamp) -> Option<String> {
        let [exit, ends, healthy] = self.moments().map(|t| t.is_some_and(|t| t <= now));
        let id = self.facts.id.clone();
        let stopping = self.state == InstanceState::Stopping;
        match self.state {
            _ if self.is_over() => None,
            InstanceState::Stopping if ends => {
                let exit = Exit::Code(0);
                self.enter(InstanceState::Exited { exit, asked: true }, wall);
                Some(format!("{id} has stopped"))
            }
            _ if exit => {
                let (_, exit) = self.behaviour.exit?;
                let asked = stopping;
                self.enter(InstanceState::Exited { exit, asked }, wall);
                Some(format!("{id} ended: {exit:?}"))
            }
            InstanceState::Starting if healthy && !self.ill => {
                self.enter(InstanceState::Healthy, wall);
                Some(format!("{id} is healthy"))
            }
            _ => None,
        }
    }
}
