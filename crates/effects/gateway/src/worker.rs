//! One worker: a thread, a single-threaded runtime, and everything that the connections which it accepted
//! need. Workers share the routing table, the counts on the instances and the limit on connections.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{mpsc, watch};
use ward_types::table::GatewayObserved;

use crate::access::Query;
use crate::admission::Admission;
use crate::arrival::{self, Speak};
use crate::balance::Lots;
use crate::calls::Calls;
use crate::corks::Corks;
use crate::crew::{Crew, Handed};
use crate::deadlines::Deadlines;
use crate::egress;
use crate::gate::Ports;
use crate::gone::Gone;
use crate::journal::Journal;
use crate::lean::{Dates, Spare};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::origin::Balancers;
use crate::parting::Parting;
use crate::probe;
use crate::refusals::Refusals;
use crate::routes::Routing;
use crate::scribe::Outbox;
use crate::sends::Sends;
use crate::sparing::Sparing;
use crate::tally::Tallies;
use crate::tls::Tls;
use crate::trace::{Made, Traces};
use crate::upload::Awaited;
use crate::upstream::Upstreams;

const SWEEP: Duration = Duration::from_secs(5);

/// How far the process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It accepts and serves.
    Serving,
    /// It accepts nothing; kept connections are answered once more and then closed.
    Quitting,
    /// Whatever is unused is closed.
    Closing,
    /// Whatever is under way is cut, and nothing waits any more.
    Cutting,
    /// The threads end.
    Ended,
}

/// What all workers share.
pub(crate) struct Shared {
    /// The routing table.
    pub(crate) routing: Arc<Routing>,
    /// How much a client may take.
    pub(crate) limits: Limits,
    /// The places for connections.
    pub(crate) admission: Arc<Admission>,
    /// All workers.
    pub(crate) crew: Crew,
    /// What clients may make it hold.
    pub(crate) memory: Arc<Memory>,
    /// Who passes connections on, and says whose they are.
    pub(crate) balancers: Balancers,
    /// What becomes of requests that belong to no trace.
    pub(crate) traces: Traces,
    /// How often each limit was met.
    pub(crate) refusals: Refusals,
    /// HTTP/2 connections of clients that are told to go away when the process leaves.
    pub(crate) clients: Parting,
    /// The most client connections at once since it was last looked at.
    pub(crate) peak: AtomicUsize,
    /// How far the process has come.
    pub(crate) phase: watch::Sender<Phase>,
    /// How many accept loops run.
    pub(crate) accepting: watch::Sender<usize>,
    /// Where egress connections are recorded.
    pub(crate) egress: egress::Record,
    /// The ports that are listened on.
    pub(crate) ports: Ports,
    /// Whether more is said of handshakes that failed.
    pub(crate) failed_handshakes: Sparing,
    /// How TLS is spoken.
    pub(crate) tls: Tls,
    /// The requests that are held for environments that sleep.
    pub(crate) calls: Calls,
    /// What is counted.
    pub(crate) tallies: Arc<Tallies>,
    /// Where lines of the access log are put, and whether they have query strings.
    pub(crate) access: Option<(Outbox, Query)>,
}

impl Shared {
    /// What the gateway sees.
    pub(crate) fn observe(&self) -> GatewayObserved {
        self.complete(self.routing.observe())
    }

    /// Adds what the routing does not know.
    pub(crate) fn complete(&self, observed: GatewayObserved) -> GatewayObserved {
        GatewayObserved {
            refused: self.refusals.all(),
            calls: self.calls.all(),
            certificates: self.tls.observe(),
            ..observed
        }
    }
}

/// The listening sockets, as they come.
pub(crate) struct Listeners {
    /// Plain HTTP.
    pub(crate) http: StdListener,
    /// HTTP over TLS.
    pub(crate) https: StdListener,
    /// The operators' address, where there is one.
    pub(crate) metrics: Option<StdListener>,
}

impl Listeners {
    /// Other descriptors of the same sockets.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        Ok(Self {
            http: self.http.try_clone()?,
            https: self.https.try_clone()?,
            metrics: self
                .metrics
                .as_ref()
                .map(StdListener::try_clone)
                .transpose()?,
        })
    }
}

/// One worker.
pub(crate) struct Worker {
    /// Which of them, from 0.
    pub(crate) number: usize,
    /// What all workers share.
    pub(crate) shared: Arc<Shared>,
    /// The routing table, shared.
    pub(crate) routing: Arc<Routing>,
    /// How much a client may take.
    pub(crate) limits: Rc<Limits>,
    /// Connections to instances.
    pub(crate) upstreams: Upstreams,
    /// Lots.
    pub(crate) lots: Lots,
    /// Where its requests are counted and logged.
    pub(crate) journal: Rc<Journal>,
    /// Buffers that nobody uses.
    pub(crate) spare: Spare,
    /// The time for answers.
    pub(crate) dates: Dates,
    /// What waits to be written.
    pub(crate) corks: Arc<Corks>,
    /// Deadlines that are nearly never met.
    pub(crate) deadlines: Rc<Deadlines>,
    /// What is to be closed.
    pub(crate) gone: Rc<Gone>,
    /// What is sent at the end of a turn.
    pub(crate) sends: Rc<Sends>,
    /// How many bodies are waited for at instances.
    pub(crate) awaited: Awaited,
    phase: watch::Receiver<Phase>,
}

impl Worker {
    fn new(number: usize, shared: Arc<Shared>) -> Rc<Self> {
        let limits = Rc::new(shared.limits.clone());
        let phase = shared.phase.subscribe();
        let journal = Journal::new(&shared.tallies, shared.access.clone(), phase);
        let deadlines: Rc<Deadlines> = Rc::default();
        let kept = (Rc::clone(&limits), Rc::clone(&deadlines));
        let sends = Sends::new();
        Rc::new(Self {
            number,
            routing: Arc::clone(&shared.routing),
            upstreams: Upstreams::new(kept, Rc::clone(&journal), Rc::clone(&sends)),
            lots: Lots::new(),
            phase: shared.phase.subscribe(),
            spare: Spare::default(),
            dates: Dates::default(),
            corks: Arc::default(),
            deadlines,
            sends,
            gone: Rc::default(),
            awaited: Rc::default(),
            journal,
            limits,
            shared,
        })
    }

    /// Whether the process is on its way out.
    pub(crate) fn is_quitting(&self) -> bool {
        *self.phase.borrow() >= Phase::Quitting
    }

    /// How far the process has come.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the process has come as far as `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.clone();
        let _ = phases.wait_for(|now| *now >= phase).await;
    }

    /// A new request id: 32 hexadecimal digits.
    pub(crate) fn new_request_id(&self) -> HeaderValue {
        let mut id = [0; 32];
        self.write_request_id(&mut id);
        HeaderValue::from_bytes(&id).expect("hexadecimal digits may stand in a header")
    }

    /// A new trace, unless none is wanted, of a request that has this id, if the gateway made that.
    pub(crate) fn new_trace(&self, id: Option<&[u8]>) -> Option<Made> {
        Made::new(self.shared.traces, id, &self.lots)
    }

    /// Writes one to the beginning of `id`, and says how long it is.
    pub(crate) fn write_request_id(&self, id: &mut [u8]) -> usize {
        let number = u128::from(self.lots.next()) << 64 | u128::from(self.lots.next());
        let digits = id.iter_mut().zip((0..32).rev());
        digits.for_each(|(digit, at)| {
            *digit = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15]
        });
        32
    }
}

/// Runs a worker until the process ends; the first makes probes.
pub(crate) async fn run(
    number: usize,
    shared: Arc<Shared>,
    listeners: Listeners,
    mut handed: mpsc::UnboundedReceiver<Handed>,
) -> io::Result<()> {
    let worker = Worker::new(number, shared);
    arrival::listen(&worker, listeners.http, Speak::Plain)?;
    arrival::listen(&worker, listeners.https, Speak::Tls)?;
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::task::spawn_local(Rc::clone(&worker.journal).keep_flushing());
    tokio::task::spawn_local(Arc::clone(&worker.corks).draw());
    tokio::task::spawn_local(Rc::clone(&worker.deadlines).look());
    tokio::task::spawn_local(Rc::clone(&worker.gone).close());
    if number == 0 {
        tokio::task::spawn_local(probe::all(Rc::clone(&worker)));
    }
    let serves = async {
        loop {
            tokio::select! {
                () = worker.reached(Phase::Ended) => return Ok(()),
                Some(handed) = handed.recv() => {
                    let worker = Rc::clone(&worker);
                    match handed {
                        Handed::Arrival(arrival) => tokio::task::spawn_local(arrival.serve(worker)),
                        Handed::Link(link) => tokio::task::spawn_local(link.serve(worker)),
                    };
                }
            }
        }
    };
    tokio::select! {
        biased;
        // Here, and no task: a thread looks at this one after each few dozen of the others (`LocalSet`), however many of
        // them want their turn.
        () = Rc::clone(&worker.sends).carry() => Ok(()),
        served = serves => served,
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut changes = worker.routing.changes();
    let mut regular = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            _ = regular.tick() => {}
            _ = changes.changed() => {}
        }
        worker.upstreams.sweep();
        worker.journal.sweep();
    }
}
