//! Backups: taken, restored where it harms nobody, kept and shown.
//!
//! Decision: one at a time in all of this Ward, so that backups never take more than one processor and one disk from
//! what serves. What is next is a pure function of the log (`plan::backup`), and each thing that was done is an event, so
//! that the task remembers nothing and is begun anew with the server: what was half taken then is taken again under its
//! number, and what was half restored is restored again. Nothing lies on the disk for long that the log does not name.

mod owning;
mod proving;
mod restoring;
mod taking;

pub(crate) use owning::is_own;
pub(crate) use restoring::{original, restore_command};

use std::time::Duration;

use ward_plan::backup::{self, Next};
use ward_store::Log;
use ward_types::backup::{Backup, BackupFile, KEPT, Proof, Stand};
use ward_types::event::{Event, State};
use ward_types::id::{BackupId, EnvId, Name};
use ward_types::release::{Environment, Goal};
use ward_types::view::{BackupRequest, BackupView, BackupsView, Progress};

use crate::actor::{Actor, Refusal, RefusalKind, causes};
use crate::clock::now;
use crate::control::Control;
use crate::deploy::{Steps, Stop, say};
use crate::goto::up_again;

/// How often it is looked whether a backup is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After the log did not take what became of one.
const RECORDED_AGAIN: Duration = Duration::from_secs(5);
/// The most letters of a reason that the log takes.
const LONGEST_REASON: usize = 300;

/// What became of a step.
enum Step {
    Taken(BackupFile),
    Restored(Proof),
    Failed(String),
    /// It is begun again when the environment is up.
    Later,
}

impl Control {
    /// Takes and restores backups for as long as the server runs.
    pub(crate) fn keep_backing_up(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            control.sweep_all_backups().await;
            loop {
                match control.next_backup() {
                    Some((env, next)) => control.back_up(&env, next).await,
                    None => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        });
        self.keep_feeding();
    }

    fn next_backup(&self) -> Option<(EnvId, Next)> {
        let state = self.store().state();
        let mut all = state.environments.values();
        all.find_map(|env| Some((env.id.clone(), backup::next(env, now())?)))
    }

    async fn back_up(&self, env: &EnvId, next: Next) {
        let (id, step) = match next {
            Next::Begin(database, keep) => {
                let asked = (database, keep);
                if let Err(refusal) = self.begin_backup(&Actor::ward(), env, asked, "").await {
                    self.unrecorded_backup(env, &refusal).await;
                }
                return;
            }
            Next::GiveUp(id, why) => (id, Step::Failed(why.to_owned())),
            Next::Take(id) => (id, self.stepped(env, id, Kind::Take).await),
            Next::Prove(id) => (id, self.stepped(env, id, Kind::Prove).await),
        };
        let (env_id, backup) = (env.clone(), id);
        let event = match step {
            Step::Taken(file) => Event::BackupTaken {
                env: env_id,
                backup,
                file,
            },
            Step::Restored(proof) => Event::BackupRestored {
                env: env_id,
                backup,
                proof,
            },
            Step::Failed(why) => {
                tracing::warn!(%env, backup = %id, why, "a backup failed");
                Event::BackupFailed {
                    env: env_id,
                    backup,
                    why,
                }
            }
            Step::Later => return tokio::time::sleep(LOOK_EVERY).await,
        };
        if let Err(refusal) = self.append(&Actor::ward(), "", vec![event]).await {
            self.unrecorded_backup(env, &refusal).await;
        }
        self.sweep_backups(env).await;
    }

    async fn unrecorded_backup(&self, env: &EnvId, refusal: &Refusal) {
        let error = &refusal.message;
        tracing::warn!(%env, error, "the log did not take a step of a backup; it is done again");
        tokio::time::sleep(RECORDED_AGAIN).await;
    }

    /// Carries a step out. One that fails because the environment goes down has not failed.
    async fn stepped(&self, env: &EnvId, id: BackupId, kind: Kind) -> Step {
        if let Err(error) = self.0.world.lease.check() {
            tracing::warn!(%env, error = causes(&error), "no backup is made by a server that was succeeded");
            return Step::Later;
        }
        let Some(backup) = self.open_backup(env, id) else {
            return Step::Later;
        };
        let done = match kind {
            Kind::Take => self.taken(env, id, &backup).await.map(Step::Taken),
            Kind::Prove => self.proven(env, id, &backup).await.map(Step::Restored),
        };
        let up = self.known(env).is_some_and(|env| env.goal == Goal::Up);
        match done {
            Ok(step) => step,
            Err(_) if !up => Step::Later,
            Err(why) => Step::Failed(shortened(&why)),
        }
    }

    fn open_backup(&self, env: &EnvId, id: BackupId) -> Option<Backup> {
        let known = self.known(env)?;
        let backup = known.backups.all.get(&id)?;
        backup.is_open().then(|| backup.clone())
    }

    /// Records that a backup is to be taken.
    async fn begin_backup(
        &self,
        actor: &Actor,
        env: &EnvId,
        (database, keep): (Name, u32),
        why: &str,
    ) -> Result<BackupId, Refusal> {
        let desk = self.desk_for(why).await;
        let decide = |state: &State| {
            let known = state.environments.get(env);
            let known = known.ok_or_else(|| gone(env))?;
            if let Some((id, _)) = known.backups.of(&database).find(|(_, one)| one.is_open()) {
                let message = format!("{id} of {database} is under way already");
                return Err(Refusal::new(RefusalKind::Conflict, message)
                    .hint(format!("`ward db backups --env {env}` shows how it goes")));
            }
            let backup = known.backups.last.next();
            let event = Event::BackupBegan {
                env: env.clone(),
                backup,
                database: database.clone(),
                keep,
                by: actor.who.clone(),
            };
            Ok((backup, vec![event]))
        };
        self.decided(&desk, actor, why, decide).await
    }

    /// Makes a backup now, and tells how it goes, until it was restored.
    pub async fn backup(self, actor: Actor, request: BackupRequest, steps: Steps) {
        let last = match self.asked_backup(&actor, &request).await {
            Ok((env, id)) => {
                say(&steps, format!("{id} of {env} is to be taken")).await;
                self.follow_backup(&env, id, &steps).await
            }
            Err(refusal) => Stop::Refused(refusal).word(),
        };
        let _ = steps.send(last).await;
    }

    async fn asked_backup(
        &self,
        actor: &Actor,
        request: &BackupRequest,
    ) -> Result<(EnvId, BackupId), Refusal> {
        let _admitted = self.admit()?;
        let env = self.alive(request.env.as_ref())?;
        let known = self.known(&env).ok_or_else(|| gone(&env))?;
        if known.goal != Goal::Up {
            let message = format!("{env} is down, and nothing of it can be backed up");
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(up_again(&known)));
        }
        let database = match &request.database {
            Some(database) => database.clone(),
            None => only(&known)?,
        };
        self.has_database(&env, &database)?;
        let keep = known.backup_spec(&database).map_or(KEPT, |spec| spec.keep);
        let asked = (database, keep);
        let id = self.begin_backup(actor, &env, asked, &request.why).await?;
        Ok((env, id))
    }

    async fn follow_backup(&self, env: &EnvId, id: BackupId, steps: &Steps) -> Progress {
        let mut changed = self.store().changed();
        let mut told = None;
        loop {
            changed.mark_unchanged();
            let known = self.known(env);
            let backup = known.as_ref().and_then(|env| env.backups.all.get(&id));
            let failed = |message: String| {
                let hint = format!("`ward db backups --env {env}` lists what there is");
                Stop::Refused(Refusal::new(RefusalKind::Failed, message).hint(hint)).word()
            };
            match backup.map(|backup| &backup.stand) {
                None => return failed(format!("{id} is gone, with its environment")),
                Some(Stand::Failed { why, .. }) => return failed(format!("{id} failed: {why}")),
                Some(Stand::Restored { proof, file, .. }) => {
                    let bytes = file.bytes;
                    return Progress::Done {
                        message: format!(
                            "{id} was restored and counts: {proof}, {bytes} bytes sealed"
                        ),
                        addresses: Vec::new(),
                    };
                }
                Some(Stand::Taken { .. }) if told.is_none() => {
                    told = Some(());
                    let message = format!(
                        "{id} is whole on the disk; it is restored to see whether it can be"
                    );
                    say(steps, message).await;
                }
                Some(Stand::Taken { .. } | Stand::Asked) => {}
            }
            tokio::select! {
                more = changed.changed() => if more.is_err() {
                    return failed(format!("{id} goes on without you"));
                },
                () = steps.closed() => return failed(format!("{id} goes on without you")),
            }
        }
    }

    /// The backups of an environment, the newest first.
    ///
    /// # Errors
    /// When there is no such environment.
    pub fn backups(&self, env: Option<&EnvId>) -> Result<BackupsView, Refusal> {
        let env = self.environment(env)?;
        let known = self.known(&env).ok_or_else(|| gone(&env))?;
        let version = |backup: &Backup| {
            let release = known.releases.get(&backup.release?)?;
            Some(release.build.version.clone())
        };
        let all = known.backups.all.iter().rev();
        let backups = all.map(|(id, backup)| BackupView {
            id: *id,
            version: version(backup),
            backup: backup.clone(),
        });
        Ok(BackupsView {
            backups: backups.collect(),
            overdue: known.overdue_backups(now()),
            next: backup::due(&known).map(|(_, _, at)| at),
            folder: self.vault().backups().display().to_string(),
            env,
        })
    }

    async fn sweep_all_backups(&self) {
        let state = self.store().state();
        for env in state.environments.keys() {
            self.sweep_backups(env).await;
        }
    }

    /// Removes what the log does not name. What cannot be removed now is the next time.
    async fn sweep_backups(&self, env: &EnvId) {
        let Some(known) = self.known(env) else {
            return;
        };
        let (vault, of) = (self.vault().clone(), env.clone());
        let sweeping = tokio::task::spawn_blocking(move || {
            let is_kept = |database: &Name, id| {
                let backup = known.backups.all.get(&id);
                backup.is_some_and(|one| one.database == *database && one.file().is_some())
            };
            vault.sweep_backups(&of, is_kept)
        });
        if let Ok(Err(error)) = sweeping.await {
            tracing::warn!(%env, error = causes(&error), "what is left of backups cannot be removed");
        }
    }

    /// Whether the keys of all backups are there, before they are wrapped anew: one on a disk that is away could not
    /// be opened again.
    ///
    /// # Errors
    /// Which is not.
    pub(crate) fn backup_keys_are_there(&self) -> Result<(), ward_seal::Error> {
        let state = self.store().state();
        for env in state.environments.values() {
            let whole = env.backups.all.iter();
            for (id, backup) in whole.filter(|(_, backup)| backup.file().is_some()) {
                let label = ward_seal::backup_label(&env.id, &backup.database, *id);
                self.vault().holds_backup(&label)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Take,
    Prove,
}

fn gone(env: &EnvId) -> Refusal {
    let message = format!("nothing of {env} is recorded yet");
    Refusal::new(RefusalKind::Conflict, message)
}

/// The only database of what serves.
fn only(env: &Environment) -> Result<Name, Refusal> {
    let databases = env.current_release().map(|r| &r.spec.databases);
    let names: Vec<&Name> = databases.into_iter().flat_map(|all| all.keys()).collect();
    match names.as_slice() {
        [only] => Ok((*only).clone()),
        [] => {
            let message = format!("{} has no database", env.id);
            Err(Refusal::new(RefusalKind::NotFound, message))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            let message = format!("{} has several databases", env.id);
            Err(Refusal::new(RefusalKind::Invalid, message)
                .hint(format!("name one of {}", names.join(", "))))
        }
    }
}

/// The first line, as far as the log takes it: what follows may hold what is in a row.
fn shortened(why: &str) -> String {
    let line = why.lines().find(|line| !line.trim().is_empty());
    let line = line.unwrap_or("it says nothing").trim();
    line.chars().take(LONGEST_REASON).collect()
}
