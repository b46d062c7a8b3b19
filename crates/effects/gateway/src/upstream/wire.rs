//! Connections to instances that speak HTTP/1.1: a socket, and nothing between it and who uses it. Requests of the
//! lean path ([`crate::lean`]) and those that hyper has read ([`crate::proxy`]) go out on the same ones.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::BufMut;
use rustix::net::Shutdown;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::Reuse;
use super::cutting::Cut;
use super::pool::{RECENT, Upstream, is_quiet};
use super::turns::{Turn, give, join};
use crate::client::{Asker, Shared};
use crate::clock;
use crate::lean::Pipe;
use crate::sends::{Outlet, Taken};

/// Why there is no connection. Nothing was sent.
#[derive(Debug)]
pub(crate) enum NoWire {
    /// None can be made.
    Unreachable(io::Error),
    /// Its turn came, and its client has so much to take already that another one had it.
    Stuck,
}

impl From<io::Error> for NoWire {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

/// A connection that nobody else uses.
pub(crate) struct Wire {
    stream: Shared<TcpStream>,
    outlet: Outlet,
    cut: Cut,
    /// When it was used last; `None` of a new one.
    used: Option<u64>,
}

impl Wire {
    /// Whether it has carried a request before.
    pub(crate) fn is_used(&self) -> bool {
        self.used.is_some()
    }

    /// Reads what fits into the room that `buffer` has.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut impl BufMut,
    ) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut *self.stream.lock()), context, buffer)
    }

    /// The same into a pipe, at most so many bytes.
    pub(crate) fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        pipe.poll_fill(&self.stream.lock(), most, context)
    }

    /// Ready when there may be something to read, for whoever takes a buffer only then.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.lock().poll_read_ready(context)
    }

    /// Writes some of `parts`. Small ones go out with those of others at the end of this turn; who reads sees when they could
    /// not.
    pub(crate) fn poll_write_parts(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.outlet.poll_take(&self.stream, parts, context))? {
            Taken::All => Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum())),
            Taken::None => Pin::new(&mut *self.stream.lock()).poll_write_vectored(context, parts),
        }
    }

    /// Ready when all that was written is with the kernel.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outlet.poll_flush(context)
    }

    /// Writes all that is in a pipe, behind what was written before.
    pub(crate) fn poll_drain(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<()>> {
        if pipe.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_flush(context))?;
        pipe.poll_drain(&self.stream.lock(), context)
    }

    /// Writes some of `bytes`.
    pub(crate) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(context, &[IoSlice::new(bytes)])
    }

    /// Whether nothing has come that nobody read. The kernel is asked.
    pub(crate) fn is_quiet(&self) -> bool {
        // Told to tokio as well, which does not know of what was read past it.
        let stream = self.stream.lock();
        let looked = stream.try_io(Interest::READABLE, || match is_quiet(&*stream) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        });
        looked.is_err()
    }

    /// Ready when its instance has to stop.
    pub(crate) fn poll_cut(&self, context: &mut Context<'_>) -> Poll<()> {
        self.cut.poll(context)
    }

    /// Ends it, also for who waits for something to come on it.
    pub(crate) fn shut_down(&self) {
        // What is broken already has ended.
        let _ = rustix::net::shutdown(&*self.stream.lock(), Shutdown::Both);
    }

    /// The socket, which carries no request any more.
    pub(crate) fn into_stream(self) -> Option<TcpStream> {
        let Self { stream, outlet, .. } = self;
        drop(outlet);
        stream.into_inner()
    }

    /// Nobody uses it: whose request it carried is not kept for its sake.
    fn rest(&self) {
        self.cut.rest();
        let _ = self.seems_quiet();
    }

    /// Whether neither an end nor an unasked answer has come, as far as is known without asking the kernel.
    fn seems_quiet(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        self.stream.lock().poll_read_ready(&mut nobody).is_pending()
    }
}

impl Upstream {
    /// A kept connection that a request may go out on. The kernel is asked whether it is open only for requests that
    /// must not be sent twice: the others notice, and take another one.
    pub(crate) fn kept_wire(&self, reuse: Reuse) -> Option<Wire> {
        let mut wires = self.wires.borrow_mut();
        if reuse == Reuse::Never {
            return None;
        }
        while let Some(wire) = wires.pop() {
            if reuse == Reuse::Recent {
                let used = wire.used.unwrap_or_default();
                if clock::millis().saturating_sub(used) > RECENT {
                    wires.push(wire);
                    return None;
                }
                if !is_quiet(&*wire.stream.lock()) {
                    continue;
                }
            }
            if wire.seems_quiet() {
                return Some(wire);
            }
        }
        None
    }

    /// A new one, or one that is given back before it is made: where many are made at once that takes longer than the
    /// answers do, and who waited for its own alone would be overtaken by everybody. One that was begun is then kept for
    /// others: whoever closed it would begin it again with the next request. One whose turn has not come is not begun:
    /// where answers come faster than turns there would be ever more of those that nobody needs.
    pub(crate) async fn next_wire(
        self: &Rc<Self>,
        reuse: Reuse,
        asker: Asker,
    ) -> Result<Wire, NoWire> {
        if reuse == Reuse::Never {
            return Box::pin(self.new_wire(&asker)).await;
        }
        let turn = tokio::select! {
            biased;
            wire = self.given(reuse, &asker) => return wire,
            turn = self.turn(&asker) => turn?,
        };
        let mut made = Rc::clone(self).make_apart(turn);
        tokio::select! {
            biased;
            wire = self.given(reuse, &asker) => {
                tokio::task::spawn_local(Rc::clone(self).keep_when_made(made));
                wire
            }
            made = &mut made => made.map_err(NoWire::Unreachable),
        }
    }

    /// The next one that is given back and can be used, while none of its client's other requests waits for longer.
    async fn given(&self, reuse: Reuse, asker: &Asker) -> Result<Wire, NoWire> {
        loop {
            let unused = |wire: Wire| {
                let used = wire.used.unwrap_or_else(clock::millis);
                self.keep_wire(wire, used);
            };
            let wire = join(&self.waiting, asker, unused).await;
            if asker.is_stuck() {
                self.keep_wire(wire, clock::millis());
                return Err(NoWire::Stuck);
            }
            if reuse == Reuse::Any || is_quiet(&*wire.stream.lock()) {
                return Ok(wire);
            }
        }
    }

    /// Ends when the instance has to stop.
    pub(crate) async fn is_cut(&self) {
        let cut = self.cutting.cut();
        std::future::poll_fn(|context| cut.poll(context)).await;
    }

    /// Leave to make one.
    async fn turn(&self, asker: &Asker) -> Result<Turn, NoWire> {
        let turn = tokio::select! {
            biased;
            turn = self.keeper.turn(asker) => turn,
            () = self.deadlines.after(self.limits.connect_timeout) => {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        };
        match asker.is_stuck() {
            true => Err(NoWire::Stuck),
            false => Ok(turn),
        }
    }

    async fn keep_when_made(self: Rc<Self>, made: impl Future<Output = io::Result<Wire>>) {
        // Who needs one next is told why there is none.
        if let Ok(wire) = made.await {
            self.keep_wire(wire, clock::millis());
        }
    }

    /// A new one.
    pub(crate) async fn new_wire(&self, asker: &Asker) -> Result<Wire, NoWire> {
        let turn = self.turn(asker).await?;
        Ok(self.make_wire(turn).await?)
    }

    /// The same, put away, because few wait for it.
    fn make_apart(self: Rc<Self>, turn: Turn) -> Pin<Box<dyn Future<Output = io::Result<Wire>>>> {
        Box::pin(async move { self.make_wire(turn).await })
    }

    async fn make_wire(&self, turn: Turn) -> io::Result<Wire> {
        let stream = self.new_connection(self.keeper.connect(turn)).await?;
        Ok(Wire {
            stream: Shared::new(stream),
            outlet: Outlet::new(&self.sends),
            cut: self.cutting.cut(),
            used: None,
        })
    }

    /// Its answer was read to its end at `now` (milliseconds), and nothing behind it.
    pub(crate) fn keep_wire(&self, mut wire: Wire, now: u64) {
        if self.instance.is_closed() || wire.outlet.is_broken() {
            return;
        }
        wire.used = Some(now);
        let Some(wire) = give(&self.waiting, wire) else {
            return;
        };
        wire.rest();
        let mut wires = self.wires.borrow_mut();
        if wires.len() < self.limits.upstream_kept {
            wires.push(wire);
        }
    }

    /// Closes those that are unused for too long, or all.
    pub(super) fn sweep_wires(&self, oldest: u64) {
        let closed = self.instance.is_closed();
        let mut wires = self.wires.borrow_mut();
        wires.retain(|wire| {
            !closed && wire.used.is_some_and(|used| used >= oldest) && wire.seems_quiet()
        });
    }
}
