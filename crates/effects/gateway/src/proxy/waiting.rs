//! What a request waits for, and how long.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Version;
use ward_types::sleep::HELD_FOR;
use ward_types::table::Refusal;

use super::Exchange;
use crate::calls::Calling;
use crate::clock;
use crate::course::Course;
use crate::failure::Failure;
use crate::gap::Gap;
use crate::head;
use crate::instance::Instance;
use crate::probe;
use crate::routes::Pool;
use crate::throttle::Slot;
use crate::worker::Phase;

impl Exchange<'_> {
    /// A client that sends more than it may is listened to for a moment, so that it hears why not.
    pub(super) fn linger(&self) {
        let waits = head::expects_continue(&self.headers);
        if self.version < Version::HTTP_2 && !waits && !self.upload.is_empty() {
            tokio::task::spawn_local(Rc::clone(&self.upload).linger());
        }
    }

    /// A place among those that the service works on; `None` of what does not count.
    pub(super) async fn slot<'b>(&'b self, pool: &'b Pool) -> Result<Option<Slot<'b>>, Failure> {
        if self.grpc || self.is_probe() || pool.endpoints.is_empty() {
            return Ok(None);
        }
        if self.upload.is_empty()
            && let Some(slot) = pool.guard.throttle.try_enter()
        {
            return Ok(Some(slot));
        }
        let intake = (!self.upload.is_empty()).then(|| self.upload.intake());
        let in_line = async {
            tokio::select! {
                biased;
                slot = pool.guard.throttle.enter(intake) => Ok(slot),
                () = self.hung_up() => Err(Failure::HUNG_UP),
                () = self.time_over() => Err(self.too_late(Failure::EXPIRED)),
            }
        };
        match Box::pin(in_line).await? {
            Some(slot) => Ok(Some(slot)),
            None => {
                self.in_time()?;
                self.worker.shared.refusals.count(Refusal::Overload);
                Err(Failure::OVERLOADED)
            }
        }
    }

    /// Waits until the client has taken some of what there is for it.
    pub(super) async fn unstuck(&self) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = self.client.takes_again() => {
                self.patient.set(true);
                Ok(())
            }
            () = self.worker.reached(Phase::Cutting) => Err(Failure::CUT),
            () = self.time_over() => Err(self.too_late(Failure::EXPIRED)),
        }
    }

    /// Waits until it is worth trying again, if that may come soon.
    pub(super) async fn wait(&self, course: &mut Course) -> Result<(), Failure> {
        let gap = Arc::clone(&self.pool()?.gap);
        let mut over = pin!(gap.over());
        over.as_mut().enable();
        // Looked at from here on: whatever changes later is told.
        let pool = self.pool()?;
        let tried = std::mem::take(&mut course.tried);
        let has_others = pool.endpoints.iter().any(|e| !tried.contains(&e.serial));
        if has_others || !Arc::ptr_eq(&pool.gap, &gap) {
            return Ok(());
        }
        let sleeps = pool.asleep.as_ref().filter(|_| pool.endpoints.is_empty());
        let nobody = match pool.endpoints.is_empty() {
            true if sleeps.is_some() => Failure::ASLEEP,
            true => Failure::NO_INSTANCE,
            false => Failure::UNREACHABLE,
        };
        let nobody = course.lost().unwrap_or(nobody);
        self.in_time()?;
        let patience = match sleeps {
            Some(_) => self.patience_until_awake(course),
            None => self.patience(&gap, course),
        };
        let patience = patience.ok_or(nobody)?;
        let _waiter = gap.enter(self.worker.limits.waiting).ok_or(nobody)?;
        let calling = sleeps.map(|call| self.worker.shared.calls.call(call.clone()));
        tokio::select! {
            biased;
            () = self.hung_up() => Err(Failure::HUNG_UP),
            () = over => Ok(()),
            () = refused(calling.as_ref()) => Err(Failure::SEALED),
            () = self.worker.reached(Phase::Cutting) => Err(nobody),
            () = tokio::time::sleep(patience) => self.in_time().and(Err(nobody)),
            () = self.time_over() => Err(self.too_late(Failure::EXPIRED)),
            () = self.scout(&gap) => Ok(()),
        }
    }

    /// How much longer it may wait for the end of a gap, if at all.
    fn patience(&self, gap: &Gap, course: &mut Course) -> Option<Duration> {
        let (now, hold) = (clock::millis(), self.worker.limits.hold.as_millis() as u64);
        let gap_until = gap.begin(now)? + hold;
        let own_until = *course.waits_until.get_or_insert(now + hold);
        let left = gap_until.min(own_until).saturating_sub(now);
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// The same for the end of a sleep, which is no gap: it lasts for as long as nobody asks for anything.
    fn patience_until_awake(&self, course: &mut Course) -> Option<Duration> {
        let now = clock::millis();
        let until = course.waits_until.get_or_insert(now + HELD_FOR.0);
        let left = until.saturating_sub(now);
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Ends when the client has gone away. hyper tells that by itself, by dropping the request, unless a
    /// body of HTTP/1 that is not read stands between the two.
    async fn hung_up(&self) {
        match self.version < Version::HTTP_2 && !self.upload.is_empty() {
            true => self.client.hung_up().await,
            false => std::future::pending().await,
        }
    }

    /// Ends when an instance takes connections again.
    async fn scout(&self, gap: &Gap) {
        let _turn = gap.scout().await;
        loop {
            tokio::time::sleep(gap.pause(clock::millis())).await;
            let Ok(pool) = self.pool() else { return };
            if pool.endpoints.is_empty() {
                // A table that brings one ends the gap.
                return std::future::pending().await;
            }
            let all = pool.endpoints.iter().map(|instance| self.reach(instance));
            if join_all(all).await.contains(&true) {
                return;
            }
        }
    }

    async fn reach(&self, instance: &Arc<Instance>) -> bool {
        let upstream = self.worker.upstreams.of(instance);
        match self.grpc {
            true => upstream.reach_http2().await,
            false => upstream.reach_http1().await,
        }
    }

    /// Ends when nothing has moved for too long before there was a response, or its time is over.
    pub(super) async fn overdue(&self) -> Failure {
        tokio::select! {
            biased;
            failure = self.stalled() => failure,
            () = self.time_over() => match self.upload.is_owed() {
                true => self.too_late(Failure::SLOW_CLIENT),
                false => self.too_late(Failure::LATE),
            },
        }
    }

    async fn stalled(&self) -> Failure {
        let own = self.limit(|settings| settings.response_timeout);
        if self.grpc && own.is_none() {
            return std::future::pending().await;
        }
        let patience = own.unwrap_or(self.worker.limits.response_timeout);
        let patience = match self.is_probe() {
            true => patience.min(probe::WITHIN),
            false => patience,
        };
        let patience = patience.as_millis() as u64;
        loop {
            let (limits, now) = (&self.worker.limits, clock::millis());
            let grace = limits.body_grace.as_millis() as u64;
            let Some(in_rate) = self.upload.keeps_up(limits.body_rate, grace, now) else {
                self.worker.shared.refusals.count(Refusal::SlowBody);
                return Failure::SLOW_CLIENT;
            };
            let waited = now.saturating_sub(self.upload.intake().progress());
            match patience.checked_sub(waited).filter(|left| *left > 0) {
                Some(left) => {
                    let left = Duration::from_millis(left.min(in_rate));
                    tokio::time::sleep(left).await;
                }
                None if self.upload.is_owed() => return Failure::SLOW_CLIENT,
                None => return Failure::LATE,
            }
        }
    }
}

/// Ends when what a request is held for cannot be woken.
async fn refused(calling: Option<&Calling<'_>>) {
    match calling {
        Some(calling) => calling.refused().await,
        None => std::future::pending().await,
    }
}
