//! A backup becomes a new environment, and never anything that is there.
//!
//! The environment is made like any copy; what fills its databases is an instance that the planner starts, which waits
//! for what is written to it. Here it is found and given the backup. One that was given half of it, because the server
//! ended, fails, and the environment is not left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd as _;
use std::time::Duration;

use tokio::task::JoinSet;
use ward_store::Log;
use ward_types::backup::{Backup, Stand};
use ward_types::id::{BackupId, EnvId, InstanceId, Name};
use ward_types::keeper::Role;
use ward_types::release::{Environment, Goal, Release};
use ward_types::spec::EnvSpec;

use super::proving::fed;
use super::taking::Ran;
use crate::actor::{Refusal, RefusalKind};
use crate::control::Control;

/// How often it is looked whether an instance waits for a backup.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// An instance that waits for a backup. Its own id is unique in its environment alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Unfed {
    env: EnvId,
    instance: InstanceId,
    /// Whose backup.
    from: EnvId,
    backup: BackupId,
}

/// What became of giving it.
enum Fed {
    /// Nobody was there to take it: a keeper that is busy, or not there yet.
    NotReached,
    Ended,
}

impl Control {
    /// Gives instances that fill new databases the backups that they wait for, for as long as the server runs.
    pub(super) fn keep_feeding(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let (mut begun, mut feeding) = (BTreeSet::new(), JoinSet::new());
            loop {
                while let Some(ended) = feeding.try_join_next() {
                    if let Ok((one, Fed::NotReached)) = ended {
                        begun.remove(&one);
                    }
                }
                let waiting = control.unfed();
                begun.retain(|one| waiting.contains(one));
                for one in waiting {
                    if begun.insert(one.clone()) {
                        let control = control.clone();
                        feeding.spawn(async move {
                            let fed = control.feed(&one).await;
                            (one, fed)
                        });
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    }

    /// The instances that fill databases from backups, and run.
    fn unfed(&self) -> BTreeSet<Unfed> {
        let state = self.store().state();
        let restored = state.environments.values().filter(|env| {
            let life = &env.life;
            env.copies_data() && !life.restores.is_empty()
        });
        let waiting = restored.flat_map(|env| {
            let seen = self.engine().observe(&env.id).into_values();
            seen.filter_map(|seen| {
                let facts = seen.facts;
                let runs = seen.status.pid.is_some() && !seen.status.state.is_over();
                let copies = facts.role == Role::Copy && runs;
                let from = env.life.copies.clone().filter(|_| copies)?;
                let backup = *env.life.restores.get(&facts.component)?;
                Some(Unfed {
                    env: env.id.clone(),
                    instance: facts.id,
                    from,
                    backup,
                })
            })
        });
        waiting.collect()
    }

    async fn feed(&self, one: &Unfed) -> Fed {
        let (env, instance, backup) = (&one.env, &one.instance, one.backup);
        let tell = |why: &str| {
            tracing::warn!(%env, %instance, %backup, why, "a backup is not restored");
        };
        match self.given(one).await {
            Ok(Ok(ran)) => {
                if let Err(why) = ran.trouble("cat") {
                    tell(&why);
                }
                Fed::Ended
            }
            Ok(Err(why)) => {
                tell(&format!("{why}; it is tried again while it waits"));
                Fed::NotReached
            }
            Err(why) => {
                tell(&why);
                Fed::Ended
            }
        }
    }

    /// Gives an instance its backup; the inner error says why the instance could not be asked to take it.
    async fn given(&self, one: &Unfed) -> Result<Result<Ran, String>, String> {
        let (from, id) = (&one.from, one.backup);
        let known = self.known(from);
        let backup = known.as_ref().and_then(|env| env.backups.all.get(&id));
        let backup = backup.ok_or_else(|| format!("{from} has no backup {id} any more"))?;
        let reader = self.opened_backup(from, id, backup).await?;
        let broken = |error: std::io::Error| error.to_string();
        let (stdin, input) = std::io::pipe().map_err(broken)?;
        let (_output, stdout) = std::io::pipe().map_err(broken)?;
        let feeding = fed(reader, input);
        let command = ward_postgres::feeding();
        let stdio = [stdin.as_fd(), stdout.as_fd()];
        let ran = self.beside(&one.env, &one.instance, command, stdio).await;
        drop(stdin);
        let fed = feeding.await.map_err(|error| error.to_string())?;
        fed.map_err(broken)?;
        Ok(ran)
    }

    /// The backups of an environment that a new one is to begin with, by database.
    ///
    /// # Errors
    /// When there is no such backup, it was never restored, or a database has none or two.
    pub(crate) fn chosen_backups(
        &self,
        parent: &Environment,
        spec: &EnvSpec,
        asked: &[BackupId],
    ) -> Result<BTreeMap<Name, BackupId>, Refusal> {
        let (env, mut chosen) = (&parent.id, BTreeMap::new());
        let list = way_back(parent);
        for id in asked {
            let backup = counted(parent, *id).map_err(|refusal| refusal.hint(list.clone()))?;
            if !spec.databases.contains_key(&backup.database) {
                let message = format!(
                    "{id} is of the database {}, which {env} does not have any more",
                    backup.database
                );
                return Err(Refusal::new(RefusalKind::Conflict, message).hint(list));
            }
            if let Some(other) = chosen.insert(backup.database.clone(), *id) {
                let message = format!("{other} and {id} are of one database, {}", backup.database);
                return Err(Refusal::new(RefusalKind::Invalid, message)
                    .hint("name one backup for each database"));
            }
        }
        let missing = spec
            .databases
            .keys()
            .find(|name| !chosen.contains_key(*name));
        if let Some(missing) = missing {
            let message = format!("none of these is a backup of {env}'s database {missing}");
            let hint = match (parent.backups.newest(missing), parent.goal) {
                (Some((id, _)), _) => format!("`--backup {id}` is the newest; {list}"),
                (None, Goal::Up) => {
                    format!("there is none: `ward db backup {missing} --env {env}` makes one")
                }
                (None, Goal::Down | Goal::Purged) => format!("there is none of it; {list}"),
            };
            return Err(Refusal::new(RefusalKind::Invalid, message).hint(hint));
        }
        Ok(chosen)
    }

    /// Whether backups open, and are what was written: before anything is made of them.
    ///
    /// # Errors
    /// Why one does not.
    pub(crate) async fn backups_open(
        &self,
        from: &EnvId,
        asked: &[BackupId],
    ) -> Result<(), Refusal> {
        let Some(known) = self.known(from).filter(|_| !asked.is_empty()) else {
            return Ok(());
        };
        for id in asked {
            let list = format!("nothing was changed; {}", way_back(&known));
            let backup = counted(&known, *id).map_err(|refusal| refusal.hint(list.clone()))?;
            if let Err(why) = self.opened_backup(from, *id, backup).await {
                let message = format!("{id} of {from} cannot be restored: {why}");
                let list = format!("nothing was changed; {}", others(&known, *id));
                return Err(Refusal::new(RefusalKind::Failed, message).hint(list));
            }
        }
        Ok(())
    }
}

fn counted(env: &Environment, id: BackupId) -> Result<&Backup, Refusal> {
    let backup = env.backups.all.get(&id).ok_or_else(|| {
        let message = format!("{} has no backup {id}", env.id);
        Refusal::new(RefusalKind::NotFound, message)
    })?;
    let why = match &backup.stand {
        Stand::Restored { .. } => return Ok(backup),
        Stand::Failed { why, .. } => format!("{id} of {} failed, and is none: {why}", env.id),
        Stand::Asked | Stand::Taken { .. } => {
            format!(
                "{id} of {} was not restored yet, and does not count",
                env.id
            )
        }
    };
    Err(Refusal::new(RefusalKind::Conflict, why))
}

/// What there is beside a backup that does not open.
fn others(env: &Environment, closed: BackupId) -> String {
    let mut others = env.clone();
    others.backups.all.remove(&closed);
    match restore_command(&others) {
        Some(_) => way_back(&others),
        None => format!("`ward db backups --env {}` lists what there is", env.id),
    }
}

/// The most backups that are named in one hint.
const NAMED: usize = 5;

/// What there is to restore from, newest first, and by which command.
pub(crate) fn way_back(env: &Environment) -> String {
    let id = &env.id;
    let counted = env.backups.all.iter().rev().filter(|(_, one)| one.counts());
    let counted: Vec<_> = counted.collect();
    let Some(command) = restore_command(env) else {
        return match env.goal {
            Goal::Up => format!(
                "{id} has nothing to restore from yet: a backup counts once it was restored; `ward db backup --env {id}` \
                 makes one, `ward db backups --env {id}` lists what was tried"
            ),
            Goal::Down | Goal::Purged => format!(
                "{id} has nothing to restore from: no backup of it was ever restored; `ward db backups --env {id}` lists \
                 what was tried"
            ),
        };
    };
    let named = counted.iter().take(NAMED).map(|(backup, one)| {
        let (database, at) = (&one.database, one.began);
        format!("{backup} (of {database}, {at})")
    });
    let named: Vec<String> = named.collect();
    let more = match counted.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{id} has {}{more}: `{command}` makes a new environment of the newest; `ward db backups --env {id}` lists all",
        named.join(", ")
    )
}

/// The command that makes a new environment of the newest backup of each database; `None`: there is none that counts.
pub(crate) fn restore_command(env: &Environment) -> Option<String> {
    let databases = env.backups.all.values().map(|one| &one.database);
    let databases: BTreeSet<&Name> = databases.collect();
    let newest = databases
        .into_iter()
        .filter_map(|database| Some(env.backups.newest(database)?.0));
    let backups: Vec<String> = newest.map(|id| format!("--backup {id}")).collect();
    let id = &env.id;
    (!backups.is_empty()).then(|| {
        let backups = backups.join(" ");
        format!("ward db restore {backups} --into NAME --env {id}")
    })
}

/// The release that a copy of an environment is made from. One with the rows of a backup may be of an environment that
/// was purged: then of the release that served when it was taken, or the newest.
pub(crate) fn original<'a>(parent: &'a Environment, asked: &[BackupId]) -> Option<&'a Release> {
    let newest = || parent.releases.values().next_back();
    let then = || {
        let backup = parent.backups.all.get(asked.first()?)?;
        parent.releases.get(&backup.release?)
    };
    let serves = parent.current_release();
    match asked.is_empty() {
        true => serves,
        false => serves.or_else(then).or_else(newest),
    }
}
