//! The asynchronous side of a keeper's socket.
//!
//! A request that cannot be sent at once waits for the socket, never for a thread.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use ward_sandbox::keeper_socket;
use ward_types::keeper::{Disclosure, Exit, InstanceStatus, Reply, Request};
use ward_types::time::Millis;

/// Why a keeper could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No keeper listens in that folder.
    #[error("no keeper answers in {}", dir.display())]
    Gone {
        /// The instance's folder.
        dir: PathBuf,
        /// `NotFound` or `ConnectionRefused`.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the keeper in {} broke", dir.display())]
    Broken {
        /// The instance's folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The keeper refused, in its own words.
    #[error("{message}")]
    Refused {
        /// The keeper's words.
        message: String,
    },
    /// The keeper answered something else than what was asked.
    #[error("the keeper in {} answered {reply} to {request}", dir.display())]
    Confused {
        /// The instance's folder.
        dir: PathBuf,
        /// What was asked.
        request: &'static str,
        /// What it said.
        reply: &'static str,
    },
}

/// A connection to one keeper. It carries one request at a time.
#[derive(Debug)]
pub struct KeeperClient {
    dir: PathBuf,
    /// A socket of packets in the type for streams: only its readiness is used, which is the same for
    /// both, and registering a bare descriptor with the runtime takes unsafe code.
    socket: UnixStream,
}

impl KeeperClient {
    /// Connects to the keeper of the instance whose folder is `dir`. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when no keeper listens there.
    pub fn connect(dir: &Path) -> Result<Self, ClientError> {
        let dir = dir.to_owned();
        let connected = keeper_socket::connect_nonblocking(&dir)
            .map(std::os::unix::net::UnixStream::from)
            .and_then(UnixStream::from_std);
        match connected {
            Ok(socket) => Ok(Self { dir, socket }),
            Err(source) if is_gone(&source) => Err(ClientError::Gone { dir, source }),
            Err(source) => Err(ClientError::Broken { dir, source }),
        }
    }

    /// Sends a request, with descriptors beside it.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn send(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ClientError> {
        let sent = self.socket.async_io(Interest::WRITABLE, || {
            keeper_socket::send(self.socket.as_fd(), request, descriptors)
        });
        sent.await.map_err(|source| self.broken(source))
    }

    /// The next reply and its descriptors; `None` when the keeper has closed.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn recv(&self) -> Result<Option<(Reply, Vec<OwnedFd>)>, ClientError> {
        let received = self.socket.async_io(Interest::READABLE, || {
            keeper_socket::recv::<Reply>(self.socket.as_fd())
        });
        received.await.map_err(|source| self.broken(source))
    }

    /// Sends a request and waits for its reply. A refusal is an error.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the keeper's words; [`ClientError::Broken`].
    pub async fn ask(
        &self,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), ClientError> {
        self.send(request, descriptors).await?;
        match self.recv().await? {
            Some((Reply::Refused { message }, _)) => Err(ClientError::Refused { message }),
            Some(answer) => Ok(answer),
            None => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The keeper itself, as a descriptor that no other process can take the place of: the kernel knows who
    /// listens. Works for a keeper that does not answer, too.
    pub(crate) fn process(&self) -> Result<OwnedFd, ClientError> {
        let peer = rustix::net::sockopt::socket_peercred(&self.socket);
        let opened = peer.and_then(|peer| {
            rustix::process::pidfd_open(peer.pid, rustix::process::PidfdFlags::empty())
        });
        opened.map_err(|errno| self.broken(errno.into()))
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken {
            dir: self.dir.clone(),
            source,
        }
    }

    fn confused(&self, request: &Request, reply: &Reply) -> ClientError {
        ClientError::Confused {
            dir: self.dir.clone(),
            request: request_word(request),
            reply: reply_word(reply),
        }
    }

    /// How the instance is.
    ///
    /// # Errors
    /// As [`KeeperClient::ask`].
    pub async fn status(&self) -> Result<InstanceStatus, ClientError> {
        self.told(&Request::Status).await
    }

    async fn told(&self, request: &Request) -> Result<InstanceStatus, ClientError> {
        match self.ask(request, &[]).await? {
            (Reply::Status { status }, _) => Ok(status),
            (other, _) => Err(self.confused(request, &other)),
        }
    }

    /// How the instance is, by a health check that begins now.
    ///
    /// # Errors
    /// As [`KeeperClient::ask`]; a keeper of an older Ward refuses.
    pub async fn check(&self) -> Result<InstanceStatus, ClientError> {
        self.told(&Request::Check).await
    }

    /// A connection to a port inside the instance.
    ///
    /// # Errors
    /// As [`KeeperClient::ask`]; the keeper refuses when nothing listens there.
    pub async fn connect_port(&self, port: u16) -> Result<TcpStream, ClientError> {
        let request = Request::Connect { port };
        match self.ask(&request, &[]).await? {
            (Reply::Connected, mut descriptors) if descriptors.len() == 1 => {
                let stream = std::net::TcpStream::from(descriptors.remove(0));
                let ready = stream.set_nonblocking(true);
                ready
                    .and_then(|()| TcpStream::from_std(stream))
                    .map_err(|source| self.broken(source))
            }
            (other, _) => Err(self.confused(&request, &other)),
        }
    }

    /// Asks the instance to stop: its stop signal now, SIGKILL after `grace`. Answers at once.
    ///
    /// # Errors
    /// As [`KeeperClient::ask`].
    pub async fn stop(&self, grace: Millis) -> Result<(), ClientError> {
        self.done(&Request::Stop { grace }).await
    }

    /// Signals the instance.
    ///
    /// # Errors
    /// As [`KeeperClient::ask`].
    pub async fn signal(&self, signal: i32) -> Result<(), ClientError> {
        self.done(&Request::Signal { signal }).await
    }

    async fn done(&self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request, &[]).await? {
            (Reply::Done, _) => Ok(()),
            (other, _) => Err(self.confused(request, &other)),
        }
    }

    /// Runs a program beside the instance and waits for its end. The descriptors are its standard input,
    /// output and error.
    ///
    /// # Errors
    /// As [`KeeperClient::ask`].
    pub async fn exec(
        &self,
        argv: Vec<String>,
        env: BTreeMap<String, String>,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Exit, ClientError> {
        let secrets = Disclosure::Given;
        let request = Request::Exec { argv, env, secrets };
        match self.ask(&request, &stdio).await? {
            (Reply::ExecDone { exit }, _) => Ok(exit),
            (Reply::NotRun { message, .. }, _) => Err(ClientError::Refused { message }),
            (other, _) => Err(self.confused(&request, &other)),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

fn request_word(request: &Request) -> &'static str {
    match request {
        Request::Connect { .. } => "connect",
        Request::Status => "status",
        Request::Watch => "watch",
        Request::Check => "check",
        Request::Stop { .. } => "stop",
        Request::Exec { .. } => "exec",
        Request::Signal { .. } => "signal",
    }
}

fn reply_word(reply: &Reply) -> &'static str {
    match reply {
        Reply::Connected => "connected (with a wrong number of descriptors)",
        Reply::Status { .. } => "status",
        Reply::Done => "done",
        Reply::ExecDone { .. } => "exec_done",
        Reply::NotRun { .. } => "not_run",
        Reply::Refused { .. } => "refused",
    }
}
