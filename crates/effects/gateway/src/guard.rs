//! What one service's clients may take: their rate, and how many requests are under way.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ward_types::guard::{Concurrency, Guard as Settings, LimitBy, RateLimit};

use crate::clock;
use crate::failure::Failure;
use crate::rate::Meter;
use crate::throttle::{Throttle, UNLIMITED};

/// The limits of one service, with what they have counted; kept from table to table.
pub(crate) struct Guard {
    meter: Option<(RateLimit, Arc<Meter>)>,
    concurrency: Concurrency,
    /// How many are under way.
    pub(crate) throttle: Arc<Throttle>,
}

impl Guard {
    /// As a table says, for so many instances; `before`: as the table before said.
    pub(crate) fn new(settings: &Settings, instances: usize, before: Option<&Self>) -> Self {
        let same = |limit: &RateLimit| {
            let before = before?.meter.as_ref();
            before.filter(|(other, _)| other == limit).cloned()
        };
        let meter = settings.limit.as_ref().map(|limit| {
            let fresh = || (limit.clone(), Arc::new(Meter::new(limit)));
            same(limit).unwrap_or_else(fresh)
        });
        let guard = Self {
            meter,
            concurrency: settings.concurrency,
            throttle: before.map_or_else(Arc::default, |before| Arc::clone(&before.throttle)),
        };
        let adapted = before.is_some_and(Self::is_adaptive);
        match guard.concurrency {
            // What was found stays.
            Concurrency::Adaptive if adapted => {}
            Concurrency::Adaptive | Concurrency::Unlimited => guard.throttle.set_limit(UNLIMITED),
            Concurrency::PerInstance(each) => {
                let each = usize::try_from(each).unwrap_or(UNLIMITED);
                guard
                    .throttle
                    .set_limit(each.saturating_mul(instances.max(1)));
            }
        }
        guard
    }

    /// Whether its limit is to be found.
    pub(crate) fn is_adaptive(&self) -> bool {
        self.concurrency == Concurrency::Adaptive
    }

    /// Whether nothing but a client's address decides.
    pub(crate) fn is_by_address(&self) -> bool {
        let limit = self.meter.as_ref();
        limit.is_none_or(|(limit, _)| limit.by == LimitBy::Address)
    }

    /// Counts a request of the outside, or refuses it.
    pub(crate) fn meter(&self, address: IpAddr, headers: &HeaderMap) -> Result<(), Failure> {
        let Some((_, meter)) = &self.meter else {
            return Ok(());
        };
        let taken = meter.take(address, headers, clock::nanos());
        taken.map_err(Failure::too_many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::guard::Rate;

    #[test]
    fn what_was_counted_is_kept_while_the_limit_is_the_same() {
        let mut settings = Settings {
            limit: Some(RateLimit {
                rate: Rate::parse("1/h").unwrap(),
                burst: 1,
                by: LimitBy::Address,
            }),
            concurrency: Concurrency::PerInstance(2),
        };
        let address = "192.0.2.1".parse().unwrap();
        let take = |guard: &Guard| guard.meter(address, &HeaderMap::new());
        let first = Guard::new(&settings, 1, None);
        assert!(take(&first).is_ok());
        let refused = take(&first).unwrap_err();
        assert_eq!(refused.status, 429);
        let second = Guard::new(&settings, 3, Some(&first));
        assert!(take(&second).is_err() && Arc::ptr_eq(&first.throttle, &second.throttle));
        settings.limit.as_mut().unwrap().burst = 2;
        let third = Guard::new(&settings, 3, Some(&second));
        assert!(take(&third).is_ok() && take(&third).is_ok() && take(&third).is_err());
        let none = Guard::new(&Settings::default(), 1, Some(&third));
        assert!(take(&none).is_ok());
    }
}
