//! One plain request, from its head to the end of its answer.

mod asking;
mod delivering;

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Version};

use super::Resume;
use super::answer::Head;
use super::ask::Ask;
use super::line::{Line, Next};
use super::rest::{End, Rest};
use super::way::{Own, Way};
use crate::account::Account;
use crate::balance::{Pick, pick};
use crate::client::Socket;
use crate::clock;
use crate::course::{Broken, Course};
use crate::failure::Failure;
use crate::head::LONGEST_ID;
use crate::proxy::{self, Begun};
use crate::trace::Made;
use crate::upstream::Wire;

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

impl<'a, I: Socket> Exchange<'a, I> {
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
        if let Err(failure) = proxy::meter(worker, entry, way.metered(), &HeaderMap::new()) {
            account.leads_to(&way.pool.service);
            return self.hand(account, course, Some(failure));
        }
        let Some(slot) = way.pool.guard.throttle.try_enter() else {
            return self.hand(account, course, None);
        };
        self.rest = self.rest(&way, &account);
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
                self.deliver(answered, (place, slot, upstream), account)
                    .await
            }
            Err(Broken::Final(Failure::HUNG_UP)) => Next::Close,
            Err(broken) => {
                let may_repeat = |sent| self.may_come_again(&way) && way.pool.may_repeat(sent);
                let failed = course.failed(place.instance().serial, broken, may_repeat);
                self.hand(account, course, failed.err())
            }
        }
    }

    /// Whether there is a plain way for it.
    pub(super) fn is_plain(&self) -> bool {
        self.way().is_some()
    }

    /// Answers it with a failure.
    pub(super) fn refuse(self, failure: Failure) -> Next {
        let account = Account::open(&self.line.worker.journal, &self.line.client);
        self.write_down(&account);
        if let Some(way) = self.way() {
            account.leads_to(&way.pool.service);
        }
        self.hand(account, Course::default(), Some(failure))
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
    fn rest(&self, way: &Way, account: &Account) -> Option<Box<Rest>> {
        let line = &*self.line;
        let left = self.ask.length().checked_sub(line.input.len())?;
        let length = (left as u64, self.ask.body_of(&line.input).len());
        let client = (&line.client, &line.worker.awaited);
        let rest = || Rest::new(length, self.patience(way), client, account.entry());
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

    /// Whether another instance may have it, from its beginning: nothing of its body has gone anywhere.
    fn may_come_again(&self, way: &Way) -> bool {
        let untouched = match &self.rest {
            Some(rest) => !rest.is_torn() && self.ask.body_of(&self.line.input).is_empty(),
            None => self.ask.body == 0,
        };
        untouched && self.ask.method.is_idempotent() && way.pool.retries > 0
    }

    /// How long the service may take to begin its answer.
    fn patience(&self, way: &Way) -> Duration {
        let own = way
            .settings
            .as_ref()
            .and_then(|settings| settings.response_timeout);
        own.unwrap_or(self.line.worker.limits.response_timeout)
    }

    /// Passes on what is still to come of the body, where anything is; ready when there is nobody to answer any more.
    fn poll_rest(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<Lost> {
        let Some(rest) = &mut self.rest else {
            return Poll::Pending;
        };
        match rest.poll(self.line, wire, context) {
            Poll::Pending if rest.is_left_behind() => Poll::Ready(Lost::HungUp),
            Poll::Pending => Poll::Pending,
            Poll::Ready(End::Broken) => Poll::Ready(Lost::Torn),
            // What it still sends is nobody's.
            Poll::Ready(End::Refused) => self.line.poll_hung_up(context).map(|()| Lost::HungUp),
            Poll::Ready(End::Whole) => self.poll_leaves(context),
        }
    }

    /// The same of a request that was there whole.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<Lost> {
        match self.rest {
            Some(_) => Poll::Pending,
            None => self.poll_leaves(context),
        }
    }

    fn poll_leaves(&mut self, context: &mut Context<'_>) -> Poll<Lost> {
        while ready!(self.line.poll_client(context)) > 0 {}
        Poll::Ready(Lost::HungUp)
    }
}
