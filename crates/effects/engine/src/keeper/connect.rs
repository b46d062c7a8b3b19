//! Connections to the application, made inside its network namespace.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// How long the application may take to accept.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that was begun.
pub(super) enum Attempt {
    /// It stands.
    Connected(OwnedFd),
    /// The application has not accepted yet; the socket becomes writable when that is decided.
    Waiting(OwnedFd),
}

/// Begins a connection to a port of the application, non-blocking: IPv4 first, and IPv6 for those that listen
/// only there.
pub(super) fn begin(port: u16) -> Result<Attempt, Errno> {
    match begin_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
        Err(Errno::CONNREFUSED) => begin_at(SocketAddr::from((Ipv6Addr::LOCALHOST, port)))
            // Without IPv6 the first refusal is the answer.
            .map_err(|_| Errno::CONNREFUSED),
        other => other,
    }
}

fn begin_at(address: SocketAddr) -> Result<Attempt, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(Attempt::Connected(socket)),
        // On loopback it is decided by the time that the call returns, so that a look saves a turn of the loop.
        Err(Errno::INPROGRESS) if is_decided(&socket) => finish(socket).map(Attempt::Connected),
        Err(Errno::INPROGRESS) => Ok(Attempt::Waiting(socket)),
        Err(error) => Err(error),
    }
}

fn is_decided(socket: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    let now = Timespec::default();
    matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(1))
}

/// The outcome of a connection that is decided.
pub(super) fn finish(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::net::sockopt::socket_error(socket.as_fd())?.map(|()| socket)
}

/// Why there is no connection, in a sentence.
pub(super) fn refusal(port: u16, error: Errno) -> String {
    match error {
        Errno::CONNREFUSED => format!("nothing listens on port {port} in the instance"),
        Errno::TIMEDOUT => format!(
            "the application did not accept a connection on port {port} within {} s",
            TIMEOUT.as_secs()
        ),
        other => format!("connecting to port {port} in the instance failed: {other}"),
    }
}
