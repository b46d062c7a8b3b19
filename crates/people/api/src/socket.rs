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

use crate::places::Places;

/// The socket's name in the state folder.
pub const SOCKET: &str = "ward.sock";

/// How many connections there may be at once on a socket that is everybody's, and how many of one user.
const OF_EVERYBODY: usize = 64;
const OF_ONE_USER: usize = 16;

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
    let mut places = match admits {
        Admits::Owner => Places::new(usize::MAX, usize::MAX),
        Admits::Everybody => Places::new(OF_EVERYBODY, OF_ONE_USER),
    };
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => answer(stream, admits, &router, (&mut connections, &mut places)),
                Err(error) => tracing::warn!(%error, "a connection to the API was not accepted"),
            },
            Some(over) = connections.join_next_with_id() => {
                places.leave(over.map_or_else(|error| error.id(), |(id, ())| id));
            }
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

fn answer(
    stream: UnixStream,
    admits: Admits,
    router: &Router,
    (connections, places): (&mut JoinSet<()>, &mut Places<u32>),
) {
    let Some(user) = permitted(&stream, admits) else {
        return; // Not a word to a stranger: the connection closes.
    };
    places.make_room(user);
    let actor = Actor::of_uid(user);
    let service = TowerToHyperService::new(router.clone().layer(Extension(actor)));
    let answering = connections.spawn(async move {
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an API connection ended early");
        }
    });
    places.take(user, answering);
}

/// Whose connection it is, if they may have one.
fn permitted(stream: &UnixStream, admits: Admits) -> Option<u32> {
    let peer = stream.peer_cred().ok()?.uid();
    let own = rustix::process::getuid().as_raw();
    let admitted = peer == own || peer == 0 || admits == Admits::Everybody;
    admitted.then_some(peer)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn whoever_holds_connections_open_keeps_nobody_out() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().to_owned();
        let (down, ending) = watch::channel(false);
        let router = Router::new().route("/", get(async || "here"));
        let serving =
            tokio::spawn(async move { serve(&dir, Admits::Everybody, router, ending).await });
        let socket = home.path().join(SOCKET);
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        let mut held = Vec::new();
        for _ in 0..2 * OF_EVERYBODY {
            held.push(UnixStream::connect(&socket).await.expect("a connection"));
        }
        let mut own = UnixStream::connect(&socket).await.expect("a connection");
        let asks = b"GET / HTTP/1.1\r\nhost: ward\r\nconnection: close\r\n\r\n";
        own.write_all(asks).await.expect("asked");
        let mut answer = String::new();
        let read = own.read_to_string(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(60), read).await;
        read.expect("it is answered").expect("read");
        assert!(answer.ends_with("here"), "{answer}");
        drop(held);
        down.send(true).expect("it listens");
        serving.await.expect("it ends").expect("it served");
        assert!(!socket.exists());
    }
}
