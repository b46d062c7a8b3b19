//! One plain request, from its head to the end of its answer.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{self, Extra, Head};
use super::ask::Ask;
use super::body::{Framing, LAST_CHUNK, push_chunk};
use super::line::{Line, Next};
use super::pipe::Pipe;
use super::rest::{End, Overdue, Rest};
use super::way::{Own, Way};
use super::{LONGEST_HEAD, Resume, SMALL};
use ward_types::table::Refusal;

use crate::account::Account;
use crate::balance::{Pick, pick};
use crate::client::{Pause, Socket};
use crate::clock;
use crate::course::{Broken, Course};
use crate::failure::Failure;
use crate::head::LONGEST_ID;
use crate::instance::Place;
use crate::proxy::{self, Begun, Entry};
use crate::reply::{self, Kind, Long};
use crate::throttle::Slot;
use crate::trace::Made;
use crate::upstream::{NoWire, Reuse, Upstream, Wire};

/// A body of which more than this is left is read in larger pieces.
const LARGE: u64 = 64 * 1024;
/// One request on a connection.
pub(super) struct Exchange<'a, I> {
    line: &'a mut Line<I>,
    ask: &'a Ask,
    id: [u8; LONGEST_ID],
    id_length: usize,
    /// The trace that begins with it.
    trace: Option<Made>,
    /// What of its body did not come with its head.
    rest: Option<Box<Rest>>,
}

/// Why there is no answer.
enum Lost {
    /// Nothing came on a connection that was open before: it may have been closed for want of use.
    Stale,
    /// The instance broke off, or what it says is no answer.
    Broken(&'static str),
    /// It had to stop.
    Cut,
    /// It took too long.
    Late,
    /// The client went away.
    HungUp,
    /// It broke off its body.
    Torn,
    /// It sends its body too slowly.
    Slow,
}

/// An answer whose head has been read.
struct Answered {
    wire: Wire,
    head: Head,
    /// What has been read of it.
    read: Vec<u8>,
    /// Whether the client was told that it is the last one.
    closes: bool,
}

/// How the body of an answer ended early.
pub(super) enum Early {
    /// The client went away.
    Client,
    /// It was told to, and has ended as its protocol does.
    Told,
    Failed(reply::Error),
}

impl<'a, I: AsyncRead + AsyncWrite + Socket + Unpin> Exchange<'a, I> {
    /// A request whose head stands, without its end, in the line's output.
    pub(super) fn new(line: &'a mut Line<I>, ask: &'a Ask) -> Self {
        let mut id = [0; LONGEST_ID];
        let own = ask.id(&line.input);
        let id_length = match own {
            Some(own) => {
                id[..own.len()].copy_from_slice(own.as_bytes());
                own.len()
            }
            None => line.worker.write_request_id(&mut id),
        };
        let made_id = own.is_none().then_some(&id[..id_length]);
        let trace = match ask.trace {
            Some(_) => None,
            None => line.worker.new_trace(made_id),
        };
        Self {
            line,
            ask,
            id,
            id_length,
            trace,
            rest: None,
        }
    }

    fn id(&self) -> &[u8] {
        &self.id[..self.id_length]
    }

    /// Carries it to its end.
    pub(super) async fn run(mut self) -> Next {
        let Some(way) = self.way() else {
            return Next::Hand(None);
        };
        let account = Account::open(&self.line.worker.journal, &self.line.client);
        self.write_down(&account);
        let mut course = Course::default();
        way.pool.budget.earn();
        // Who is counted by a header is not plain.
        let (worker, entry) = (&self.line.worker, &self.line.client.entry);
        if let Err(failure) = proxy::meter(worker, entry, &way.pool, &HeaderMap::new()) {
            account.leads_to(&way.pool.service);
            return self.hand(account, course, Some(failure));
        }
        let Some(slot) = way.pool.guard.throttle.try_enter() else {
            return self.hand(account, course, None);
        };
        self.rest = self.rest(&account);
        let intake = self.rest.as_ref().map(|rest| Rc::clone(&rest.intake));
        let slot = match &intake {
            Some(intake) => slot.with(intake),
            None => slot,
        };
        let worker = &self.line.worker;
        let picked = pick(&way.pool.endpoints, &[], &worker.lots, clock::millis());
        let Pick::Placed(place) = picked else {
            return self.hand(account, course, None);
        };
        let upstream = worker.upstreams.of(place.instance());
        self.finish_head(&way);
        match self.ask_for_answer(&upstream, &way, &place, &account).await {
            Ok(answered) => {
                let held = (place, slot, upstream);
                let patience = self.patience(&way);
                self.deliver(answered, held, account, patience).await
            }
            Err(Broken::Final(Failure::HUNG_UP)) => Next::Close,
            Err(broken) => {
                let may_repeat = |sent| self.may_come_again(&way) && way.pool.may_repeat(sent);
                let failed = course.failed(place.instance().serial, broken, may_repeat);
                self.hand(account, course, failed.err())
            }
        }
    }

    fn hand(&self, account: Account, course: Course, verdict: Option<Failure>) -> Next {
        let id = HeaderValue::from_bytes(self.id());
        let id =
            id.expect("letters, digits, hyphens, underscores and points may stand in a header");
        let begun = Begun {
            id,
            trace: self.trace,
            course,
            verdict,
            torn: self.rest.as_ref().is_some_and(|rest| rest.is_torn()),
        };
        Next::Hand(Some(Box::new(Resume { account, begun })))
    }

    /// What of the body is still to come.
    fn rest(&self, account: &Account) -> Option<Box<Rest>> {
        let line = &*self.line;
        let left = self.ask.length().checked_sub(line.input.len())?;
        let come = self.ask.body_of(&line.input).len();
        let rest = || Rest::new(left as u64, come, &line.client, account.entry());
        (left > 0).then(|| Box::new(rest()))
    }

    fn way(&self) -> Option<Way> {
        let line = &*self.line;
        let asked = (self.ask.host(&line.input), self.ask.target(&line.input));
        Way::find(&line.worker, &line.client, asked, self.ask.body)
    }

    fn write_down(&self, account: &Account) {
        let trace = self.ask.trace.or_else(|| Some(self.trace?.id()));
        let input = &self.line.input;
        let (path, query) = match self.ask.target(input).split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.ask.target(input), None),
        };
        account.asks(
            Version::HTTP_11,
            (self.id(), trace.as_ref().map_or(&[][..], |id| id)),
            self.ask.method.as_str().as_bytes(),
            self.ask.authority(input).as_bytes(),
            (path.as_bytes(), query.map(str::as_bytes)),
        );
    }

    /// The lines that the gateway adds, the end of the head, and the body.
    fn finish_head(&mut self, way: &Way) {
        let line = &mut *self.line;
        let own = Own {
            client: &line.client,
            origin: &line.origin,
            authority: self.ask.authority(&line.input),
            trace: self.trace.as_ref(),
            id: &self.id[..self.id_length],
        };
        let out = &mut line.output;
        own.write(way, out);
        out.extend_from_slice(self.ask.body_of(&line.input));
    }

    /// Whether it may be sent again though an instance may have seen it.
    fn is_repeatable(&self, way: &Way) -> bool {
        self.ask.method.is_idempotent() && self.ask.body == 0 && way.pool.retries > 0
    }

    /// Whether another instance may have it, from its beginning: nothing of its body has gone anywhere.
    fn may_come_again(&self, way: &Way) -> bool {
        let untouched = match &self.rest {
            Some(rest) => !rest.is_torn() && self.ask.body_of(&self.line.input).is_empty(),
            None => self.ask.body == 0,
        };
        untouched && self.ask.method.is_idempotent() && way.pool.retries > 0
    }

    async fn ask_for_answer(
        &mut self,
        upstream: &Rc<Upstream>,
        way: &Way,
        place: &Place,
        account: &Account,
    ) -> Result<Answered, Broken> {
        account.tries(upstream, place);
        let reuse = self.reuse(way);
        let sent = match upstream.kept_wire(reuse) {
            Some(wire) => self.send(wire, way, place, account).await,
            None => {
                let next = (upstream, reuse);
                self.send_on_next(next, way, place, account).await?
            }
        };
        let sent = match sent {
            Err(Lost::Stale) => {
                let next = (upstream, Reuse::Never);
                self.send_on_next(next, way, place, account).await?
            }
            sent => sent,
        };
        sent.map_err(|lost| match lost {
            Lost::Cut => Broken::Perhaps(Failure::CUT),
            Lost::HungUp => Broken::Final(Failure::HUNG_UP),
            Lost::Torn => Broken::Final(Failure::BROKEN_BODY),
            Lost::Slow => Broken::Final(Failure::SLOW_CLIENT),
            Lost::Late => {
                place.failed();
                Broken::Final(Failure::LATE)
            }
            Lost::Stale | Lost::Broken(_) => {
                let why = match lost {
                    Lost::Broken(why) => why,
                    _ => "the connection was closed",
                };
                let instance = place.instance();
                tracing::info!(env = %instance.env, instance = %instance.endpoint.instance, why, "no answer");
                place.failed();
                Broken::Perhaps(Failure::LOST)
            }
        })
    }

    fn reuse(&self, way: &Way) -> Reuse {
        match self.is_repeatable(way) {
            true => Reuse::Any,
            false => Reuse::Recent,
        }
    }

    /// The outer error: there is no connection, and nothing was sent.
    async fn send_on_next(
        &mut self,
        (upstream, reuse): (&Rc<Upstream>, Reuse),
        way: &Way,
        place: &Place,
        account: &Account,
    ) -> Result<Result<Answered, Lost>, Broken> {
        let began = Instant::now();
        let made = tokio::select! {
            biased;
            () = upstream.is_cut() => return Err(Broken::Perhaps(Failure::CUT)),
            made = upstream.next_wire(reuse, self.line.client.asker()) => made,
        };
        account.entry().connected(began);
        match made {
            Ok(wire) => Ok(self.send(wire, way, place, account).await),
            Err(NoWire::Unreachable(error)) => Err(proxy::unreachable(place, &error)),
            Err(NoWire::Stuck) => Err(Broken::Stuck),
        }
    }

    /// How long the service may take to begin its answer.
    fn patience(&self, way: &Way) -> Duration {
        let own = way
            .settings
            .as_ref()
            .and_then(|settings| settings.response_timeout);
        own.unwrap_or(self.line.worker.limits.response_timeout)
    }

    /// Sends the request and waits for the head of its answer.
    async fn send(
        &mut self,
        mut wire: Wire,
        way: &Way,
        place: &Place,
        account: &Account,
    ) -> Result<Answered, Lost> {
        let due = Due::new(place, self.patience(way));
        let mut read = self.line.worker.spare.take();
        let again = wire.is_used() && self.reuse(way) == Reuse::Any;
        if let Some(rest) = &self.rest {
            rest.intake.begins(clock::millis());
        }
        let come = self.ask.body_of(&self.line.input).len();
        account.entry().received(come);
        let mut sent = 0;
        let got = poll_fn(|context| {
            loop {
                let output = &self.line.output;
                if sent < output.len() {
                    match wire.poll_write(context, &output[sent..]) {
                        Poll::Ready(Ok(0) | Err(_)) => {
                            sent = usize::MAX;
                            if let Some(rest) = &mut self.rest {
                                rest.refuse();
                            }
                        }
                        Poll::Ready(Ok(count)) => {
                            sent += count;
                            continue;
                        }
                        Poll::Pending => {}
                    }
                }
                // What follows the head goes behind it, and is over before there is an answer that is none too early.
                let is_sent = sent >= self.line.output.len();
                if self.rest.is_some()
                    && is_sent
                    && let Poll::Ready(lost) = self.poll_client(&mut wire, context)
                {
                    return Poll::Ready(Err(lost));
                }
                // Also while the request is being sent, and when it cannot be: there may be an early answer.
                match wire.poll_read(context, &mut read) {
                    Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Lost::Stale)),
                    Poll::Pending => {}
                }
                if wire.poll_cut(context).is_ready() {
                    return Poll::Ready(Err(Lost::Cut));
                }
                if self.rest.is_none()
                    && let Poll::Ready(lost) = self.poll_client(&mut wire, context)
                {
                    return Poll::Ready(Err(lost));
                }
                return self.poll_overdue(due, context).map(Err);
            }
        });
        got.await.map_err(|lost| match lost {
            Lost::Stale if !again => Lost::Broken("the connection was closed"),
            lost => lost,
        })?;
        let whole = sent == self.line.output.len();
        if let Some(rest) = self.rest.as_mut().filter(|_| !whole) {
            rest.refuse();
        }
        self.read_head(wire, way, place, (read, whole, due)).await
    }

    /// Passes on what comes of the body, or else looks whether the client is still there.
    fn poll_client(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<Lost> {
        if let Some(rest) = &mut self.rest {
            match rest.poll(self.line, wire, context) {
                Poll::Pending if rest.is_left_behind() => return Poll::Ready(Lost::HungUp),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(End::Broken) => return Poll::Ready(Lost::Torn),
                // What it still sends is nobody's.
                Poll::Ready(End::Refused) => {
                    return self.line.poll_hung_up(context).map(|()| Lost::HungUp);
                }
                Poll::Ready(End::Whole) => {}
            }
        }
        while ready!(self.line.poll_client(context)) > 0 {}
        Poll::Ready(Lost::HungUp)
    }

    fn poll_overdue(&mut self, due: Due, context: &mut Context<'_>) -> Poll<Lost> {
        let Some(rest) = &self.rest else {
            return self.line.timer.poll(context, due.at).map(|()| Lost::Late);
        };
        loop {
            let at = match rest.due(&self.line.worker.limits, due.patience) {
                Ok(at) => at,
                Err(Overdue::Slow) => {
                    self.line.worker.shared.refusals.count(Refusal::SlowBody);
                    return Poll::Ready(Lost::Slow);
                }
                Err(Overdue::Client) => return Poll::Ready(Lost::Slow),
                Err(Overdue::Instance) => return Poll::Ready(Lost::Late),
            };
            ready!(self.line.timer.poll(context, at));
        }
    }

    /// Reads the rest of the head, and writes the client's.
    async fn read_head(
        &mut self,
        mut wire: Wire,
        way: &Way,
        place: &Place,
        (mut read, whole, due): (Vec<u8>, bool, Due),
    ) -> Result<Answered, Lost> {
        let mut head_of_client = self.line.worker.spare.take();
        loop {
            head_of_client.clear();
            let extra = self.extra(way, place);
            let closes = extra.closes;
            let parsed = answer::read(&read, &extra, &mut head_of_client);
            match parsed {
                Ok(answer::Read::Whole(mut head)) => {
                    head.keeps &= whole;
                    // What was asked is still needed: nobody has begun to answer.
                    std::mem::swap(&mut self.line.output, &mut head_of_client);
                    self.line.worker.spare.put(&mut head_of_client);
                    return Ok(Answered {
                        wire,
                        head,
                        read,
                        closes,
                    });
                }
                Ok(answer::Read::Interim(length)) => drop(read.drain(..length)),
                Ok(answer::Read::Partial) => {
                    if read.len() >= LONGEST_HEAD {
                        return Err(Lost::Broken("the head of its answer is too long"));
                    }
                    read.reserve(1024);
                    self.read_more(&mut wire, &mut read, due).await?;
                }
                Err(malformed) => return Err(Lost::Broken(malformed.0)),
            }
        }
    }

    async fn read_more(
        &mut self,
        wire: &mut Wire,
        read: &mut Vec<u8>,
        due: Due,
    ) -> Result<(), Lost> {
        poll_fn(|context| {
            match wire.poll_read(context, read) {
                Poll::Ready(Ok(1..)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(0) | Err(_)) => {
                    return Poll::Ready(Err(Lost::Broken(
                        "it broke off within the head of its answer",
                    )));
                }
                Poll::Pending => {}
            }
            if wire.poll_cut(context).is_ready() {
                return Poll::Ready(Err(Lost::Cut));
            }
            if let Poll::Ready(lost) = self.poll_client(wire, context) {
                return Poll::Ready(Err(lost));
            }
            self.poll_overdue(due, context).map(Err)
        })
        .await
    }

    fn extra<'b>(&'b self, way: &'b Way, place: &'b Place) -> Extra<'b> {
        let line = &*self.line;
        let last = line.requests + 1 >= line.worker.limits.requests;
        Extra {
            bodiless: self.ask.method == http::Method::HEAD,
            names: &place.instance().names,
            id: self.id(),
            settings: way.settings.as_deref(),
            scheme: match &line.client.entry {
                Entry::Front(outside) => outside.scheme,
                _ => "http",
            },
            date: line.worker.dates.now(),
            closes: last || self.ask.closes || line.worker.is_quitting(),
        }
    }

    /// Sends the answer to the client, whose head is in the line's output.
    async fn deliver(
        &mut self,
        mut answered: Answered,
        (place, slot, upstream): (Place, Slot<'_>, Rc<Upstream>),
        account: Account,
        patience: Duration,
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
            Ok(_) => self.finish_rest(&mut answered.wire, patience).await,
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
            let is_large = head.framing.left().is_some_and(|left| left > LARGE);
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
        let (line, rest, mut done) = (&mut *self.line, &mut self.rest, 0);
        let all = line.output.len() + more.len();
        let together = more.is_empty() && line.puts_together();
        let mut waits = false;
        let written = poll_fn(|context| {
            if together {
                let flushed = line.outlet.poll_flush(context);
                return match flushed.is_pending() && line.outlet.is_held_up() {
                    true => waits_for_room(line, rest, wire, context, (&mut waits, all)),
                    false => flushed.map_err(|_| Early::Client),
                };
            }
            while done < all {
                let first = &line.output[done.min(line.output.len())..];
                let second = &more[done.saturating_sub(line.output.len())..];
                let mut stream = line.stream.lock();
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
                        return waits_for_room(line, rest, wire, context, (&mut waits, all));
                    }
                }
            }
            // TLS takes what the socket does not.
            let flushed = Pin::new(&mut *line.stream.lock()).poll_flush(context);
            match flushed {
                Poll::Pending => waits_for_room(line, rest, wire, context, (&mut waits, all)),
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
        let (line, rest, all) = (&mut *self.line, &mut self.rest, pipe.held());
        let mut waits = false;
        let drained = poll_fn(|context| {
            let stream = line.stream.lock();
            let polled = match stream.plain() {
                Some(socket) => pipe.poll_drain(socket, context),
                None => return Poll::Ready(Err(Early::Client)),
            };
            drop(stream);
            match polled {
                Poll::Ready(drained) => Poll::Ready(drained.map_err(|_| Early::Client)),
                Poll::Pending => waits_for_room(line, rest, wire, context, (&mut waits, all)),
            }
        });
        drained.await?;
        if waits {
            self.line.client.held.written(all);
        }
        Ok(())
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
            if self.rest.is_some() && self.poll_client(wire, context).is_ready() {
                return Poll::Ready(Err(Early::Client));
            }
            if let Poll::Ready(count) = more(wire, context) {
                return Poll::Ready(
                    count.map_err(|error| Early::Failed(reply::Error::Upstream(error.into()))),
                );
            }
            match self.rest {
                Some(_) => Poll::Pending,
                None => self.poll_client(wire, context).map(|_| Err(Early::Client)),
            }
        })
        .await
    }

    /// Passes on what is left of the body once the answer is over: how that ended, where there is any.
    async fn finish_rest(&mut self, wire: &mut Wire, patience: Duration) -> Option<End> {
        let patience = patience.as_millis() as u64;
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
                match rest.due(&line.worker.limits, patience) {
                    Ok(at) => ready!(line.timer.poll(context, at)),
                    Err(Overdue::Instance) => return Poll::Ready(End::Refused),
                    Err(Overdue::Slow | Overdue::Client) => return Poll::Ready(End::Broken),
                }
            }
        });
        Some(end.await)
    }
}

/// The client takes nothing for now. What is held for it counts, the rest of its body goes on, and the instance may have to
/// stop meanwhile.
fn waits_for_room<I, T>(
    line: &mut Line<I>,
    rest: &mut Option<Box<Rest>>,
    wire: &mut Wire,
    context: &mut Context<'_>,
    (waits, held): (&mut bool, usize),
) -> Poll<Result<T, Early>>
where
    I: AsyncRead + AsyncWrite + Socket + Unpin,
{
    if wire.poll_cut(context).is_ready() {
        return Poll::Ready(Err(Early::Failed(reply::Error::Cut)));
    }
    if let Some(rest) = rest
        && let Poll::Ready(End::Broken) = rest.poll(line, wire, context)
    {
        return Poll::Ready(Err(Early::Client));
    }
    if !std::mem::replace(waits, true) {
        line.client.held.hands_out(held);
    }
    Poll::Pending
}

/// How long an instance may take.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// Until when (milliseconds), when it has all of the request.
    at: u64,
    /// How long from when it had the last of it (milliseconds).
    patience: u64,
}

impl Due {
    fn new(place: &Place, patience: Duration) -> Self {
        let patience = patience.as_millis() as u64;
        Self {
            at: clock::millis_at(place.began()) + patience,
            patience,
        }
    }
}

impl Early {
    fn broken(why: &'static str) -> Self {
        Self::Failed(reply::Error::Upstream(why.into()))
    }
}
