//! JSON lines with descriptors beside them, on a Unix stream socket.
//!
//! On a stream, descriptors arrive with the first byte that was sent beside them; a line owns the
//! descriptors that arrived before its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use ward_sandbox::keeper_socket;

/// As much is read at once of a short line, and of a long one.
const CHUNK: usize = 16 * 1024;
const LARGE_CHUNK: usize = 256 * 1024;

/// One end of a socket that carries JSON lines.
pub(crate) struct Lines {
    stream: UnixStream,
    read: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    longest: usize,
}

impl Lines {
    /// Lines over `stream`, each at most `longest` bytes.
    pub(crate) fn new(stream: UnixStream, longest: usize) -> Self {
        Self {
            stream,
            read: Vec::new(),
            descriptors: Vec::new(),
            longest,
        }
    }

    /// Connects to `path`, whatever its length.
    pub(crate) fn connect(path: &Path, longest: usize) -> io::Result<Self> {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let socket = keeper_socket::connect_stream(path, flags)?;
        let stream = UnixStream::from_std(std::os::unix::net::UnixStream::from(socket))?;
        Ok(Self::new(stream, longest))
    }

    /// The next line and the descriptors beside it; `None` when the peer has closed.
    pub(crate) async fn receive<T: DeserializeOwned>(
        &mut self,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let Some((line, descriptors)) = self.receive_line().await? else {
            return Ok(None);
        };
        Ok(Some((understand(&line)?, descriptors)))
    }

    /// The same, as it came.
    pub(crate) async fn receive_line(&mut self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut looked_at = 0;
        let end = loop {
            let rest = &self.read[looked_at..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                break looked_at + end;
            }
            looked_at = self.read.len();
            if looked_at > self.longest {
                return Err(invalid("a line that is too long"));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        };
        let after = self.read.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.read, after);
        line.truncate(end);
        Ok(Some((line, std::mem::take(&mut self.descriptors))))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        loop {
            self.stream.ready(Interest::READABLE).await?;
            // From here on nothing waits: a call that is dropped leaves no room that was not filled.
            match self.fill_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                filled => return filled,
            }
        }
    }

    fn fill_now(&mut self) -> io::Result<usize> {
        let filled = self.read.len();
        let room = filled.clamp(CHUNK, LARGE_CHUNK);
        self.read.resize(filled + room, 0);
        let (stream, room) = (&self.stream, &mut self.read[filled..]);
        let received = stream.try_io(Interest::READABLE, || {
            keeper_socket::recv_packet(stream.as_fd(), room)
        });
        let length = received.as_ref().map_or(0, |(length, _)| *length);
        self.read.truncate(filled + length);
        self.descriptors.extend(received?.1);
        Ok(length)
    }

    /// Sends one line, and descriptors beside its first byte.
    pub(crate) async fn send<T: Serialize>(
        &mut self,
        value: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let stream = &self.stream;
        stream
            .async_io(Interest::WRITABLE, || {
                keeper_socket::send_packet(stream.as_fd(), &line[..1], descriptors)
            })
            .await?;
        self.stream.write_all(&line[1..]).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

/// A line's value.
pub(crate) fn understand<'a, T: Deserialize<'a>>(line: &'a [u8]) -> io::Result<T> {
    serde_json::from_slice(line)
        .map_err(|error| invalid(&format!("a line that is not understood: {error}")))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}
