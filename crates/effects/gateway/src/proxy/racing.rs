//! Decision: where a service asks for it, a request whose answer is long in coming is sent to a second instance too,
//! and whoever answers first has answered (hedging).
//!
//! - Only GET and HEAD without a body, which may be sent twice, once in the life of a request, to an instance to which
//!   it could have gone in the first place, and never where clients come back to one of their own. It takes a place
//!   of the service's `concurrency` that is free, and is paid for from the budget of retries, so that a service
//!   that is slow as a whole is not asked twice for everything.
//! - The first head wins. But a 5xx of the second one does not while the first one may still answer: no client sees
//!   an error that it would not have seen without this.
//! - Whoever loses is told by the end of its connection, and its place is free. It has not failed; that it took
//!   at least so long counts, where that is more than its average, because an instance that always loses would
//!   never be measured.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Method, Response};

use super::Exchange;
use crate::account::Hedge;
use crate::balance;
use crate::clock;
use crate::coming::Coming;
use crate::course::{Broken, Course};
use crate::instance::Place;
use crate::reply::Held;
use crate::routes::Pool;
use crate::upstream::Reuse;

/// The head of an answer, and what it holds on to.
pub(super) type Answered = (Response<Coming>, Held);

/// An attempt that brought no answer, and the serial of its instance.
pub(super) type Lost = (u64, Broken);

impl Exchange<'_> {
    /// Sends it to the instance of `place`, and to another one too where it takes long and that is asked for.
    pub(super) async fn ask(
        &self,
        pool: &Pool,
        place: Rc<Place>,
        course: &mut Course,
    ) -> Result<Answered, Lost> {
        let reuse = match course.is_sent() {
            false => self.first_reuse(pool),
            true => Reuse::Never,
        };
        let body = self.upload.attempt(Rc::clone(&place));
        let serial = place.instance().serial;
        let lost = |broken| (serial, broken);
        let Some(patience) = self.hedges(pool, course) else {
            return self.attempt(place, reuse, body).await.map_err(lost);
        };
        let first = self.attempt(Rc::clone(&place), reuse, body);
        // Most requests never come here, and should not pay for the room that this takes.
        Box::pin(async move {
            let mut first = pin!(first);
            if let Ok(ended) = tokio::time::timeout(patience, &mut first).await {
                return ended.map_err(lost);
            }
            let slot = pool.guard.throttle.try_enter();
            let second = slot.as_ref().and_then(|_| self.second(&place));
            let (Some(slot), Some(second)) = (slot, second) else {
                return first.await.map_err(lost);
            };
            // Whoever loses the race had no client that went away.
            slot.answered();
            course.hedged = true;
            self.race(first, (&place, &Rc::new(second)), reuse, course)
                .await
        })
        .await
    }

    /// After how long it may be sent to a second instance.
    fn hedges(&self, pool: &Pool, course: &Course) -> Option<Duration> {
        let after = pool.hedge.filter(|_| !course.hedged)?;
        let harmless = matches!(self.method, Method::GET | Method::HEAD) && self.upload.is_empty();
        let answered = self.protocol.is_none() && !self.grpc && !self.is_probe();
        (harmless && answered).then_some(after)
    }

    /// A place on another instance, paid for.
    fn second(&self, first: &Place) -> Option<Place> {
        let pool = self.pool().ok()?;
        let (first, now) = (first.instance().serial, clock::millis());
        let side = match (&pool.split, self.ticket.get()) {
            (Some(split), Some(ticket)) => {
                let own = split.sides(ticket).into_iter();
                own.into_iter()
                    .find(|side| side.iter().any(|one| one.serial == first))?
            }
            _ => &pool.endpoints[..],
        };
        let second = balance::pick_beside(side, first, &self.worker.lots, now)?;
        pool.budget.spend(now).then_some(second)
    }

    async fn race(
        &self,
        first: Pin<&mut impl Future<Output = Result<Answered, Broken>>>,
        (place, second): (&Rc<Place>, &Rc<Place>),
        reuse: Reuse,
        course: &mut Course,
    ) -> Result<Answered, Lost> {
        let body = self.upload.beside(Rc::clone(second));
        let other = pin!(self.attempt(Rc::clone(second), reuse, body));
        let serials = [place, second].map(|place| place.instance().serial);
        let ended = match select(first, other).await {
            Either::Left((Ok(answered), _)) => {
                second.outrun();
                Ok((answered, Hedge::Lost))
            }
            Either::Right((Ok(answered), first)) if is_failure(&answered) => match first.await {
                Ok(better) => {
                    second.failed();
                    Ok((better, Hedge::Lost))
                }
                Err(_) => Ok((answered, Hedge::Won)),
            },
            Either::Right((Ok(answered), _)) => {
                place.outrun();
                Ok((answered, Hedge::Won))
            }
            Either::Left((Err(broken @ Broken::Final(_)), _)) => Err((serials[0], broken)),
            Either::Right((Err(broken @ Broken::Final(_)), _)) => Err((serials[1], broken)),
            // One is left, whatever the course would say of another attempt.
            Either::Left((Err(broken), other)) => {
                let _ = course.failed(serials[0], broken, |_| true);
                let answered = other.await.map_err(|broken| (serials[1], broken));
                answered.map(|answered| (answered, Hedge::Won))
            }
            Either::Right((Err(broken), first)) => {
                let _ = course.failed(serials[1], broken, |_| true);
                let answered = first.await.map_err(|broken| (serials[0], broken));
                answered.map(|answered| (answered, Hedge::Lost))
            }
        };
        let (answered, hedge) = ended?;
        let by = &answered.1.place;
        let upstream = self.worker.upstreams.of(by.instance());
        self.account.hedged(&upstream, by, hedge);
        Ok(answered)
    }
}

fn is_failure((response, _): &Answered) -> bool {
    response.status().is_server_error()
}
