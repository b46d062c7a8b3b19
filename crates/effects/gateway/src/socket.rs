//! The gateway's own Unix sockets.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::worker::Phase;

const LOOK_AFTER_OWN: Duration = Duration::from_millis(200);

/// Listens at `name` in `folder`, in the place of whoever listened there before: the new socket is made
/// beside it and renamed, so that at no moment nobody answers. The predecessor must not remove it.
pub(crate) fn bind(folder: &Path, name: &str) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd;
    // A path may be longer than the 108 bytes of a socket's address; a descriptor's is not.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(folder, flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let fresh = format!("{name}.{}", std::process::id());
    let _ = std::fs::remove_file(folder.join(&fresh));
    let listener = UnixListener::bind(Path::new(&short).join(&fresh))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(folder.join(&fresh), private)?;
    std::fs::rename(folder.join(&fresh), folder.join(name))?;
    Ok(listener)
}

/// Ends when somebody else listens at `path`: a gateway that was taken for dead and was not. Two gateways
/// with two tables must not share the listening sockets for long.
pub(crate) async fn taken_over(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let inode = || path.symlink_metadata().ok().map(|metadata| metadata.ino());
    let own = inode();
    loop {
        tokio::time::sleep(LOOK_AFTER_OWN).await;
        if inode().is_some_and(|now| own.is_some_and(|own| own != now)) {
            return;
        }
    }
}

/// The next connection of the gateway's own user or of root; `None` when the process has come as far as
/// `end`.
pub(crate) async fn accept_own(
    listener: &UnixListener,
    phase: &watch::Sender<Phase>,
    end: Phase,
) -> Option<UnixStream> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reached(phase, end) => return None,
        };
        match accepted {
            Ok((stream, _)) if is_own(&stream) => return Some(stream),
            Ok(_) => tracing::warn!("another user tried to talk to the gateway"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the gateway's own socket");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Waits until the process has come as far as `phase`.
pub(crate) async fn reached(phases: &watch::Sender<Phase>, phase: Phase) {
    let _ = phases.subscribe().wait_for(|now| *now >= phase).await;
}

fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}
