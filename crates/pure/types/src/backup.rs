//! Backups of databases: copies that are kept apart from them, and count from when they were restored.
//!
//! Decision: a backup is in the log when it is asked for, when it is whole on the disk, and when it was restored, and
//! counts only then. What lies on the disk and is not in the log is removed. Of those that were restored the newest
//! are kept; one that failed takes no place of theirs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::{Event, MisfitEvent};
use crate::id::{BackupId, Digest, Name, ReleaseId};
use crate::release::Environment;
use crate::time::{Millis, Timestamp};

/// Of those that failed so many are remembered.
const FAILURES: usize = 20;

/// How many are kept where nothing says how many.
pub const KEPT: u32 = 7;

/// After the first failure it is tried again so soon, then after twice as long, and so on.
const AGAIN_AFTER: Millis = Millis::secs(5);
/// At the latest after this.
const AGAIN_AT_MOST: Millis = Millis::secs(15 * 60);

/// How often a database is backed up, resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSpec {
    /// From one backup to the next.
    pub every: Millis,
    /// How many that were restored are kept, 1 to 1000.
    pub keep: u32,
}

/// One backup of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Of which database.
    pub database: Name,
    /// When it was asked for. It holds nothing that was written before, and not yet there, later.
    pub began: Timestamp,
    /// Who asked for it; `ward` where it was due.
    pub by: String,
    /// How many of this database are kept with it.
    pub keep: u32,
    /// The release that served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// Where it stands.
    pub stand: Stand,
}

/// Where a backup stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stand", rename_all = "snake_case")]
pub enum Stand {
    /// It is to be taken, or is being taken.
    Asked,
    /// It is whole on the disk, and nobody knows yet whether it can be restored.
    Taken {
        /// Since when.
        at: Timestamp,
        /// What lies there.
        file: BackupFile,
    },
    /// It was restored, and counts.
    Restored {
        /// When.
        at: Timestamp,
        /// What lies there.
        file: BackupFile,
        /// What was found in the restored database.
        proof: Proof,
    },
    /// It is none.
    Failed {
        /// When that was found out.
        at: Timestamp,
        /// Why, in a clause.
        why: String,
    },
}

/// A backup's file, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its size in bytes.
    pub bytes: u64,
    /// The digest of what lies on the disk.
    pub digest: Digest,
}

/// What was counted in a restored database, and is what the backup itself holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Tables with data of their own.
    pub tables: u64,
    /// The rows in all of them.
    pub rows: u64,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |number: u64, one: &str| match number {
            1 => format!("1 {one}"),
            number => format!("{number} {one}s"),
        };
        let (tables, rows) = (many(self.tables, "table"), many(self.rows, "row"));
        write!(f, "{tables}, {rows}")
    }
}

impl Backup {
    /// Whether it was restored.
    #[must_use]
    pub fn counts(&self) -> bool {
        matches!(self.stand, Stand::Restored { .. })
    }

    /// What lies on the disk of it, once it is whole.
    #[must_use]
    pub fn file(&self) -> Option<&BackupFile> {
        match &self.stand {
            Stand::Taken { file, .. } | Stand::Restored { file, .. } => Some(file),
            Stand::Asked | Stand::Failed { .. } => None,
        }
    }

    /// Whether something is still to be done with it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stand, Stand::Asked | Stand::Taken { .. })
    }
}

/// The backups of an environment's databases.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Backups {
    /// The number that was given out last.
    pub last: BackupId,
    /// By number: those that are kept or under way, and the last that failed.
    pub all: BTreeMap<BackupId, Backup>,
}

/// That a database has no backup that is young enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdue {
    /// The database.
    pub database: Name,
    /// How often it is to be backed up.
    pub every: Millis,
    /// When the newest that was restored began; `None`: there is none.
    pub newest: Option<Timestamp>,
    /// Why the last attempt failed, if it did.
    pub why: Option<String>,
}

impl Backups {
    /// Whether there never was one.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Those of one database, the oldest first.
    pub fn of(&self, database: &Name) -> impl DoubleEndedIterator<Item = (BackupId, &Backup)> {
        let all = self.all.iter().map(|(id, backup)| (*id, backup));
        all.filter(move |(_, backup)| backup.database == *database)
    }

    /// The newest of a database that was restored.
    #[must_use]
    pub fn newest(&self, database: &Name) -> Option<(BackupId, &Backup)> {
        self.of(database).rev().find(|(_, backup)| backup.counts())
    }

    /// When a database is to be backed up again; `None`: a backup of it is under way. One that was never backed up is
    /// due at once, and what failed is tried again after a pause that grows.
    #[must_use]
    pub fn due(&self, database: &Name, every: Millis) -> Option<Timestamp> {
        if self.of(database).any(|(_, backup)| backup.is_open()) {
            return None;
        }
        let due = self
            .newest(database)
            .map(|(_, newest)| newest.began + every);
        let failures = self.failures(database);
        let Some(last) = failures.last() else {
            return Some(due.unwrap_or_default());
        };
        let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX);
        let factor = 2u64.checked_pow(doublings).unwrap_or(u64::MAX);
        let pause = AGAIN_AFTER.0.saturating_mul(factor);
        let pause = Millis(pause.min(AGAIN_AT_MOST.0).min(every.0.max(AGAIN_AFTER.0)));
        Some(due.unwrap_or_default().max(*last + pause))
    }

    /// When the attempts since the newest that was restored failed, the oldest first.
    fn failures(&self, database: &Name) -> Vec<Timestamp> {
        let newest = self.newest(database).map(|(id, _)| id);
        let since = self.of(database).filter(|(id, _)| Some(*id) > newest);
        let failed = since.filter_map(|(_, backup)| match &backup.stand {
            Stand::Failed { at, .. } => Some(*at),
            _ => None,
        });
        failed.collect()
    }

    /// Why the last attempt at a database failed, if it did.
    #[must_use]
    pub fn failure(&self, database: &Name) -> Option<(BackupId, &str)> {
        let mut ended = self.of(database).rev().filter(|(_, one)| !one.is_open());
        let (id, last) = ended.next()?;
        match &last.stand {
            Stand::Failed { why, .. } => Some((id, why)),
            _ => None,
        }
    }

    fn open(&mut self, id: BackupId) -> Option<&mut Backup> {
        self.all.get_mut(&id).filter(|backup| backup.is_open())
    }

    /// The older ones beyond the newest that are kept go, and of those that failed all but the last.
    fn forget(&mut self, database: &Name, keep: u32) {
        let keep = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
        let of = |counts: bool| {
            let wanted = self.all.iter().filter(|(_, one)| match counts {
                true => one.counts() && one.database == *database,
                false => matches!(one.stand, Stand::Failed { .. }),
            });
            wanted.map(|(id, _)| *id).collect::<Vec<_>>()
        };
        let (restored, failed) = (of(true), of(false));
        let old = restored.iter().take(restored.len().saturating_sub(keep));
        let over = failed.iter().take(failed.len().saturating_sub(FAILURES));
        for id in old.chain(over) {
            self.all.remove(id);
        }
    }
}

impl Environment {
    /// What the release that serves declares for a database's backups.
    #[must_use]
    pub fn backup_spec(&self, database: &Name) -> Option<BackupSpec> {
        let release = self.current_release()?;
        release.spec.databases.get(database)?.backups
    }

    /// The databases whose newest restored backup is older than twice its interval, or which have none though one was
    /// tried, or should have been long ago.
    #[must_use]
    pub fn overdue_backups(&self, now: Timestamp) -> Vec<Overdue> {
        let Some(release) = self.current_release() else {
            return Vec::new();
        };
        let declared = release.spec.databases.iter();
        let declared = declared.filter_map(|(name, spec)| Some((name, spec.backups?)));
        let overdue = declared.filter_map(|(name, spec)| {
            let newest = self.backups.newest(name).map(|(_, newest)| newest.began);
            let failure = self.backups.failure(name);
            let since = newest.unwrap_or(release.recorded);
            let old = now.since(since).0 > spec.every.0.saturating_mul(2);
            let late = old || (newest.is_none() && failure.is_some());
            late.then(|| Overdue {
                database: name.clone(),
                every: spec.every,
                newest,
                why: failure.map(|(_, why)| why.to_owned()),
            })
        });
        overdue.collect()
    }

    /// Whether a backup of it is to be taken or restored.
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        self.backups.all.values().any(Backup::is_open)
    }

    pub(crate) fn apply_to_backups(
        &mut self,
        at: Timestamp,
        event: &Event,
    ) -> Result<(), MisfitEvent> {
        match event {
            Event::BackupBegan {
                backup,
                database,
                keep,
                by,
                ..
            } => self.begin_backup(at, *backup, database, (*keep, by)),
            Event::BackupTaken { backup, file, .. } => {
                let open = self.open_backup(*backup)?;
                open.stand = Stand::Taken {
                    at,
                    file: file.clone(),
                };
                Ok(())
            }
            Event::BackupRestored { backup, proof, .. } => {
                let misfit = MisfitEvent::NoBackup(self.id.clone(), *backup);
                let open = self.open_backup(*backup)?;
                let file = open.file().cloned().ok_or(misfit)?;
                let proof = *proof;
                open.stand = Stand::Restored { at, file, proof };
                let (database, keep) = (open.database.clone(), open.keep);
                self.backups.forget(&database, keep);
                Ok(())
            }
            Event::BackupFailed { backup, why, .. } => {
                let open = self.open_backup(*backup)?;
                let why = why.clone();
                open.stand = Stand::Failed { at, why };
                let (database, keep) = (open.database.clone(), u32::MAX);
                self.backups.forget(&database, keep);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin_backup(
        &mut self,
        at: Timestamp,
        id: BackupId,
        database: &Name,
        (keep, by): (u32, &str),
    ) -> Result<(), MisfitEvent> {
        self.must_live()?;
        let under_way = self.backups.of(database).any(|(_, one)| one.is_open());
        if id <= self.backups.last || under_way {
            return Err(MisfitEvent::Repeated(self.id.clone(), id.to_string()));
        }
        self.backups.last = id;
        let backup = Backup {
            database: database.clone(),
            began: at,
            by: by.to_owned(),
            keep,
            release: self.current,
            stand: Stand::Asked,
        };
        self.backups.all.insert(id, backup);
        Ok(())
    }

    fn open_backup(&mut self, id: BackupId) -> Result<&mut Backup, MisfitEvent> {
        let misfit = MisfitEvent::NoBackup(self.id.clone(), id);
        self.backups.open(id).ok_or(misfit)
    }
}

#[cfg(test)]
mod tests;
