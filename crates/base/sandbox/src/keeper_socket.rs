//! The socket that a keeper answers on: packets of JSON with descriptors beside them.
//!
//! A path-named Unix socket of type `SOCK_SEQPACKET` keeps message borders, needs no network and works
//! across network namespaces. Its path may be longer than the 108 bytes of `sockaddr_un`, so it is always
//! named through `/proc/self/fd/N/k.sock`, where N is the folder opened with `O_PATH`.
//!
//! Everything here returns `std::io::Error`, so that an asynchronous caller can wrap a descriptor made by
//! [`connect_nonblocking`] in `AsyncFd` and let `try_io` see `WouldBlock`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ward_types::keeper::{MAX_MESSAGE, SOCKET};

/// The most descriptors that travel beside one message.
pub const MAX_DESCRIPTORS: usize = 8;

/// A blocking connection to the keeper whose folder is `dir`.
///
/// # Errors
/// `NotFound` when there is no socket, `ConnectionRefused` when its keeper is gone.
pub fn connect(dir: &Path) -> io::Result<OwnedFd> {
    connect_with(dir, SocketFlags::CLOEXEC)
}

/// A non-blocking connection to the keeper whose folder is `dir`. The connection itself is made at once.
///
/// # Errors
/// As [`connect`]; `WouldBlock` when the keeper's queue of connections is full.
pub fn connect_nonblocking(dir: &Path) -> io::Result<OwnedFd> {
    connect_with(dir, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

fn connect_with(dir: &Path, flags: SocketFlags) -> io::Result<OwnedFd> {
    let folder = open_folder(dir)?;
    let socket = seqpacket(flags)?;
    rustix::net::connect(&socket, &address(&folder, SOCKET)?)
        .map_err(|source| at(dir, "connecting to the keeper", source))?;
    Ok(socket)
}

/// Listens on `k.sock` in `dir`, non-blocking. A socket left by a keeper that is gone is replaced.
///
/// # Errors
/// `AddrInUse` when another keeper answers there.
pub fn bind(dir: &Path) -> io::Result<OwnedFd> {
    if connect_nonblocking(dir).is_ok() {
        return Err(at(
            dir,
            "another keeper listens",
            rustix::io::Errno::ADDRINUSE,
        ));
    }
    let folder = open_folder(dir)?;
    match rustix::fs::unlinkat(&folder, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(source) => return Err(at(dir, "removing the old keeper's socket", source)),
    }
    let socket = seqpacket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &address(&folder, SOCKET)?)
        .and_then(|()| rustix::net::listen(&socket, 128))
        .map_err(|source| at(dir, "listening as a keeper", source))?;
    Ok(socket)
}

/// The next connection of a listening socket, non-blocking; `None` when there is none now.
///
/// A peer of another user is dropped here: only the keeper's own user and root may ask. (As an ordinary
/// user the keeper lives in a user namespace where root shows as an unmapped id, so that root is refused
/// there too; the folder's mode 0700 keeps everybody else out.)
///
/// # Errors
/// What `accept4` fails with, except that a connection which is gone again counts as none.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    loop {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(listener, flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR | Errno::CONNABORTED) => continue,
            Err(source) => return Err(source.into()),
        };
        let peer = rustix::net::sockopt::socket_peercred(&socket)?.uid;
        if peer.is_root() || peer == rustix::process::geteuid() {
            return Ok(Some(socket));
        }
    }
}

/// Sends one message and descriptors beside it. A packet is sent whole or not at all.
///
/// # Errors
/// `InvalidInput` when the message is longer than [`MAX_MESSAGE`] or the descriptors are more than
/// [`MAX_DESCRIPTORS`]; `WouldBlock` on a non-blocking socket; `BrokenPipe` when the peer is gone.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    if packet.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
        let size = packet.len();
        return Err(invalid(
            io::ErrorKind::InvalidInput,
            format!("a message of {size} bytes is too long"),
        ));
    }
    send_packet(socket, &packet, descriptors)
}

/// Sends bytes and descriptors beside them, on a Unix socket of any type. On a stream the caller must
/// keep `bytes` short (below a few hundred bytes they go whole).
///
/// # Errors
/// As [`send`]; `WriteZero` when a stream took only a part.
pub fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(invalid(
            io::ErrorKind::InvalidInput,
            "too many descriptors".to_owned(),
        ));
    }
    let parts = [io::IoSlice::new(bytes)];
    let sent = rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)
    })?;
    if sent < bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Receives one message and the descriptors beside it (close-on-exec); `None` when the peer has closed.
///
/// # Errors
/// `InvalidData` for a message that is too long or not what is expected; `WouldBlock` on a non-blocking
/// socket.
pub fn recv<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut packet = vec![0; MAX_MESSAGE];
    let (length, descriptors) = recv_packet(socket, &mut packet)?;
    if length == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&packet[..length]).map_err(|error| {
        invalid(
            io::ErrorKind::InvalidData,
            format!("a message that is not understood: {error}"),
        )
    })?;
    Ok(Some((message, descriptors)))
}

/// Receives bytes and the descriptors beside them, on a Unix socket of any type; 0 bytes: it has closed.
///
/// # Errors
/// `InvalidData` when the packet is longer than `buffer` or the descriptors are too many.
pub fn recv_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(invalid(
            io::ErrorKind::InvalidData,
            "a message that is too long".to_owned(),
        ));
    }
    Ok((received.bytes, descriptors))
}

/// Sends one request and waits for its reply, on a blocking connection.
///
/// # Errors
/// As [`send`] and [`recv`]; `UnexpectedEof` when the keeper closed instead of answering.
pub fn ask<Q: Serialize, R: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    request: &Q,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<(R, Vec<OwnedFd>)> {
    send(socket, request, descriptors)?;
    recv(socket)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Connects a blocking Unix stream socket to `path`, whatever the path's length.
///
/// # Errors
/// As `connect`, with the path.
pub fn connect_stream(path: &Path, flags: SocketFlags) -> io::Result<OwnedFd> {
    let folder = open_folder(path.parent().unwrap_or(Path::new("/")))?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address(&folder, name)?)
        .map_err(|source| at(path, "connecting", source))?;
    Ok(socket)
}

fn seqpacket(flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(socket)
}

fn open_folder(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(dir, flags, Mode::empty())
        .map_err(|source| at(dir, "opening the folder", source))
}

fn address(folder: &OwnedFd, name: &str) -> io::Result<SocketAddrUnix> {
    let number = folder.as_fd().as_raw_fd();
    Ok(SocketAddrUnix::new(format!(
        "/proc/self/fd/{number}/{name}"
    ))?)
}

fn at(path: &Path, what: &str, source: rustix::io::Errno) -> io::Error {
    let kind = io::Error::from(source).kind();
    io::Error::new(kind, format!("{what} at {}: {source}", path.display()))
}

fn invalid(kind: io::ErrorKind, message: String) -> io::Error {
    io::Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::keeper::{Reply, Request};

    #[test]
    fn a_request_and_its_descriptors_arrive_in_a_folder_with_a_long_name() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("x".repeat(120)).join("y".repeat(60));
        std::fs::create_dir_all(&dir).unwrap();
        let listener = bind(&dir).unwrap();
        assert!(accept(listener.as_fd()).unwrap().is_none());
        let client = connect(&dir).unwrap();
        let served = accept(listener.as_fd()).unwrap().unwrap();

        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(
            client.as_fd(),
            &Request::Connect { port: 80 },
            &[writer.as_fd()],
        )
        .unwrap();
        drop(writer);
        let (request, mut descriptors) = recv::<Request>(served.as_fd()).unwrap().unwrap();
        assert_eq!(request, Request::Connect { port: 80 });
        rustix::io::write(descriptors.remove(0), b"hello").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(rustix::io::read(&reader, &mut buffer).unwrap(), 5);

        send(served.as_fd(), &Reply::Done, &[]).unwrap();
        assert_eq!(
            recv::<Reply>(client.as_fd()).unwrap().unwrap().0,
            Reply::Done
        );
        drop(served);
        assert!(recv::<Reply>(client.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_socket_of_a_dead_keeper_is_replaced_and_that_of_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        drop(bind(dir.path()).unwrap());
        assert_eq!(
            connect(dir.path()).unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let _alive = bind(dir.path()).unwrap();
        let second = bind(dir.path()).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn nonsense_and_long_messages_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let listener = bind(dir.path()).unwrap();
        let client = connect(dir.path()).unwrap();
        let served = accept(listener.as_fd()).unwrap().unwrap();
        let empty = recv::<Request>(served.as_fd()).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        rustix::net::send(&client, b"{\"ask\":\"fly\"}", SendFlags::empty()).unwrap();
        let error = recv::<Request>(served.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let long = send(client.as_fd(), &"x".repeat(MAX_MESSAGE), &[]).unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidInput);
        rustix::net::send(&client, &vec![b'x'; MAX_MESSAGE + 1], SendFlags::empty()).unwrap();
        let error = recv::<Request>(served.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
