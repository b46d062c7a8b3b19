//! The made-up world itself: everything that exists outside the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use ward_types::checkup::Occasion;
use ward_types::event::{Event, State};
use ward_types::id::{DeploymentId, EnvId, InstanceId, ReleaseId};
use ward_types::keeper::{InstanceFacts, Role};
use ward_types::release::{Deployment, Environment, Phase};
use ward_types::table::Pool;
use ward_types::time::Timestamp;

use crate::dice::Dice;
use crate::engine::{Behaviour, Copy};
use crate::gateway::Gateway;

/// What the clock says when the world begins, in milliseconds.
const EPOCH: u64 = 1_000_000_000;

/// What goes wrong between a driver and its world. Boundaries are counted from 1: one before and one
/// after each effect and each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Faults {
    /// The driver is killed at this boundary.
    pub(crate) crash_at: Option<u64>,
    /// At this boundary something is done, and the answer is lost: it will be done again.
    pub(crate) lose_at: Option<u64>,
    /// Before this boundary the driver is stopped, and wakes when another has taken over.
    pub(crate) stall_at: Option<u64>,
}

/// How instances behave that are started from now on.
pub(crate) enum Behaviours {
    Good,
    Any(Dice),
}

pub(crate) struct Inner {
    /// Milliseconds since the world began; what the clock says is `wall()`.
    pub(crate) now: u64,
    /// How far the clock is set off, in milliseconds, from an hour early to an hour late.
    clock: i64,
    pub(crate) clock_was_set: bool,
    pub(crate) id: EnvId,
    pub(crate) state: Arc<State>,
    pub(crate) events: u64,
    pub(crate) engine: BTreeMap<InstanceId, Copy>,
    pub(crate) gateway: Gateway,
    pub(crate) numbers: BTreeMap<String, u64>,
    pub(crate) behaviours: Behaviours,
    /// How late the engine shows what became of an instance, in milliseconds.
    pub(crate) lag: u64,
    pub(crate) log_full_until: u64,
    pub(crate) faults: Faults,
    pub(crate) boundary: u64,
    pub(crate) crashed: bool,
    /// The driver was stopped just now.
    pub(crate) stalled: bool,
    /// The fencing number of the driver that acts.
    pub(crate) term: u64,
    /// Something kept the driver from what it should have done just now.
    pub(crate) disturbed: bool,
    pub(crate) purged: u32,
    /// When each instance left the table.
    pub(crate) left: BTreeMap<InstanceId, u64>,
    /// When each deployment entered its phase, in the world's own time.
    pub(crate) entered: BTreeMap<DeploymentId, u64>,
    /// When each deployment was asked for, in the world's own time.
    pub(crate) asked: BTreeMap<DeploymentId, u64>,
    /// When each was resumed last.
    pub(crate) resumed: BTreeMap<DeploymentId, u64>,
    pub(crate) ended: BTreeMap<DeploymentId, u32>,
    /// The deployments whose release was in the gateway's table, and did not serve before.
    pub(crate) served: BTreeSet<DeploymentId>,
    /// The first promise that was broken.
    pub(crate) violation: Option<String>,
    /// What happened, line by line, when somebody wants to read it.
    pub(crate) transcript: Option<String>,
}

impl Inner {
    pub(crate) fn new(env: &str, transcript: Option<String>) -> Self {
        let id = crate::specs::env(env);
        let mut world = Self {
            now: 0,
            clock: 0,
            clock_was_set: false,
            id: id.clone(),
            state: Arc::default(),
            events: 0,
            engine: BTreeMap::new(),
            gateway: Gateway::default(),
            numbers: BTreeMap::new(),
            behaviours: Behaviours::Good,
            lag: 0,
            log_full_until: 0,
            faults: Faults::default(),
            boundary: 0,
            crashed: false,
            stalled: false,
            term: 0,
            disturbed: false,
            purged: 0,
            left: BTreeMap::new(),
            entered: BTreeMap::new(),
            asked: BTreeMap::new(),
            resumed: BTreeMap::new(),
            ended: BTreeMap::new(),
            served: BTreeSet::new(),
            violation: None,
            transcript,
        };
        world.append(&Event::created(id));
        world
    }

    pub(crate) fn wall(&self) -> Timestamp {
        Timestamp((EPOCH + self.now).saturating_add_signed(self.clock))
    }

    /// The world's own time at which the clock says this, as it is set now.
    pub(crate) fn moment(&self, wall: Timestamp) -> u64 {
        let past = wall.0.saturating_sub(self.wall().0);
        self.now + past
    }

    pub(crate) fn set_clock(&mut self, clock: i64) {
        self.say(|| format!("! the clock is set {} s off", clock / 1000));
        self.clock = clock;
        self.clock_was_set = true;
        self.begin_phase_again();
    }

    /// A limit counts anew when nobody can know any more when it began.
    pub(crate) fn begin_phase_again(&mut self) {
        let active = self.env().active().map(|d| d.id);
        if let Some(id) = active {
            self.entered.insert(id, self.now);
        }
    }

    pub(crate) fn env(&self) -> &Environment {
        &self.state.environments[&self.id]
    }

    pub(crate) fn say(&mut self, line: impl FnOnce() -> String) {
        let (seconds, millis) = (self.now / 1000, self.now % 1000);
        if let Some(transcript) = &mut self.transcript {
            let _ = writeln!(transcript, "{seconds:>5}.{millis:03} {}", line());
        }
    }

    pub(crate) fn violate(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.say(|| format!("!! {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violate(what());
        }
    }

    /// Appends an event that nobody can keep from being appended.
    pub(crate) fn append(&mut self, event: &Event) {
        let at = self.wall();
        match Arc::make_mut(&mut self.state).apply(at, event) {
            Ok(_) => self.events += 1,
            Err(misfit) => self.violate(format!("an event does not fit the log: {misfit}")),
        }
    }

    /// One boundary more. The driver that is killed there does nothing from then on.
    pub(crate) fn cross(&mut self) -> bool {
        if !self.crashed {
            self.boundary += 1;
            self.crashed = self.faults.crash_at == Some(self.boundary);
            if self.crashed {
                self.disturbed = true;
                self.say(|| "! the driver is killed".into());
            }
        }
        self.crashed
    }

    /// Whether the driver is stopped here.
    pub(crate) fn stalls(&mut self) -> bool {
        let stalls = self.faults.stall_at == Some(self.boundary + 1);
        if stalls {
            self.faults.stall_at = None;
            self.stalled = true;
            self.disturbed = true;
            self.say(|| "! the driver is stopped".into());
        }
        stalls
    }

    pub(crate) fn loses_answer(&mut self) -> bool {
        let loses = self.faults.lose_at == Some(self.boundary);
        if loses {
            self.disturbed = true;
            self.say(|| "! and the answer is lost".into());
        }
        loses
    }

    // What a driver can do. Each holds what is done against the world itself, not against what was seen
    // of it.

    pub(crate) fn start(&mut self, facts: InstanceFacts) -> Result<(), String> {
        let id = facts.id.clone();
        let up = self.env().is_awake();
        self.must(up, || {
            format!("{id} is started although it is down or sleeps")
        });
        if self.engine.contains_key(&id) {
            return Ok(());
        }
        self.must_have_room(&facts);
        self.must_be_the_only_attempt(&facts);
        self.must_fit_the_schema(&facts);
        let behaviour = match &mut self.behaviours {
            Behaviours::Good => Behaviour::good(facts.role),
            Behaviours::Any(dice) => Behaviour::any(dice, facts.role),
        };
        self.say(|| format!("+ start {id}"));
        let (now, wall) = (self.now, self.wall());
        let facts = self.with_port(facts);
        let lag = self.lag;
        self.engine
            .values_mut()
            .for_each(|copy| copy.beside(&facts, now, lag));
        self.engine
            .insert(id, Copy::new(facts, behaviour, now, wall));
        self.no_two_releases_overlap();
        Ok(())
    }

    fn with_port(&self, facts: InstanceFacts) -> InstanceFacts {
        let port = match facts.role {
            Role::Database => Some(5432),
            Role::Service
            | Role::ReleaseCommand
            | Role::Seed
            | Role::Copy
            | Role::VolumeCopy
            | Role::Snapshot
            | Role::Drill(_)
            | Role::Run(_) => {
                let release = self.env().releases.get(&facts.release);
                let service = release.and_then(|r| r.spec.services.get(&facts.component));
                service.and_then(|service| service.port)
            }
        };
        InstanceFacts { port, ..facts }
    }

    pub(crate) fn stop(&mut self, id: &InstanceId, grace: u64) -> Result<(), String> {
        self.must_be_out(id, "stopped");
        let busy = self.gateway.is_busy(id);
        self.must(!busy, || format!("{id} is stopped at work"));
        self.say(|| format!("- stop {id}"));
        let (now, wall) = (self.now, self.wall());
        if let Some(copy) = self.engine.get_mut(id) {
            copy.stop(now, wall, grace);
        }
        Ok(())
    }

    pub(crate) fn check(
        &mut self,
        id: &InstanceId,
        of: Occasion,
        within: u64,
    ) -> Result<(), String> {
        self.say(|| format!("? check {id}"));
        let now = self.now;
        if let Some(copy) = self.engine.get_mut(id) {
            copy.check(of, now, within);
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) -> Result<(), String> {
        self.must_be_out(id, "removed");
        let runs = self.engine.get(id).is_some_and(|copy| !copy.is_over());
        self.must(!runs, || format!("{id} is removed while it runs"));
        self.say(|| format!("- remove {id}"));
        self.engine.remove(id);
        self.gateway.cut(id);
        Ok(())
    }

    pub(crate) fn cut(&mut self, id: &InstanceId) -> Result<(), String> {
        self.must_be_out(id, "cut");
        self.must_have_had_its_budget(id);
        self.say(|| format!("- cut {id}"));
        self.gateway.cut(id);
        Ok(())
    }

    pub(crate) fn route(&mut self, pools: Vec<Pool>) -> Result<(), String> {
        self.must_go_on_serving(&pools);
        self.must_keep_the_floor(&pools);
        self.must_be_well_again(&pools);
        self.say(|| {
            let endpoints = pools.iter().flat_map(|pool| &pool.endpoints);
            let names: Vec<_> = endpoints.map(|e| e.instance.to_string()).collect();
            format!("* route to [{}]", names.join(" "))
        });
        let applied = self.gateway.apply(pools, self.now);
        self.note_table();
        applied
    }

    pub(crate) fn record(&mut self, event: &Event) -> Result<(), String> {
        if self.log_full_until > self.now {
            self.disturbed = true;
            return Err("the disk is full".into());
        }
        if let Event::DeploymentMoved {
            deployment, phase, ..
        } = event
        {
            let (id, now) = (*deployment, self.now);
            self.say(|| format!("= {id} {phase:?}"));
            self.entered.insert(id, now);
            if let Phase::Finished { .. } = phase {
                *self.ended.entry(id).or_default() += 1;
                self.must_be_true(id, phase);
                self.must_tell_that_it_served(id, phase);
            }
        }
        if let Event::DeploymentServed {
            deployment, stage, ..
        } = event
        {
            self.say(|| format!("= {deployment} takes requests, at stage {stage:?}"));
        }
        self.append(event);
        Ok(())
    }

    pub(crate) fn purge(&mut self) -> Result<(), String> {
        let empty = self.engine.values().all(Copy::is_over);
        self.must(empty, || "data is purged while something runs".into());
        self.purged += 1;
        Ok(())
    }

    pub(crate) fn note_table(&mut self) {
        let env = self.env();
        // What cannot be written down nobody remembers.
        let can_be_told = self.log_full_until <= self.now;
        let changes = env
            .active()
            .filter(|d| can_be_told && env.current != Some(d.to));
        // What an earlier one left in the table is not its doing.
        let moves =
            |d: &&Deployment| matches!(d.phase, Phase::Rolling { .. } | Phase::Reverting { .. });
        let served = changes.filter(moves);
        let served = served.filter(|d| self.releases_in_table().contains(&d.to));
        let served = served.map(|d| d.id);
        self.served.extend(served);
        for id in self.engine.keys() {
            match self.gateway.may_name(id) {
                true => self.left.remove(id),
                false => Some(*self.left.entry(id.clone()).or_insert(self.now)),
            };
        }
    }

    pub(crate) fn releases_in_table(&self) -> Vec<ReleaseId> {
        let endpoints = self.gateway.table.iter().flat_map(|p| &p.endpoints);
        let mut releases: Vec<_> = endpoints.map(|e| e.release).collect();
        releases.sort();
        releases.dedup();
        releases
    }
}
