//! A snapshot is put back in its volume's place.
//!
//! Decision: only while its environment is down, so that nothing sees half of it; what the volume held becomes a snapshot,
//! so that this can be taken back. Whoever restores a volume is alone with it from the first file to the event, also when
//! the person who asked has gone away: until everything is copied that ends it, and from there on nothing does. What a
//! killed server leaves is settled by the next one, before it acts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use ward_store::Log;
use ward_types::event::{Event, State};
use ward_types::id::{EnvId, Name, SnapshotId};
use ward_types::release::Goal;
use ward_types::view::{RestoreRequest, VolumesView};
use ward_types::volume::Snapshot;
use ward_volume::Settled;

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::control::{Control, Desk, lock};
use crate::driver::has_snapshot;
use crate::volumes::worked;

/// How long somebody waits for one who is alone with a volume.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lock for each volume that was ever restored or deleted.
type Locks = BTreeMap<(EnvId, Name), Arc<tokio::sync::Mutex<()>>>;

/// Who is alone with a volume.
#[derive(Debug, Default)]
pub(crate) struct Restoring(Mutex<Locks>);

/// A restore that somebody asked for.
struct Restore {
    actor: Actor,
    env: EnvId,
    volume: Name,
    snapshot: SnapshotId,
    why: String,
    /// Whoever waits for it.
    waits: Weak<()>,
}

impl Control {
    /// Puts a snapshot in its volume's place.
    ///
    /// # Errors
    /// When there is no such snapshot, the environment is not down, or the disk does not take it; then nothing is
    /// changed.
    pub async fn restore_volume(
        &self,
        actor: &Actor,
        request: &RestoreRequest,
    ) -> Result<VolumesView, Refusal> {
        let admitted = self.admit()?;
        let env = self.alive(request.env.as_ref())?;
        let waits = Arc::new(());
        let restore = Restore {
            actor: actor.clone(),
            volume: self.restorable(&self.store().state(), &env, request.snapshot)?,
            env: env.clone(),
            snapshot: request.snapshot,
            why: request.why.clone(),
            waits: Arc::downgrade(&waits),
        };
        let control = self.clone();
        let restoring = tokio::spawn(async move {
            let restored = control.restore(&restore).await;
            drop(admitted);
            restored
        });
        let restored = restoring.await;
        restored.map_err(|error| Refusal::failed("the restore broke off", &error))??;
        drop(waits);
        self.volumes(Some(&env)).await
    }

    /// Whether a snapshot could be put in its volume's place now: what else is asked about it is asked behind that.
    ///
    /// # Errors
    /// When there is no such snapshot, or the environment is not down.
    pub fn may_restore_volume(&self, request: &RestoreRequest) -> Result<VolumesView, Refusal> {
        let env = self.alive(request.env.as_ref())?;
        self.restorable(&self.store().state(), &env, request.snapshot)?;
        Ok(VolumesView {
            env,
            volumes: Vec::new(),
        })
    }

    async fn restore(&self, restore: &Restore) -> Result<(), Refusal> {
        let (env, volume) = (&restore.env, &restore.volume);
        let _alone = self.alone_with(env, volume).await?;
        self.settle_volume(env, volume)
            .map_err(|error| Refusal::failed("an earlier restore cannot be settled", &error))?;
        let kept = self.store().next_number(&format!("ordinal/{env}"), 1);
        let kept = kept.map_err(|error| Refusal::failed("no number can be given out", &error))?;
        let kept = SnapshotId(kept);
        let (of, name, disk) = (env.clone(), volume.clone(), self.volumes_on_disk());
        let (snapshot, waits) = (restore.snapshot, restore.waits.clone());
        worked(move || {
            let given_up = || waits.strong_count() == 0;
            disk.prepare(&of, &name, (snapshot, kept), &given_up)
        })
        .await?;
        // From here on nobody brings it up.
        let desk = self.desk().await;
        let put = self.put_in_place(&desk, restore, kept).await;
        // Also where it failed: the log says which of the two it is.
        if let Err(error) = self.settle_volume(env, volume) {
            tracing::error!(%env, %volume, error = causes(&error), "a restore is not settled");
        }
        drop(desk);
        let (of, name, disk) = (env.clone(), volume.clone(), self.volumes_on_disk());
        if let Err(refusal) = worked(move || disk.clear(&of, &name)).await {
            tracing::warn!(%env, %volume, error = %refusal, "what is left of a restore cannot be removed");
        }
        put
    }

    /// On the disk before the event that names it; what was there is lost by neither.
    async fn put_in_place(
        &self,
        desk: &Desk<'_>,
        restore: &Restore,
        kept: SnapshotId,
    ) -> Result<(), Refusal> {
        let (env, volume, snapshot) = (&restore.env, &restore.volume, restore.snapshot);
        self.restorable(&self.store().state(), env, snapshot)?;
        if restore.waits.strong_count() == 0 {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                "the restore was given up; nothing was changed",
            ));
        }
        let exchanged = self.volumes_on_disk().exchange(env, volume, kept);
        exchanged
            .map_err(|error| Refusal::failed("the snapshot cannot be put in place", &error))?;
        let deciding = self.decided(desk, &restore.actor, &restore.why, |state| {
            self.restorable(state, env, snapshot)?;
            let event = Event::VolumeRestored {
                env: env.clone(),
                volume: volume.clone(),
                snapshot,
                kept,
            };
            Ok(((), vec![event]))
        });
        deciding.await
    }

    /// The volume of a snapshot that may be put in its place now.
    fn restorable(&self, state: &State, env: &EnvId, id: SnapshotId) -> Result<Name, Refusal> {
        let known = state
            .environments
            .get(env)
            .filter(|known| !known.is_deleted());
        let snapshot: Option<&Snapshot> = known.and_then(|known| known.snapshots.get(&id));
        let Some((known, snapshot)) = known.zip(snapshot) else {
            let message = format!("{env} has no snapshot {id}");
            return Err(Refusal::new(RefusalKind::NotFound, message)
                .hint(format!("`ward volume list --env {env}` lists them")));
        };
        let runs = !self.engine().observe(env).is_empty();
        if known.goal == Goal::Up || runs {
            let volume = &snapshot.volume;
            let message = format!(
                "{env} is up, and a volume that instances see cannot be put back; nothing was changed"
            );
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
                "`ward down --env {env}`, then `ward volume restore {id} --env {env}`, then `ward up --env {}`; `ward \
                 maintenance on` first gives clients of {volume} a page meanwhile",
                env.env()
            )));
        }
        Ok(snapshot.volume.clone())
    }

    /// Waits until nobody else restores or deletes a volume, and keeps others from it.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn alone_with(
        &self,
        env: &EnvId,
        volume: &Name,
    ) -> Result<OwnedMutexGuard<()>, Refusal> {
        let key = (env.clone(), volume.clone());
        let one = lock(&self.0.restoring.0).entry(key).or_default().clone();
        let waiting = tokio::time::timeout(PATIENCE, one.lock_owned()).await;
        waiting.map_err(|_| {
            let message =
                format!("the volume {volume} of {env} is being restored; nothing was changed");
            Refusal::new(RefusalKind::Conflict, message)
                .hint("wait for its end, which `ward events` shows; then try again")
        })
    }

    fn settle_volume(&self, env: &EnvId, volume: &Name) -> Result<(), ward_volume::Error> {
        let state = self.store().state();
        let is_kept = |id| has_snapshot(&state, env, volume, id);
        for end in self.volumes_on_disk().settle(env, volume, is_kept)? {
            match end {
                Settled::Kept(id) => tracing::info!(%env, %volume, "what it held before is {id}"),
                Settled::TakenBack(id) => {
                    tracing::warn!(%env, %volume, "a restore that the log has not ({id}) is taken back");
                }
            }
        }
        Ok(())
    }

    /// Settles what an earlier server left of restores. What cannot be settled keeps instances from its volume.
    pub(crate) fn settle_volumes(&self, env: &EnvId) {
        let settled = self.volumes_on_disk().list(env).and_then(|volumes| {
            volumes
                .iter()
                .try_for_each(|volume| self.settle_volume(env, volume))
        });
        if let Err(error) = settled {
            tracing::error!(%env, error = causes(&error), "a restore that was cut short is not settled");
        }
    }

    /// Removes what an earlier server left of restores and snapshots that came to nothing.
    pub(crate) fn tidy_volumes(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let state = control.store().state();
            let envs = state.environments.values();
            for env in envs.filter(|env| !env.is_deleted()) {
                if let Err(refusal) = control.clear_restores(&env.id).await {
                    tracing::warn!(env = %env.id, error = %refusal, "what is left of restores cannot be removed");
                }
                control.0.world.swept(&env.id).await;
            }
        });
    }

    async fn clear_restores(&self, env: &EnvId) -> Result<(), Refusal> {
        let (disk, of) = (self.volumes_on_disk(), env.clone());
        for volume in worked(move || disk.list(&of)).await? {
            let _alone = self.alone_with(env, &volume).await?;
            let (disk, of) = (self.volumes_on_disk(), env.clone());
            worked(move || disk.clear(&of, &volume)).await?;
        }
        Ok(())
    }
}
