//! One environment's turns.

use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::time::Duration;
use ward_plan::{Action, Memory, Observed, Plan, PlannedPool, SeenInstance};
use ward_types::event::Event;
use ward_types::id::{EnvId, InstanceId, ReleaseId};
use ward_types::keeper::{InstanceFacts, InstanceState, InstanceStatus, Role};
use ward_types::release::{Environment, Goal, Release};
use ward_types::spec::ServiceSpec;
use ward_types::table::{Endpoint, Pool};

use crate::live::{Live, rests};
use crate::settle::settle;
use crate::turn::{Next, Turn};
use crate::world::{Look, World};

/// The driver of one environment.
#[derive(Debug)]
pub struct Driver<W> {
    env: EnvId,
    world: W,
    memory: Memory,
    /// What the last plan did.
    before: Vec<Action>,
    /// Whether the last turn found nothing to do and nothing to wait for.
    rested: bool,
    /// Instances that could not even be composed or started; shown to the planner as failed.
    stillborn: BTreeMap<InstanceId, SeenInstance>,
}

/// What a turn is about.
struct Thought {
    observed: Observed,
    /// How long what runs without a check still takes to count as well.
    settling: Option<Duration>,
    plan: Plan,
}

impl<W: World> Driver<W> {
    /// One that remembers nothing yet.
    pub fn new(env: EnvId, world: W) -> Self {
        Self {
            env,
            world,
            memory: Memory::default(),
            before: Vec::new(),
            rested: false,
            stillborn: BTreeMap::new(),
        }
    }

    /// One turn: observe, plan, check, act.
    pub async fn turn(&mut self) -> Turn {
        let log = self.world.log();
        let Some(env) = log.state.environments.get(&self.env) else {
            return Turn::stuck(Live::default());
        };
        let rested = std::mem::replace(&mut self.rested, false);
        let thought = match rested {
            true => self.think(env, Look::Lately).await,
            false => self.think(env, Look::Now).await,
        };
        let thought = match thought {
            // Something is to be done, or waited for: what was seen lately is no ground for that.
            Ok(thought) if rested && !rests(&thought.plan) => self.think(env, Look::Now).await,
            thought => thought,
        };
        let Thought {
            observed,
            settling,
            mut plan,
        } = match thought {
            Ok(thought) => thought,
            Err(stuck) => return Turn::stuck(*stuck),
        };
        let troubles = self.act(env, &observed, &mut plan).await;
        let next = match plan.actions == self.before && !plan.actions.is_empty() {
            true => Next::Later, // It came to nothing that can be seen yet: no reason to hurry.
            false => Next::after(&plan, &troubles, settling),
        };
        self.before.clone_from(&plan.actions);
        let live = Live::of(observed, &plan, troubles, log.events);
        self.rested = live.at_rest;
        self.memory = plan.memory;
        Turn { live, next }
    }

    /// Observes, plans and has the plan checked; what there is to see when that comes to no plan.
    async fn think(&self, env: &Environment, look: Look) -> Result<Thought, Box<Live>> {
        let mut observed = self.observe(env.goal, look).await;
        let now = self.world.now();
        let settling = settle(env, &mut observed, now);
        let ordinal = match self.world.next_number(&self.ordinals(), 0) {
            Ok(ordinal) => ordinal,
            Err(trouble) => return Err(Box::new(Live::stuck(observed, trouble))),
        };
        let plan = ward_plan::plan(env, &observed, now, ordinal, &self.memory);
        match self.objections(env, &observed, &plan) {
            Some(objections) => Err(Box::new(Live::stuck(observed, objections))),
            None => Ok(Thought {
                observed,
                settling,
                plan,
            }),
        }
    }

    fn objections(&self, env: &Environment, observed: &Observed, plan: &Plan) -> Option<String> {
        let objections = ward_plan::check(env, observed, plan);
        if objections.is_empty() {
            return None;
        }
        let sentences: Vec<String> = objections.iter().map(ToString::to_string).collect();
        tracing::error!(env = %self.env, ?plan, ?sentences, "the checker objects to a plan");
        Some(format!("the checker objects: {}", sentences.join("; ")))
    }

    fn ordinals(&self) -> String {
        format!("ordinal/{}", self.env)
    }

    async fn observe(&self, goal: Goal, look: Look) -> Observed {
        let mut instances = self.stillborn.clone();
        instances.extend(self.world.instances(&self.env));
        Observed {
            instances,
            gateway: self.world.gateway(&self.env, goal, look).await,
            in_use: self.world.is_in_use(&self.env),
        }
    }

    /// Carries a plan out; what failed, in sentences.
    async fn act(
        &mut self,
        env: &Environment,
        observed: &Observed,
        plan: &mut Plan,
    ) -> Vec<String> {
        let ready = match self.world.holds().await {
            Ok(()) => self.take_ordinals(plan),
            fenced => fenced,
        };
        if let Err(trouble) = ready {
            for action in &plan.actions {
                plan.memory.was_not_done(action);
            }
            return vec![trouble];
        }
        let starts = plan
            .actions
            .iter()
            .filter_map(|action| self.starting(env, action));
        // All starts of a plan go on at once.
        for stillborn in join_all(starts).await.into_iter().flatten() {
            let id = stillborn.facts.id.clone();
            self.stillborn.insert(id, stillborn);
        }
        // No action rests on another's success, so one that fails holds up nothing else.
        let mut troubles = Vec::new();
        for action in &plan.actions {
            if let Err(trouble) = self.carry_out(env, observed, action).await {
                // Said once, and not five times a second for as long as a disk is full.
                if !self.before.contains(action) {
                    tracing::warn!(env = %self.env, ?action, trouble, "a step failed; it is planned again");
                }
                plan.memory.was_not_done(action);
                troubles.push(trouble);
            }
        }
        troubles
    }

    /// Durable before the first start: an ordinal is never given twice, whatever happens next.
    fn take_ordinals(&self, plan: &Plan) -> Result<(), String> {
        if plan.next_ordinal == plan.first_ordinal {
            return Ok(());
        }
        let count = u32::try_from(plan.next_ordinal - plan.first_ordinal).unwrap_or(u32::MAX);
        self.world.next_number(&self.ordinals(), count).map(drop)
    }

    /// A start under way, if the action is one; what became of it, if it could not be started.
    fn starting(
        &self,
        env: &Environment,
        action: &Action,
    ) -> Option<impl Future<Output = Option<SeenInstance>> + use<'_, W>> {
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
            started: self.world.now(),
            passwords: None,
        };
        let release = configuration(env, *release, *role).cloned();
        Some(async move {
            let started = match &release {
                Some(release) => self.world.start(facts.clone(), release).await,
                None => Err("its release is not in the log".to_owned()),
            };
            started.err().map(|message| stillborn(facts, message))
        })
    }

    async fn carry_out(
        &mut self,
        env: &Environment,
        observed: &Observed,
        action: &Action,
    ) -> Result<(), String> {
        let (world, id) = (&self.world, &self.env);
        world.holds().await?;
        match action {
            Action::Start { .. } => Ok(()), // Done before, all at once.
            Action::Route { pools } => {
                let pools = pools.iter().map(|pool| self.pool(env, observed, pool));
                world.route(id, pools.collect()).await
            }
            Action::Cut { id: instance } => world.cut(id, instance).await,
            Action::Check {
                id: instance,
                of,
                within,
            } => world.check(id, instance, *of, *within).await,
            Action::Stop {
                id: instance,
                grace,
            } => world.stop(id, instance, *grace).await,
            Action::Remove { id: instance } => {
                self.stillborn.remove(instance);
                world.remove(id, instance).await
            }
            // One step: what is recorded as gone is gone, and nothing else begins in between.
            Action::PurgeData => {
                world.purge(id).await?;
                world.record(Event::DataPurged { env: id.clone() }).await
            }
            Action::Move { .. }
            | Action::Serve { .. }
            | Action::Report { .. }
            | Action::GiveUp { .. }
            | Action::ChangeSchema { .. }
            | Action::Exchanged { .. }
            | Action::Tried { .. }
            | Action::End { .. }
            | Action::Sleep { .. }
            | Action::Wake { .. }
            | Action::Fill { .. }
            | Action::Snapshotted { .. }
            | Action::WarnOfEnd
            | Action::Delete
            | Action::Retire { .. } => match self.event(action) {
                Some(event) => world.record(event).await,
                None => Ok(()),
            },
        }
    }

    /// The event that an action becomes, if it becomes one.
    fn event(&self, action: &Action) -> Option<Event> {
        let env = self.env.clone();
        match action {
            Action::Move { deployment, phase } => Some(Event::DeploymentMoved {
                env,
                deployment: *deployment,
                phase: phase.clone(),
            }),
            Action::Serve { deployment, stage } => Some(Event::DeploymentServed {
                env,
                deployment: *deployment,
                stage: *stage,
            }),
            Action::Report { id, how } => Some(Event::InstanceEnded {
                env,
                instance: id.clone(),
                how: how.clone(),
            }),
            Action::GiveUp { id, because } => Some(Event::InstanceGivenUp {
                env,
                instance: id.clone(),
                because: because.clone(),
            }),
            Action::ChangeSchema {
                deployment,
                service,
                schema,
            } => Some(Event::SchemaChanging {
                env,
                deployment: *deployment,
                service: service.clone(),
                schema: *schema,
            }),
            Action::Exchanged { deployment, gap } => Some(Event::ServiceExchanged {
                env,
                deployment: *deployment,
                gap: gap.clone(),
            }),
            Action::Tried {
                run,
                attempt,
                again,
            } => Some(Event::RunTried {
                env,
                run: *run,
                attempt: attempt.clone(),
                again: *again,
            }),
            Action::End { cause } => Some(Event::EnvironmentEnding {
                env,
                cause: *cause,
                by: "ward".to_owned(),
                why: String::new(),
            }),
            Action::Fill {
                deployment,
                filling,
                component,
            } => Some(Event::DataFilled {
                env,
                deployment: *deployment,
                filling: *filling,
                component: component.clone(),
            }),
            Action::Snapshotted {
                deployment,
                volume,
                snapshot,
                keep,
            } => Some(Event::VolumeSnapshotted {
                env,
                deployment: *deployment,
                volume: volume.clone(),
                snapshot: *snapshot,
                keep: *keep,
            }),
            Action::Sleep { cause } => Some(Event::EnvironmentSlept { env, cause: *cause }),
            Action::Wake { by } => Some(Event::EnvironmentWoken { env, by: *by }),
            Action::WarnOfEnd => Some(Event::ExpiryNear { env }),
            Action::Delete => Some(Event::EnvironmentDeleted { env }),
            Action::Retire { release } => Some(Event::ReleaseRetired {
                env,
                release: *release,
            }),
            Action::Start { .. }
            | Action::Route { .. }
            | Action::Cut { .. }
            | Action::Check { .. }
            | Action::Stop { .. }
            | Action::Remove { .. }
            | Action::PurgeData => None,
        }
    }

    fn pool(&self, env: &Environment, observed: &Observed, planned: &PlannedPool) -> Pool {
        let endpoint = |id: &InstanceId| {
            let facts = &observed.instances.get(id)?.facts;
            let spec = &env.releases.get(&facts.release)?.spec;
            let service = spec.services.get(&facts.component)?;
            Some(Endpoint {
                instance: id.clone(),
                release: facts.release,
                dir: self.world.instance_dir(&self.env, id),
                port: service.port?,
                long_drain: Some(service.long_drain()),
            })
        };
        let newest = newest(env, observed, planned);
        Pool {
            env: self.env.clone(),
            service: planned.service.clone(),
            routes: planned.routes.clone(),
            endpoints: planned.endpoints.iter().filter_map(endpoint).collect(),
            split: planned.split.clone(),
            probe: planned.probe.clone(),
            maintenance: planned.maintenance.clone(),
            asleep: planned.asleep,
            exports: planned.exports.clone(),
            guard: newest
                .map(|service| service.guard.clone())
                .unwrap_or_default(),
            balance: newest
                .map(|service| service.balance.clone())
                .unwrap_or_default(),
        }
    }
}

/// The service as the newest release of those in a pool has it, which says what its clients may take and how its
/// requests are placed. A table changes with each release that enters or leaves it, so that nothing else has to
/// look after this.
fn newest<'a>(
    env: &'a Environment,
    observed: &Observed,
    planned: &PlannedPool,
) -> Option<&'a ServiceSpec> {
    let endpoints = planned.endpoints.iter();
    let releases = endpoints.filter_map(|id| Some(observed.instances.get(id)?.facts.release));
    let newest = env.releases.get(&releases.max()?)?;
    newest.spec.services.get(&planned.service)
}

/// Which release's configuration an instance runs with. A database belongs to no release (`r0`): it runs
/// with that of the release that is being deployed, or of the current one.
fn configuration(env: &Environment, release: ReleaseId, role: Role) -> Option<&Release> {
    let id = match role {
        Role::Service
        | Role::ReleaseCommand
        | Role::Seed
        | Role::Copy
        | Role::VolumeCopy
        | Role::Snapshot
        | Role::Run(_) => release,
        Role::Database | Role::Drill(_) => env.active().map(|active| active.to).or(env.current)?,
    };
    env.releases.get(&id)
}

fn stillborn(facts: InstanceFacts, message: String) -> SeenInstance {
    SeenInstance {
        since: facts.started,
        facts,
        status: InstanceStatus {
            state: InstanceState::Failed { message },
            pid: None,
            keeper_pid: 0,
            last_failure: None,
            missing: Vec::new(),
            stopped: false,
        },
        output: Vec::new(),
        altered: None,
        checkup: None,
    }
}
