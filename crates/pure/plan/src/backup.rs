//! What is next for the backups of an environment.
//!
//! Decision: what is whole on the disk is restored first, because it counts only then; then what was asked for is taken,
//! then what is due. What was missed while the environment was down, or no server ran, is made up for once: a backup is
//! due so long after the newest that counts, whatever was meant to be in between. What sleeps is
//! woken for it: nobody knows whether it was used since the last one.

use ward_types::backup::Stand;
use ward_types::id::{BackupId, Name};
use ward_types::release::{Environment, Goal};
use ward_types::time::Timestamp;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A backup of this database is due.
    Begin(Name, u32),
    /// This one is to be taken.
    Take(BackupId),
    /// This one is to be restored.
    Prove(BackupId),
    /// This one cannot be taken: why, in a clause.
    GiveUp(BackupId, &'static str),
}

/// What is next; `None`: nothing until something changes, or time passes.
#[must_use]
pub fn next(env: &Environment, now: Timestamp) -> Option<Next> {
    if env.life.ending.is_some() {
        return None; // It takes its backups with it.
    }
    let up = env.goal == Goal::Up;
    let all = || env.backups.all.iter();
    let taken = all().find(|(_, backup)| matches!(backup.stand, Stand::Taken { .. }));
    if let Some((id, _)) = taken.filter(|_| up) {
        return Some(Next::Prove(*id));
    }
    let asked = all().find(|(_, backup)| backup.stand == Stand::Asked);
    if let Some((id, _)) = asked {
        return Some(match up {
            true => Next::Take(*id),
            false => Next::GiveUp(*id, "the environment is down"),
        });
    }
    let due = due(env);
    let (database, keep, _) = due.filter(|(_, _, at)| *at <= now)?;
    Some(Next::Begin(database, keep))
}

/// The database that is due first, how many of its backups are kept, and when that is.
#[must_use]
pub fn due(env: &Environment) -> Option<(Name, u32, Timestamp)> {
    let serves = env.current_release().filter(|_| env.goal == Goal::Up)?;
    let declared = serves.spec.databases.iter();
    let due = declared.filter_map(|(name, database)| {
        let spec = database.backups?;
        let at = env.backups.due(name, spec.every)?;
        Some((name.clone(), spec.keep, at))
    });
    due.min_by_key(|(_, _, at)| *at)
}
