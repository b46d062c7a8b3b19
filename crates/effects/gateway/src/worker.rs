//! One worker: a thread, a single-threaded runtime, and everything that the connections which it accepted
//! need. Workers share the routing table, the counts on the instances and the limit on connections.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_rustls::server::TlsStream;
use ward_types::table::{GatewayObserved, Refusal};

use crate::access::Query;
use crate::admission::{Admission, Seat};
use crate::balance::Lots;
use crate::calls::Calls;
use crate::client;
use crate::connection;
use crate::corks::Corks;
use crate::deadlines::Deadlines;
use crate::egress;
use crate::gate::Ports;
use crate::journal::Journal;
use crate::lean::{Dates, Spare};
use crate::limits::Limits;
use crate::links::Handed;
use crate::memory::Memory;
use crate::mutual::Holder;
use crate::origin::{self, Balancers};
use crate::parting::Parting;
use crate::probe;
use crate::refusals::Refusals;
use crate::routes::Routing;
use crate::scribe::Outbox;
use crate::sends::Sends;
use crate::sparing::Sparing;
use crate::tally::{Handshake, Tallies};
use crate::tls::Tls;
use crate::trace::{Made, Traces};
use crate::upstream::Upstreams;

const SWEEP: Duration = Duration::from_secs(5);
/// How long to wait when the process or the machine is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// How many connections are accepted before others have their turn.
const IN_A_ROW: usize = 16;

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
    /// What is sent at the end of a turn.
    pub(crate) sends: Rc<Sends>,
    phase: watch::Receiver<Phase>,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Rc<Self> {
        let limits = Rc::new(shared.limits.clone());
        let phase = shared.phase.subscribe();
        let journal = Journal::new(&shared.tallies, shared.access.clone(), phase);
        let deadlines: Rc<Deadlines> = Rc::default();
        let kept = (Rc::clone(&limits), Rc::clone(&deadlines));
        let sends = Sends::new();
        Rc::new(Self {
            routing: Arc::clone(&shared.routing),
            upstreams: Upstreams::new(kept, Rc::clone(&journal), Rc::clone(&sends)),
            lots: Lots::new(),
            phase: shared.phase.subscribe(),
            spare: Spare::default(),
            dates: Dates::default(),
            corks: Arc::default(),
            deadlines,
            sends,
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

/// Which worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rank {
    /// The one that makes probes.
    First,
    /// Any other.
    Other,
}

/// Runs a worker until the process ends.
pub(crate) async fn run(
    rank: Rank,
    shared: Arc<Shared>,
    listeners: Listeners,
    mut handed: mpsc::UnboundedReceiver<Handed>,
) -> io::Result<()> {
    let worker = Worker::new(shared);
    listen(&worker, listeners.http, Speak::Plain)?;
    listen(&worker, listeners.https, Speak::Tls)?;
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::task::spawn_local(Rc::clone(&worker.journal).keep_flushing());
    tokio::task::spawn_local(Arc::clone(&worker.corks).draw());
    tokio::task::spawn_local(Rc::clone(&worker.deadlines).look());
    tokio::task::spawn_local(Rc::clone(&worker.sends).carry());
    if rank == Rank::First {
        tokio::task::spawn_local(probe::all(Rc::clone(&worker)));
    }
    loop {
        tokio::select! {
            () = worker.reached(Phase::Ended) => return Ok(()),
            Some(handed) = handed.recv() => {
                tokio::task::spawn_local(handed.serve(Rc::clone(&worker)));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speak {
    Plain,
    Tls,
}

fn listen(worker: &Rc<Worker>, listener: StdListener, speak: Speak) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    prepare(&listener, worker.limits.stalled);
    let listener = TcpListener::from_std(listener)?;
    worker.shared.accepting.send_modify(|count| *count += 1);
    tokio::task::spawn_local(accept(Rc::clone(worker), listener, speak));
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, speak: Speak) {
    tokio::select! {
        () = worker.reached(Phase::Quitting) => {}
        () = accept_all(&worker, &listener, speak) => {}
    }
    drop(listener);
    worker.shared.accepting.send_modify(|count| *count -= 1);
}

async fn accept_all(worker: &Rc<Worker>, listener: &TcpListener, speak: Speak) {
    for count in 1_usize.. {
        // A crowd that comes lets those go between who are there.
        if count.is_multiple_of(IN_A_ROW) {
            tokio::task::yield_now().await;
        }
        // Above the limit nobody is accepted: connections wait in the kernel's queue.
        let Ok(permit) = worker.shared.admission.next().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            }
        };
        let shared = &worker.shared;
        if shared.memory.is_tight() {
            shared.refusals.count(Refusal::Memory);
            continue;
        }
        let open = shared.admission.open();
        shared.peak.fetch_max(open, Ordering::Relaxed);
        let balanced = shared.balancers.has(peer.ip());
        let seat = match balanced {
            // Whose it is comes with it.
            true => Err(permit),
            // Closed without a word: one would cost more than the connection did.
            false => match seat_of(shared, permit, peer.ip()) {
                Some(seat) => Ok(seat),
                None => continue,
            },
        };
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let (mut stream, mut peer) = (stream, peer);
            let seat = match seat {
                Ok(seat) => seat,
                Err(permit) => {
                    let told = client_of(&worker, &mut stream, peer).await;
                    let Some(address) = told else { return };
                    peer.set_ip(address);
                    let seated = seat_of(&worker.shared, permit, address);
                    let Some(seat) = seated else { return };
                    seat
                }
            };
            match speak {
                Speak::Plain => connection::serve_plain(worker, stream, peer, seat).await,
                Speak::Tls => {
                    if let Some((stream, holder)) = handshake(&worker, stream, (&seat, peer)).await
                    {
                        connection::serve_tls(worker, stream, (peer, holder), seat).await;
                    }
                }
            }
        });
    }
}

fn seat_of(shared: &Shared, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<Seat> {
    shared.admission.seat(permit, address, &shared.refusals)
}

/// Whose connection it is that a balancer passes on.
async fn client_of(worker: &Worker, stream: &mut TcpStream, peer: SocketAddr) -> Option<IpAddr> {
    let told = origin::read(stream, peer.ip(), worker.limits.header_timeout).await;
    told.inspect_err(
        |error| tracing::info!(%peer, %error, "a balancer does not say whose connection it is"),
    )
    .ok()
}

/// Who goes away meanwhile, as one that only looks whether somebody listens, is not worth a line. Of the others not all
/// are: anybody can make them.
fn say(shared: &Shared, peer: SocketAddr, error: &io::Error) {
    let refused = matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::Other
    );
    if refused && shared.failed_handshakes.may_say() {
        tracing::info!(client = %peer, %error, "a TLS handshake failed");
    }
}

async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    (seat, peer): (&Seat, SocketAddr),
) -> Option<(client::Shared<TlsStream<TcpStream>>, Option<Box<Holder>>)> {
    let shared = &worker.shared;
    // Its room is given back when it is over; the connection stays.
    let accepted = Box::pin(shared.tls.accept(stream));
    let within = worker.limits.header_timeout;
    let accepted = shared
        .admission
        .handshake(seat, within, &shared.refusals, accepted)
        .await;
    worker.journal.doorkeeper.shook(match &accepted {
        Some(Ok(_)) => Handshake::Done,
        Some(Err(_)) => Handshake::Failed,
        None => Handshake::Late,
    });
    match accepted? {
        // Put away at once: whatever a task holds it has room for in each of its layers.
        Ok(Some((stream, holder))) => Some((client::Shared::new(stream), holder)),
        Ok(None) => None,
        Err(error) => {
            say(shared, peer, &error);
            None
        }
    }
}

/// A client that vanished without a word is found out, and so is one that takes nothing of what it is sent;
/// small writes are not held back. What is accepted has from its listener what is set here (tcp(7)).
fn prepare(listener: &StdListener, stalled: Duration) {
    use rustix::net::sockopt;
    let _ = sockopt::set_tcp_nodelay(listener, true);
    let _ = sockopt::set_socket_keepalive(listener, true);
    let _ = sockopt::set_tcp_keepidle(listener, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(listener, 4);
    // The kernel knows what a client has taken; here it is only known what the kernel has.
    let stalled = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
    let _ = sockopt::set_tcp_user_timeout(listener, stalled);
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;
    use std::net::TcpStream as StdStream;

    #[test]
    fn what_is_accepted_has_its_listeners_options() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener, Duration::from_secs(7));
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&stream).unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let seconds = Duration::from_secs;
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), seconds(60));
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), seconds(15));
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 4);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 7_000);
    }
}
