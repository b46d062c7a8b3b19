//! Asking a keeper for a connection to its instance.
//!
//! A control connection carries one question at a time. It is taken out of its slot while a question is
//! under way and put back after the answer, so that a request that is dropped halfway takes the half-used
//! connection with it.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use ward_sandbox::keeper_socket;
use ward_types::keeper::{Reply, Request};

use super::turns::{Turn, Turns};
use crate::client::Asker;

/// Questions at once per worker and keeper: keepers are single-threaded and answer within microseconds.
const QUESTIONS: usize = 4;
/// How long to wait when a keeper's queue of connections is full.
const QUEUE_FULL: Duration = Duration::from_millis(5);
/// Room for an answer: `Connected`, or a refusal with its sentence.
const ANSWER_BYTES: usize = 8 * 1024;

/// One instance's keeper.
pub(crate) struct Keeper {
    dir: PathBuf,
    port: u16,
    kept: RefCell<Option<Line>>,
    questions: Rc<Turns>,
}

/// A socket that keeps message borders. tokio's type is for streams, but all that is used of it is that it
/// waits until the descriptor is ready.
type Line = UnixStream;

impl Keeper {
    /// The keeper of the instance in `dir`, which listens on `port` inside.
    pub(crate) fn new(dir: &Path, port: u16) -> Self {
        Self {
            dir: dir.to_owned(),
            port,
            kept: RefCell::new(None),
            questions: Turns::new(QUESTIONS),
        }
    }

    /// Waits for leave to ask.
    pub(super) async fn turn(&self, asker: &Asker) -> Turn {
        self.questions.next(asker).await
    }

    /// A new connection to the instance.
    pub(super) async fn connect(&self, _turn: Turn) -> io::Result<TcpStream> {
        let kept = self.kept.take();
        if let Some(line) = kept
            && let Ok(connected) = self.ask(line).await
        {
            return stream(connected?);
        }
        // The kept line was of a keeper that is gone, or there was none.
        let line = self.line().await?;
        stream(self.ask(line).await??)
    }

    async fn line(&self) -> io::Result<Line> {
        loop {
            match keeper_socket::connect_nonblocking(&self.dir) {
                Ok(socket) => return UnixStream::from_std(socket.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(QUEUE_FULL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The outer error: the line is broken. The inner one: the keeper says no.
    async fn ask(&self, line: Line) -> io::Result<io::Result<OwnedFd>> {
        let question = Request::Connect { port: self.port };
        line.async_io(Interest::WRITABLE, || {
            keeper_socket::send(line.as_fd(), &question, &[])
        })
        .await?;
        let mut packet = vec![0; ANSWER_BYTES];
        let (length, mut descriptors) = line
            .async_io(Interest::READABLE, || {
                keeper_socket::recv_packet(line.as_fd(), &mut packet)
            })
            .await?;
        let reply: Reply = serde_json::from_slice(&packet[..length])?;
        self.kept.replace(Some(line));
        Ok(match (reply, descriptors.pop()) {
            (Reply::Connected, Some(connected)) => Ok(connected),
            (Reply::Refused { message }, _) => Err(io::Error::other(message)),
            (other, _) => Err(io::Error::other(format!(
                "the keeper answered {other:?} to a request for a connection"
            ))),
        })
    }
}

fn stream(socket: OwnedFd) -> io::Result<TcpStream> {
    let stream = std::net::TcpStream::from(socket);
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}
