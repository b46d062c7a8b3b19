//! The answer on its way back to the client, and beside it what is left of the request's body.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;

use super::{Answered, Exchange};
use crate::account::Account;
use crate::client::{Pause, Socket};
use crate::clock;
use crate::instance::Place;
use crate::lean::answer::Head;
use crate::lean::body::{Framing, LAST_CHUNK, push_chunk};
use crate::lean::line::Next;
use crate::lean::pipe::Pipe;
use crate::lean::rest::{End, Overdue};
use crate::lean::{LONG, SMALL};
use crate::reply::{self, Kind, Long};
use crate::throttle::Slot;
use crate::upstream::{Upstream, Wire};

/// How the body of an answer ended early.
pub(super) enum Early {
    /// The client went away.
    Client,
    /// It was told to, and has ended as its protocol does.
    Told,
    Failed(reply::Error),
}

impl Early {
    fn broken(why: &'static str) -> Self {
        Self::Failed(reply::Error::Upstream(why.into()))
    }
}

impl<I: Socket> Exchange<'_, I> {
    /// Sends the answer to the client, whose head is in the line's output.
    pub(super) async fn deliver(
        &mut self,
        mut answered: Answered,
        (place, slot, upstream): (Place, Slot<'_>, Rc<Upstream>),
        account: Account,
    ) -> Next {
        let head = &answered.head;
        place.answered();
        account.answered(&place);
        slot.answered();
        drop(slot);
        match (head.status.is_server_error(), self.ask.body) {
            (true, _) => place.failed(),
            (false, 0) => place.measured(),
            // Work that is given is not of one size.
            (false, _) => place.succeeded(),
        }
        account.begins(head.status);
        let mut long = self.long(head, &place, &account);
        let _pauses = self.pauses(head);
        let keeps = head.keeps;
        let ended = self
            .relay(&mut answered, long.as_deref_mut(), &account)
            .await;
        self.line.worker.spare.put(&mut answered.read);
        // Who has answered before it was asked may say anything meanwhile.
        let early = self
            .rest
            .as_ref()
            .is_some_and(|rest| rest.end() != Some(End::Whole));
        let rest = match &ended {
            Ok(_) => self.finish_rest(&mut answered.wire).await,
            Err(_) => {
                let rest = self.rest.as_ref();
                rest.map(|rest| rest.end().unwrap_or(End::Refused))
            }
        };
        let now = Instant::now();
        self.line.idle_since = clock::millis_at(now);
        let next = match rest {
            // What still comes of its body would be taken for the next request.
            Some(End::Refused) => Next::CloseUnread,
            Some(End::Broken) => Next::Close,
            _ if answered.closes => Next::Close,
            _ => Next::Request,
        };
        let keeps = keeps && !early;
        match ended {
            Ok(clean) => {
                account.complete();
                account.close(now);
                if keeps && clean {
                    upstream.keep_wire(answered.wire, self.line.idle_since);
                }
                next
            }
            Err(Early::Told) => {
                account.complete();
                match (place.instance().parting.is_leaving(), next) {
                    (true, Next::Request) => Next::Close,
                    (_, next) => next,
                }
            }
            Err(Early::Client) => Next::Close,
            Err(Early::Failed(error)) => {
                if matches!(error, reply::Error::Upstream(_)) {
                    place.failed();
                }
                account.broke(&error);
                Next::Close
            }
        }
    }

    /// An event stream lasts, and is told to go away when its instance is.
    fn long(&self, head: &Head, place: &Place, account: &Account) -> Option<Box<Long>> {
        let events = matches!(head.kind, Kind::Events | Kind::CompressedEvents);
        if !events {
            return None;
        }
        account.lasts();
        // One whose length is told cannot end before it.
        let open = matches!(head.framing, Framing::Chunked(_) | Framing::ToTheEnd);
        open.then(|| Long::new(head.kind, place)).flatten()
    }

    /// The client of an event stream may stop reading, that of any other answer may not.
    fn pauses(&self, head: &Head) -> Option<Pause> {
        let client = &self.line.client;
        match head.kind {
            Kind::Events | Kind::CompressedEvents if !head.framing.is_over() => {
                Some(client.may_pause())
            }
            _ => {
                client.must_take();
                None
            }
        }
    }

    /// Passes an answer on to its end. Whether the instance sent nothing behind it.
    async fn relay(
        &mut self,
        answered: &mut Answered,
        mut long: Option<&mut Long>,
        account: &Account,
    ) -> Result<bool, Early> {
        let Answered {
            wire, head, read, ..
        } = answered;
        let chunked = matches!(head.framing, Framing::Chunked(_) | Framing::ToTheEnd);
        let mut from = head.length;
        let mut pours = long.is_none();
        loop {
            let taken = self.take(head, &read[from..], long.as_deref_mut(), account);
            if taken.is_err() {
                // What came before is the client's.
                self.write(wire, &[]).await?;
            }
            let (used, apart) = taken?;
            let over = head.framing.is_over();
            if over && chunked {
                self.line.output.extend_from_slice(LAST_CHUNK);
            }
            self.write(wire, &read[from..from + apart]).await?;
            if over {
                return Ok(from + used == read.len());
            }
            let is_large = head.framing.left().is_some_and(|left| left > LONG as u64);
            // Put away, because few bodies are: the others need not carry its room.
            if std::mem::take(&mut pours)
                && is_large
                && let Some(clean) = Box::pin(self.pour(wire, &mut head.framing, account)).await?
            {
                return Ok(clean);
            }
            // There is more than fits.
            let full = read.len() == read.capacity();
            read.clear();
            from = 0;
            if full || is_large {
                self.line.worker.spare.enlarge(read);
            }
            let reading =
                |wire: &mut Wire, context: &mut Context<'_>| wire.poll_read(context, read);
            match self.body(wire, reading, long.as_deref_mut()).await {
                Ok(1..) => {}
                // The end of the connection is the end of what has no other.
                Ok(0) if matches!(head.framing, Framing::ToTheEnd) => head.framing = Framing::Empty,
                Ok(0) => return Err(Early::broken("the connection was closed within the answer")),
                Err(Early::Told) => {
                    self.line.output.extend_from_slice(LAST_CHUNK);
                    self.write(wire, &[]).await?;
                    return Err(Early::Told);
                }
                Err(early) => return Err(early),
            }
        }
    }

    /// Puts what of these bytes goes on to the client behind what is in the output, or says how many of them, from
    /// the first one on, are to be written from where they are. And how many were used.
    fn take(
        &mut self,
        head: &mut Head,
        bytes: &[u8],
        mut long: Option<&mut Long>,
        account: &Account,
    ) -> Result<(usize, usize), Early> {
        let output = &mut self.line.output;
        let chunked = matches!(head.framing, Framing::Chunked(_) | Framing::ToTheEnd);
        let (mut sent, mut apart) = (0, 0);
        let taken = head.framing.take(bytes, |piece| {
            sent += piece.len();
            match &mut long {
                _ if !chunked && piece.len() > SMALL => apart = piece.len(),
                _ if !chunked => output.extend_from_slice(piece),
                Some(long) => push_chunk(output, &long.pass(Bytes::copy_from_slice(piece))),
                None => push_chunk(output, piece),
            }
        });
        account.sent(sent);
        let used = taken.map_err(|_| Early::broken("its chunks cannot be read"))?;
        Ok((used, apart))
    }

    /// Writes the output, and `more` behind it.
    async fn write(&mut self, wire: &mut Wire, more: &[u8]) -> Result<(), Early> {
        let all = self.line.output.len() + more.len();
        let together = more.is_empty() && self.line.puts_together();
        let (mut done, mut waits) = (0, false);
        let written = poll_fn(|context| {
            if together {
                let flushed = self.line.outlet.poll_flush(context);
                return match flushed.is_pending() && self.line.outlet.is_held_up() {
                    true => self.waits_for_room(wire, context, (&mut waits, all)),
                    false => flushed.map_err(|_| Early::Client),
                };
            }
            while done < all {
                let first = &self.line.output[done.min(self.line.output.len())..];
                let second = &more[done.saturating_sub(self.line.output.len())..];
                let mut stream = self.line.stream.lock();
                let polled = match first.is_empty() || second.is_empty() {
                    true => {
                        let rest = if first.is_empty() { second } else { first };
                        Pin::new(&mut *stream).poll_write(context, rest)
                    }
                    false => {
                        let parts = [IoSlice::new(first), IoSlice::new(second)];
                        Pin::new(&mut *stream).poll_write_vectored(context, &parts)
                    }
                };
                drop(stream);
                match polled {
                    Poll::Ready(Ok(count)) if count > 0 => done += count,
                    Poll::Ready(_) => return Poll::Ready(Err(Early::Client)),
                    Poll::Pending => {
                        return self.waits_for_room(wire, context, (&mut waits, all));
                    }
                }
            }
            // TLS takes what the socket does not.
            let flushed = Pin::new(&mut *self.line.stream.lock()).poll_flush(context);
            match flushed {
                Poll::Pending => self.waits_for_room(wire, context, (&mut waits, all)),
                Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_| Early::Client)),
            }
        });
        written.await?;
        if waits {
            self.line.client.held.written(all);
        }
        self.line.output.clear();
        Ok(())
    }

    /// Passes on the rest of a long body through a pipe, where there is one and the client takes bytes as they are. Whether
    /// the instance sent nothing behind it.
    async fn pour(
        &mut self,
        wire: &mut Wire,
        framing: &mut Framing,
        account: &Account,
    ) -> Result<Option<bool>, Early> {
        let plain = self.line.stream.lock().plain().is_some();
        let spare = plain.then(|| self.line.worker.spare.pipe()).flatten();
        let Some(mut pipe) = spare else {
            return Ok(None);
        };
        let mut poured = false;
        while let Some(left @ 1..) = framing.left() {
            let filling = |wire: &mut Wire, context: &mut Context<'_>| {
                wire.poll_fill(context, &mut pipe, left)
            };
            match self.body(wire, filling, None).await {
                Ok(0) => return Err(Early::broken("the connection was closed within the answer")),
                Ok(count) => {
                    framing.passed(count);
                    account.sent(count);
                }
                // A kernel that does not do this, or else it comes up again where bytes are copied.
                Err(Early::Failed(_)) if !poured => return Ok(None),
                Err(early) => return Err(early),
            }
            poured = true;
            self.drain(wire, &mut pipe).await?;
        }
        self.line.worker.spare.put_pipe(pipe);
        Ok(Some(wire.is_quiet()))
    }

    /// Gives what is in a pipe to the client.
    async fn drain(&mut self, wire: &mut Wire, pipe: &mut Pipe) -> Result<(), Early> {
        let (all, mut waits) = (pipe.held(), false);
        let drained = poll_fn(|context| {
            let stream = self.line.stream.lock();
            let polled = match stream.plain() {
                Some(socket) => pipe.poll_drain(socket, context),
                None => return Poll::Ready(Err(Early::Client)),
            };
            drop(stream);
            match polled {
                Poll::Ready(drained) => Poll::Ready(drained.map_err(|_| Early::Client)),
                Poll::Pending => self.waits_for_room(wire, context, (&mut waits, all)),
            }
        });
        drained.await?;
        if waits {
            self.line.client.held.written(all);
        }
        Ok(())
    }

    /// The client takes nothing for now. What is held for it counts, the rest of its body goes on, and the instance may have to
    /// stop meanwhile.
    fn waits_for_room<T>(
        &mut self,
        wire: &mut Wire,
        context: &mut Context<'_>,
        (waits, held): (&mut bool, usize),
    ) -> Poll<Result<T, Early>> {
        if wire.poll_cut(context).is_ready() {
            return Poll::Ready(Err(Early::Failed(reply::Error::Cut)));
        }
        if let Some(rest) = &mut self.rest
            && let Poll::Ready(End::Broken) = rest.poll(self.line, wire, context)
        {
            return Poll::Ready(Err(Early::Client));
        }
        if !std::mem::replace(waits, true) {
            self.line.client.held.hands_out(held);
        }
        Poll::Pending
    }

    /// Waits for more of a body, which `more` reads; 0 at the end of the connection.
    async fn body(
        &mut self,
        wire: &mut Wire,
        mut more: impl FnMut(&mut Wire, &mut Context<'_>) -> Poll<io::Result<usize>>,
        mut long: Option<&mut Long>,
    ) -> Result<usize, Early> {
        poll_fn(|context| {
            // First, because a body that always has more would never let it be seen.
            let cut = wire.poll_cut(context).is_ready();
            if cut && long.is_none() {
                return Poll::Ready(Err(Early::Failed(reply::Error::Cut)));
            }
            if let Some(long) = &mut long
                && (cut || long.poll_end(context).is_ready())
            {
                return Poll::Ready(Err(Early::Told));
            }
            // The one must not wait for the other.
            if self.poll_rest(wire, context).is_ready() {
                return Poll::Ready(Err(Early::Client));
            }
            if let Poll::Ready(count) = more(wire, context) {
                return Poll::Ready(
                    count.map_err(|error| Early::Failed(reply::Error::Upstream(error.into()))),
                );
            }
            self.poll_client(context).map(|_| Err(Early::Client))
        })
        .await
    }

    /// Passes on what is left of the body once the answer is over: how that ended, where there is any.
    async fn finish_rest(&mut self, wire: &mut Wire) -> Option<End> {
        let (line, rest) = (&mut *self.line, self.rest.as_mut()?);
        if let Some(end) = rest.end() {
            return Some(end);
        }
        rest.intake.is_looked_at(clock::millis());
        let end = poll_fn(|context| {
            loop {
                if wire.poll_cut(context).is_ready() {
                    return Poll::Ready(End::Refused);
                }
                if let Poll::Ready(end) = rest.poll(line, wire, context) {
                    return Poll::Ready(end);
                }
                match rest.due(&line.worker.limits) {
                    Ok(at) => ready!(line.timer.poll(context, at)),
                    Err(Overdue::Instance) => return Poll::Ready(End::Refused),
                    Err(Overdue::Slow | Overdue::Client) => return Poll::Ready(End::Broken),
                }
            }
        });
        Some(end.await)
    }
}
