//! The rest of a long body of a request, on its way from the client to the instance, beside the answer where that comes early.
//!
//! It goes through a pipe, as long bodies of answers do ([`super::pipe`]). Where there is none, or bytes do not come to the
//! socket as they are, it is copied. Whoever waits for its client has neither pipe nor room.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio_util::io::poll_read_buf;

use super::line::Line;
use super::pipe::Pipe;
use super::spare::Spare;
use crate::account;
use crate::client::{Client, Socket};
use crate::clock;
use crate::limits::Limits;
use crate::upload::{Awaited, Intake};
use crate::upstream::Wire;

/// How often a pipe is filled in one turn: the answer, and others, have theirs.
const FILLS: usize = 4;

/// What the client has yet to send of a body whose length is told.
pub(super) struct Rest {
    /// So many bytes have not come.
    left: u64,
    /// How long the service may take to take some of it, or to answer (milliseconds).
    patience: u64,
    through: Through,
    /// Whether pipes do not do for this socket, or this kernel.
    copies: bool,
    /// Whether any have come.
    begun: bool,
    /// Whether the client has sent all of it and gone away.
    left_behind: bool,
    end: Option<End>,
    pub(super) intake: Rc<Intake>,
    entry: Rc<account::Entry>,
    client: Rc<Client>,
    /// What of it is counted as held for the client.
    held: usize,
}

enum Through {
    Nothing,
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
    /// The client sends too little.
    Slow,
    /// It sends nothing.
    Client,
    /// The instance takes nothing, or does not answer.
    Instance,
}

impl Rest {
    /// Of so many bytes, behind those that have come with the head, of a service that may take so long to take some of it, or
    /// to answer.
    pub(super) fn new(
        (left, come): (u64, usize),
        patience: Duration,
        (client, awaited): (&Rc<Client>, &Awaited),
        entry: &Rc<account::Entry>,
    ) -> Self {
        let intake = Intake::new(clock::millis(), awaited);
        intake.came(come);
        Self {
            left,
            patience: patience.as_millis() as u64,
            through: Through::Nothing,
            copies: false,
            begun: false,
            left_behind: false,
            end: None,
            intake: Rc::new(intake),
            entry: Rc::clone(entry),
            client: Rc::clone(client),
            held: 0,
        }
    }

    /// Whether any of it was taken from the client, so that nobody else can have it.
    pub(super) fn is_torn(&self) -> bool {
        self.begun
    }

    /// Whether its client went away behind the end of it.
    pub(super) fn is_left_behind(&self) -> bool {
        self.left_behind
    }

    /// How it ended, if it has.
    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// The instance is not given more.
    pub(super) fn refuse(&mut self) {
        self.ends(End::Refused);
    }

    fn ends(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.intake.waits_no_more();
        self.passed_on();
    }

    /// Passes on what has come; ready at its end.
    pub(super) fn poll<I: Socket>(
        &mut self,
        line: &mut Line<I>,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<End> {
        if let Some(end) = self.end {
            return Poll::Ready(end);
        }
        let end = ready!(self.poll_end(line, wire, context));
        self.ends(end);
        self.lets_go(&line.worker.spare);
        Poll::Ready(end)
    }

    fn poll_end<I: Socket>(
        &mut self,
        line: &mut Line<I>,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<End> {
        for _ in 0..FILLS {
            match self.poll_drain(wire, context) {
                Poll::Ready(Ok(())) => self.passed_on(),
                Poll::Ready(Err(_)) => return Poll::Ready(End::Refused),
                Poll::Pending => return self.poll_gone(line, context),
            }
            if self.left == 0 {
                // What goes out with others at the end of this turn is not out yet.
                let flushed = ready!(wire.poll_flush(context));
                return Poll::Ready(flushed.map_or(End::Refused, |()| End::Whole));
            }
            match self.poll_fill(line, context) {
                Poll::Ready(Ok(count @ 1..)) => {
                    self.begun = true;
                    self.left = self.left.saturating_sub(count as u64);
                    self.intake.came(count);
                    self.entry.received(count);
                    self.held = count;
                    self.client.held.came(count);
                }
                // A broken socket says so again.
                Poll::Ready(Err(_)) if !self.begun && !self.copies => {
                    self.lets_go(&line.worker.spare);
                    self.copies = true;
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(End::Broken),
                Poll::Pending => {
                    self.lets_go(&line.worker.spare);
                    self.intake.waits();
                    return Poll::Pending;
                }
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The instance takes nothing for now: whoever reads nothing from the client sees only so that it goes.
    fn poll_gone<I: Socket>(&mut self, line: &mut Line<I>, context: &mut Context<'_>) -> Poll<End> {
        if self.left_behind {
            return Poll::Pending;
        }
        ready!(line.poll_hung_up(context));
        let come = rustix::io::ioctl_fionread(line.stream.lock().socket());
        match come.is_ok_and(|come| come >= self.left) {
            true => {
                self.left_behind = true;
                Poll::Pending
            }
            false => Poll::Ready(End::Broken),
        }
    }

    /// Takes more from the client; there is nothing that has to be passed on before.
    fn poll_fill<I: Socket>(
        &mut self,
        line: &mut Line<I>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let spare = &line.worker.spare;
        let mut stream = line.stream.lock();
        if let Some(socket) = stream.plain().filter(|_| !self.copies) {
            if let Through::Nothing = self.through {
                ready!(socket.poll_read_ready(context))?;
                if let Some(pipe) = spare.pipe() {
                    self.through = Through::Pipe(pipe);
                }
            }
            if let Through::Pipe(pipe) = &mut self.through {
                return pipe.poll_fill(socket, self.left, context);
            }
        }
        let mut room = match std::mem::replace(&mut self.through, Through::Nothing) {
            Through::Room(room, _) => room,
            Through::Nothing | Through::Pipe(_) => Vec::new(),
        };
        room.clear();
        spare.enlarge(&mut room);
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut within = (&mut room).limit(most);
        let polled = poll_read_buf(Pin::new(&mut *stream), context, &mut within);
        self.through = Through::Room(room, 0);
        polled
    }

    fn poll_drain(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.through {
            Through::Nothing => Poll::Ready(Ok(())),
            Through::Pipe(pipe) => {
                let before = pipe.held();
                let drained = wire.poll_drain(context, pipe);
                if pipe.held() < before {
                    self.intake.begins(clock::millis());
                }
                drained
            }
            Through::Room(room, written) => {
                while *written < room.len() {
                    match ready!(wire.poll_write(context, &room[*written..]))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        count => *written += count,
                    }
                    self.intake.begins(clock::millis());
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// What came last went on, or is nobody's.
    fn passed_on(&mut self) {
        self.client.held.passed_on(std::mem::take(&mut self.held));
    }

    fn lets_go(&mut self, spare: &Spare) {
        match std::mem::replace(&mut self.through, Through::Nothing) {
            Through::Nothing => {}
            Through::Pipe(pipe) => spare.put_pipe(pipe),
            Through::Room(mut room, _) => spare.put(&mut room),
        }
    }

    /// Until when it may go on as it does, and then be looked at again (milliseconds).
    pub(super) fn due(&self, limits: &Limits) -> Result<u64, Overdue> {
        let now = clock::millis();
        let still = self.intake.progress() + self.patience;
        let waits = self.end.is_none() && self.intake.is_waiting();
        if still <= now {
            return Err(match waits {
                true => Overdue::Client,
                false => Overdue::Instance,
            });
        }
        if !waits {
            return Ok(still);
        }
        let grace = limits.body_grace.as_millis() as u64;
        let in_rate = self.intake.keeps_up(limits.body_rate, grace, now);
        Ok(still.min(now + in_rate.ok_or(Overdue::Slow)?))
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.passed_on();
    }
}
