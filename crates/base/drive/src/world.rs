//! What a driver acts on, as narrow as its actions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ward_plan::{SeenGateway, SeenInstance};
use ward_types::checkup::Occasion;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, InstanceId};
use ward_types::keeper::InstanceFacts;
use ward_types::release::{Goal, Release};
use ward_types::table::Pool;
use ward_types::time::{Millis, Timestamp};

/// The log as it stood at one moment.
#[derive(Debug, Clone)]
pub struct Log {
    /// How many events it held, at least: the state may already hold more.
    pub events: u64,
    /// Their fold.
    pub state: Arc<State>,
}

/// How closely a driver looks at the gateway, which all drivers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As it is now: whatever is done is planned from that.
    Now,
    /// As it was seen lately by whoever looked, which costs nothing: enough to find that there is nothing to do.
    Lately,
}

/// The log, the engine, the gateway and the clock. Every action may be done twice: the second time it has
/// no effect. What failed is said in a sentence.
pub trait World: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// The log.
    fn log(&self) -> Log;

    /// Takes `count` numbers of a series and gives the first of them; with 0 it only tells the next one.
    /// None is given twice, whatever happens.
    ///
    /// # Errors
    /// When that could not be made durable.
    fn next_number(&self, series: &str, count: u32) -> Result<u64, String>;

    /// Whether this is still the one that acts here, by its fencing number: asked before every effect. One
    /// that was stopped, and wakes after another has taken over, must do nothing any more.
    ///
    /// # Errors
    /// When another has taken over, or nobody can tell.
    fn holds(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// The instances of an environment, running and over; with each that is over or starting the last
    /// lines that it wrote.
    fn instances(&self, env: &EnvId) -> BTreeMap<InstanceId, SeenInstance>;

    /// The gateway as far as an environment is concerned; `None` while it does not answer, or while its
    /// answer to the last [`World::route`] is still out. One that is proven to be gone routes nothing to
    /// what shall be down.
    fn gateway(
        &self,
        env: &EnvId,
        goal: Goal,
        look: Look,
    ) -> impl Future<Output = Option<SeenGateway>> + Send;

    /// Whether something uses an environment of which neither its log nor the gateway knows.
    fn is_in_use(&self, env: &EnvId) -> bool;

    /// Starts an instance, with the configuration of a release.
    fn start(
        &self,
        facts: InstanceFacts,
        release: &Release,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Asks an instance to stop; `grace` is from the signal to SIGKILL.
    fn stop(
        &self,
        env: &EnvId,
        id: &InstanceId,
        grace: Millis,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Has the health of an instance checked now, for a deployment. It is not waited for: [`World::instances`] shows
    /// what came of it, after `within` at the latest.
    fn check(
        &self,
        env: &EnvId,
        id: &InstanceId,
        of: Occasion,
        within: Millis,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Removes what is left of an instance that is over.
    fn remove(
        &self,
        env: &EnvId,
        id: &InstanceId,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Puts the pools of an environment into force, in place of all that it had.
    fn route(
        &self,
        env: &EnvId,
        pools: Vec<Pool>,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// Cuts what still runs on an instance that is out of rotation.
    fn cut(&self, env: &EnvId, id: &InstanceId) -> impl Future<Output = Result<(), String>> + Send;

    /// The folder of an instance, where its keeper's socket is.
    fn instance_dir(&self, env: &EnvId, id: &InstanceId) -> PathBuf;

    /// Appends an event in Ward's own name.
    fn record(&self, event: Event) -> impl Future<Output = Result<(), String>> + Send;

    /// Removes the data of an environment.
    fn purge(&self, env: &EnvId) -> impl Future<Output = Result<(), String>> + Send;
}
