//! The handle: what the server asks of the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use ward_types::checkup::Checkup;
use ward_types::id::{Digest, EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{InstanceFacts, InstanceSpec, InstanceState, InstanceStatus};
use ward_types::time::{Millis, Timestamp};
use ward_types::view::LogLine;

use crate::client::{ClientError, KeeperClient};
use crate::error::{Error, file};
use crate::folder::{self, Home};
use crate::image::Image;
use crate::layers::{Collected, Layers};
use crate::logs::{self, LogFollow, LogQuery, LogReader};
use crate::{start, watcher};

/// How long a keeper may take to answer. It is a small loop that never blocks, so that a longer silence
/// means that it is stopped or the machine is out of memory.
const ANSWER: Duration = Duration::from_secs(5);

/// Where the engine works and with what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state folder, absolute.
    pub home: PathBuf,
    /// The program that is started as `EXE keeper`, absolute: the running binary itself.
    pub exe: PathBuf,
    /// The present moment.
    pub clock: fn() -> Timestamp,
}

/// What is known of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Who it is.
    pub facts: InstanceFacts,
    /// How it is.
    pub status: InstanceStatus,
    /// When its present state was entered; of an instance that was found again, when it was found
    /// (`Starting`: when it was started).
    pub since: Timestamp,
    /// What other hands changed in the layers that it runs from, in a clause, if they did.
    pub altered: Option<String>,
    /// The last check of its health that a deployment asked for. Forgotten with this engine.
    pub checkup: Option<Checkup>,
}

pub(crate) type Instances = BTreeMap<EnvId, BTreeMap<InstanceId, Seen>>;

pub(crate) struct Inner {
    pub(crate) home: Home,
    pub(crate) exe: PathBuf,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) layers: Layers,
    seen: Mutex<Instances>,
    changes: watch::Sender<u64>,
    /// The same of each environment that somebody asked it of.
    own_changes: Mutex<BTreeMap<EnvId, watch::Sender<u64>>>,
}

/// The local engine. Cheap to clone; all clones are the same engine.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.0.home.0).finish()
    }
}

/// Whether another state begins. For how long an instance is stopped is counted from then, however long it was ill before.
fn is_news(before: &InstanceStatus, now: &InstanceStatus) -> bool {
    let stopped = now.stopped && !before.stopped && now.state == InstanceState::Unhealthy;
    before.state != now.state || stopped
}

impl Inner {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Instances> {
        // A panic while the map was locked leaves it as it was: each change is a single insertion.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look(&self, env: &EnvId, id: &InstanceId) -> Option<Seen> {
        self.seen().get(env)?.get(id).cloned()
    }

    /// Enters an instance unless it is known; tells whether it was entered.
    pub(crate) fn enter(&self, seen: Seen) -> Entered {
        let mut all = self.seen();
        let env = all.entry(seen.facts.env.clone()).or_default();
        if let Some(known) = env.get(&seen.facts.id) {
            return Entered::Known(Box::new(known.clone()));
        }
        let of = seen.facts.env.clone();
        env.insert(seen.facts.id.clone(), seen);
        drop(all);
        self.bump(&of);
        Entered::New
    }

    /// Records what was said of an instance. `since` moves only when the state does, or when one that is ill is stopped.
    pub(crate) fn record(&self, facts: &InstanceFacts, status: InstanceStatus, at: Timestamp) {
        let mut all = self.seen();
        let Some(seen) = all
            .get_mut(&facts.env)
            .and_then(|env| env.get_mut(&facts.id))
        else {
            return; // Removed meanwhile.
        };
        if seen.status == status {
            return;
        }
        if is_news(&seen.status, &status) {
            seen.since = at;
        }
        seen.status = status;
        drop(all);
        self.bump(&facts.env);
    }

    pub(crate) fn forget(&self, env: &EnvId, id: &InstanceId) {
        let mut all = self.seen();
        if let Some(instances) = all.get_mut(env) {
            instances.remove(id);
            if instances.is_empty() {
                all.remove(env);
            }
        }
        drop(all);
        self.bump(env);
    }

    pub(crate) fn bump(&self, env: &EnvId) {
        if let Some(own) = self.own_changes().get(env) {
            own.send_modify(|count| *count += 1);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn own_changes(&self) -> MutexGuard<'_, BTreeMap<EnvId, watch::Sender<u64>>> {
        let own = self.own_changes.lock();
        own.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an instance was new.
pub(crate) enum Entered {
    New,
    Known(Box<Seen>),
}

impl Engine {
    /// Opens the engine of a state folder, finds the keepers that run there and listens to them. When it
    /// returns, [`Engine::observe`] shows every instance that the folder knows, those whose keeper is gone
    /// as `Exited`, `Failed` or `Lost`. The empty control groups of keepers that were killed are removed.
    /// Must run inside a tokio runtime.
    ///
    /// Two engines on one folder is a mistake that the server's lock prevents.
    ///
    /// # Errors
    /// [`Error::File`] when the state folder cannot be used.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let home = Home(options.home);
        folder::make_private(&home.run())?;
        let layers = Layers::open(home.clone())?;
        let engine = Self(Arc::new(Inner {
            home,
            exe: options.exe,
            clock: options.clock,
            layers,
            seen: Mutex::default(),
            changes: watch::Sender::new(0),
            own_changes: Mutex::default(),
        }));
        watcher::find_again(&engine).await?;
        engine.0.note_altered();
        // Keepers that were killed could not do it. A group that is not empty yet is left to the next start.
        tokio::task::spawn_blocking(ward_sandbox::sweep_cgroups);
        Ok(engine)
    }

    /// Starts an instance: its folder, its log's folder and its writable folders are made, a keeper is
    /// started and given the specification through a pipe. Returns when the keeper says that the instance
    /// runs (not that it is healthy). `spec.dir` must be [`Engine::instance_dir`].
    ///
    /// Starting an instance that is known does nothing and repeats the first result. An instance that could not
    /// be started is observed as `Failed`. The work goes on when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Refused`] with the keeper's own words, or what kept a keeper from being started.
    pub async fn start(&self, spec: InstanceSpec) -> Result<(), Error> {
        start::start(self, spec).await
    }

    /// The instances of an environment, running or over, from memory.
    #[must_use]
    pub fn observe(&self, env: &EnvId) -> BTreeMap<InstanceId, Seen> {
        self.0.seen().get(env).cloned().unwrap_or_default()
    }

    /// The environments that have instances, running or over.
    #[must_use]
    pub fn environments(&self) -> BTreeSet<EnvId> {
        self.0.seen().keys().cloned().collect()
    }

    /// A number that grows with each change of what [`Engine::observe`] shows.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The same for the instances of one environment: whoever looks after one of many is not woken for the others.
    #[must_use]
    pub fn changed_in(&self, env: &EnvId) -> watch::Receiver<u64> {
        let mut own = self.0.own_changes();
        own.retain(|_, changes| changes.receiver_count() > 0);
        own.entry(env.clone()).or_default().subscribe()
    }

    /// Asks an instance to stop: its stop signal now, SIGKILL after `grace`. Returns at once;
    /// [`Engine::observe`] shows the end. An instance that is over is left alone. A keeper that does not
    /// answer is killed after the grace, and its instance with it.
    ///
    /// # Errors
    /// [`Error::Unknown`], [`Error::Keeper`], [`Error::NoAnswer`].
    pub async fn stop(&self, env: &EnvId, id: &InstanceId, grace: Millis) -> Result<(), Error> {
        if self.known(env, id)?.status.state.is_over() {
            return Ok(());
        }
        let dir = self.instance_dir(env, id);
        let asked = within("stop", env, id, async {
            KeeperClient::connect(&dir)?.stop(grace).await
        });
        match asked.await {
            // The watcher learns the same from the same socket, and says how it ended.
            Err(Error::Keeper {
                source: ClientError::Gone { .. },
                ..
            }) => Ok(()),
            Err(error @ Error::NoAnswer { .. }) => {
                self.put_down(env.clone(), id.clone(), grace);
                Err(error)
            }
            // It ended while it was being asked.
            Err(error) if self.known(env, id)?.status.state.is_over() => {
                tracing::debug!(%env, %id, %error, "it was over before it could be stopped");
                Ok(())
            }
            other => other,
        }
    }

    /// Every stop ends (P3), also that of an instance whose keeper hangs.
    fn put_down(&self, env: EnvId, id: InstanceId, grace: Millis) {
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace.duration()).await;
            let over = engine
                .0
                .look(&env, &id)
                .is_none_or(|seen| seen.status.state.is_over());
            let dir = engine.instance_dir(&env, &id);
            // It may have woken up, and then it kills the instance itself.
            let answers = within("stop", &env, &id, async {
                KeeperClient::connect(&dir)?.status().await
            });
            if over || answers.await.is_ok() {
                return;
            }
            let keeper = KeeperClient::connect(&dir).and_then(|keeper| keeper.process());
            let killed = keeper.map(|keeper| {
                rustix::process::pidfd_send_signal(keeper, rustix::process::Signal::KILL)
            });
            tracing::warn!(%env, %id, ?killed, "its keeper hung and was killed");
        });
    }

    /// Forgets an instance that is over and removes its folder. Its logs stay. Removing one that is not
    /// known does nothing.
    ///
    /// # Errors
    /// [`Error::StillRuns`], [`Error::File`].
    pub async fn remove(&self, env: &EnvId, id: &InstanceId) -> Result<(), Error> {
        let Some(seen) = self.0.look(env, id) else {
            return Ok(());
        };
        let dir = self.instance_dir(env, id);
        if !seen.status.state.is_over() || folder::keeper_lives(&dir) && !self.left(&dir).await {
            let (env, id) = (env.clone(), id.clone());
            return Err(Error::StillRuns { env, id });
        }
        match folder::removed(&dir).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("remove", &dir)(error));
            }
            _ => self.0.forget(env, id),
        }
        Ok(())
    }

    /// A keeper tells the end of its instance before it leaves itself: gives it a moment.
    async fn left(&self, dir: &Path) -> bool {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !folder::keeper_lives(dir) {
                return true;
            }
        }
        false
    }

    /// The last `lines` lines of an instance's output, oldest first, without times; empty when there is
    /// none. Reads at most a quarter of a megabyte.
    #[must_use]
    pub fn output_tail(&self, facts: &InstanceFacts, lines: usize) -> Vec<String> {
        logs::tail(&self.0.home.log(facts), lines)
    }

    /// The folder of an instance: `run/STACK/ENVIRONMENT/INSTANCE`.
    #[must_use]
    pub fn instance_dir(&self, env: &EnvId, id: &InstanceId) -> PathBuf {
        self.0.home.instance(env, id)
    }

    /// The file that an instance's output goes to.
    #[must_use]
    pub fn log_file(&self, facts: &InstanceFacts) -> PathBuf {
        self.0.home.log(facts)
    }

    /// The socket of the gateway that takes link and egress connections.
    #[must_use]
    pub fn gateway_links(&self) -> PathBuf {
        self.0.home.0.join("gateway").join("links.sock")
    }

    /// The symbolic link that names the present instance of a database; what `LinkTarget::Keeper` holds.
    #[must_use]
    pub fn current_link(&self, env: &EnvId, database: &Name) -> PathBuf {
        self.0.home.current(env, database)
    }

    /// Makes `id` the present instance of a database, at once for all who follow the link.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn point(&self, env: &EnvId, database: &Name, id: &InstanceId) -> Result<(), Error> {
        let link = self.current_link(env, database);
        let target = self.instance_dir(env, id);
        if std::fs::read_link(&link).is_ok_and(|now| now == target) {
            return Ok(());
        }
        folder::make_private(&self.0.home.env_run(env))?;
        let temporary = self
            .0
            .home
            .env_run(env)
            .join(format!(".{database}.current.new"));
        let _ = std::fs::remove_file(&temporary);
        std::os::unix::fs::symlink(&target, &temporary)
            .and_then(|()| std::fs::rename(&temporary, &link))
            .map_err(file("write", &link))
    }

    /// Removes what is left of an environment beside its output: the links to the present instances of its
    /// databases, its folder, and that of its stack. A folder in which something else is stays.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn clear(&self, env: &EnvId) -> Result<(), Error> {
        let folder = self.0.home.env_run(env);
        folder::remove_links(&folder)?;
        let stack = folder.parent().unwrap_or(&folder);
        let _ = std::fs::remove_dir(&folder).and_then(|()| std::fs::remove_dir(stack));
        Ok(())
    }

    /// The user and group id that a component's instances have on the host. An ordinary user can only be
    /// itself; root gives each component an unprivileged id of its own in 1 000 000 000 to 1 999 999 999,
    /// always the same for the same names.
    #[must_use]
    pub fn host_id(&self, env: &EnvId, component: &Name) -> u32 {
        let own = rustix::process::geteuid();
        if own.is_root() {
            start::unprivileged_id(env, component)
        } else {
            own.as_raw()
        }
    }

    /// A connection to a port inside an instance.
    ///
    /// # Errors
    /// [`Error::Keeper`], [`Error::NoAnswer`].
    pub async fn connect(
        &self,
        env: &EnvId,
        id: &InstanceId,
        port: u16,
    ) -> Result<TcpStream, Error> {
        let dir = self.instance_dir(env, id);
        within("connect to", env, id, async {
            KeeperClient::connect(&dir)?.connect_port(port).await
        })
        .await
    }

    /// Unpacks an image's layers that are not there yet, and says how the image is run. `manifest` and
    /// `config` are the bytes of an OCI (or Docker schema 2) manifest and configuration; `blob` tells the
    /// file that holds a layer's blob. Every layer is verified against the manifest's digest and the
    /// configuration's `diff_id`. Several calls at once are safe.
    ///
    /// Blocks on the disk and the processor: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`Error::Image`], [`Error::Layer`].
    pub fn unpack(
        &self,
        manifest: &[u8],
        config: &[u8],
        blob: &dyn Fn(&Digest) -> PathBuf,
    ) -> Result<Image, Error> {
        let image = crate::image::unpack(&self.0.layers, manifest, config, blob);
        // Also when it failed: what it found in one layer holds.
        self.0.note_altered();
        image
    }

    /// Removes the unpacked layers that are neither in `keep` (layer digests) nor used by an instance that
    /// has a folder. Must not run while an image that `keep` does not cover is between unpack and start.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn collect_layers(&self, keep: &BTreeSet<Digest>) -> Result<Collected, Error> {
        let keeps = |digest: &Digest| keep.contains(digest);
        self.0.layers.collect(keeps, &start::roots(&self.0.home)?)
    }

    /// The output of an environment's instances, of those that are gone too, oldest first. Blocks on the
    /// disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn logs(&self, env: &EnvId, query: &LogQuery) -> Result<Vec<LogLine>, Error> {
        logs::read(&self.0.home.env_logs(env), query)
    }

    /// The output of an environment's instances as [`Engine::logs`] gives it, and then what follows.
    #[must_use]
    pub fn follow(&self, env: &EnvId, query: LogQuery) -> LogFollow {
        LogFollow::new(self.0.home.env_logs(env), query)
    }

    /// The output of instances, to be read bit by bit by whoever knows when there is more.
    #[must_use]
    pub fn reader(&self, env: &EnvId, query: LogQuery) -> LogReader {
        LogReader::new(self.0.home.env_logs(env), query)
    }

    /// Removes the output of an environment's releases that are not among `releases`, and of the others
    /// that of all but the `newest` instances of each component; never that of an instance that has a
    /// folder, nor what is no output. That of databases, which belong to no release, counts as one release.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn collect_logs(
        &self,
        env: &EnvId,
        releases: &BTreeSet<ReleaseId>,
        newest: usize,
    ) -> Result<(), Error> {
        let present: BTreeSet<InstanceId> = self.observe(env).into_keys().collect();
        logs::collect(&self.0.home.env_logs(env), releases, newest, &present)
    }

    pub(crate) fn known(&self, env: &EnvId, id: &InstanceId) -> Result<Seen, Error> {
        let unknown = || Error::Unknown {
            env: env.clone(),
            id: id.clone(),
        };
        self.0.look(env, id).ok_or_else(unknown)
    }
}

async fn within<T>(
    action: &'static str,
    env: &EnvId,
    id: &InstanceId,
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Error> {
    let (env, id) = (env.clone(), id.clone());
    match tokio::time::timeout(ANSWER, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(Error::Keeper {
            action,
            env,
            id,
            source,
        }),
        Err(_) => Err(Error::NoAnswer {
            action,
            env,
            id,
            seconds: ANSWER.as_secs(),
        }),
    }
}

/// The state of an instance whose keeper does not run, from what lies in its folder.
pub(crate) fn state_without_keeper(dir: &Path, now: Timestamp) -> (InstanceState, Timestamp) {
    if let Some(note) = folder::exit_note(dir) {
        let (exit, asked) = (note.exit, note.asked);
        return (InstanceState::Exited { exit, asked }, note.at);
    }
    match folder::read_whole::<folder::FailedNote>(dir, folder::FAILED) {
        Ok(Some(note)) => (
            InstanceState::Failed {
                message: note.message,
            },
            note.at,
        ),
        _ => (InstanceState::Lost, now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_ill_is_in_another_state_when_it_is_stopped_and_not_when_it_goes_on() {
        let status = |state: InstanceState, stopped: bool| InstanceStatus {
            stopped,
            ..crate::start::status(state, 1)
        };
        let ill = status(InstanceState::Unhealthy, false);
        let stopped = status(InstanceState::Unhealthy, true);
        assert!(is_news(&ill, &stopped));
        assert!(!is_news(&stopped, &ill), "it was ill before");
        assert!(!is_news(&stopped, &stopped));
        assert!(is_news(&status(InstanceState::Healthy, false), &stopped));
        // One that starts has as long as it has.
        let starts = status(InstanceState::Starting, false);
        assert!(!is_news(&starts, &status(InstanceState::Starting, true)));
    }
}
