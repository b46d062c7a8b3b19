//! JSON lines with descriptors beside them, on a Unix stream socket.
//!
//! On a stream, descriptors arrive with the first byte that was sent beside them; a line owns the
//! descriptors that arrived before its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use ward_sandbox::keeper_socket;

const CHUNK: usize = 16 * 1024;

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
        let end = loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            if self.read.len() > self.longest {
                return Err(invalid("a line that is too long"));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        };
        let line: Vec<u8> = self.read.drain(..=end).collect();
        let value = serde_json::from_slice(&line[..end])
            .map_err(|error| invalid(&format!("a line that is not understood: {error}")))?;
        Ok(Some((value, std::mem::take(&mut self.descriptors))))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = vec![0; CHUNK];
        let stream = &self.stream;
        let (length, descriptors) = stream
            .async_io(Interest::READABLE, || {
                keeper_socket::recv_packet(stream.as_fd(), &mut chunk)
            })
            .await?;
        self.read.extend_from_slice(&chunk[..length]);
        self.descriptors.extend(descriptors);
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

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}
