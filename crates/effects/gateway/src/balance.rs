//! Which instance takes the next request: the one with the least under way, where it weighs more on slow ones
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

/// Whether an instance is untried, and has not refused a connection lately.
fn is_good(instance: &Instance, tried: &[u64], now: u64) -> bool {
    !tried.contains(&instance.serial) && !instance.is_avoided(now)
}

fn is_out(instance: &Instance, now: u64) -> bool {
    instance.fitness.is_out(now, instance.under_way())
}

/// Whether outliers are passed over: not when they are many.
fn passes_over(endpoints: &[Arc<Instance>], now: u64) -> bool {
    let outliers = endpoints.iter().filter(|one| is_out(one, now)).count();
    (1..=endpoints.len() / 2).contains(&outliers)
}

/// Picks `kept`, where it is one of `endpoints` and none that [`pick`] would pass over, else as [`pick`] does.
pub(crate) fn pick_kept(
    endpoints: &[Arc<Instance>],
    kept: Option<&Arc<Instance>>,
    tried: &[u64],
    lots: &Lots,
    now: u64,
) -> Pick {
    let there = |kept: &&Arc<Instance>| endpoints.iter().any(|one| one.serial == kept.serial);
    let fit = |kept: &&Arc<Instance>| {
        is_good(kept, tried, now) && !(is_out(kept, now) && passes_over(endpoints, now))
    };
    match kept.filter(there).filter(fit) {
        Some(kept) => kept.take().map_or(Pick::Stale, Pick::Placed),
        None => pick(endpoints, tried, lots, now),
    }
}

/// A place on one of `endpoints` that is asked beside the one with the serial `first`: none that [`pick`] would pass
/// over, not even where there is nothing else.
pub(crate) fn pick_beside(
    endpoints: &[Arc<Instance>],
    first: u64,
    lots: &Lots,
    now: u64,
) -> Option<Place> {
    let fit = |one: &&Arc<Instance>| is_good(one, &[first], now) && !is_out(one, now);
    least(endpoints, fit, lots, now)?.take()
}

/// Picks from `endpoints`, passing over those whose serial is in `tried`, and, while others are there,
/// those that refused a connection lately.
pub(crate) fn pick(endpoints: &[Arc<Instance>], tried: &[u64], lots: &Lots, now: u64) -> Pick {
    let untried = |instance: &&Arc<Instance>| !tried.contains(&instance.serial);
    let good = |instance: &&Arc<Instance>| is_good(instance, tried, now);
    let fit = |instance: &&Arc<Instance>| good(instance) && !is_out(instance, now);
    let some = passes_over(endpoints, now);
    let chosen = some.then(|| least(endpoints, fit, lots, now)).flatten();
    let chosen = chosen.or_else(|| least(endpoints, good, lots, now));
    let chosen = chosen.or_else(|| least(endpoints, untried, lots, now));
    match chosen {
        None => Pick::Exhausted,
        Some(chosen) => chosen.take().map_or(Pick::Stale, Pick::Placed),
    }
}

/// The first side, or the second where the first has none that can be tried: an instance that refused a
/// connection lately counts only while the second side has nothing better.
pub(crate) fn side_of<'a>(
    sides: [&'a [Arc<Instance>]; 2],
    tried: &[u64],
    now: u64,
) -> &'a [Arc<Instance>] {
    let [own, other] = sides;
    let untried = |instance: &&Arc<Instance>| !tried.contains(&instance.serial);
    let able = |side: &[Arc<Instance>]| side.iter().any(|instance| untried(&instance));
    let good = |side: &[Arc<Instance>]| {
        let mut untried = side.iter().filter(untried);
        untried.any(|instance| !instance.is_avoided(now))
    };
    let own_first = good(own) || other.is_empty() || (able(own) && !good(other));
    match own_first {
        true => own,
        false => other,
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
        (instance.under_way() + 1) * fitness::weight(average(instance), fastest)
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
    fn one_that_is_ten_times_slower_gets_what_is_too_much_for_the_others() {
        let endpoints = names(4);
        let milli = std::time::Duration::from_millis(1);
        for (at, instance) in endpoints.iter().enumerate() {
            instance
                .fitness
                .took(if at == 0 { 20 * milli } else { 2 * milli }, 1_000);
        }
        assert_eq!(placed(&endpoints, 3 * 63, 1_000)[0], 0);
        assert_eq!(placed(&endpoints, 310, 1_000), [1, 103, 103, 103]);
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
        let picked =
            |sides, tried: &[u64], now| match pick(side_of(sides, tried, now), tried, &lots, now) {
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
            pick(side_of([&[], &[]], &[], 0), &[], &lots, 0),
            Pick::Exhausted
        ));
        own.iter().for_each(|instance| assert!(instance.avoid(0)));
        assert!(picked([own, other], &[], 500).unwrap() >= 2);
        other.iter().for_each(|instance| assert!(instance.avoid(0)));
        assert!(picked([own, other], &[], 500).unwrap() < 2);
        assert!(picked([own, other], &[], 5000).unwrap() < 2);
    }

    #[test]
    fn one_that_is_kept_is_picked_while_it_is_as_good_as_others() {
        let (endpoints, lots) = (names(4), Lots::new());
        let own = &endpoints[2];
        let picked = |endpoints, tried: &[u64], now| match pick_kept(
            endpoints,
            Some(own),
            tried,
            &lots,
            now,
        ) {
            Pick::Placed(place) => Some(place.instance().serial),
            Pick::Exhausted => None,
            Pick::Stale => panic!("there are instances, and they are open"),
        };
        let busy: Vec<_> = (0..50).map(|_| own.take().unwrap()).collect();
        assert_eq!(picked(&endpoints[..], &[], 0), Some(2), "however busy");
        drop(busy);
        assert_ne!(picked(&endpoints[..2], &[], 0), Some(2), "it is not there");
        assert_ne!(picked(&endpoints[..], &[2], 0), Some(2), "it was tried");
        assert_eq!(picked(&endpoints[2..3], &[2], 0), None);
        (0..5).for_each(|_| {
            let _ = own.fitness.failed(0);
        });
        assert_ne!(picked(&endpoints[..], &[], 500), Some(2), "an outlier");
        assert_eq!(picked(&endpoints[2..3], &[], 500), Some(2), "all are");
        assert_eq!(picked(&endpoints[..], &[], 1_500), Some(2), "its probe");
        own.fitness.succeeded();
        own.avoid(2_000);
        assert_ne!(picked(&endpoints[..], &[], 2_500), Some(2), "it refused");
        assert_eq!(picked(&endpoints[2..3], &[], 2_500), Some(2), "no other");
        assert_eq!(picked(&endpoints[..], &[], 3_500), Some(2));
        own.close();
        let stale = pick_kept(&endpoints, Some(own), &[], &lots, 3_500);
        assert!(matches!(stale, Pick::Stale));
    }

    #[test]
    fn beside_a_first_one_only_a_good_one_is_asked() {
        let (endpoints, lots) = (names(3), Lots::new());
        let beside = |endpoints: &[Arc<Instance>], first, now| {
            pick_beside(endpoints, first, &lots, now).map(|place| place.instance().serial)
        };
        for _ in 0..20 {
            assert_ne!(beside(&endpoints, 1, 0), Some(1));
        }
        assert_eq!(beside(&endpoints[..1], 0, 0), None, "there is no other");
        endpoints[2].avoid(0);
        assert_eq!(beside(&endpoints, 1, 500), Some(0));
        (0..5).for_each(|_| {
            let _ = endpoints[0].fitness.failed(0);
        });
        assert_eq!(beside(&endpoints, 1, 500), None);
        assert!(beside(&endpoints, 1, 1_500).is_some(), "a probe");
        endpoints.iter().for_each(|one| one.close());
        assert_eq!(beside(&endpoints, 1, 9_000), None);
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
