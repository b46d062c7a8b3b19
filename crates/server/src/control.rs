//! The handle by which the API asks the server for things.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};
use ward_engine::Engine;
use ward_postgres::Postgres;
use ward_registry::Registry;
use ward_store::{Entry, Log, Store};
use ward_types::event::{Event, Record, State};
use ward_types::id::{EnvId, Name};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::Environment;
use ward_types::release::Goal;
use ward_types::time::Millis;
use ward_types::view::{AuditView, HandedOver};

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::admission::{Admission, Admitted};
use crate::audit::Auditor;
use crate::builds::Builds;
use crate::clock::{now, number};
use crate::compose::Composer;
use crate::driver::{self, Live, World};
use crate::exec::may_say_a_secret;
use crate::images::Images;
use crate::issuing::Issuing;
use crate::keys::Looking;
use crate::measuring::Measured;
use crate::notices::Notices;
use crate::passwords::Rotations;
use crate::pipelines::Hindered;
use crate::restoring::Restoring;
use crate::server::Heard;
use crate::sought::Sought;
use crate::sources::Sources;

/// Which way among the releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To an earlier release.
    Back,
    /// To a later one.
    Forward,
}

/// Whether a control plane acts on what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// As a server does.
    Acts,
    /// It only answers, while no platform runs.
    Reads,
}

pub(crate) struct Shared {
    pub(crate) home: PathBuf,
    pub(crate) world: World,
    pub(crate) registry: Registry,
    pub(crate) registry_address: String,
    pub(crate) images: Images,
    pub(crate) postgres: Postgres,
    pub(crate) drivers: Mutex<BTreeMap<EnvId, watch::Receiver<Live>>>,
    pub(crate) builds: Builds,
    /// The repositories that are watched.
    pub(crate) sources: Sources,
    /// The binary, which hooks of hosted repositories start.
    pub(crate) exe: PathBuf,
    /// Where webhooks are taken, if they are.
    pub(crate) hooks: Option<SocketAddr>,
    /// The region that this Ward is in, if somebody said so.
    pub(crate) region: Option<Name>,
    /// Whose word about a run of a pipeline reaches it.
    pub(crate) people: Heard,
    /// Where backups lie, if not in the state folder.
    pub(crate) backup_dir: Option<PathBuf>,
    pub(crate) duty: Duty,
    /// Held by who looks whether the master keys are there.
    pub(crate) looking: Looking,
    /// Held by who decides from the state and records what was decided.
    pub(crate) desk: tokio::sync::Mutex<()>,
    /// Held while there are images that no release refers to yet: nothing is collected meanwhile.
    pub(crate) unrecorded: tokio::sync::RwLock<()>,
    pub(crate) auditor: Auditor,
    /// Certificates by ACME, where this Ward has an authority.
    pub(crate) issuing: Option<Issuing>,
    /// What volumes hold.
    pub(crate) measured: Measured,
    /// How notices are taken.
    pub(crate) notices: Notices,
    pub(crate) rotations: Rotations,
    /// Which volumes somebody is alone with.
    pub(crate) restoring: Restoring,
    pub(crate) admission: Admission,
    /// What keeps runs of pipelines from going on.
    pub(crate) hindered: Hindered,
    pub(crate) ending: watch::Sender<bool>,
}

/// How often a decision is made anew because a driver wrote meanwhile; it writes a few events a deployment.
const DECIDED_AT_MOST: usize = 5;

/// Who holds it is alone at the desk.
pub(crate) struct Desk<'a>(#[expect(dead_code, reason = "held")] tokio::sync::MutexGuard<'a, ()>);

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Shared>);

impl Control {
    pub(crate) fn store(&self) -> &Store {
        &self.0.world.store
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.world.engine
    }

    /// Becomes true when the server is asked to end.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.0.ending.subscribe()
    }

    /// Lets a change in that is not in the log yet: while it is under way the platform does not end.
    ///
    /// # Errors
    /// When it is ending already.
    pub(crate) fn admit(&self) -> Result<Admitted, Refusal> {
        self.0.admission.enter().ok_or_else(|| {
            Refusal::new(
                RefusalKind::Conflict,
                "the platform is being stopped just now; nothing was changed",
            )
            .hint("`ward up` starts it again")
        })
    }

    /// Ends this server alone, so that another one takes over: gateway and instances go on.
    ///
    /// # Errors
    /// While something is being built, which would be cut off; and where no other server could take over: the
    /// disk is full, or the gateway does not answer.
    pub fn hand_over(&self) -> Result<HandedOver, Refusal> {
        // A number that nothing else counts: whether the log takes anything at all.
        let written = self.store().next_number("handover", 1);
        written.map_err(|error| {
            Refusal::failed(
                "nothing was changed; another server could not start",
                &error,
            )
        })?;
        if let Some(pid) = self.0.world.routing.mute() {
            let message =
                format!("nothing was changed; the gateway (process {pid}) does not answer");
            return Err(Refusal::new(RefusalKind::Conflict, message)
                .hint("this server starts another one in a few seconds; then upgrade again"));
        }
        self.0.admission.close(|changes| match changes {
            0 => Ok(()),
            _ => Err(Refusal::new(
                RefusalKind::Conflict,
                "a build is under way, which an upgrade would cut off; nothing was changed",
            )
            .hint("`ward status` shows it; wait for it, or end it with `ward deployment cancel`")),
        })?;
        self.0.ending.send_replace(true);
        Ok(HandedOver {
            variables: self.vault().source().variables(),
        })
    }

    /// Ends the gateway, then the server, once everything is down.
    ///
    /// # Errors
    /// While an environment is to be up, or is just being deployed: nothing ends then. When the gateway does
    /// not end: the server ends all the same.
    pub async fn shutdown(&self) -> Result<(), Refusal> {
        self.0.admission.close(|changes| self.may_end(changes))?;
        let nothing_runs = self.store().state().environments.keys().all(|env| {
            self.engine()
                .observe(env)
                .values()
                .all(|seen| seen.status.state.is_over())
        });
        let quit = match nothing_runs {
            true => self.0.world.routing.quit(Millis::secs(5)).await,
            false => Ok(()),
        };
        self.0.ending.send_replace(true);
        quit
    }

    fn may_end(&self, changes: usize) -> Result<(), Refusal> {
        let state = self.store().state();
        let up = state
            .environments
            .values()
            .filter(|env| env.goal == Goal::Up);
        let up: Vec<&str> = up.map(|env| env.id.as_str()).collect();
        let message = match (up.is_empty(), changes) {
            (true, 0) => return Ok(()),
            (true, _) => {
                "an environment is being deployed just now, so the platform goes on".to_owned()
            }
            (false, _) => format!("{} is to be up, so the platform goes on", up.join(", ")),
        };
        Err(Refusal::new(RefusalKind::Conflict, message)
            .hint("`ward events` says by whom; `ward down` again takes everything down"))
    }

    /// The environment that is asked for: it must exist, or be in the making; when none is named, the only
    /// one.
    ///
    /// # Errors
    /// What there is instead.
    pub fn environment(&self, asked: Option<&EnvId>) -> Result<EnvId, Refusal> {
        let state = self.store().state();
        let living = state.environments.values().filter(|env| !env.is_deleted());
        let mut known: BTreeSet<EnvId> = living.map(|env| env.id.clone()).collect();
        known.extend(self.0.builds.environments());
        let list = || {
            let names: Vec<&str> = known.iter().map(EnvId::as_str).collect();
            names.join(", ")
        };
        let first = "bring one up with `ward up DIR`";
        match asked {
            // Of one that is gone there is its history.
            Some(id) if known.contains(id) || state.environments.contains_key(id) => Ok(id.clone()),
            Some(id) => {
                let hint = match known.is_empty() {
                    true => first.to_owned(),
                    false => format!("there are: {}", list()),
                };
                let message = format!("there is no environment {id}");
                Err(Refusal::new(RefusalKind::NotFound, message).hint(hint))
            }
            None => match (known.first(), known.len()) {
                (Some(only), 1) => Ok(only.clone()),
                (None, _) => Err(Refusal::new(
                    RefusalKind::NotFound,
                    "there is no environment yet",
                )
                .hint(first)),
                (Some(_), _) => Err(Refusal::new(
                    RefusalKind::Invalid,
                    "there are several environments",
                )
                .hint(format!("name one with --env: {}", list()))),
            },
        }
    }

    pub(crate) fn known(&self, id: &EnvId) -> Option<Environment> {
        self.store().state().environment(id).cloned()
    }

    /// The live view of an environment; its driver is started when it has none. Who only reads sees nothing live.
    pub(crate) fn live(&self, id: &EnvId) -> watch::Receiver<Live> {
        if self.0.duty == Duty::Reads {
            return watch::channel(Live::default()).1;
        }
        let mut drivers = lock(&self.0.drivers);
        let driver = drivers.entry(id.clone());
        driver
            .or_insert_with(|| driver::drive(id.clone(), self.0.world.clone()))
            .clone()
    }

    /// The one place where requests become events: whoever has it is alone with the state, but for the
    /// drivers and for what is only noted down. Never held for long, and never during a build.
    pub(crate) async fn desk(&self) -> Desk<'_> {
        Desk(self.0.desk.lock().await)
    }

    /// The same for whoever says why: nobody else waits while the master key is fetched that the values in a reason are
    /// found with (see [`Control::append`]), which a key management system may take its time for.
    pub(crate) async fn desk_for(&self, why: &str) -> Desk<'_> {
        let state = self.store().state();
        let mut known = state.environments.values();
        if may_say_a_secret(why) && known.any(|env| !env.secrets.is_empty()) {
            self.composer().opener.fetch_key().await;
        }
        self.desk().await
    }

    /// Decides from the state, and appends what was decided. A driver may have written in between, such as
    /// the end of a deployment that was to be cancelled: then it is decided anew.
    ///
    /// # Errors
    /// Those of `decide`, and when the log does not take the events.
    pub(crate) async fn decided<T>(
        &self,
        _desk: &Desk<'_>,
        actor: &Actor,
        why: &str,
        decide: impl Fn(&State) -> Result<(T, Vec<Event>), Refusal>,
    ) -> Result<T, Refusal> {
        let mut refused = None;
        for _ in 0..DECIDED_AT_MOST {
            let events = *self.store().changed().borrow();
            let (decision, decided) = decide(&self.store().state())?;
            match self.append(actor, why, decided).await {
                Ok(_) => return Ok(decision),
                Err(refusal) => refused = Some(refusal),
            }
            if *self.store().changed().borrow() == events {
                break;
            }
        }
        Err(refused.unwrap_or_else(|| Refusal::new(RefusalKind::Conflict, "nothing was changed")))
    }

    /// Appends events that somebody asked for, all or none.
    ///
    /// # Errors
    /// When they do not fit the state any more, or the disk is full.
    pub(crate) async fn append(
        &self,
        actor: &Actor,
        why: &str,
        events: Vec<Event>,
    ) -> Result<Vec<Record>, Refusal> {
        self.all_reasoned(actor, why, &events)?;
        let (why, events) = self.without_values(why, events).await;
        let at = now();
        let request = format!("q{:x}", number(at));
        let entry = |event| Entry {
            at,
            who: actor.who.clone(),
            why: why.clone(),
            request: request.clone(),
            event,
        };
        let entries = events.into_iter().map(entry).collect();
        let store = self.store().clone();
        let appended = tokio::task::spawn_blocking(move || store.append(entries)).await;
        match appended {
            Ok(Ok(records)) => Ok(records),
            Ok(Err(error)) => Err(Refusal::failed(
                "the log did not take it; nothing was changed",
                &error,
            )),
            Err(error) => Err(Refusal::failed("the log did not take it", &error)),
        }
    }

    /// The records after number `after`; without it, the newest.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn events(
        &self,
        after: Option<u64>,
        env: Option<&EnvId>,
        limit: usize,
    ) -> Result<Vec<Record>, Refusal> {
        if after.is_some() || env.is_some() {
            let all = self
                .store()
                .records(after, usize::MAX, env)
                .map_err(unread)?;
            let skip = if after.is_some() {
                0
            } else {
                all.len().saturating_sub(limit)
            };
            return Ok(all.into_iter().skip(skip).take(limit).collect());
        }
        let count = *self.store().changed().borrow();
        let first = count.saturating_sub(limit as u64);
        self.store()
            .records(first.checked_sub(1), limit, None)
            .map_err(unread)
    }

    /// Sends the records after number `after` as they come, until the receiver goes away.
    pub async fn follow_events(
        &self,
        after: Option<u64>,
        sought: &Sought,
        records: mpsc::Sender<Record>,
    ) {
        let mut changed = self.store().changed();
        let mut led = BTreeSet::new();
        let mut last = sought.begins(after);
        let env = sought.env.as_ref();
        loop {
            changed.mark_unchanged();
            for record in self.store().records(last, 1000, env).unwrap_or_default() {
                last = Some(record.seq);
                let taken = sought.takes(&record, &mut led);
                if !taken || after.is_some_and(|after| record.seq <= after) {
                    continue;
                }
                if records.send(record).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                more = changed.changed() => if more.is_err() { return },
                () = records.closed() => return,
            }
        }
    }

    /// Recomputes the whole log.
    ///
    /// # Errors
    /// When the database cannot be read at all.
    pub async fn verify(&self) -> Result<AuditView, Refusal> {
        self.0.auditor.audit().await
    }

    pub(crate) fn composer(&self) -> &Composer {
        &self.0.world.composer
    }

    /// Whether what serves has this database.
    ///
    /// # Errors
    /// Which it has.
    pub(crate) fn has_database(&self, env: &EnvId, name: &Name) -> Result<(), Refusal> {
        let known = self.known(env);
        let declared = known
            .as_ref()
            .and_then(Environment::current_release)
            .map(|release| &release.spec.databases);
        if !declared.is_some_and(|databases| databases.contains_key(name)) {
            let names: Vec<&str> = declared
                .iter()
                .flat_map(|all| all.keys().map(Name::as_str))
                .collect();
            return Err(Refusal::new(
                RefusalKind::NotFound,
                format!("{env} has no database {name}"),
            )
            .hint(format!(
                "it has: {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            )));
        }
        Ok(())
    }

    pub(crate) fn running(
        &self,
        env: &EnvId,
        component: &Name,
    ) -> Result<ward_types::id::InstanceId, Refusal> {
        let current = self.known(env).and_then(|env| env.current);
        let seen = self.engine().observe(env);
        let mut fitting: Vec<_> = seen
            .values()
            .filter(|seen| seen.facts.component == *component && !seen.status.state.is_over())
            .filter(|seen| {
                !matches!(
                    seen.facts.role,
                    Role::Copy | Role::VolumeCopy | Role::Snapshot | Role::Drill(_)
                )
            })
            .collect();
        // The healthy before the others, the current release's before older ones.
        fitting.sort_by_key(|seen| {
            let healthy = seen.status.state == InstanceState::Healthy;
            (
                healthy,
                Some(seen.facts.release) == current,
                seen.facts.id.ordinal(),
            )
        });
        fitting
            .last()
            .map(|seen| seen.facts.id.clone())
            .ok_or_else(|| {
                let names: Vec<String> = seen
                    .values()
                    .map(|seen| seen.facts.component.to_string())
                    .collect();
                Refusal::new(
                    RefusalKind::NotFound,
                    format!("nothing called {component} runs in {env}"),
                )
                .hint(if names.is_empty() {
                    "`ward status` shows why".to_owned()
                } else {
                    format!("there are: {}", unique(names))
                })
            })
    }
}

fn unique(mut names: Vec<String>) -> String {
    names.sort();
    names.dedup();
    names.join(", ")
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// That the log could not be read.
pub(crate) fn unread(error: ward_store::Error) -> Refusal {
    Refusal::failed("the log cannot be read", &error)
}
