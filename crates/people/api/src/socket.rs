//! The API's Unix socket: who may connect, and how requests reach the router.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use ward_server::Actor;

/// The socket's name in the state folder.
pub const SOCKET: &str = "ward.sock";

/// How many connections others than the owner may have at once; more wait.
const MOST_STRANGERS: usize = 64;

/// How long calls that are being answered hold up the end of the server.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Why the API could not be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}; is the state folder writable?")]
pub struct SocketError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A path to `name` in `home` that fits into the 108 bytes of a Unix socket's address, however deep
/// the state folder lies. It is valid as long as the descriptor is.
pub(crate) fn short_path(home: &Path, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
    let dir: OwnedFd = fs::File::open(home)?.into();
    let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()));
    Ok((dir, path))
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// The user that Ward runs as, and root.
    Owner,
    /// Every user of this machine.
    Everybody,
}

/// Serves `router` on the socket in the folder `home` until `shutdown` becomes true.
///
/// The caller holds the state folder's lock, so a socket that is there already is a dead one.
///
/// # Errors
/// [`SocketError`] when the socket cannot be made.
pub async fn serve(
    home: &Path,
    admits: Admits,
    router: Router,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), SocketError> {
    let listener = bind(home, admits).map_err(|source| SocketError {
        path: home.join(SOCKET),
        source,
    })?;
    let mut connections = JoinSet::new();
    loop {
        let full = admits == Admits::Everybody && connections.len() >= MOST_STRANGERS;
        tokio::select! {
            accepted = listener.accept(), if !full => match accepted {
                Ok((stream, _)) => answer(stream, admits, &router, &mut connections),
                Err(error) => tracing::warn!(%error, "a connection to the API was not accepted"),
            },
            Some(_) = connections.join_next() => {}
            _ = shutdown.wait_for(|down| *down) => break,
        }
    }
    if admits == Admits::Everybody {
        // The folder is for this alone, and whoever looks into it shall not take it for one that answers.
        drop(listener);
        let _ = fs::remove_file(home.join(SOCKET)); // The next server removes it, too.
    }
    // Whoever asked for the end is still to be told that it comes; who follows something need not be.
    let answered = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(LAST_ANSWERS, answered).await;
    Ok(())
}

fn bind(home: &Path, admits: Admits) -> io::Result<UnixListener> {
    if admits == Admits::Everybody {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(home)?;
    }
    match fs::remove_file(home.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_dir, path) = short_path(home, SOCKET)?;
    let listener = UnixListener::bind(&path)?;
    if admits == Admits::Everybody {
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    }
    Ok(listener)
}

fn answer(stream: UnixStream, admits: Admits, router: &Router, connections: &mut JoinSet<()>) {
    let Some(actor) = permitted(&stream, admits) else {
        return; // Not a word to a stranger: the connection closes.
    };
    let service = TowerToHyperService::new(router.clone().layer(Extension(actor)));
    connections.spawn(async move {
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an API connection ended early");
        }
    });
}

fn permitted(stream: &UnixStream, admits: Admits) -> Option<Actor> {
    let peer = stream.peer_cred().ok()?.uid();
    let own = rustix::process::getuid().as_raw();
    let admitted = peer == own || peer == 0 || admits == Admits::Everybody;
    admitted.then(|| Actor::of_uid(peer))
}
