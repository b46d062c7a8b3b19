//! What one service's clients may take: their rate, and how many requests are under way.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use ward_types::guard::{Concurrency, Guard as Settings, RateLimit};
use ward_types::route::{HeaderCondition, Route};

use crate::clock;
use crate::failure::Failure;
use crate::rate::Meter;
use crate::throttle::{Throttle, UNLIMITED};

/// The limits of one service, with what they have counted; kept from table to table.
pub(crate) struct Guard {
    meter: Option<Limited>,
    /// Those of its routes that have some of their own.
    routes: HashMap<RouteKey, Limited>,
    concurrency: Concurrency,
    /// How many are under way.
    pub(crate) throttle: Arc<Throttle>,
}

/// A limit, and what was counted to it.
type Limited = (RateLimit, Arc<Meter>);

/// Which requests a route takes: its host, its path and its header.
type RouteKey = (String, String, Option<HeaderCondition>);

fn key(route: &Route) -> RouteKey {
    (route.host.clone(), route.path.clone(), route.header.clone())
}

/// A limit that counts on where it is the one that was there before.
fn limited(limit: &RateLimit, before: Option<&Limited>) -> Limited {
    let same = before.filter(|(other, _)| other == limit);
    same.cloned()
        .unwrap_or_else(|| (limit.clone(), Arc::new(Meter::new(limit))))
}

impl Guard {
    /// As a table says of a service with these routes and so many instances; `before`: as the table before said.
    pub(crate) fn new(
        settings: &Settings,
        routes: &[Route],
        instances: usize,
        before: Option<&Self>,
    ) -> Self {
        let own = before.and_then(|before| before.meter.as_ref());
        let meter = settings.limit.as_ref().map(|limit| limited(limit, own));
        let routes = routes.iter().filter_map(|route| {
            let (limit, key) = (route.settings.limit.as_ref()?, key(route));
            let own = before.and_then(|before| before.routes.get(&key));
            Some((key, limited(limit, own)))
        });
        let guard = Self {
            meter,
            routes: routes.collect(),
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
        let own = self.meter.as_ref();
        own.is_none_or(|(_, meter)| meter.is_by_address())
    }

    /// What the requests of one of its routes are counted to beside all others of the service.
    pub(crate) fn of_route(&self, route: &Route) -> Option<Arc<Meter>> {
        // Most have none.
        let own = route.settings.limit.as_ref();
        let (_, meter) = own.and_then(|_| self.routes.get(&key(route)))?;
        Some(Arc::clone(meter))
    }

    /// Counts a request of the outside, to its route where that has a limit, and to the service, or refuses it: what one of
    /// the two refuses takes nothing from the other.
    pub(crate) fn meter(
        &self,
        route: Option<&Meter>,
        address: IpAddr,
        headers: &HeaderMap,
    ) -> Result<(), Failure> {
        let own = self.meter.as_ref().map(|(_, meter)| &**meter);
        if route.is_none() && own.is_none() {
            return Ok(());
        }
        let now = clock::nanos();
        let take = |meter: &Meter| meter.take(address, headers, now);
        let taken = match (route, own) {
            (Some(route), Some(own)) => own
                .look(address, headers, now)
                .and_then(|()| take(route))
                .and_then(|()| take(own)),
            (one, other) => one.or(other).map_or(Ok(()), take),
        };
        taken.map_err(Failure::too_many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::guard::{LimitBy, Rate};

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
        let take = |guard: &Guard| guard.meter(None, address, &HeaderMap::new());
        let first = Guard::new(&settings, &[], 1, None);
        assert!(take(&first).is_ok());
        let refused = take(&first).unwrap_err();
        assert_eq!(refused.status, 429);
        let second = Guard::new(&settings, &[], 3, Some(&first));
        assert!(take(&second).is_err() && Arc::ptr_eq(&first.throttle, &second.throttle));
        settings.limit.as_mut().unwrap().burst = 2;
        let third = Guard::new(&settings, &[], 3, Some(&second));
        assert!(take(&third).is_ok() && take(&third).is_ok() && take(&third).is_err());
        let none = Guard::new(&Settings::default(), &[], 1, Some(&third));
        assert!(take(&none).is_ok());
    }

    #[test]
    fn a_route_counts_for_itself_and_on_while_its_limit_is_the_same() {
        let limit = |burst| RateLimit {
            rate: Rate::parse("1/h").unwrap(),
            burst,
            by: LimitBy::Address,
        };
        let route = |path: &str, burst: Option<u32>| {
            let mut route = Route::plain("shop.localhost");
            route.path = path.to_owned();
            route.settings.limit = burst.map(limit);
            route
        };
        let settings = Settings {
            limit: Some(limit(3)),
            ..Settings::default()
        };
        let address = "192.0.2.1".parse().unwrap();
        let take = |guard: &Guard, route: &Route| {
            let meter = guard.of_route(route);
            guard.meter(meter.as_deref(), address, &HeaderMap::new())
        };
        let [login, other, third, all] = [
            route("/login", Some(1)),
            route("/other", Some(1)),
            route("/third", Some(1)),
            route("/", None),
        ];
        let routes = [login.clone(), other.clone(), third.clone(), all.clone()];
        let first = Guard::new(&settings, &routes, 1, None);
        assert!(take(&first, &login).is_ok() && take(&first, &login).is_err());
        assert!(take(&first, &other).is_ok(), "each by itself");
        let second = Guard::new(&settings, &routes, 1, Some(&first));
        assert!(take(&second, &login).is_err());
        assert!(take(&second, &all).is_ok(), "what was refused took nothing");
        assert!(take(&second, &all).is_err(), "all count to the service");
        assert!(take(&second, &third).is_err());
        let free = Guard::new(&Settings::default(), &routes, 1, Some(&second));
        assert!(take(&free, &third).is_ok(), "that took nothing either");
        assert!(take(&free, &third).is_err());
        let wider = route("/login", Some(2));
        let third = Guard::new(
            &Settings::default(),
            std::slice::from_ref(&wider),
            1,
            Some(&second),
        );
        assert!(take(&third, &wider).is_ok() && take(&third, &wider).is_ok());
        assert!(take(&third, &wider).is_err() && take(&third, &all).is_ok());
    }
}
