//! One backup, restored where nobody is: only that makes it one.

use std::os::fd::AsFd as _;
use std::time::Duration;

use ward_seal::BackupReader;
use ward_types::backup::{Backup, Proof};
use ward_types::id::{BackupId, EnvId, InstanceId, Name};
use ward_types::keeper::{InstanceState, Role};

use super::taking::said;
use crate::actor::{Actor, causes};
use crate::control::Control;

/// How long one may take.
const PROVES_WITHIN: Duration = Duration::from_secs(6 * 3600);
/// How long its instance may take to be there.
const THERE_WITHIN: Duration = Duration::from_secs(120);
/// How many lines of an instance are looked at for why it ended.
const LINES: usize = 5;

impl Control {
    /// Restores a backup, and counts what is in it.
    ///
    /// # Errors
    /// Why it could not be, in a clause.
    pub(super) async fn proven(
        &self,
        env: &EnvId,
        id: BackupId,
        backup: &Backup,
    ) -> Result<Proof, String> {
        let why = format!("{id} is to be restored");
        let need = self.awake(&Actor::ward(), env, &why).await;
        let _need = need.map_err(|refusal| refusal.message)?;
        let reader = self.opened_backup(env, id, backup).await?;
        let there = tokio::time::timeout(THERE_WITHIN, self.drill_runs(env, id)).await;
        let instance = there
            .map_err(|_| "no instance came up within 2 minutes to restore it in".to_owned())??;
        let proving = self.restored(env, &instance, reader);
        let proven = tokio::time::timeout(PROVES_WITHIN, proving).await;
        proven.map_err(|_| "restoring it took longer than 6 hours".to_owned())?
    }

    /// What a backup holds, when it is what was written.
    ///
    /// # Errors
    /// Why it does not open, in a clause.
    pub(super) async fn opened_backup(
        &self,
        env: &EnvId,
        id: BackupId,
        backup: &Backup,
    ) -> Result<BackupReader, String> {
        let file = backup.file().cloned();
        let file = file.ok_or_else(|| format!("{id} is not on the disk"))?;
        let label = ward_seal::backup_label(env, &backup.database, id);
        let vault = self.vault().clone();
        let opening = tokio::task::spawn_blocking(move || vault.open_backup(&label, &file));
        let opened = opening.await.map_err(|error| error.to_string())?;
        opened.map_err(|error| causes(&error))
    }

    /// The instance that the planner starts for it, once it runs.
    async fn drill_runs(&self, env: &EnvId, id: BackupId) -> Result<InstanceId, String> {
        let mut changed = self.engine().changed_in(env);
        loop {
            changed.mark_unchanged();
            let seen = self.engine().observe(env).into_values();
            let mut drills = seen.filter(|seen| seen.facts.role == Role::Drill(id));
            if let Some(seen) = drills.next() {
                let state = &seen.status.state;
                if state.is_over() {
                    let last = self.engine().output_tail(&seen.facts, LINES);
                    let last = last.last().cloned().unwrap_or_default();
                    return Err(format!("the new PostgreSQL ended: {last}"));
                }
                if *state != InstanceState::Starting || seen.status.pid.is_some() {
                    return Ok(seen.facts.id);
                }
            }
            if changed.changed().await.is_err() {
                return Err("the engine is gone".to_owned());
            }
        }
    }

    async fn restored(
        &self,
        env: &EnvId,
        instance: &InstanceId,
        reader: BackupReader,
    ) -> Result<Proof, String> {
        let broken = |error: std::io::Error| error.to_string();
        let (stdin, input) = std::io::pipe().map_err(broken)?;
        let (output, stdout) = std::io::pipe().map_err(broken)?;
        let feeding = fed(reader, input);
        let counting = said(output);
        let command = ward_postgres::proving();
        let ran = self.beside(env, instance, command, [stdin.as_fd(), stdout.as_fd()]);
        let ran = ran.await;
        drop((stdin, stdout));
        let fed = feeding.await.map_err(|error| error.to_string())?;
        ran?.trouble("pg_restore")?;
        fed.map_err(|error| format!("it cannot be read: {error}"))?;
        let counted = counting.await.map_err(|error| error.to_string())?;
        let mut numbers = counted.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(tables)), Some(Ok(rows))) => Ok(Proof { tables, rows }),
            _ => Err("what was restored was not counted".to_owned()),
        }
    }

    /// The instance of a database that can be asked now.
    pub(super) fn running_database(&self, env: &EnvId, database: &Name) -> Option<InstanceId> {
        let mut seen = self.engine().observe(env).into_values();
        let healthy = seen.find(|seen| {
            let facts = &seen.facts;
            let its_own = facts.role == Role::Database && facts.component == *database;
            its_own && seen.status.state == InstanceState::Healthy
        });
        healthy.map(|seen| seen.facts.id)
    }
}

/// Writes what a backup holds into a pipe; who reads it may end before.
pub(super) fn fed(
    mut reader: BackupReader,
    mut input: std::io::PipeWriter,
) -> tokio::task::JoinHandle<std::io::Result<()>> {
    tokio::task::spawn_blocking(move || match std::io::copy(&mut reader, &mut input) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    })
}
