//! The one owner of the routing table: it composes it from all environments' pools, gives it its
//! generation, and keeps a gateway running.
//!
//! A table is made durable by the gateway itself, which starts again from it. After a restart of the
//! server the table in force is asked of the gateway, so that the pools of environments whose driver has
//! not planned yet stay as they are.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex as BlockingMutex};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use ward_gateway::control::{Control, ControlError};
use ward_store::{Entry, Lease, Log, Store};
use ward_types::event::Event;
use ward_types::id::{EnvId, Generation, InstanceId};
use ward_types::table::{
    Applied, Call, Challenge, GatewayObserved, Pool, Table, TableChange, Version,
};
use ward_types::tally::GatewayTally;
use ward_types::time::Millis;

use crate::actor::Refusal;
use crate::addresses::{self, Addresses};
use crate::clock::now;
use crate::control::lock;
use crate::elders::{self, Elders};
use crate::hosts;
use crate::work::{LOOK, Silence, Threads, Verdict, patiently};

/// Why the gateway's sockets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum RoutingError {
    /// Something else listens there, or the address is not this machine's.
    #[error("cannot listen on {address} for {what}; choose another with {flag} or {variable}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// For what.
        what: &'static str,
        /// The flag that changes it.
        flag: &'static str,
        /// The variable that changes it.
        variable: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The gateway could not be started.
    #[error("cannot start the gateway")]
    Spawn(#[source] ward_gateway::SpawnError),
    /// One runs that does not answer, so its sockets are not to be had and its ports not free.
    #[error(
        "the gateway{} of this state folder runs and does not answer, so nobody else can have its ports; end it (`kill -9 PID`), then try again",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Hung {
        /// Its process id, where that is known.
        pid: Option<u32>,
    },
    /// Who only reads has none, and starts none.
    #[error("no platform runs, and no gateway is started")]
    Unwanted,
    /// It ended before it served.
    #[error("the gateway that was started did not take over; its messages are in gateway.log")]
    Ended,
    /// It started and does not answer.
    #[error("the gateway does not answer; its messages are in gateway.log")]
    Silent(#[source] ControlError),
    /// The table's generation, or the server's fencing number, could not be made durable.
    #[error("cannot number a routing table")]
    Number(#[source] ward_store::Error),
    /// The gateway did not take the table.
    #[error("the gateway did not take the routing table")]
    Apply(#[source] ControlError),
}

/// Where the gateway listens and how it is started.
#[derive(Debug, Clone)]
pub(crate) struct GatewayPlace {
    pub(crate) home: PathBuf,
    pub(crate) exe: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// `None`: nobody cares.
    pub(crate) metrics: Option<SocketAddr>,
    /// What it is told beside that.
    pub(crate) arguments: Vec<String>,
    /// What a server that takes over is started with, beside its addresses.
    pub(crate) again: Vec<String>,
    /// What was bound at the last start.
    pub(crate) kept: Addresses,
    /// What becomes of a gateway that runs.
    pub(crate) found: Found,
}

/// What becomes of a gateway that runs when a server starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It goes on.
    Kept,
    /// One of this binary takes its sockets over; it finishes what it has begun, and ends.
    Replaced,
}

/// A gateway that takes longer answers late: whoever plans does not wait for it. Whether it hangs is decided
/// elsewhere ([`crate::work`]).
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// A gateway looks for its successor five times a second.
const LEAVES_WITHIN: Duration = Duration::from_secs(5);

/// Nobody listens on the control socket for so long: the gateway does not come back by itself. A successor
/// is there within milliseconds, if it can be started at all.
const GONE_AFTER: Duration = Duration::from_secs(3);

/// What was seen of the gateway before is too old for anybody: it is asked ten times a second.
const LATELY: Duration = Duration::from_secs(1);

struct Inner {
    place: GatewayPlace,
    control: Control,
    /// The watch's own connection: a table that takes long on the other is no gateway that hangs.
    pulse: Control,
    /// The connection on which it is asked for which environments that sleep requests are held.
    calls: Control,
    store: Store,
    lease: Lease,
    /// The listening sockets outlive the gateway here, so that connections wait for its successor.
    /// `None`: no platform runs, and none is started.
    listeners: Option<(TcpListener, TcpListener)>,
    /// The operators' address; `None` while a gateway is kept that was given none.
    metrics: Option<TcpListener>,
    tables: Mutex<Tables>,
    /// Held while a gateway is looked after, so that none is started behind the back of an ending.
    wanted: Mutex<Wanted>,
    seen: watch::Sender<Option<GatewayObserved>>,
    trace: BlockingMutex<Trace>,
    elders: Elders,
}

/// What is known of a gateway that does not answer.
#[derive(Default)]
struct Trace {
    /// The process that answered or was started last.
    pid: Option<u32>,
    /// When it answered last, whoever asked.
    answered: Option<Instant>,
    /// Since when nobody listens on the control socket, whoever asks.
    nobody_since: Option<Instant>,
}

/// The tables, as far as the server knows.
#[derive(Default)]
struct Tables {
    /// The last that was acknowledged.
    in_force: Table,
    /// One whose acknowledgement did not come: it may be in force, or come into force yet.
    unsettled: Option<Table>,
}

/// Whether there should be a gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    No,
}

/// What came of asking the gateway whether it lives.
enum Pulse {
    /// It answered.
    Beats(GatewayObserved),
    /// The question was lost, and there is somebody to ask again.
    Unclear,
    /// There is none, or it hangs.
    None,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Routing(Arc<Inner>);

impl Routing {
    /// Finds the gateway that runs, or binds the sockets and starts one; then watches over it.
    ///
    /// # Errors
    /// [`RoutingError`], as it says.
    pub(crate) async fn start(
        place: GatewayPlace,
        store: Store,
        lease: Lease,
    ) -> Result<Self, RoutingError> {
        let control = Control::new(&place.home);
        let (listeners, metrics) = match found(&control).await? {
            Some(listeners) => (listeners, handed_metrics(&control, &place).await?),
            None => (bind(&place)?, bind_metrics(&place)?),
        };
        let routing = Self::of(place, store, lease, (Some(listeners), metrics));
        let observed = match routing.0.place.found {
            Found::Kept => routing.revive().await?,
            Found::Replaced => routing.replace().await?,
        };
        // It may have outlived the files that the number is taken from.
        let raised = routing.0.lease.raise_above(observed.table.term);
        raised.map_err(RoutingError::Number)?;
        routing.0.tables.lock().await.in_force = observed.table.clone();
        routing.0.seen.send_replace(Some(observed));
        tokio::spawn(routing.clone().watch());
        Ok(routing)
    }

    /// No gateway, and none is started: for who only reads while no platform runs.
    pub(crate) fn none(place: GatewayPlace, store: Store, lease: Lease) -> Self {
        Self::of(place, store, lease, (None, None))
    }

    fn of(
        place: GatewayPlace,
        store: Store,
        lease: Lease,
        (listeners, metrics): (Option<(TcpListener, TcpListener)>, Option<TcpListener>),
    ) -> Self {
        // Connections of their own: whoever answers on these is the gateway from now on.
        let control = Control::new(&place.home);
        let (pulse, calls) = (control.beside(), control.beside());
        let wanted = match listeners {
            Some(_) => Wanted::Yes,
            None => Wanted::No,
        };
        Self(Arc::new(Inner {
            place,
            control,
            pulse,
            calls,
            store,
            lease,
            listeners,
            metrics,
            tables: Mutex::default(),
            wanted: Mutex::new(wanted),
            seen: watch::Sender::new(None),
            trace: BlockingMutex::default(),
            elders: Elders::default(),
        }))
    }

    /// What the gateway sees now; `None` while it does not answer, or one that leaves has not yet, or while it is unknown whether the table
    /// that it was sent last is in force: nothing may be stopped on the word of a table that may change.
    pub(crate) async fn observe(&self) -> Option<GatewayObserved> {
        let mut tables = self.0.tables.lock().await;
        let observed = match tables.unsettled.take() {
            // The same table again changes nothing, and its acknowledgement is as good as the first.
            Some(table) => {
                let sent = self.send(&mut tables, table, None).await;
                match self.noted(sent, |applied| applied.pid) {
                    Some(_) => self.ask(&self.0.control).await,
                    None => None,
                }
            }
            None => self.ask(&self.0.control).await,
        };
        drop(tables);
        self.0.seen.send_replace(observed.clone());
        let mut observed = observed?;
        let leaving = Control::leaving(&self.0.place.home);
        let added = self.0.elders.add_to(&mut observed, leaving).await;
        added.ok().map(|()| observed)
    }

    /// What the gateway answers in time.
    async fn ask(&self, control: &Control) -> Option<GatewayObserved> {
        match tokio::time::timeout(ANSWERS_WITHIN, control.observe()).await {
            Ok(answer) => self.noted(answer, |observed| observed.pid),
            Err(_late) => {
                lock(&self.0.trace).nobody_since = None;
                None
            }
        }
    }

    fn noted<T>(&self, answer: Result<T, ControlError>, pid: impl FnOnce(&T) -> u32) -> Option<T> {
        let mut trace = lock(&self.0.trace);
        match &answer {
            Ok(answer) => {
                trace.pid = Some(pid(answer));
                trace.answered = Some(Instant::now());
                trace.nobody_since = None;
            }
            Err(ControlError::Absent { .. }) => {
                trace.nobody_since.get_or_insert_with(Instant::now);
            }
            Err(_somebody) => trace.nobody_since = None,
        }
        answer.ok()
    }

    /// Whether it is proven that there is no gateway: nobody has listened for a while, and the last one's
    /// process is gone. Nothing can send a request to an instance then.
    pub(crate) fn is_gone(&self) -> bool {
        let trace = lock(&self.0.trace);
        let silent = trace
            .nobody_since
            .is_some_and(|at| at.elapsed() > GONE_AFTER);
        silent && !trace.pid.is_some_and(is_gateway)
    }

    /// The process of a gateway that runs and does not answer.
    pub(crate) fn mute(&self) -> Option<u32> {
        let pid = lock(&self.0.trace).pid.filter(|pid| is_gateway(*pid));
        pid.filter(|_| self.last_seen().is_none())
    }

    /// Sends a table, or how it changes the one before, and notes what is known of it afterwards.
    async fn send(
        &self,
        tables: &mut Tables,
        table: Table,
        change: Option<TableChange>,
    ) -> Result<Applied, ControlError> {
        let control = &self.0.control;
        let answer = match change {
            Some(change) => control.change(change, table.clone()).await,
            None => control.apply(table.clone()).await,
        };
        match &answer {
            Ok(_) => tables.in_force = table,
            Err(ControlError::Refused(_)) => {}
            Err(_unknown) => tables.unsettled = Some(table),
        }
        answer
    }

    /// What it saw when it was last asked.
    pub(crate) fn last_seen(&self) -> Option<GatewayObserved> {
        self.0.seen.borrow().clone()
    }

    /// Something of what it saw lately, whoever asked; `None` while it does not answer.
    pub(crate) fn glance<T>(&self, of: impl FnOnce(&GatewayObserved) -> T) -> Option<T> {
        let answered = lock(&self.0.trace).answered;
        let lately = answered.is_some_and(|at| at.elapsed() < LATELY);
        self.0.seen.borrow().as_ref().filter(|_| lately).map(of)
    }

    /// Waits until it was seen to have a table of which something is so; whether it came to that in time.
    pub(crate) async fn shows(&self, within: Duration, so: impl Fn(&Table) -> bool) -> bool {
        let mut seen = self.0.seen.subscribe();
        let shown = seen.wait_for(|seen| seen.as_ref().is_some_and(|seen| so(&seen.table)));
        matches!(tokio::time::timeout(within, shown).await, Ok(Ok(_)))
    }

    /// The addresses it listens on.
    pub(crate) fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let of = |listener: Option<&TcpListener>, asked| {
            listener
                .and_then(|listener| listener.local_addr().ok())
                .unwrap_or(asked)
        };
        let (http, https) = self.0.listeners.as_ref().map(|(a, b)| (a, b)).unzip();
        (of(http, self.0.place.http), of(https, self.0.place.https))
    }

    /// What a server that takes over is started with, beside its addresses.
    pub(crate) fn again(&self) -> &[String] {
        &self.0.place.again
    }

    /// Where its metrics are had.
    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.0.metrics.as_ref()?.local_addr().ok()
    }

    /// What the gateway has counted, and those that were replaced and have not ended.
    ///
    /// # Errors
    /// When the gateway does not say.
    pub(crate) async fn tallies(&self) -> Result<Vec<GatewayTally>, ControlError> {
        let mut tallies = vec![self.0.control.tally().await?];
        for elder in Control::leaving(&self.0.place.home) {
            let seen = tokio::time::timeout(elders::ANSWERS_WITHIN, elder.tally()).await;
            // One of a version that cannot say has counted what nobody knows.
            tallies.extend(seen.into_iter().flatten());
        }
        tallies.dedup_by_key(|tally| tally.pid);
        Ok(tallies)
    }

    /// The environments that sleep and for which requests are held, also in gateways that leave: as soon as there is
    /// one beside `known`, or after a few seconds. What is held for those that are `unable` to wake is refused.
    ///
    /// # Errors
    /// When the gateway does not say.
    pub(crate) async fn calls(
        &self,
        known: &[Call],
        unable: &[Call],
    ) -> Result<Vec<Call>, ControlError> {
        let mut calls = self.0.calls.calls(known.to_vec(), unable.to_vec()).await?;
        for elder in Control::leaving(&self.0.place.home) {
            let asked = elder.calls(Vec::new(), unable.to_vec());
            let asked = tokio::time::timeout(elders::ANSWERS_WITHIN, asked).await;
            // One of a version that cannot say holds nothing.
            calls.extend(asked.into_iter().flatten().flatten());
        }
        Ok(calls)
    }

    /// Puts these pools in force in place of all pools of `env`. When it returns, no new request goes to an
    /// instance of `env` that they do not name.
    pub(crate) async fn route(&self, env: &EnvId, pools: Vec<Pool>) -> Result<(), RoutingError> {
        let mut tables = self.0.tables.lock().await;
        let mut change = TableChange {
            from: tables.in_force.version(),
            to: self.next_version(&tables)?,
            env: env.clone(),
            pools: pools.into_iter().map(Arc::new).collect(),
            down: None,
        };
        let mut table = tables.in_force.followed_by(&change);
        let down = hosts::down(&self.0.store.state(), &table.pools);
        if down != table.down {
            table.down.clone_from(&down);
            change.down = Some(down);
        }
        let sent = self.send(&mut tables, table, Some(change)).await;
        self.show(&tables, sent)
    }

    /// Lets hosts say no more that their environment is down, where it is purged by now.
    pub(crate) async fn forget(&self) -> Result<(), RoutingError> {
        let mut tables = self.0.tables.lock().await;
        let down = hosts::down(&self.0.store.state(), &tables.in_force.pools);
        if tables.in_force.down == down {
            return Ok(());
        }
        let Version { term, generation } = self.next_version(&tables)?;
        let pools = tables.in_force.pools.clone();
        let table = Table {
            term,
            generation,
            pools,
            down,
        };
        let sent = self.send(&mut tables, table, None).await;
        self.show(&tables, sent)
    }

    fn next_version(&self, tables: &Tables) -> Result<Version, RoutingError> {
        let number = self.0.store.next_number("table", 1);
        let number = number.map_err(RoutingError::Number)?;
        // A gateway that outlived its server's database may be ahead of the numbers in it.
        Ok(Version {
            term: self.0.lease.term(),
            generation: Generation(number.max(tables.in_force.generation.0 + 1)),
        })
    }

    /// Lets everybody see the table that the gateway was sent.
    fn show(
        &self,
        tables: &Tables,
        sent: Result<Applied, ControlError>,
    ) -> Result<(), RoutingError> {
        let applied = sent.map_err(RoutingError::Apply)?;
        let table = tables.in_force.clone();
        self.0.seen.send_modify(|seen| {
            // What is under way there is seen at the next look.
            let seen = seen.get_or_insert_default();
            (seen.pid, seen.table) = (applied.pid, table);
        });
        Ok(())
    }

    /// Lets the gateway answer these challenges of ACME and no others.
    pub(crate) async fn challenge(&self, challenges: Vec<Challenge>) -> Result<(), ControlError> {
        self.0.control.challenge(challenges).await.map(drop)
    }

    /// Cuts what still runs on an instance that is out of rotation.
    pub(crate) async fn cut(&self, env: &EnvId, id: &InstanceId) -> Result<(), RoutingError> {
        for elder in Control::leaving(&self.0.place.home) {
            let cut = elder.cut(env.clone(), id.clone());
            let _ = tokio::time::timeout(elders::ANSWERS_WITHIN, cut).await;
        }
        self.0
            .control
            .cut(env.clone(), id.clone())
            .await
            .map(drop)
            .map_err(RoutingError::Apply)
    }

    /// Ends the gateway: it stops accepting and finishes what is under way. None is started any more.
    ///
    /// # Errors
    /// When there is one, and it could not be asked.
    pub(crate) async fn quit(&self, grace: Millis) -> Result<(), Refusal> {
        *self.0.wanted.lock().await = Wanted::No;
        for elder in Control::leaving(&self.0.place.home) {
            let _ = tokio::time::timeout(elders::ANSWERS_WITHIN, elder.quit(grace)).await;
        }
        match self.0.control.quit(grace).await {
            Ok(_) | Err(ControlError::Absent { .. }) => Ok(()),
            // One with nothing under way may be gone before its answer is out.
            Err(_) if self.leaves().await => Ok(()),
            Err(error) => {
                let pid = lock(&self.0.trace).pid;
                let process = pid
                    .map(|pid| format!(" (process {pid})"))
                    .unwrap_or_default();
                let doing =
                    format!("the server ends, but the gateway{process} could not be asked to");
                Err(Refusal::failed(&doing, &error)
                    .hint("end it with `kill -9`; nothing runs that it could route to"))
            }
        }
    }

    async fn leaves(&self) -> bool {
        let pid = lock(&self.0.trace).pid;
        for _ in 0..100 {
            if !pid.is_some_and(is_gateway) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// Looks after the gateway: one that is gone is started again, with the same sockets, and so is one that
    /// hangs: connections must not wait for a process that may never wake. Should it wake, the elder of two
    /// gateways leaves.
    async fn watch(self) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut silence = Silence::default();
        loop {
            tick.tick().await;
            if !self.is_on_duty(*self.0.wanted.lock().await) {
                return;
            }
            match self.feel_pulse(&mut silence).await {
                Pulse::Beats(observed) => drop(self.0.seen.send_replace(Some(observed))),
                Pulse::Unclear => continue,
                Pulse::None => {
                    // An ending may have begun meanwhile.
                    let wanted = self.0.wanted.lock().await;
                    if !self.is_on_duty(*wanted) {
                        return;
                    }
                    self.follow().await;
                }
            }
            silence = Silence::default();
        }
    }

    /// Whether it is for this server to look after the gateway.
    fn is_on_duty(&self, wanted: Wanted) -> bool {
        // A lease that cannot be read at the moment says nothing.
        let fenced = matches!(self.0.lease.check(), Err(ward_store::Error::Fenced { .. }));
        wanted == Wanted::Yes && !fenced
    }

    /// Asks the gateway for what it sees, as long as it may answer.
    async fn feel_pulse(&self, silence: &mut Silence) -> Pulse {
        let (pulse, asked) = (&self.0.pulse, Instant::now());
        let Some(answer) = patiently(silence, pulse.observe(), looks(pulse)).await else {
            lock(&self.0.trace).nobody_since = None;
            return Pulse::None;
        };
        let absent = matches!(answer, Err(ControlError::Absent { .. }));
        match self.noted(answer, |observed| observed.pid) {
            Some(observed) => {
                let took = asked.elapsed();
                if took > ANSWERS_WITHIN {
                    tracing::warn!(pid = observed.pid, ?took, "the gateway answered late");
                }
                Pulse::Beats(observed)
            }
            None if absent => Pulse::None,
            // Somebody listens there, so that the next question says more.
            None => match silence.look(Threads::of(pulse.listener())) {
                Verdict::Waits => Pulse::Unclear,
                Verdict::Hangs => Pulse::None,
            },
        }
    }

    /// Starts a gateway in the place of one that is gone or hangs.
    async fn follow(&self) {
        match self.succeed().await {
            Ok(observed) => {
                tracing::info!(pid = observed.pid, "the gateway was started again");
                self.record_start(observed.pid).await;
                self.0.seen.send_replace(Some(observed));
            }
            Err(error) => tracing::error!(error = crate::actor::causes(&error), "no gateway"),
        }
    }

    async fn record_start(&self, pid: u32) {
        let entry = Entry {
            at: now(),
            who: "ward".to_owned(),
            why: String::new(),
            request: String::new(),
            event: Event::GatewayStarted { pid },
        };
        let store = self.0.store.clone();
        let appended = tokio::task::spawn_blocking(move || store.append(vec![entry])).await;
        if !matches!(appended, Ok(Ok(_))) {
            tracing::error!(pid, "the start of the gateway is not recorded");
        }
    }

    /// The gateway's view; starts a gateway when none answers.
    async fn revive(&self) -> Result<GatewayObserved, RoutingError> {
        let mut silence = Silence::default();
        loop {
            match self.feel_pulse(&mut silence).await {
                Pulse::Beats(observed) => return Ok(observed),
                Pulse::Unclear => tokio::time::sleep(LOOK).await,
                Pulse::None => return self.succeed().await,
            }
        }
    }

    /// The view of a gateway of this binary. The one before serves until this one does, and longer when this
    /// one cannot start; then it leaves by itself, and from there on can be seen leaving.
    async fn replace(&self) -> Result<GatewayObserved, RoutingError> {
        let home = &self.0.place.home;
        let elder = Control::new(home).observe().await;
        let observed = self.succeed().await?;
        let elder = elder.ok().map(|elder| elder.pid);
        let deadline = Instant::now() + LEAVES_WITHIN;
        while elder.is_some_and(is_gateway)
            && Control::leaving(home).is_empty()
            && Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(observed)
    }

    /// The view of a gateway that is started now. One that still runs leaves when it sees its successor.
    async fn succeed(&self) -> Result<GatewayObserved, RoutingError> {
        let place = &self.0.place;
        let Some((http, https)) = &self.0.listeners else {
            return Err(RoutingError::Unwanted);
        };
        let sockets = ward_gateway::Sockets {
            http,
            https,
            metrics: self.0.metrics.as_ref(),
        };
        let mut child = ward_gateway::spawn(&place.exe, &place.home, &place.arguments, sockets)
            .map_err(RoutingError::Spawn)?;
        let pid = child.id();
        lock(&self.0.trace).pid = Some(pid);
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait()));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            // Not on a connection that is kept: its other end may be the predecessor.
            match Control::new(&place.home).observe().await {
                Ok(observed) if observed.pid == pid => return Ok(observed),
                _ if end.try_recv().is_ok() => return Err(RoutingError::Ended),
                Ok(_) if tokio::time::Instant::now() > deadline => {
                    return Err(RoutingError::Ended);
                }
                Err(error) if tokio::time::Instant::now() > deadline => {
                    return Err(RoutingError::Silent(error));
                }
                // Nobody answers yet, or still the one before.
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// Looks at whoever listens while an answer is awaited. Who that is is asked once: one that hangs accepts none of
/// the connections that this takes.
fn looks(control: &Control) -> impl FnMut() -> Threads {
    let mut listener = None;
    move || Threads::of(*listener.get_or_insert_with(|| control.listener()))
}

/// The sockets of the gateway that runs; `None` when none does.
async fn found(control: &Control) -> Result<Option<(TcpListener, TcpListener)>, RoutingError> {
    let mut silence = Silence::default();
    loop {
        match patiently(&mut silence, control.listeners(), looks(control)).await {
            Some(Ok(listeners)) => return Ok(Some(listeners)),
            Some(Err(ControlError::Absent { .. })) => return Ok(None),
            // It may have died while it was asked.
            Some(Err(_)) if silence.look(Threads::of(control.listener())) == Verdict::Waits => {
                tokio::time::sleep(LOOK).await;
            }
            _ => {
                let pid = control.listener();
                return Err(RoutingError::Hung { pid });
            }
        }
    }
}

/// The operators' socket of the gateway that runs. One that has none gets none, because nobody would answer
/// there, unless it is replaced.
async fn handed_metrics(
    control: &Control,
    place: &GatewayPlace,
) -> Result<Option<TcpListener>, RoutingError> {
    let asked = control.metrics_listener();
    let handed = patiently(&mut Silence::default(), asked, looks(control)).await;
    match (handed, place.found) {
        (Some(Ok(Some(listener))), _) => Ok(Some(listener)),
        (_, Found::Replaced) => bind_metrics(place),
        (_, Found::Kept) => Ok(None),
    }
}

/// Where somebody asked for an address it must be that one; else any will do.
fn bind_metrics(place: &GatewayPlace) -> Result<Option<TcpListener>, RoutingError> {
    let Some(address) = place.metrics else {
        let bound = addresses::bind_any(crate::server::METRICS, place.kept.metrics);
        return Ok(bound
            .inspect_err(|error| tracing::warn!(%error, "metrics are not served"))
            .ok());
    };
    let bound = addresses::bind(address, place.kept.metrics);
    bound.map(Some).map_err(|source| RoutingError::Listen {
        address,
        what: "metrics",
        flag: "--metrics-addr",
        variable: "WARD_METRICS_ADDR",
        source,
    })
}

/// Whether a process is a gateway: its number may be another's by now. One that has ended and was not
/// waited for yet has no command line.
fn is_gateway(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|word| word == b"gateway")
}

fn bind(place: &GatewayPlace) -> Result<(TcpListener, TcpListener), RoutingError> {
    let listen = |address, kept, what, flag, variable| {
        addresses::bind(address, kept).map_err(|source| RoutingError::Listen {
            address,
            what,
            flag,
            variable,
            source,
        })
    };
    Ok((
        listen(
            place.http,
            place.kept.http,
            "HTTP",
            "--http-addr",
            "WARD_HTTP_ADDR",
        )?,
        listen(
            place.https,
            place.kept.https,
            "HTTPS",
            "--https-addr",
            "WARD_HTTPS_ADDR",
        )?,
    ))
}
