//! The rest of a long body of a request, on its way from the client to the instance, beside the answer where that comes early.
//!
//! It goes through a pipe, as long bodies of answers do ([`super::pipe`]). Where there is none, or bytes do not come to the
//! socket as they are, it is copied, through room that nobody has while there is nothing in it.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::line::Line;
use super::pipe::Pipe;
use super::spare::Spare;
use crate::account;
use crate::client::Socket;
use crate::clock;
use crate::limits::Limits;
use crate::upload::Intake;
use crate::upstream::Wire;

/// What the client has yet to send of a body whose length is told.
pub(super) struct Rest {
    /// So many bytes have not come.
    left: u64,
    through: Through,
    /// Whether any have come.
    begun: bool,
    end: Option<End>,
    pub(super) intake: Rc<Intake>,
    entry: Rc<account::Entry>,
}

enum Through {
    Pipe(Pipe),
    /// Of which so many bytes were written.
    Room(Vec<u8>, usize),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The instance has all of it.
    Whole,
    /// The instance takes no more. It may have answered.
    Refused,
    /// The client broke it off.
    Broken,
}

/// Why it is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Its client is too slow.
    Client,
    /// The instance is.
    Instance,
}

impl Rest {
    /// Of so many bytes. `plain`: the client's bytes come to its socket as they are.
    pub(super) fn new(left: u64, plain: bool, spare: &Spare, entry: &Rc<account::Entry>) -> Self {
        let pipe = plain.then(|| spare.pipe()).flatten();
        Self {
            left,
            through: pipe.map_or(Through::Room(Vec::new(), 0), Through::Pipe),
            begun: false,
            end: None,
            intake: Rc::new(Intake::new(clock::millis())),
            entry: Rc::clone(entry),
        }
    }

    /// Whether any of it was taken from the client, so that nobody else can have it.
    pub(super) fn is_torn(&self) -> bool {
        self.begun
    }

    /// How it ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// The instance is not given more.
    pub(super) fn refuse(&mut self) {
        self.end.get_or_insert(End::Refused);
        self.intake.waits_no_more();
    }

    /// Passes on what has come; ready at its end.
    pub(super) fn poll<I>(
        &mut self,
        line: &mut Line<I>,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<End>
    where
        I: AsyncRead + AsyncWrite + Socket + Unpin,
    {
        if let Some(end) = self.end {
            return Poll::Ready(end);
        }
        let end = ready!(self.poll_end(line, wire, context));
        self.end = Some(end);
        self.intake.waits_no_more();
        line.client.held.nothing();
        match std::mem::replace(&mut self.through, Through::Room(Vec::new(), 0)) {
            Through::Pipe(pipe) => line.worker.spare.put_pipe(pipe),
            Through::Room(mut room, _) => line.worker.spare.put(&mut room),
        }
        Poll::Ready(end)
    }

    fn poll_end<I>(
        &mut self,
        line: &mut Line<I>,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<End>
    where
        I: AsyncRead + AsyncWrite + Socket + Unpin,
    {
        loop {
            match self.poll_drain(wire, context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(End::Refused),
                // Whoever reads nothing from the client sees it go only so.
                Poll::Pending => return line.poll_hung_up(context).map(|()| End::Broken),
            }
            if self.left == 0 {
                return Poll::Ready(End::Whole);
            }
            match self.poll_fill(line, context) {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.begun = true;
                    self.left = self.left.saturating_sub(count as u64);
                    self.intake.came(count);
                    self.entry.received(count);
                    line.client.held.came(count);
                }
                Poll::Ready(Err(error)) if self.can_copy(&error) => {
                    self.through = Through::Room(Vec::new(), 0);
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(End::Broken),
                Poll::Pending => {
                    self.intake.waits();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes more from the client; there is nothing that has to be passed on before.
    fn poll_fill<I>(
        &mut self,
        line: &mut Line<I>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>>
    where
        I: AsyncRead + AsyncWrite + Socket + Unpin,
    {
        line.client.held.nothing();
        let mut stream = line.stream.lock();
        match &mut self.through {
            Through::Pipe(pipe) => match stream.plain() {
                Some(socket) => pipe.poll_fill(socket, self.left, context),
                None => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            },
            Through::Room(room, written) => {
                room.clear();
                *written = 0;
                line.worker.spare.enlarge(room);
                let most = usize::try_from(self.left).unwrap_or(usize::MAX);
                let mut within = (&mut *room).limit(most);
                let polled = poll_read_buf(Pin::new(&mut *stream), context, &mut within);
                if polled.is_pending() {
                    line.worker.spare.put(room);
                }
                polled
            }
        }
    }

    fn poll_drain(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.through {
            Through::Pipe(pipe) => wire.poll_drain(context, pipe),
            Through::Room(room, written) => {
                while *written < room.len() {
                    match ready!(wire.poll_write(context, &room[*written..]))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        count => *written += count,
                    }
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether a pipe does not do for this socket, on this kernel.
    fn can_copy(&self, error: &io::Error) -> bool {
        let unfit = [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];
        matches!(self.through, Through::Pipe(_)) && !self.begun && unfit.contains(&error.kind())
    }

    /// Until when it may go on as it does, and then be looked at again, in milliseconds, of a service that may take so long
    /// (milliseconds) to answer.
    pub(super) fn due(&self, limits: &Limits, patience: u64) -> Result<u64, Overdue> {
        let now = clock::millis();
        let still = self.intake.progress() + patience;
        if self.end.is_some() {
            return if still > now {
                Ok(still)
            } else {
                Err(Overdue::Instance)
            };
        }
        let grace = limits.body_grace.as_millis() as u64;
        let kept_up = self.intake.keeps_up(limits.body_rate, grace, now);
        let in_rate = kept_up.ok_or(Overdue::Client)?;
        if still <= now {
            return Err(Overdue::Client);
        }
        Ok(still.min(now + in_rate))
    }
}
