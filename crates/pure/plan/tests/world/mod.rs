//! A simulated world: instances, a gateway, a log and a driver, moved by hand through time. It runs the
//! real planner and the real checker, refuses every plan that the checker objects to, and holds what
//! it does itself against the promises. What happens is written down line by line.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of the world"
)]

mod declare;
mod dice;
mod engine;
mod gateway;
mod tell;

pub use declare::*;
pub use dice::{Dice, cases, seeds};
pub use engine::{Behaviour, Sim};
pub use gateway::Gateway;

use std::collections::BTreeMap;

use ward_plan::{Action, Memory, Observed, Plan};
use ward_types::event::{Event, State};
use ward_types::id::{DeploymentId, EnvId, InstanceId, Name, ReleaseId, RunId};
use ward_types::keeper::{InstanceFacts, Role};
use ward_types::maintenance::Maintenance;
use ward_types::release::{Deployment, Environment, Goal, Phase, Reason};
use ward_types::run::{Overlap, Run};
use ward_types::sleep::{Alarm, Drowsiness};
use ward_types::spec::Strategy;
use ward_types::time::{Millis, Timestamp};

/// What stops a driver in the middle of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It dies after so many actions of the next plan, and forgets its memory.
    Crash(usize),
    /// The action of that number in the next plan fails, the others are carried out.
    Fail(usize),
}

pub struct World {
    /// Milliseconds since the world began; what the clock says is `wall()`.
    pub now: u64,
    pub clock_offset: i64,
    pub state: State,
    pub id: EnvId,
    pub engine: BTreeMap<InstanceId, Sim>,
    pub gateway: Gateway,
    pub memory: Memory,
    pub ordinal: u64,
    /// Somebody needs it of whom neither the log nor the gateway knows.
    pub in_use: bool,
    pub mishaps: Vec<Mishap>,
    pub behave: Box<dyn Fn(&Start) -> Behaviour>,
    pub transcript: String,
    pub purged: u32,
    pub plans: u64,
    /// How often the driver looks at least, in milliseconds.
    pub looks: u64,
    /// A mishap kept the driver from what it should have done just now.
    disturbed: bool,
    clock_was_set: bool,
    /// When each instance left the table.
    left: BTreeMap<InstanceId, u64>,
    waiting: Vec<String>,
    wake: Option<Timestamp>,
    /// When each deployment entered its phase, in the world's own time.
    entered: BTreeMap<DeploymentId, (u64, &'static str)>,
}

/// What is started, for a behaviour to be chosen by.
pub struct Start {
    pub component: String,
    pub release: u64,
    pub role: Role,
    pub ordinal: u64,
}

const EPOCH: i64 = 1_000_000_000;

impl World {
    pub fn new() -> Self {
        Self::of("returns/dev")
    }

    pub fn of(env: &str) -> Self {
        let id = EnvId::parse(env).unwrap();
        let mut state = State::default();
        let created = Event::created(id.clone());
        state.apply(Timestamp(0), &created).unwrap();
        Self {
            now: 0,
            clock_offset: 0,
            state,
            id,
            engine: BTreeMap::new(),
            gateway: Gateway::default(),
            memory: Memory::default(),
            ordinal: 1,
            in_use: false,
            mishaps: Vec::new(),
            behave: Box::new(|_| Behaviour::default()),
            transcript: String::new(),
            purged: 0,
            plans: 0,
            looks: 1000,
            disturbed: false,
            clock_was_set: false,
            left: BTreeMap::new(),
            waiting: Vec::new(),
            wake: None,
            entered: BTreeMap::new(),
        }
    }

    pub fn wall(&self) -> Timestamp {
        Timestamp(u64::try_from(EPOCH + self.now as i64 + self.clock_offset).unwrap())
    }

    pub fn env(&self) -> &Environment {
        &self.state.environments[&self.id]
    }

    fn append(&mut self, event: &Event) {
        let at = self.wall();
        if let Err(misfit) = self.state.apply(at, event) {
            panic!("{misfit}\n{}", self.transcript);
        }
    }

    // What people do.

    pub fn record(&mut self, spec: ward_types::spec::EnvSpec) -> ReleaseId {
        let release = release_of(self.env().next_release(), spec, self.wall());
        let id = release.id;
        let env = self.id.clone();
        let release = Box::new(release);
        self.append(&Event::ReleaseRecorded { env, release });
        id
    }

    pub fn queue(&mut self, to: ReleaseId, reason: Reason) -> DeploymentId {
        self.queue_despite(to, reason, None)
    }

    /// Where the log refuses that, somebody says that it shall be all the same.
    pub fn queue_despite(
        &mut self,
        to: ReleaseId,
        reason: Reason,
        despite_schema: Option<&str>,
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
            despite_schema: despite_schema.map(str::to_owned),
            plan: None,
            gaps: Vec::new(),
            phase: Phase::Queued,
        };
        self.say(&format!("> {reason:?} {to} is asked for as {id}"));
        let env = self.id.clone();
        let deployment = Box::new(deployment);
        self.append(&Event::DeploymentQueued { env, deployment });
        id
    }

    pub fn deploy(&mut self, spec: ward_types::spec::EnvSpec) -> DeploymentId {
        let release = self.record(spec);
        self.queue(release, Reason::Deploy)
    }

    /// The clock is set, forward or back.
    pub fn set_clock(&mut self, offset: i64) {
        self.say(&format!("! the clock is set to {} s off", offset / 1000));
        self.clock_offset = offset;
        self.clock_was_set = true;
        self.begin_phase_again();
    }

    /// A limit counts anew when nobody can know any more when it began.
    fn begin_phase_again(&mut self) {
        let active = self.env().active().map(|d| d.id);
        if let Some(entry) = active.and_then(|id| self.entered.get_mut(&id)) {
            entry.0 = self.now;
        }
    }

    pub fn cancel(&mut self, deployment: DeploymentId) {
        self.say(&format!("> {deployment} is cancelled"));
        let (env, by) = (self.id.clone(), "anna".to_owned());
        self.append(&Event::DeploymentCancelled {
            env,
            deployment,
            by,
        });
    }

    pub fn pause(&mut self, deployment: DeploymentId) {
        self.say(&format!("> {deployment} is paused"));
        let (env, by) = (self.id.clone(), "anna".to_owned());
        self.append(&Event::DeploymentPaused {
            env,
            deployment,
            by,
        });
    }

    pub fn resume(&mut self, deployment: DeploymentId) {
        self.say(&format!("> {deployment} is resumed"));
        let env = self.id.clone();
        self.append(&Event::DeploymentResumed { env, deployment });
        self.begin_phase_again();
    }

    /// The stages before this one are held no longer.
    pub fn promote(&mut self, deployment: DeploymentId, to: u32) {
        self.say(&format!("> {deployment} is promoted"));
        let env = self.id.clone();
        self.append(&Event::DeploymentPromoted {
            env,
            deployment,
            to,
        });
    }

    /// Clients get a page with these words, or answers again.
    pub fn maintain(&mut self, words: Option<&str>) {
        let (env, service) = (self.id.clone(), None);
        let Some(words) = words else {
            self.say("> the maintenance is over");
            return self.append(&Event::MaintenanceEnded { env, service });
        };
        self.say(&format!("> maintenance: {words}"));
        let maintenance = Maintenance {
            message: words.to_owned(),
            allow: Vec::new(),
            retry_after: Millis::secs(300),
        };
        let by = "anna".to_owned();
        self.append(&Event::MaintenanceBegan {
            env,
            service,
            maintenance,
            by,
        });
    }

    pub fn goal(&mut self, goal: Goal) {
        self.say(&format!("> the goal is {goal:?}"));
        let env = self.id.clone();
        self.append(&Event::GoalChanged { env, goal });
    }

    /// A one-off command in the image of `worker`, of the release that serves; with a name, a job's.
    pub fn run_asked(&mut self, job: Option<&str>, deadline: u64, retries: u32) -> RunId {
        let id = self.env().runs.last.next();
        let run = Run {
            id,
            job: job.map(name),
            due: None,
            service: name("worker"),
            release: self.env().current.unwrap(),
            command: vec!["close-month".into()],
            deadline: Millis(deadline),
            retries,
            overlap: Overlap::Queue,
            requested: self.wall(),
            by: "anna".into(),
            attempts: Vec::new(),
            again: None,
            stopped: None,
        };
        self.say(&format!("> {id} is asked for"));
        let (env, run) = (self.id.clone(), Box::new(run));
        self.append(&Event::RunQueued { env, run });
        id
    }

    pub fn stop_run(&mut self, run: RunId) {
        self.say(&format!("> {run} is to stop"));
        let (env, by) = (self.id.clone(), "anna".to_owned());
        self.append(&Event::RunStopped { env, run, by });
    }

    /// Ends so long after this moment.
    pub fn lasts(&mut self, millis: u64) {
        self.say(&format!("> it lasts for {} s", millis / 1000));
        let (env, until) = (self.id.clone(), Some(self.wall() + Millis(millis)));
        self.append(&Event::EnvironmentExtended { env, until });
    }

    /// A request comes: an instance of the table answers it, or the gateway holds it and calls.
    pub fn ask(&mut self, service: &str) {
        let pool = self.gateway.table.iter();
        let pool = pool.clone().find(|pool| pool.service == name(service));
        let pool = pool.cloned().expect("the service is routed");
        match (pool.endpoints.first(), pool.asleep) {
            (Some(endpoint), _) => {
                self.say(&format!("> {} is asked", endpoint.instance));
                self.gateway.answer(&endpoint.instance, 1, 0, 5000);
            }
            (None, held) => {
                let asleep = self.env().asleep().map(|asleep| asleep.since);
                assert!(held.is_some(), "it is refused\n{}", self.transcript);
                self.say(&format!("> {service} is asked, and the request held"));
                self.gateway.held = true;
                if asleep == held {
                    self.wake(Alarm::Request);
                }
            }
        }
    }

    pub fn wake(&mut self, by: Alarm) {
        self.say(&format!("= it is woken: {by:?}"));
        let env = self.id.clone();
        self.append(&Event::EnvironmentWoken { env, by });
    }

    pub fn sleep(&mut self) {
        self.say("> it shall sleep");
        let (env, cause) = (self.id.clone(), Drowsiness::Asked);
        self.append(&Event::EnvironmentSlept { env, cause });
    }

    /// It was made with the wish that its data be another one's.
    pub fn copies_from(&mut self, from: &str) {
        let copies = Some(EnvId::parse(from).unwrap());
        self.state.environments.clear();
        self.append(&Event::EnvironmentCreated {
            env: self.id.clone(),
            origin: None,
            copies,
            restores: std::collections::BTreeMap::new(),
            until: None,
            by: "anna".into(),
            why: String::new(),
        });
        self.say(&format!("> its data is to be that of {from}"));
    }

    /// Something became of a backup.
    pub fn backs_up(&mut self, event: &Event) {
        self.say(&format!("> {}", event.kind()));
        self.append(event);
    }

    pub fn created_again(&mut self) {
        self.say("> it is created again");
        let created = Event::created(self.id.clone());
        self.append(&created);
    }

    // The driver.

    /// Observes, plans, checks and acts until nothing is left to do now.
    pub fn drive(&mut self) {
        let mut before = None;
        self.disturbed = false;
        for _ in 0..60 {
            let plan = self.plan();
            self.tell_waiting(&plan);
            self.wake = plan.wake;
            let same = before.as_ref() == Some(&plan.actions);
            if plan.actions.is_empty() {
                return;
            }
            if same {
                // It failed just now; it is left for the next look.
                let left = plan.actions.iter();
                left.for_each(|action| self.memory.was_not_done(action));
                return;
            }
            self.carry_out(&plan);
            before = Some(plan.actions);
        }
        panic!("the driver runs in circles\n{}", self.transcript);
    }

    pub fn plan(&mut self) -> Plan {
        self.advance();
        let observed = self.observe();
        let now = self.wall();
        let plan = ward_plan::plan(self.env(), &observed, now, self.ordinal, &self.memory);
        self.plans += 1;
        let objections = ward_plan::check(self.env(), &observed, &plan);
        if !objections.is_empty() {
            let transcript = &self.transcript;
            panic!("{objections:#?}\n{plan:#?}\n{transcript}");
        }
        if plan.actions.is_empty() {
            self.must_say_why(&plan);
        }
        self.memory = plan.memory.clone();
        plan
    }

    /// Promise P12: what is under way is waited for by name.
    fn must_say_why(&self, plan: &Plan) {
        let busy = self.env().active().is_some() || self.env().next_queued().is_some();
        let text = &self.transcript;
        assert!(
            !busy || !plan.waiting.is_empty(),
            "waits without a word\n{text}"
        );
    }

    pub fn observe(&self) -> Observed {
        let seen = self.engine.iter();
        Observed {
            instances: seen
                .map(|(id, sim)| (id.clone(), sim.seen(self.now)))
                .collect(),
            gateway: self.gateway.seen(),
            in_use: self.in_use,
        }
    }

    fn carry_out(&mut self, plan: &Plan) {
        self.ordinal = plan.next_ordinal;
        let mishap = self.mishaps.pop();
        self.disturbed |= mishap.is_some();
        for (number, action) in plan.actions.iter().enumerate() {
            if mishap == Some(Mishap::Crash(number)) {
                break;
            }
            if mishap == Some(Mishap::Fail(number)) {
                self.memory.was_not_done(action);
                continue;
            }
            self.tell_action(action);
            self.act(action);
        }
        if let Some(Mishap::Crash(_)) = mishap {
            self.say("! the driver was killed and is back");
            self.memory = Memory::default();
            let wall = self.wall();
            let active = self.env().active();
            let holds = active.is_some_and(|d| is_staged(&self.env().releases[&d.to].spec));
            // How long a stage was held is forgotten.
            if holds || active.is_some_and(|d| d.phase_since > wall) {
                self.begin_phase_again();
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Move { deployment, phase } => self.enter(*deployment, phase),
            Action::Start {
                id,
                component,
                release,
                role,
            } => {
                self.must_be_up(id);
                self.must_have_room(component, *release);
                self.must_run_on_the_schema(id, *release, *role);
                let facts = self.facts(id, component, *release, *role);
                self.must_be_alone(&facts);
                let start = Start {
                    component: component.to_string(),
                    release: release.0,
                    role: *role,
                    ordinal: id.ordinal(),
                };
                let behaviour = (self.behave)(&start);
                let sim = Sim::new(facts, behaviour, self.now, self.wall());
                let taken = self.engine.insert(id.clone(), sim);
                assert!(taken.is_none(), "{id} was started twice");
            }
            Action::Route { pools } => {
                let table = self.table(pools);
                self.must_go_on_serving(&table);
                self.must_keep_the_floor(&table);
                self.gateway.apply(table, self.now);
                self.note_table();
            }
            Action::Check { id, of, within } => {
                let now = self.now;
                self.sim(id).check(*of, now, within.0);
            }
            Action::Cut { id } => {
                self.must_be_out(id);
                self.must_have_had_its_budget(id);
                self.gateway.cut(id);
            }
            Action::Stop { id, grace } => {
                self.must_be_out(id);
                let text = &self.transcript;
                assert!(!self.gateway.is_busy(id), "{id} is stopped at work\n{text}");
                let (now, wall) = (self.now, self.wall());
                self.sim(id).stop(now, wall, grace.0);
            }
            Action::Report { id, how } => {
                assert!(self.sim(id).is_over(), "{id} {how}, and runs");
                let (env, instance, how) = (self.id.clone(), id.clone(), how.clone());
                self.append(&Event::InstanceEnded { env, instance, how });
            }
            Action::GiveUp { id, because } => {
                assert!(!self.sim(id).is_over(), "{id} {because}, and is over");
                self.append(&Event::InstanceGivenUp {
                    env: self.id.clone(),
                    instance: id.clone(),
                    because: because.clone(),
                });
            }
            Action::ChangeSchema {
                deployment,
                service,
                schema,
            } => {
                let (env, service) = (self.id.clone(), service.clone());
                self.append(&Event::SchemaChanging {
                    env,
                    deployment: *deployment,
                    service,
                    schema: *schema,
                });
            }
            Action::Exchanged { deployment, gap } => {
                let (env, deployment, gap) = (self.id.clone(), *deployment, gap.clone());
                self.append(&Event::ServiceExchanged {
                    env,
                    deployment,
                    gap,
                });
            }
            Action::Remove { id } => {
                self.must_be_out(id);
                assert!(self.sim(id).is_over(), "{id} is removed while it runs");
                self.engine.remove(id);
                self.gateway.forget(id);
            }
            Action::PurgeData => {
                assert!(self.engine.is_empty());
                self.purged += 1;
                let env = self.id.clone();
                self.append(&Event::DataPurged { env });
            }
            Action::Serve { deployment, stage } => {
                self.append(&Event::DeploymentServed {
                    env: self.id.clone(),
                    deployment: *deployment,
                    stage: *stage,
                });
            }
            Action::End { cause } => {
                let (env, cause) = (self.id.clone(), *cause);
                let (by, why) = ("ward".to_owned(), String::new());
                self.append(&Event::EnvironmentEnding {
                    env,
                    cause,
                    by,
                    why,
                });
            }
            Action::Fill {
                deployment,
                filling,
                component,
            } => {
                self.append(&Event::DataFilled {
                    env: self.id.clone(),
                    deployment: *deployment,
                    filling: *filling,
                    component: component.clone(),
                });
            }
            Action::Snapshotted {
                deployment,
                volume,
                snapshot,
                keep,
            } => {
                self.append(&Event::VolumeSnapshotted {
                    env: self.id.clone(),
                    deployment: *deployment,
                    volume: volume.clone(),
                    snapshot: *snapshot,
                    keep: *keep,
                });
            }
            Action::Sleep { cause } => {
                let (env, cause) = (self.id.clone(), *cause);
                self.append(&Event::EnvironmentSlept { env, cause });
            }
            Action::Wake { by } => {
                let (env, by) = (self.id.clone(), *by);
                self.append(&Event::EnvironmentWoken { env, by });
            }
            Action::WarnOfEnd => {
                let env = self.id.clone();
                self.append(&Event::ExpiryNear { env });
            }
            Action::Delete => {
                assert!(self.engine.is_empty());
                let env = self.id.clone();
                self.append(&Event::EnvironmentDeleted { env });
            }
            Action::Tried {
                run,
                attempt,
                again,
            } => {
                let (env, run, again) = (self.id.clone(), *run, *again);
                let attempt = attempt.clone();
                self.append(&Event::RunTried {
                    env,
                    run,
                    attempt,
                    again,
                });
            }
            Action::Retire { release } => {
                let (env, release) = (self.id.clone(), *release);
                self.append(&Event::ReleaseRetired { env, release });
            }
        }
    }

    fn enter(&mut self, deployment: DeploymentId, phase: &Phase) {
        let env = self.id.clone();
        self.append(&Event::DeploymentMoved {
            env,
            deployment,
            phase: phase.clone(),
        });
        self.entered
            .insert(deployment, (self.now, tell::word(phase)));
    }

    pub fn sim(&mut self, id: &InstanceId) -> &mut Sim {
        self.engine.get_mut(id).expect("the instance is there")
    }

    // Held against the world itself, not against what was seen of it.

    fn must_be_up(&self, id: &InstanceId) {
        let up = self.env().is_awake();
        assert!(up, "{id} was started although down\n{}", self.transcript);
    }

    /// What serves, what was never barred, or what somebody wanted all the same.
    fn must_run_on_the_schema(&self, id: &InstanceId, release: ReleaseId, role: Role) {
        let barred = role == Role::Service && self.env().barred(release).is_some();
        let active = self.env().active().filter(|d| d.to == release);
        let wanted = active.is_some_and(|d| d.despite_schema.is_some());
        let text = &self.transcript;
        assert!(!barred || wanted, "{id} cannot run\n{text}");
    }

    /// Whether any release has such a service that must not overlap: its requests may have to wait.
    fn is_apart(&self, service: &Name) -> bool {
        let specs = self.env().releases.values().map(|r| &r.spec);
        let mut services = specs.filter_map(|s| s.services.get(service));
        services.any(|s| !s.overlap)
    }

    /// Where releases do not overlap, nothing of another one runs.
    fn must_be_alone(&self, facts: &InstanceFacts) {
        let apart = |release: &ReleaseId| {
            let spec = self.env().releases.get(release).map(|r| &r.spec);
            let service = spec.and_then(|s| s.services.get(&facts.component));
            service.is_some_and(|s| !s.overlap)
        };
        let other = self.engine.values().find(|sim| {
            let (it, of) = (&sim.facts, sim.facts.release);
            let runs = it.component == facts.component && !sim.is_over();
            let runs = runs && it.role == Role::Service;
            runs && of != facts.release && (apart(&of) || apart(&facts.release))
        });
        let text = &self.transcript;
        if let Some(other) = other.filter(|_| facts.role == Role::Service) {
            panic!("{} starts beside {}\n{text}", facts.id, other.facts.id);
        }
    }

    fn must_be_out(&self, id: &InstanceId) {
        let names = self.gateway.may_name(id);
        assert!(!names, "{id} may get requests\n{}", self.transcript);
    }

    /// Requests may take `drain_timeout`, from when their instance left the table, and long connections
    /// `long_drain_timeout` and a little for their end.
    fn must_have_had_its_budget(&self, id: &InstanceId) {
        let left = self.left.get(id).copied().unwrap_or(0);
        let facts = &self.engine[id].facts;
        let spec = &self.env().releases[&facts.release].spec;
        let service = &spec.services[&facts.component];
        let under_way = self.gateway.traffic.get(id).copied().unwrap_or_default();
        let ordinary = u64::from(under_way.requests > 0) * service.drain_timeout.0;
        let long = u64::from(under_way.upgraded > 0) * (service.long_drain().0 + 5000);
        let budget = ordinary.max(long);
        let text = &self.transcript;
        let had = self.clock_was_set || self.now - left >= budget;
        assert!(had, "{id} is cut before its time\n{text}");
    }

    /// A table that serves is replaced only by one that serves, or by one without the service.
    fn must_go_on_serving(&self, table: &[ward_types::table::Pool]) {
        let healthy = |pool: &ward_types::table::Pool| {
            let mut ids = pool.endpoints.iter().map(|e| &e.instance);
            ids.any(|id| self.engine.get(id).is_some_and(Sim::is_healthy))
        };
        let env = self.env();
        let up = env.is_awake();
        let endpoints = table.iter().flat_map(|p| &p.endpoints);
        let mut releases: Vec<_> = endpoints.map(|e| e.release).collect();
        releases.sort();
        releases.dedup();
        let release = match releases.as_slice() {
            [one] => Some(*one),
            _ => env.current,
        };
        let spec = release.map(|r| &env.releases[&r].spec);
        let serving = self.gateway.table.iter().filter(|p| up && healthy(p));
        for pool in serving.filter(|pool| !self.is_apart(&pool.service)) {
            let wanted = spec.is_none_or(|s| {
                let service = s.services.get(&pool.service);
                service.is_some_and(|s| s.port.is_some())
            });
            let next = table.iter().find(|p| p.service == pool.service);
            let text = &self.transcript;
            let goes_on = !wanted || next.is_some_and(healthy);
            assert!(goes_on, "{} stops being served\n{text}", pool.service);
        }
    }

    /// Both releases of a rolling service together, while one is deployed that never ran before.
    fn rolling(&self, service: &Name) -> Option<(u32, u32, u32)> {
        let env = self.env();
        let active = env.active().filter(|d| d.reason == Reason::Deploy)?;
        let old = env.current_release().filter(|r| r.id != active.to)?;
        let old = old.spec.services.get(service)?;
        let new = env.releases[&active.to].spec.services.get(service)?;
        let Strategy::Rolling { surge, .. } = &new.strategy else {
            return None;
        };
        let first = env
            .deployments
            .values()
            .filter(|d| d.to == active.to)
            .count()
            == 1;
        let (a, b) = (old.instances, new.instances);
        let most = a.max(b) + surge.of(b);
        let first = first && old.overlap && new.overlap;
        (first && a > 0 && b > 0 && new.port.is_some()).then_some((a.min(b), a.max(b), most))
    }

    fn must_have_room(&self, service: &Name, release: ReleaseId) {
        let active = self.env().active().map(|d| &d.phase);
        let moves = matches!(
            active,
            Some(Phase::Rolling { .. } | Phase::Reverting { .. })
        );
        let Some((_, _, most)) = self.rolling(service).filter(|_| moves) else {
            return;
        };
        let both = [self.env().current, self.env().active().map(|d| d.to)];
        let running = self.engine.values().filter(|s| {
            let facts = &s.facts;
            let ours = facts.component == *service && both.contains(&Some(facts.release));
            ours && facts.role == Role::Service && !s.is_over()
        });
        let (running, text) = (running.count(), &self.transcript);
        let room = running < most as usize;
        assert!(
            room,
            "{running} of {service}, and one of {release} more\n{text}"
        );
    }

    /// A table of a rolling service has as many healthy instances as both releases declare, or as before.
    fn must_keep_the_floor(&self, table: &[ward_types::table::Pool]) {
        let healthy = |pool: &ward_types::table::Pool| {
            let ids = pool.endpoints.iter().map(|e| &e.instance);
            ids.filter(|id| self.engine.get(id).is_some_and(Sim::is_healthy))
                .count()
        };
        for pool in table {
            let Some((floor, _, _)) = self.rolling(&pool.service) else {
                continue;
            };
            let before = self
                .gateway
                .table
                .iter()
                .find(|p| p.service == pool.service);
            let before = before.map_or(0, healthy);
            let text = &self.transcript;
            let kept = healthy(pool) >= before.min(floor as usize);
            assert!(kept, "{} falls below {floor}\n{text}", pool.service);
        }
    }

    fn note_table(&mut self) {
        for id in self.engine.keys() {
            match self.gateway.may_name(id) {
                true => self.left.remove(id),
                false => Some(*self.left.entry(id.clone()).or_insert(self.now)),
            };
        }
    }

    // Time.

    /// Lets so many milliseconds pass, stopping wherever something happens.
    pub fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        self.drive();
        while self.now < end {
            self.now = self.next_moment(end);
            self.advance();
            self.drive();
            self.hold_promises();
        }
    }

    fn next_moment(&self, end: u64) -> u64 {
        let wake = self.wake.map(|t| t.0 as i64 - EPOCH - self.clock_offset);
        let wake = wake.and_then(|t| u64::try_from(t).ok());
        let events = self
            .engine
            .values()
            .filter_map(|sim| sim.next_event(self.now));
        let events = events.chain(self.gateway.next_event(self.now)).chain(wake);
        let next = events.filter(|t| *t > self.now).min();
        next.unwrap_or(end).min(self.now + self.looks).min(end)
    }

    fn advance(&mut self) {
        let (now, wall) = (self.now, self.wall());
        let mut lines = Vec::new();
        for sim in self.engine.values_mut() {
            lines.extend(sim.advance(now, wall));
        }
        lines.extend(self.gateway.advance(now));
        self.note_table();
        for line in lines {
            self.say(&format!("~ {line}"));
        }
    }

    /// Until the active and queued deployments ended.
    pub fn settle(&mut self) {
        for _ in 0..2000 {
            self.run(1000);
            let env = self.env();
            if env.active().is_none() && env.next_queued().is_none() {
                return;
            }
        }
        panic!("no end\n{}", self.transcript);
    }

    fn hold_promises(&self) {
        self.holds_one_release();
        self.holds_serving();
        self.holds_surge();
        self.holds_deadlines();
    }

    fn holds_one_release(&self) {
        let endpoints = self.gateway.table.iter().flat_map(|p| &p.endpoints);
        let mut releases: Vec<_> = endpoints.map(|e| e.release).collect();
        releases.sort();
        releases.dedup();
        let text = &self.transcript;
        let specs = self.env().releases.values().map(|r| &r.spec);
        let staged = specs.clone().any(is_staged);
        assert!(
            releases.len() <= 1 || staged,
            "{releases:?} in one table\n{text}"
        );
        for pool in &self.gateway.table {
            let mut releases: Vec<_> = pool.endpoints.iter().map(|e| e.release).collect();
            releases.sort();
            releases.dedup();
            let mut services = specs.clone().filter_map(|s| s.services.get(&pool.service));
            let rolls = services.any(|s| matches!(s.strategy, Strategy::Rolling { .. }));
            let may = releases.len() <= 1 || pool.split.is_some() || rolls;
            assert!(
                may && releases.len() <= 2,
                "{releases:?} of {}\n{text}",
                pool.service
            );
        }
    }

    /// An environment that is up and whose gateway is well has in each pool a healthy instance, if the
    /// release in the table has one.
    fn holds_serving(&self) {
        let quiet = self.gateway.is_well() && !self.disturbed;
        if !self.env().is_awake() || !quiet {
            return;
        }
        // A rollback that has switched, and exchanges its workers.
        let switched = self.env().active().filter(|d| {
            d.reason != Reason::Deploy && matches!(d.phase, Phase::Rolling { stage: 1.. })
        });
        let switched = switched.map(|d| d.to);
        let pools = self.gateway.table.iter();
        for pool in pools.filter(|pool| !self.is_apart(&pool.service)) {
            let releases = pool.endpoints.iter().map(|e| e.release);
            let shown = releases.max().or(switched).or(self.env().current);
            let healthy = |sim: &&Sim| {
                sim.is_healthy()
                    && Some(sim.facts.release) == shown
                    && sim.facts.component == pool.service
            };
            let could = self.engine.values().any(|sim| healthy(&sim));
            let ids = pool
                .endpoints
                .iter()
                .filter_map(|e| self.engine.get(&e.instance));
            let does = ids.into_iter().any(|sim| sim.is_healthy());
            let cold = self
                .env()
                .active()
                .is_some_and(|d| Some(d.to) == self.env().current);
            let text = &self.transcript;
            assert!(
                does || !could || cold,
                "{} is not served\n{text}",
                pool.service
            );
        }
    }

    fn holds_surge(&self) {
        let env = self.env();
        let to = env
            .active()
            .map(|d| d.to)
            .filter(|to| env.current != Some(*to));
        let releases: Vec<ReleaseId> = env.current.into_iter().chain(to).collect();
        let mut running: BTreeMap<_, usize> = BTreeMap::new();
        for sim in self.engine.values().filter(|s| s.is_live_service()) {
            // One that was replaced ends what it has begun, and nobody waits for that.
            let id = &sim.facts.id;
            let drains = self.gateway.is_busy(id) && !self.gateway.may_name(id);
            if releases.contains(&sim.facts.release) && !drains {
                *running.entry(&sim.facts.component).or_default() += 1;
            }
        }
        for (service, running) in running {
            let specs = releases
                .iter()
                .filter_map(|r| env.releases[r].spec.services.get(service));
            let most = specs.map(|s| s.instances as usize).max().unwrap_or(0);
            let text = &self.transcript;
            assert!(running <= 2 * most, "{running} of {service}\n{text}");
        }
    }

    /// With room for the driver's own mishaps.
    fn holds_deadlines(&self) {
        let Some(active) = self.env().active() else {
            return;
        };
        let (since, word) = self.entered[&active.id];
        let releases = &self.env().releases;
        let old = self.env().current.map(|current| &releases[&current].spec);
        let patient = active.paused.is_some();
        let limit = phase_limit(&releases[&active.to].spec, old, word, patient);
        let text = &self.transcript;
        let took = self.now - since;
        assert!(took <= limit + 5000, "{word} took {took} ms\n{text}");
    }
}
