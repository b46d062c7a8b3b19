//! A keeper without a sandbox: the protocol on a real `SOCK_SEQPACKET` socket, connections to a server of
//! the test's own.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use ward_sandbox::keeper_socket;
use ward_types::keeper::{Reply, Request};

pub(crate) struct Keeper {
    connected: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    refusing: Arc<AtomicBool>,
    hanging: watch::Sender<bool>,
    _alive: DropGuard,
}

impl Keeper {
    pub(crate) fn start(dir: &Path, app: SocketAddr) -> Self {
        let listener = keeper_socket::bind(dir).unwrap();
        let alive = CancellationToken::new();
        let keeper = Self {
            connected: Arc::default(),
            refused: Arc::default(),
            refusing: Arc::default(),
            hanging: watch::Sender::default(),
            _alive: alive.clone().drop_guard(),
        };
        let counts = (keeper.connected.clone(), keeper.refused.clone());
        let moods = (keeper.refusing.clone(), keeper.hanging.subscribe());
        tokio::spawn(alive.run_until_cancelled_owned(async move {
            let listener = UnixStream::from_std(listener.into()).unwrap();
            let mut all = JoinSet::new();
            loop {
                listener.readable().await.unwrap();
                while let Some(socket) = keeper_socket::accept(listener.as_fd()).unwrap() {
                    let line = UnixStream::from_std(socket.into()).unwrap();
                    all.spawn(answer(line, app, counts.clone(), moods.clone()));
                }
                let _ = listener.try_io(Interest::READABLE, || {
                    Err::<(), _>(std::io::ErrorKind::WouldBlock.into())
                });
            }
        }));
        keeper
    }

    /// How many connections it made.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::SeqCst)
    }

    /// How many it refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// From now on it refuses.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Ordering::SeqCst);
    }

    /// From now on it answers nobody.
    pub(crate) fn hang(&self) {
        self.hanging.send_replace(true);
    }

    /// Now it answers, also those who have asked meanwhile.
    pub(crate) fn go_on(&self) {
        self.hanging.send_replace(false);
    }

    /// It refuses no longer.
    pub(crate) fn allow(&self) {
        self.refusing.store(false, Ordering::SeqCst);
    }
}

async fn answer(
    line: UnixStream,
    app: SocketAddr,
    (connected, refused): (Arc<AtomicUsize>, Arc<AtomicUsize>),
    (refusing, mut hanging): (Arc<AtomicBool>, watch::Receiver<bool>),
) {
    loop {
        let received = line.async_io(Interest::READABLE, || {
            keeper_socket::recv::<Request>(line.as_fd())
        });
        let Ok(Some((request, _))) = received.await else {
            return;
        };
        if hanging.wait_for(|hangs| !hangs).await.is_err() {
            return;
        }
        let stream = match request {
            Request::Connect { .. } if !refusing.load(Ordering::SeqCst) => {
                std::net::TcpStream::connect(app).ok()
            }
            _ => None,
        };
        let sent = match &stream {
            Some(stream) => {
                stream.set_nonblocking(true).unwrap();
                connected.fetch_add(1, Ordering::SeqCst);
                keeper_socket::send(line.as_fd(), &Reply::Connected, &[stream.as_fd()])
            }
            None => {
                refused.fetch_add(1, Ordering::SeqCst);
                let message = "connection refused".to_owned();
                keeper_socket::send(line.as_fd(), &Reply::Refused { message }, &[])
            }
        };
        if sent.is_err() {
            return;
        }
        // Others have asked meanwhile, who come before what is asked here next: as with real ones.
        tokio::task::yield_now().await;
    }
}
