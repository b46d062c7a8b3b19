//! The real world of the one loop ([`ward_drive`]): the log, the engine, the gateway and the clock of this
//! machine; and the task that turns it, one per environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use ward_drive::{Log as LogState, Look};
use ward_engine::Engine;
use ward_plan::{SeenGateway, SeenInstance};
use ward_store::{Entry, Lease, Log, Store};
use ward_types::checkup;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, InstanceId, Name, RunId, SnapshotId};
use ward_types::keeper::{InstanceFacts, InstanceState, Role};
use ward_types::release::{Goal, Release};
use ward_types::run::Run;
use ward_types::table::{GatewayObserved, Pool};
use ward_types::time::{Millis, Timestamp};

use crate::actor::causes;
use crate::clock;
use crate::compose::{Composed, Composer, Occasion};
use crate::routing::Routing;
use crate::sleep::{self, Needed};

pub(crate) use ward_drive::Live;

/// How many lines of output go with a failure.
const OUTPUT_LINES: usize = 20;

/// What the drivers act on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) lease: Lease,
    pub(crate) engine: Engine,
    pub(crate) routing: Routing,
    pub(crate) composer: Arc<Composer>,
    pub(crate) needed: Needed,
}

/// Turns the loop of `env`; it ends with the runtime.
pub(crate) fn drive(env: EnvId, world: World) -> watch::Receiver<Live> {
    let (live, receiver) = watch::channel(Live::default());
    let mut log = world.store.changed();
    let mut instances = world.engine.changed_in(&env);
    let store = world.store.clone();
    let mut driver = ward_drive::Driver::new(env.clone(), world);
    tokio::spawn(async move {
        let is_deleted = || {
            let state = store.state();
            let env = state.environments.get(&env);
            env.is_some_and(|env| env.is_deleted())
        };
        loop {
            let turn = driver.turn().await;
            let (pause, rests) = (turn.next.within(clock::now()), turn.live.at_rest);
            live.send_replace(turn.live);
            // Nothing is left to look after, until another one has its name.
            while rests && is_deleted() {
                if log.changed().await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = concerned(&env, &store, &mut log, &live) => {}
                _ = instances.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
    receiver
}

/// Returns when the log holds something about `env` that its driver has not planned with. Meanwhile what was planned
/// holds for all that the log is told of others, and whoever waits for that sees it.
async fn concerned(
    env: &EnvId,
    store: &Store,
    log: &mut watch::Receiver<u64>,
    live: &watch::Sender<Live>,
) {
    while log.changed().await.is_ok() {
        let events = *log.borrow_and_update();
        if store.concerned(env) > live.borrow().events {
            return;
        }
        live.send_modify(|live| live.events = events);
    }
}

/// What a gateway says of one environment.
fn seen_of(env: &EnvId, observed: &GatewayObserved) -> SeenGateway {
    let pools = observed.table.pools.iter();
    SeenGateway {
        pools: pools
            .filter(|pool| pool.env == *env)
            .map(|pool| Pool::clone(pool))
            .collect(),
        traffic: observed.traffic.get(env).cloned().unwrap_or_default(),
        latency: observed.latency.get(env).cloned().unwrap_or_default(),
        holds: observed.holds,
        held: observed.calls.iter().any(|call| call.env == *env),
    }
}

/// Whether the log has a snapshot of a volume.
pub(crate) fn has_snapshot(state: &State, env: &EnvId, volume: &Name, id: SnapshotId) -> bool {
    let env = state.environments.get(env);
    let snapshot = env.and_then(|env| env.snapshots.get(&id));
    snapshot.is_some_and(|one| one.volume == *volume)
}

impl World {
    /// Removes the snapshots that the log has not, but for those that are being made. What cannot be removed now is
    /// the next time.
    pub(crate) async fn swept(&self, env: &EnvId) {
        let (world, of) = (self.clone(), env.clone());
        let sweeping = tokio::task::spawn_blocking(move || {
            // Asked of each anew, first whether it is being made: one that came meanwhile is in the log by then.
            let is_kept = |volume: &Name, id| {
                let instances = world.engine.observe(&of);
                let is_made = instances.values().any(|seen| {
                    seen.facts.role == Role::Snapshot && SnapshotId(seen.facts.id.ordinal()) == id
                });
                is_made || has_snapshot(&world.store.state(), &of, volume, id)
            };
            world.composer.volumes.sweep(&of, is_kept)
        });
        if let Ok(Err(error)) = sweeping.await {
            tracing::warn!(%env, error = causes(&error), "what is left of snapshots cannot be removed");
        }
    }

    fn run(&self, env: &EnvId, id: RunId) -> Result<Run, String> {
        let state = self.store.state();
        let env = state.environments.get(env);
        let run = env.and_then(|env| env.runs.open.get(&id));
        run.cloned().ok_or_else(|| format!("{id} has ended"))
    }
}

impl ward_drive::World for World {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn log(&self) -> LogState {
        // In this order: what the state holds is then never less than what is said of it.
        let events = *self.store.changed().borrow();
        let state = self.store.state();
        LogState { events, state }
    }

    fn next_number(&self, series: &str, count: u32) -> Result<u64, String> {
        let taken = self.store.next_number(series, count);
        taken.map_err(|error| causes(&error))
    }

    async fn holds(&self) -> Result<(), String> {
        self.lease.check().map_err(|error| causes(&error))
    }

    fn instances(&self, env: &EnvId) -> BTreeMap<InstanceId, SeenInstance> {
        let seen = self.engine.observe(env).into_iter();
        let shown = seen.map(|(id, seen)| {
            let talks = seen.status.state.is_over() || seen.status.state == InstanceState::Starting;
            let output = match talks {
                true => self.engine.output_tail(&seen.facts, OUTPUT_LINES),
                false => Vec::new(),
            };
            let shown = SeenInstance {
                facts: seen.facts,
                status: seen.status,
                since: seen.since,
                output,
                altered: seen.altered,
                checkup: seen.checkup,
            };
            (id, shown)
        });
        shown.collect()
    }

    /// One that is proven to be gone routes nothing: then what is to be down is stopped without its word.
    /// Nothing else is, because its successor begins with its last table.
    async fn gateway(&self, env: &EnvId, goal: Goal, look: Look) -> Option<SeenGateway> {
        if look == Look::Lately {
            return self.routing.glance(|observed| seen_of(env, observed));
        }
        let Some(observed) = self.routing.observe().await else {
            let gone = goal != Goal::Up && self.routing.is_gone();
            return gone.then(SeenGateway::default);
        };
        Some(seen_of(env, &observed))
    }

    fn is_in_use(&self, env: &EnvId) -> bool {
        self.needed.is(env) || sleep::is_expected(&self.store.state(), env, clock::now())
    }

    async fn start(&self, facts: InstanceFacts, release: &Release) -> Result<(), String> {
        let (env, id, component) = (facts.env.clone(), facts.id.clone(), facts.component.clone());
        let role = facts.role;
        let run = match role {
            Role::Run(run) => Some(self.run(&env, run)?),
            _ => None,
        };
        let known = self.store.state();
        let known = known.environments.get(&env);
        let occasion = Occasion {
            run: run.as_ref(),
            copies: known.and_then(|known| known.life.copies.as_ref()),
            restores: known.is_some_and(|known| !known.life.restores.is_empty()),
        };
        let composed = self.composer.instance(facts, release, occasion).await;
        // Held until the engine knows the instance: no password that it has is withdrawn in between.
        let Composed { spec, given: _held } = composed.map_err(|error| causes(&error))?;
        if role == Role::Database {
            let pointed = self.engine.point(&env, &component, &id);
            pointed.map_err(|error| causes(&error))?;
        }
        self.engine
            .start(spec)
            .await
            .map_err(|error| causes(&error))
    }

    async fn stop(&self, env: &EnvId, id: &InstanceId, grace: Millis) -> Result<(), String> {
        let stopped = self.engine.stop(env, id, grace).await;
        stopped.map_err(|error| causes(&error))
    }

    async fn check(
        &self,
        env: &EnvId,
        id: &InstanceId,
        of: checkup::Occasion,
        within: Millis,
    ) -> Result<(), String> {
        let begun = self.engine.check(env, id, of, within);
        begun.map_err(|error| causes(&error))
    }

    async fn remove(&self, env: &EnvId, id: &InstanceId) -> Result<(), String> {
        let removed = self.engine.remove(env, id).await;
        removed.map_err(|error| causes(&error))?;
        self.swept(env).await;
        Ok(())
    }

    async fn route(&self, env: &EnvId, pools: Vec<Pool>) -> Result<(), String> {
        let routed = self.routing.route(env, pools).await;
        routed.map_err(|error| causes(&error))
    }

    async fn cut(&self, env: &EnvId, id: &InstanceId) -> Result<(), String> {
        let cut = self.routing.cut(env, id).await;
        cut.map_err(|error| causes(&error))
    }

    fn instance_dir(&self, env: &EnvId, id: &InstanceId) -> PathBuf {
        self.engine.instance_dir(env, id)
    }

    async fn record(&self, event: Event) -> Result<(), String> {
        let entry = Entry {
            at: clock::now(),
            who: "ward".to_owned(),
            why: String::new(),
            request: String::new(),
            event,
        };
        let store = self.store.clone();
        let appended = tokio::task::spawn_blocking(move || store.append(vec![entry])).await;
        match appended {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(causes(&error)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn purge(&self, env: &EnvId) -> Result<(), String> {
        // A gateway that does not answer hears of it with the next table: data does not wait for words.
        if let Err(error) = self.routing.forget().await {
            tracing::warn!(%env, error = %causes(&error), "the gateway still calls it down");
        }
        let (composer, env) = (self.composer.clone(), env.clone());
        // It takes as long as there are files, and others have to be answered.
        match tokio::task::spawn_blocking(move || composer.purge(&env)).await {
            Ok(purged) => purged.map_err(|error| causes(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}
