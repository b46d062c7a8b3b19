//! One worker: a thread, a single-threaded runtime, and everything that the connections which it accepted
//! need. Workers share the routing table, the counts on the instances and the limit on connections.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

use crate::balance::Lots;
use crate::connection;
use crate::egress;
use crate::gate::Ports;
use crate::limits::Limits;
use crate::links::Handed;
use crate::parting::Parting;
use crate::probe;
use crate::routes::Routing;
use crate::upstream::Upstreams;

const SWEEP: Duration = Duration::from_secs(5);
/// How long to wait when the process or the machine is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

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
    /// One permit per client connection.
    pub(crate) connections: Arc<Semaphore>,
    /// HTTP/2 connections of clients that are told to go away when the process leaves.
    pub(crate) clients: Parting,
    /// How many client connections there were so far.
    pub(crate) served: AtomicU64,
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
    /// How TLS is spoken.
    pub(crate) tls: Arc<rustls::ServerConfig>,
}

impl Shared {
    /// Client connections that are open, and those that the accept loops have a place for.
    pub(crate) fn open(&self) -> usize {
        self.limits.connections - self.connections.available_permits()
    }
}

/// The listening sockets, as they come.
pub(crate) struct Listeners {
    /// Plain HTTP.
    pub(crate) http: StdListener,
    /// HTTP over TLS.
    pub(crate) https: StdListener,
}

impl Listeners {
    /// Other descriptors of the same sockets.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        Ok(Self {
            http: self.http.try_clone()?,
            https: self.https.try_clone()?,
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
    /// TLS handshakes under way.
    handshakes: Semaphore,
    phase: watch::Receiver<Phase>,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Rc<Self> {
        let limits = Rc::new(shared.limits.clone());
        Rc::new(Self {
            routing: Arc::clone(&shared.routing),
            upstreams: Upstreams::new(Rc::clone(&limits)),
            lots: Lots::new(),
            handshakes: Semaphore::new(limits.handshakes),
            phase: shared.phase.subscribe(),
            limits,
            shared,
        })
    }

    /// Whether the process is on its way out.
    pub(crate) fn is_quitting(&self) -> bool {
        *self.phase.borrow() >= Phase::Quitting
    }

    /// Waits until the process has come as far as `phase`.
    pub(crate) async fn reached(&self, phase: Phase) {
        let mut phases = self.phase.clone();
        let _ = phases.wait_for(|now| *now >= phase).await;
    }

    /// A new request id: 32 hexadecimal digits.
    pub(crate) fn new_request_id(&self) -> HeaderValue {
        let text = format!("{:016x}{:016x}", self.lots.next(), self.lots.next());
        HeaderValue::try_from(text).expect("hexadecimal digits may stand in a header")
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
    loop {
        // Above the limit nobody is accepted: connections wait in the kernel's queue.
        let permit = Arc::clone(&worker.shared.connections).acquire_owned().await;
        let Ok(permit) = permit else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            }
        };
        let open = worker.shared.open();
        worker.shared.peak.fetch_max(open, Ordering::Relaxed);
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            prepare(&stream);
            match speak {
                Speak::Plain => connection::serve_plain(worker, stream, peer, permit).await,
                Speak::Tls => {
                    if let Some(stream) = handshake(&worker, stream).await {
                        connection::serve_tls(worker, stream, peer, permit).await;
                    }
                }
            }
        });
    }
}

async fn handshake(
    worker: &Worker,
    stream: TcpStream,
) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    let _turn = worker.handshakes.acquire().await.ok()?;
    let acceptor = TlsAcceptor::from(Arc::clone(&worker.shared.tls));
    let accepted = tokio::time::timeout(worker.limits.header_timeout, acceptor.accept(stream));
    match accepted.await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

/// A client that vanished without a word is found out, and small writes are not held back.
fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
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
    }
}
