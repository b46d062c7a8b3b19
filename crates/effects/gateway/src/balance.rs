//! Which instance takes the next request: the one with the least under way, where slow ones have more of it
//! ([`crate::fitness`]), not the one whose turn it is.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use crate::fitness;
use crate::instance::{Instance, Place};

/// Up to this many instances are all looked at; of more, two are drawn by lot.
const SMALL: usize = 8;

/// Lots for balancing and request ids (xorshift64*). Not for secrets.
pub(crate) struct Lots(Cell<u64>);

impl Lots {
    /// Differs per process and worker.
    pub(crate) fn new() -> Self {
        Self(Cell::new(RandomState::new().hash_one("lots") | 1))
    }

    /// The next number.
    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap_or(0)
    }
}

/// What came of picking.
pub(crate) enum Pick {
    /// This one.
    Placed(Place),
    /// The pool names none, or all have been tried in vain for this request.
    Exhausted,
    /// The pick left rotation meanwhile: look at the newest table.
    Stale,
}

/// Picks from `endpoints`, passing over those whose serial is in `tried`, and, while others are there,
/// those that refused a connection lately.
pub(crate) fn pick(endpoints: &[Arc<Instance>], tried: &[u64], lots: &Lots, now: u64) -> Pick {
    let untried = |instance: &&Arc<Instance>| !tried.contains(&instance.serial);
    let good = |instance: &&Arc<Instance>| untried(instance) && !instance.is_avoided(now);
    let out = |instance: &Arc<Instance>| instance.fitness.is_out(now, instance.under_way());
    let outliers = endpoints.iter().filter(|instance| out(instance)).count();
    let some = (1..=endpoints.len() / 2).contains(&outliers);
    let fit = |instance: &&Arc<Instance>| good(instance) && !out(instance);
    let chosen = some.then(|| least(endpoints, fit, lots, now)).flatten();
    let chosen = chosen.or_else(|| least(endpoints, good, lots, now));
    let chosen = chosen.or_else(|| least(endpoints, untried, lots, now));
    match chosen {
        None => Pick::Exhausted,
        Some(chosen) => chosen.take().map_or(Pick::Stale, Pick::Placed),
    }
}

/// Picks from the first side, or from the second where the first has none that can be tried: an instance
/// that refused a connection lately counts only while the second side has nothing better.
pub(crate) fn pick_of(sides: [&[Arc<Instance>]; 2], tried: &[u64], lots: &Lots, now: u64) -> Pick {
    let [own, other] = sides;
    let untried = |instance: &&Arc<Instance>| !tried.contains(&instance.serial);
    let able = |side: &[Arc<Instance>]| side.iter().any(|instance| untried(&instance));
    let good = |side: &[Arc<Instance>]| {
        let mut untried = side.iter().filter(untried);
        untried.any(|instance| !instance.is_avoided(now))
    };
    let own_first = good(own) || other.is_empty() || (able(own) && !good(other));
    match own_first {
        true => pick(own, tried, lots, now),
        false => pick(other, tried, lots, now),
    }
}

fn least<'a>(
    endpoints: &'a [Arc<Instance>],
    wanted: impl Fn(&&Arc<Instance>) -> bool,
    lots: &Lots,
    now: u64,
) -> Option<&'a Arc<Instance>> {
    let count = endpoints.iter().filter(&wanted).count();
    if count > SMALL {
        let draw = || endpoints.iter().filter(&wanted).nth(lots.below(count));
        let both = [draw()?, draw()?];
        return lightest(both.into_iter(), now);
    }
    // Begin anywhere, so that equals share evenly.
    let skip = lots.below(count.max(1));
    let all = endpoints.iter().filter(&wanted);
    let turned = all.clone().skip(skip).chain(all.take(skip));
    lightest(turned, now)
}

fn lightest<'a>(
    instances: impl Iterator<Item = &'a Arc<Instance>> + Clone,
    now: u64,
) -> Option<&'a Arc<Instance>> {
    let average = |instance: &Arc<Instance>| instance.fitness.average(now);
    let fastest = instances.clone().map(average).min()?;
    let load = |instance: &&Arc<Instance>| {
        (instance.under_way() + 1) * fitness::times(average(instance), fastest)
    };
    instances.min_by_key(load)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::tests::instance;

    fn names(count: usize) -> Vec<Arc<Instance>> {
        let many = (0..count).map(|n| {
            let template = instance(&format!("web-r1-{n}"));
            Arc::new(Instance::new(
                template.env.clone(),
                template.endpoint.clone(),
                n as u64,
            ))
        });
        many.collect()
    }

    fn spread(count: usize, requests: usize) -> Vec<u64> {
        let (endpoints, lots) = (names(count), Lots::new());
        let mut places = Vec::new();
        for _ in 0..requests {
            match pick(&endpoints, &[], &lots, 0) {
                Pick::Placed(place) => places.push(place),
                _ => panic!("nothing was picked"),
            }
        }
        endpoints.iter().map(|one| one.under_way()).collect()
    }

    #[test]
    fn small_pools_share_exactly_and_large_ones_nearly() {
        assert_eq!(spread(4, 40), [10, 10, 10, 10]);
        let large = spread(40, 4000);
        assert!(
            large.iter().all(|held| (90..=110).contains(held)),
            "{large:?}"
        );
    }

    /// Whom so many requests go to, each of which is under way until all are placed.
    fn placed(endpoints: &[Arc<Instance>], requests: usize, now: u64) -> Vec<u64> {
        let lots = Lots::new();
        let places: Vec<_> = (0..requests)
            .map(|_| pick(endpoints, &[], &lots, now))
            .collect();
        let counts = endpoints.iter().map(|one| one.under_way()).collect();
        drop(places);
        counts
    }

    #[test]
    fn one_that_is_ten_times_slower_gets_a_tenth() {
        let endpoints = names(4);
        let milli = std::time::Duration::from_millis(1);
        for (at, instance) in endpoints.iter().enumerate() {
            instance
                .fitness
                .took(if at == 0 { 20 * milli } else { 2 * milli }, 1_000);
        }
        assert_eq!(placed(&endpoints, 27, 1_000)[0], 0);
        assert_eq!(placed(&endpoints, 310, 1_000), [10, 100, 100, 100]);
        let later = placed(&endpoints, 40, 60_000);
        assert_eq!(later, [10, 10, 10, 10], "nobody knows any more");
    }

    #[test]
    fn outliers_get_nothing_while_they_are_few() {
        let endpoints = names(4);
        let ills = |instance: &Arc<Instance>| {
            (0..5).for_each(|_| {
                let _ = instance.fitness.failed(0);
            })
        };
        ills(&endpoints[0]);
        assert_eq!(placed(&endpoints, 30, 500), [0, 10, 10, 10]);
        assert_eq!(placed(&endpoints, 30, 1_500)[0], 1, "a probe");
        ills(&endpoints[1]);
        assert_eq!(placed(&endpoints, 30, 500), [0, 0, 15, 15]);
        ills(&endpoints[2]);
        assert_eq!(
            placed(&endpoints, 40, 500),
            [10, 10, 10, 10],
            "it is not the instances"
        );
        assert_eq!(placed(&endpoints[..1], 3, 500), [3], "there is no other");
        endpoints[2].fitness.succeeded();
        endpoints[3].avoid(0);
        assert_eq!(placed(&endpoints, 4, 500), [0, 0, 4, 0]);
    }

    #[test]
    fn equals_are_drawn_by_lot() {
        let (endpoints, lots) = (names(3), Lots::new());
        let mut seen = [0; 3];
        for _ in 0..300 {
            if let Pick::Placed(place) = pick(&endpoints, &[], &lots, 0) {
                seen[place.instance().endpoint.instance.ordinal() as usize] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }

    #[test]
    fn the_other_side_takes_what_the_first_cannot() {
        let (all, lots) = (names(4), Lots::new());
        let (own, other) = all.split_at(2);
        let picked = |sides, tried: &[u64], now| match pick_of(sides, tried, &lots, now) {
            Pick::Placed(place) => Some(place.instance().serial),
            Pick::Exhausted => None,
            Pick::Stale => panic!("there are instances, and they are open"),
        };
        for _ in 0..20 {
            assert!(picked([own, other], &[], 0).unwrap() < 2);
            assert_eq!(picked([own, other], &[0], 0), Some(1));
            assert!(picked([own, other], &[0, 1], 0).unwrap() >= 2);
            assert!(picked([own, &[]], &[], 0).unwrap() < 2);
            assert!(picked([&[], other], &[], 0).unwrap() >= 2);
        }
        assert_eq!(picked([own, other], &[0, 1, 2, 3], 0), None);
        assert_eq!(picked([own, &[]], &[0, 1], 0), None);
        assert_eq!(picked([&[], other], &[2, 3], 0), None);
        assert!(matches!(
            pick_of([&[], &[]], &[], &lots, 0),
            Pick::Exhausted
        ));
        own.iter().for_each(|instance| assert!(instance.avoid(0)));
        assert!(picked([own, other], &[], 500).unwrap() >= 2);
        other.iter().for_each(|instance| assert!(instance.avoid(0)));
        assert!(picked([own, other], &[], 500).unwrap() < 2);
        assert!(picked([own, other], &[], 5000).unwrap() < 2);
    }

    #[test]
    fn tried_closed_and_avoided_instances() {
        let (endpoints, lots) = (names(2), Lots::new());
        endpoints[0].avoid(0);
        for _ in 0..20 {
            let Pick::Placed(place) = pick(&endpoints, &[], &lots, 500) else {
                panic!("nothing was picked");
            };
            assert_eq!(place.instance().serial, 1);
        }
        assert!(matches!(
            pick(&endpoints, &[1], &lots, 500),
            Pick::Placed(_)
        ));
        assert!(matches!(
            pick(&endpoints, &[0, 1], &lots, 0),
            Pick::Exhausted
        ));
        endpoints[1].close();
        assert!(matches!(pick(&endpoints, &[], &lots, 500), Pick::Stale));
        assert!(matches!(pick(&[], &[], &lots, 0), Pick::Exhausted));
    }
}
