//! The one loop of each environment: observe, plan, check, act.
//!
//! It is activated without input: by a change in the log, of an instance or of the gateway, by the plan's
//! own alarm, and by the clock. A step that failed is planned again at the next turn; nothing is retried
//! inside. A plan that the checker objects to is not carried out, and said loudly: that is a defect.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use ward_engine::Engine;
use ward_plan::{Action, Memory, Observed, Plan, PlannedPool, SeenGateway, SeenInstance, Waiting};
use ward_store::{Entry, Log, Store};
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceFacts, InstanceState, InstanceStatus, Role};
use ward_types::release::{Environment, Goal, Reason};
use ward_types::table::{Endpoint, Pool};
use ward_types::time::{Millis, Timestamp};

use crate::actor::causes;
use crate::clock::now;
use crate::compose::Composer;
use crate::routing::Routing;

/// Even when nothing is seen to change, so that nothing that was missed is missed for long.
const TICK: Duration = Duration::from_secs(1);
/// While something is waited for that nobody announces, such as the end of a drain.
const WATCHFUL: Duration = Duration::from_millis(20);
/// What has no health check is taken to be well when it has run for so long in a new release: a program
/// that ends at once has never been well. A release that once served is not asked again.
const SETTLES_IN: Millis = Millis::secs(1);
/// How many lines of output go with a failure.
const OUTPUT_LINES: usize = 20;

/// What one environment does just now, for people who look.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live {
    /// What is seen.
    pub(crate) observed: Observed,
    /// What is waited for, in sentences.
    pub(crate) waiting: Vec<String>,
    /// Of those, the one that says at which stage a deployment is held.
    pub(crate) stage: Option<String>,
    /// Which deployments wait for another to end, in sentences.
    pub(crate) queued: Vec<String>,
    /// What only time will change, in sentences: releases that are kept warm.
    pub(crate) keeping: Vec<String>,
    /// Steps that failed at the last turn, in sentences.
    pub(crate) troubles: Vec<String>,
    /// How many events the log held when this was planned.
    pub(crate) events: u64,
    /// Whether nothing had to be done and nothing was waited for, but for the end of a warm release.
    pub(crate) at_rest: bool,
}

impl Live {
    /// What stands between now and rest.
    pub(crate) fn waits_on(&self) -> impl Iterator<Item = &String> {
        self.waiting.iter().chain(&self.troubles)
    }
}

/// What a driver works with.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    pub(crate) routing: Routing,
    pub(crate) composer: Arc<Composer>,
}

/// The driver of one environment.
pub(crate) struct Driver {
    env: EnvId,
    world: World,
    memory: Memory,
    /// Instances that could not even be composed or started; shown to the planner as failed.
    stillborn: BTreeMap<InstanceId, SeenInstance>,
    live: watch::Sender<Live>,
}

impl Driver {
    /// Starts the loop of `env`; it ends with the runtime.
    pub(crate) fn start(env: EnvId, world: World) -> watch::Receiver<Live> {
        let (live, receiver) = watch::channel(Live::default());
        let driver = Self {
            env,
            world,
            memory: Memory::default(),
            stillborn: BTreeMap::new(),
            live,
        };
        tokio::spawn(driver.run());
        receiver
    }

    async fn run(mut self) {
        let mut log = self.world.store.changed();
        let mut instances = self.world.engine.changed();
        loop {
            let pause = self.turn().await;
            tokio::select! {
                _ = log.changed() => {}
                _ = instances.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// One turn; how long the next one may be away.
    async fn turn(&mut self) -> Duration {
        let events = *self.world.store.changed().borrow();
        let state = self.world.store.state();
        let Some(env) = state.environments.get(&self.env) else {
            return TICK;
        };
        let mut observed = self.observe(env.goal).await;
        let settling = settle(env, &mut observed);
        let ordinal = match self.world.store.next_number(&self.ordinals(), 0) {
            Ok(ordinal) => ordinal,
            Err(error) => return self.stuck(observed, causes(&error)),
        };
        let mut plan = ward_plan::plan(env, &observed, now(), ordinal, &self.memory);
        let objections = ward_plan::check(env, &observed, &plan);
        if !objections.is_empty() {
            let sentences: Vec<String> = objections.iter().map(ToString::to_string).collect();
            tracing::error!(env = %self.env, ?plan, ?sentences, "the checker objects to a plan");
            return self.stuck(
                observed,
                format!("the checker objects: {}", sentences.join("; ")),
            );
        }
        let troubles = self.act(env, &observed, &mut plan).await;
        let pause = pause(&plan, &troubles).min(settling.unwrap_or(TICK));
        self.memory = plan.memory;
        let warm = |waiting: &&Waiting| matches!(waiting, Waiting::Warm { .. });
        let queue = |waiting: &&Waiting| matches!(waiting, Waiting::Queue { .. });
        let (keeping, waiting): (Vec<_>, Vec<_>) = plan.waiting.iter().partition(warm);
        let (queued, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(queue);
        let held = |waiting: &&&Waiting| matches!(waiting, Waiting::Stage { .. });
        let stage = waiting.iter().find(held).map(ToString::to_string);
        let sentences = |waiting: Vec<&Waiting>| -> Vec<String> {
            waiting.iter().map(ToString::to_string).collect()
        };
        let at_rest = plan.actions.is_empty()
            && (waiting.is_empty() && queued.is_empty())
            && troubles.is_empty();
        let (waiting, queued, keeping) =
            (sentences(waiting), sentences(queued), sentences(keeping));
        self.live.send_replace(Live {
            observed,
            waiting,
            stage,
            queued,
            keeping,
            troubles,
            events,
            at_rest,
        });
        pause
    }

    fn stuck(&self, observed: Observed, trouble: String) -> Duration {
        self.live.send_replace(Live {
            observed,
            troubles: vec![trouble],
            ..Live::default()
        });
        TICK
    }

    fn ordinals(&self) -> String {
        format!("ordinal/{}", self.env)
    }

    async fn observe(&mut self, goal: Goal) -> Observed {
        let mut instances: BTreeMap<InstanceId, SeenInstance> = self.stillborn.clone();
        for (id, seen) in self.world.engine.observe(&self.env) {
            let talks = seen.status.state.is_over() || seen.status.state == InstanceState::Starting;
            let output = if talks {
                self.world.engine.output_tail(&seen.facts, OUTPUT_LINES)
            } else {
                Vec::new()
            };
            instances.insert(
                id,
                SeenInstance {
                    facts: seen.facts,
                    status: seen.status,
                    since: seen.since,
                    output,
                },
            );
        }
        let gateway = self.gateway(goal).await;
        Observed { instances, gateway }
    }

    /// One that is proven to be gone routes nothing: then what is to be down is stopped without its word.
    /// Nothing else is, because its successor begins with its last table.
    async fn gateway(&self, goal: Goal) -> Option<SeenGateway> {
        let routing = &self.world.routing;
        let Some(observed) = routing.observe().await else {
            let gone = goal != Goal::Up && routing.is_gone();
            return gone.then(SeenGateway::default);
        };
        let pools = observed.table.pools.into_iter();
        Some(SeenGateway {
            pools: pools.filter(|pool| pool.env == self.env).collect(),
            traffic: observed.traffic.get(&self.env).cloned().unwrap_or_default(),
        })
    }

    /// Carries a plan out; what failed, in sentences.
    async fn act(
        &mut self,
        env: &Environment,
        observed: &Observed,
        plan: &mut Plan,
    ) -> Vec<String> {
        if plan.next_ordinal > plan.first_ordinal {
            // Durable before the first start: an ordinal is never given twice, whatever happens next.
            let count = u32::try_from(plan.next_ordinal - plan.first_ordinal).unwrap_or(u32::MAX);
            if let Err(error) = self.world.store.next_number(&self.ordinals(), count) {
                for action in &plan.actions {
                    plan.memory.was_not_done(action);
                }
                return vec![causes(&error)];
            }
        }
        let starts = plan
            .actions
            .iter()
            .filter_map(|action| self.starting(env, action));
        let started: Vec<(InstanceId, Result<(), SeenInstance>)> = join_all(starts).await;
        for (id, result) in started {
            if let Err(stillborn) = result {
                self.stillborn.insert(id, stillborn);
            }
        }
        // No action rests on another's success, so one that fails holds up nothing else.
        let mut troubles = Vec::new();
        for action in &plan.actions {
            if let Err(trouble) = self.carry_out(env, observed, action).await {
                tracing::warn!(env = %self.env, ?action, trouble, "a step failed; it is planned again");
                plan.memory.was_not_done(action);
                troubles.push(trouble);
            }
        }
        troubles
    }

    /// A start under way, if the action is one. All starts of a plan go on at once.
    fn starting(
        &self,
        env: &Environment,
        action: &Action,
    ) -> Option<impl Future<Output = (InstanceId, Result<(), SeenInstance>)> + use<>> {
        let Action::Start {
            id,
            component,
            release,
            role,
        } = action
        else {
            return None;
        };
        let facts = InstanceFacts {
            id: id.clone(),
            env: self.env.clone(),
            component: component.clone(),
            release: *release,
            role: *role,
            port: None,
            started: now(),
        };
        let serving = spec_of(env, component, *release, *role);
        let (world, id) = (self.world.clone(), id.clone());
        Some(async move {
            let result = start(&world, facts.clone(), serving).await;
            (id, result.map_err(|message| failed(facts, message)))
        })
    }

    async fn carry_out(
        &mut self,
        env: &Environment,
        observed: &Observed,
        action: &Action,
    ) -> Result<(), String> {
        let (engine, routing) = (&self.world.engine, &self.world.routing);
        match action {
            Action::Start { .. } => Ok(()), // Done before, all at once.
            Action::Move { deployment, phase } => {
                let event = Event::DeploymentMoved {
                    env: self.env.clone(),
                    deployment: *deployment,
                    phase: phase.clone(),
                };
                self.record(event).await
            }
            Action::Route { pools } => {
                let pools = pools
                    .iter()
                    .map(|pool| self.pool(env, observed, pool))
                    .collect();
                routing
                    .route(&self.env, pools)
                    .await
                    .map_err(|error| causes(&error))
            }
            Action::Cut { id } => routing
                .cut(&self.env, id)
                .await
                .map_err(|error| causes(&error)),
            Action::Stop { id, grace } => engine
                .stop(&self.env, id, *grace)
                .await
                .map_err(|error| causes(&error)),
            Action::Remove { id } => {
                self.stillborn.remove(id);
                engine
                    .remove(&self.env, id)
                    .await
                    .map_err(|error| causes(&error))
            }
            Action::Retire { release } => {
                let event = Event::ReleaseRetired {
                    env: self.env.clone(),
                    release: *release,
                };
                self.record(event).await
            }
            Action::PurgeData => self
                .world
                .composer
                .purge(&self.env)
                .map_err(|error| causes(&error)),
        }
    }

    async fn record(&self, event: Event) -> Result<(), String> {
        let entry = Entry {
            at: now(),
            who: "ward".to_owned(),
            why: String::new(),
            request: String::new(),
            event,
        };
        let store = self.world.store.clone();
        let appended = tokio::task::spawn_blocking(move || store.append(vec![entry])).await;
        match appended {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(causes(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn pool(&self, env: &Environment, observed: &Observed, planned: &PlannedPool) -> Pool {
        let endpoint = |id: &InstanceId| {
            let facts = &observed.instances.get(id)?.facts;
            let spec = &env.releases.get(&facts.release)?.spec;
            Some(Endpoint {
                instance: id.clone(),
                release: facts.release,
                dir: self.world.engine.instance_dir(&self.env, id),
                port: spec.services.get(&facts.component)?.port?,
            })
        };
        Pool {
            env: self.env.clone(),
            service: planned.service.clone(),
            hosts: planned.hosts.clone(),
            endpoints: planned.endpoints.iter().filter_map(endpoint).collect(),
            split: planned.split.clone(),
        }
    }
}

/// Shows the instances without a health check that a deploy has just started as starting; how long the
/// next of them still takes.
fn settle(env: &Environment, observed: &mut Observed) -> Option<Duration> {
    let deployment = env
        .active()
        .filter(|active| active.reason == Reason::Deploy)?;
    let spec = &env.releases.get(&deployment.to)?.spec;
    let unchecked = |seen: &&mut SeenInstance| {
        let service = spec.services.get(&seen.facts.component);
        seen.facts.role == Role::Service
            && seen.facts.release == deployment.to
            && seen.status.state == InstanceState::Healthy
            && service.is_some_and(|service| service.health.is_none())
    };
    let mut next = None;
    for seen in observed.instances.values_mut().filter(unchecked) {
        let left = SETTLES_IN - now().since(seen.since);
        if left > Millis(0) {
            seen.status.state = InstanceState::Starting;
            next = next.min(Some(left.duration())).or(Some(left.duration()));
        }
    }
    next
}

/// Which release's configuration an instance runs with. A database belongs to no release (`r0`): it runs
/// with that of the release that is being deployed, or of the current one.
fn spec_of(
    env: &Environment,
    _component: &Name,
    release: ReleaseId,
    role: Role,
) -> Option<ward_types::release::Release> {
    let id = match role {
        Role::Service | Role::ReleaseCommand => release,
        Role::Database => env.active().map(|active| active.to).or(env.current)?,
    };
    env.releases.get(&id).cloned()
}

async fn start(
    world: &World,
    facts: InstanceFacts,
    release: Option<ward_types::release::Release>,
) -> Result<(), String> {
    let release = release.ok_or("its release is not in the log")?;
    let (env, id, component) = (facts.env.clone(), facts.id.clone(), facts.component.clone());
    let role = facts.role;
    let spec = world
        .composer
        .instance(facts, &release)
        .await
        .map_err(|error| causes(&error))?;
    if role == Role::Database {
        world
            .engine
            .point(&env, &component, &id)
            .map_err(|error| causes(&error))?;
    }
    world
        .engine
        .start(spec)
        .await
        .map_err(|error| causes(&error))
}

fn failed(facts: InstanceFacts, message: String) -> SeenInstance {
    SeenInstance {
        since: facts.started,
        facts,
        status: InstanceStatus {
            state: InstanceState::Failed { message },
            pid: None,
            keeper_pid: 0,
            last_failure: None,
            missing: Vec::new(),
        },
        output: Vec::new(),
    }
}

fn pause(plan: &Plan, troubles: &[String]) -> Duration {
    if !troubles.is_empty() {
        return Duration::from_millis(200);
    }
    if !plan.actions.is_empty() {
        return Duration::ZERO;
    }
    let alarm = plan.wake.map_or(TICK, |Timestamp(at)| {
        Duration::from_millis(at.saturating_sub(now().0))
    });
    let unannounced = |waiting: &Waiting| {
        matches!(
            waiting,
            Waiting::Drain { .. } | Waiting::Acknowledgement { .. } | Waiting::Gateway { .. }
        )
    };
    let limit = if plan.waiting.iter().any(unannounced) {
        WATCHFUL
    } else {
        TICK
    };
    limit.min(alarm.max(Duration::from_millis(1)))
}
