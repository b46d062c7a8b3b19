//! The gateway's process: its start, its threads and its end.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::LocalSet;
use tokio::time::Instant;
use ward_sandbox::keeper_socket;
use ward_types::time::Millis;

use crate::access::AccessLog;
use crate::adapt;
use crate::admission::Admission;
use crate::affinity;
use crate::calls::Calls;
use crate::clock;
use crate::crew::{Crew, Handed};
use crate::egress::Record;
use crate::gate::Ports;
use crate::limits::Limits;
use crate::links;
use crate::memory::{self, Memory};
use crate::metrics;
use crate::offer::{ChangeError, Offer};
use crate::origin::Balancers;
use crate::parting::{self, Parting};
use crate::refusals::Refusals;
use crate::routes::Routing;
use crate::scribe::Scribe;
use crate::serve::{self, Desk};
use crate::socket;
use crate::sparing::Sparing;
use crate::table_file;
use crate::tls::{self, Tls, TlsError};
use crate::trace::Traces;
use crate::worker::{self, Listeners, Phase, Shared};

const CONTROL: &str = "control.sock";
/// How long whoever starts the gateway may take to pass the listening sockets.
const PASSED_WITHIN: Duration = Duration::from_secs(10);
/// How long SIGTERM leaves to requests under way.
const SIGTERM_GRACE: Millis = Millis::secs(30);
/// How long requests under way have when another gateway took over. Deploys cut them by their own budgets,
/// through the socket of a gateway that leaves; this only keeps the process from staying for ever.
const TAKEN_OVER_GRACE: Millis = Millis::secs(600);
/// Over how long HTTP/2 connections are told to go to the gateway that took over. Where there is none they
/// are told at once.
const CLIENTS_LEAVE_OVER: Duration = Duration::from_secs(60);
/// How long a kept HTTP/1.1 connection may wait for its next request once the process quits.
const LAME: Duration = Duration::from_secs(2);
/// How often a quitting gateway looks for its successor's table.
const FOLLOW: Duration = Duration::from_millis(20);
/// How long websockets may take to say goodbye at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often the open connections are counted, and of how many fewer the memory is given back.
const LULL: Duration = Duration::from_secs(5);
const MANY: usize = 256;

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state folder.
    pub home: PathBuf,
    /// How many worker threads; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// How much a client may take.
    pub limits: Limits,
    /// How the access log is kept; `None`: not at all.
    pub access: Option<AccessLog>,
    /// Who passes connections on, and says whose they are.
    pub balancers: Balancers,
    /// What becomes of requests that belong to no trace.
    pub traces: Traces,
}

impl Options {
    /// The usual gateway of the state folder `home`.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            workers: None,
            limits: Limits::default(),
            access: Some(AccessLog::default()),
            balancers: Balancers::default(),
            traces: Traces::default(),
        }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("no listening sockets came on descriptor 0; the gateway is started by `ward serve`")]
    Listeners(#[source] io::Error),
    #[error("cannot make or use {path}")]
    Folder {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot serve TLS")]
    Tls(#[source] TlsError),
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
    #[error("cannot start the thread that {what}")]
    Thread {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

/// Runs a gateway until it is told to quit. Blocks. Descriptor 0 must be a Unix socket on which the
/// listening sockets come, as [`crate::spawn`] sends them. It makes a session of its own, so that it
/// outlives whoever started it. Exit status 0 after `Quit` or SIGTERM, 2 when it could not start.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(&error));
            ExitCode::from(2)
        }
    }
}

/// An error with its causes, in a line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

fn serve(options: Options) -> Result<(), StartError> {
    // 1. The sockets first: while they are held, connections wait instead of being refused.
    let listeners = receive_listeners().map_err(StartError::Listeners)?;
    let _ = rustix::process::setsid();
    let descriptors = raise_descriptor_limit();
    // 2. What is served, before anybody is accepted.
    let folder = crate::folder(&options.home);
    make_folder(&folder)?;
    let tls = runtime().map_err(StartError::Worker)?;
    let tls = tls.block_on(Tls::new(&options.home));
    let tls = tls.map_err(StartError::Tls)?;
    let tallies = Arc::default();
    let scribe = options
        .access
        .as_ref()
        .map(|log| Scribe::start(&folder, log, &tallies));
    let scribe = scribe.transpose().map_err(|source| StartError::Thread {
        what: "writes the access log",
        source,
    })?;
    let query = options.access.map(|log| log.query);
    let (crew, handed) = Crew::new(options.workers.map_or_else(cores, NonZeroUsize::get));
    let shared = Arc::new(Shared {
        routing: Arc::new(Routing::new(affinity::Key::open(&folder))),
        admission: Admission::new(&options.limits, descriptors),
        crew,
        memory: Memory::new(options.limits.memory),
        refusals: Refusals::default(),
        clients: Parting::default(),
        peak: AtomicUsize::new(0),
        limits: options.limits,
        balancers: options.balancers,
        traces: options.traces,
        failed_handshakes: Sparing::default(),
        phase: watch::Sender::new(Phase::Serving),
        accepting: watch::Sender::new(0),
        egress: Record::new(&folder),
        ports: ports(&listeners),
        tls,
        calls: Calls::default(),
        tallies,
        access: scribe.as_ref().map(Scribe::outbox).zip(query),
    });
    load_table(&shared, &folder);
    // 3. The workers. This thread has the control sockets alone: however busy the workers are, whoever asks
    //    is answered, and a gateway that has much to do is not taken for one that hangs.
    let threads = handed
        .into_iter()
        .enumerate()
        .map(|(number, handed)| start_worker(number, &shared, &listeners, handed))
        .collect::<io::Result<Vec<_>>>();
    let threads = threads.map_err(StartError::Worker)?;
    let metrics = start_metrics(&shared, &listeners);
    lead(&shared, listeners, folder)?;
    // 4. They end when this thread has told them to.
    for thread in threads {
        let _ = thread.join();
    }
    if let Some(thread) = metrics {
        let _ = thread.join();
    }
    // 5. Last, what the threads have left to be written.
    if let Some(scribe) = scribe {
        scribe.finish();
    }
    Ok(())
}

fn receive_listeners() -> io::Result<Listeners> {
    use rustix::net::sockopt::{Timeout, set_socket_timeout};
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    set_socket_timeout(socket, Timeout::Recv, Some(PASSED_WITHIN))?;
    let (_, descriptors) = keeper_socket::recv_packet(socket, &mut [0; 64])?;
    let count = descriptors.len();
    let mut passed = descriptors.into_iter();
    let (Some(http), Some(https), metrics, None) =
        (passed.next(), passed.next(), passed.next(), passed.next())
    else {
        let message = format!("{count} descriptors came instead of two or three");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    };
    // Whoever passed them sees that they arrived.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(Listeners {
        http: TcpListener::from(http),
        https: TcpListener::from(https),
        metrics: metrics.map(TcpListener::from),
    })
}

fn ports(listeners: &Listeners) -> Ports {
    let port = |listener: &TcpListener, usual| {
        let address = listener.local_addr();
        address.map_or(usual, |address| address.port())
    };
    Ports {
        http: port(&listeners.http, 80),
        https: port(&listeners.https, 443),
    }
}

/// Each request needs up to three descriptors; the soft limit is often 1024. How many there may be; `None`:
/// any number.
fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files stays low");
            before
        }
    }
}

fn make_folder(folder: &Path) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|source| at(folder, source))
}

fn at(path: &Path, source: io::Error) -> StartError {
    StartError::Folder {
        path: path.display().to_string(),
        source,
    }
}

/// A table that cannot be read is no reason not to start: the server will send it again, and until then
/// clients are told to come back.
fn load_table(shared: &Shared, folder: &Path) {
    match stored(folder, Offer::read_unchecked) {
        Ok(Some(offer)) => {
            shared.tls.prepare(offer.pools());
            drop(shared.routing.swap(offer));
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "the stored routing table cannot be read"),
    }
}

/// What is stored: a table, which is read in that way, with the changes that were made to it.
fn stored(
    folder: &Path,
    read: impl FnOnce(&[u8]) -> serde_json::Result<Offer>,
) -> io::Result<Option<Offer>> {
    let Some((text, changes)) = table_file::load(folder)? else {
        return Ok(None);
    };
    let mut offer = read(&text)?;
    for change in changes {
        match offer.change(&change) {
            Ok(()) => {}
            // The others were made to the table before.
            Err(ChangeError::From { .. }) => break,
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
    Ok(Some(offer))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// A gateway whose operators see nothing serves all the same.
fn start_metrics(shared: &Arc<Shared>, listeners: &Listeners) -> Option<JoinHandle<()>> {
    let listener = listeners.metrics.as_ref()?;
    let started =
        runtime().and_then(|runtime| metrics::start(shared, listener.try_clone()?, runtime));
    match started {
        Ok(thread) => Some(thread),
        Err(error) => {
            tracing::error!(%error, "metrics are not served");
            None
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
}

fn start_worker(
    number: usize,
    shared: &Arc<Shared>,
    listeners: &Listeners,
    handed: mpsc::UnboundedReceiver<Handed>,
) -> io::Result<JoinHandle<()>> {
    let (shared, listeners, runtime) = (Arc::clone(shared), listeners.duplicate()?, runtime()?);
    std::thread::Builder::new()
        .name("ward-worker".to_owned())
        .spawn(move || {
            let running = worker::run(number, shared, listeners, handed);
            if let Err(error) = LocalSet::new().block_on(&runtime, running) {
                tracing::error!(%error, "a worker ended");
            }
        })
}

fn lead(shared: &Arc<Shared>, listeners: Listeners, folder: PathBuf) -> Result<(), StartError> {
    let runtime = runtime().map_err(StartError::Worker)?;
    LocalSet::new().block_on(&runtime, async {
        let links = bind(&folder, "links.sock")?;
        let control = bind(&folder, CONTROL)?;
        let (quit, mut asked) = mpsc::unbounded_channel();
        let stored = folder.clone();
        let desk = Desk {
            shared: Arc::clone(shared),
            folder,
            listeners,
            quit,
            applying: Mutex::default(),
            unanswered: watch::Sender::new(0),
        };
        let desk = Rc::new(desk);
        tokio::task::spawn_local(serve::accept(Rc::clone(&desk), control, Phase::Quitting));
        tokio::task::spawn_local(give_back(Arc::clone(shared)));
        tokio::task::spawn_local(parting::tell_all(Arc::clone(shared)));
        tokio::task::spawn_local(adapt::watch(Arc::clone(shared)));
        tokio::task::spawn_local(memory::watch(Arc::clone(shared)));
        tokio::task::spawn_local(tls::watch(Arc::clone(shared)));
        tokio::task::spawn_local(links::take_over(links, Arc::clone(shared)));
        let ended = until_the_end(shared, stored, desk, &mut asked).await;
        ended.map_err(StartError::Worker)
    })
}

/// Gives memory back after many connections have closed.
async fn give_back(shared: Arc<Shared>) {
    let mut most = 0;
    let mut regular = tokio::time::interval(LULL);
    loop {
        regular.tick().await;
        shared.tallies.prune(clock::millis());
        let now = shared.admission.open();
        // A burst may have come and gone since the last look.
        most = shared.peak.swap(now, Ordering::Relaxed).max(most);
        if most.saturating_sub(now) >= MANY {
            // It takes the allocator's locks for milliseconds: on a thread that nobody waits for.
            let _ = tokio::task::spawn_blocking(ward_sandbox::give_back_freed).await;
            most = now;
        }
    }
}

fn bind(folder: &Path, name: &str) -> Result<tokio::net::UnixListener, StartError> {
    socket::bind(folder, name).map_err(|source| at(&folder.join(name), source))
}

/// Waits to be told to quit, then goes through the phases.
async fn until_the_end(
    shared: &Arc<Shared>,
    folder: PathBuf,
    desk: Rc<Desk>,
    asked: &mut mpsc::UnboundedReceiver<Millis>,
) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // A person's Ctrl-C in the terminal that the server runs in is not meant for the gateway.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut unanswered = desk.unanswered.subscribe();
    let control = folder.join(CONTROL);
    let mut taken_over = pin!(socket::taken_over(&control));
    let (grace, clients_over) = loop {
        tokio::select! {
            _ = terminate.recv() => break (SIGTERM_GRACE, Duration::ZERO),
            _ = interrupt.recv() => {}
            Some(grace) = asked.recv() => break (grace, Duration::ZERO),
            () = taken_over.as_mut() => {
                tracing::info!("another gateway took over");
                break (TAKEN_OVER_GRACE, CLIENTS_LEAVE_OVER);
            }
        }
    };
    let mut end = Instant::now() + grace.duration();
    // Before anything else: whoever stops instances must see at every moment what is under way here.
    let own = crate::leaving_socket(std::process::id());
    match socket::bind(&folder, &own) {
        Ok(listener) => drop(tokio::task::spawn_local(serve::accept(
            desk,
            listener,
            Phase::Ended,
        ))),
        Err(error) => tracing::error!(%error, "nobody can see what is still under way here"),
    }
    shared
        .clients
        .leave(std::time::Instant::now(), clients_over);
    shared.routing.leave(grace.duration());
    shared.phase.send_replace(Phase::Quitting);
    tokio::task::spawn_local(follow_successor(Arc::clone(shared), folder.clone()));
    let lame = end.min(Instant::now() + LAME);
    if !all_closed(shared, lame).await {
        shared.phase.send_replace(Phase::Closing);
        if !closed_or_told(shared, &mut end, asked).await {
            shared.phase.send_replace(Phase::Cutting);
            shared.routing.cut_all();
            all_closed(shared, Instant::now() + FAREWELL).await;
        }
    }
    let _ = std::fs::remove_file(folder.join(&own));
    // Who asked for this must not find nobody: connections may all be gone before the answer is.
    let answered = unanswered.wait_for(|count| *count == 0);
    let _ = tokio::time::timeout(FAREWELL, answered).await;
    shared.phase.send_replace(Phase::Ended);
    Ok(())
}

/// What is still answered here must follow the tables that the successor acknowledges, and it stores each
/// before it does.
async fn follow_successor(shared: Arc<Shared>, folder: PathBuf) {
    let mut followed = None;
    loop {
        // Looked at before it is read: one that is stored meanwhile is read next time.
        let stamp = table_file::stamp(&folder);
        if stamp != followed {
            follow(&shared, &folder);
            followed = stamp;
        }
        tokio::time::sleep(FOLLOW).await;
    }
}

fn follow(shared: &Shared, folder: &Path) {
    let offer = stored(folder, |text| shared.routing.read(text));
    if let Ok(Some(offer)) = offer
        && matches!(shared.routing.check(&offer), Ok(true))
    {
        shared.routing.swap(offer);
    }
}

/// Waits until no client connection is left, at the longest until `end`, which whoever asks again brings
/// nearer.
async fn closed_or_told(
    shared: &Shared,
    end: &mut Instant,
    asked: &mut mpsc::UnboundedReceiver<Millis>,
) -> bool {
    loop {
        tokio::select! {
            closed = all_closed(shared, *end) => return closed,
            Some(grace) = asked.recv() => *end = (*end).min(Instant::now() + grace.duration()),
        }
    }
}

/// Waits until no client connection is left, at the longest until `end`.
async fn all_closed(shared: &Shared, end: Instant) -> bool {
    let closed = shared.admission.all_gone();
    tokio::time::timeout_at(end, closed).await.is_ok()
}
