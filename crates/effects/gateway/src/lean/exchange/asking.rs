//! The request on its way to an instance, until the head of its answer has come.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ward_types::table::Refusal;

use super::{Answered, Exchange, Lost};
use crate::account::Account;
use crate::client::Socket;
use crate::clock;
use crate::course::Broken;
use crate::failure::Failure;
use crate::instance::Place;
use crate::lean::LONGEST_HEAD;
use crate::lean::answer::{self, Extra};
use crate::lean::rest::Overdue;
use crate::lean::way::Way;
use crate::proxy::{self, Entry};
use crate::upstream::{NoWire, Reuse, Upstream, Wire};

impl<I: Socket> Exchange<'_, I> {
    pub(super) async fn ask_for_answer(
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
        // A body that has begun to come by the time that a connection is found closed cannot come again.
        match self.ask.body == 0 && self.may_come_again(way) {
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

    /// Sends the request and waits for the head of its answer.
    async fn send(
        &mut self,
        mut wire: Wire,
        way: &Way,
        place: &Place,
        account: &Account,
    ) -> Result<Answered, Lost> {
        let due = clock::millis_at(place.began()) + self.patience(way).as_millis() as u64;
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
                if is_sent && let Poll::Ready(lost) = self.poll_rest(&mut wire, context) {
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
                if let Poll::Ready(lost) = self.poll_client(context) {
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

    /// It took longer than it may: the service, which may take until then (milliseconds) once it has all, or its client.
    fn poll_overdue(&mut self, due: u64, context: &mut Context<'_>) -> Poll<Lost> {
        let Some(rest) = &self.rest else {
            return self.line.timer.poll(context, due).map(|()| Lost::Late);
        };
        loop {
            let at = match rest.due(&self.line.worker.limits) {
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
        (mut read, whole, due): (Vec<u8>, bool, u64),
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
        due: u64,
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
            if let Poll::Ready(lost) = self.poll_rest(wire, context) {
                return Poll::Ready(Err(lost));
            }
            if let Poll::Ready(lost) = self.poll_client(context) {
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
}
