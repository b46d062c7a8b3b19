//! Which instance takes the next request: the one with the least under way, not the one whose turn it is.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

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
    let chosen = match least(endpoints, good, lots) {
        Some(chosen) => Some(chosen),
        None => least(endpoints, untried, lots),
    };
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
) -> Option<&'a Arc<Instance>> {
    let count = endpoints.iter().filter(&wanted).count();
    if count > SMALL {
        let draw = || endpoints.iter().filter(&wanted).nth(lots.below(count));
        let (one, other) = (draw()?, draw()?);
        return Some(match other.under_way() < one.under_way() {
            true => other,
            false => one,
        });
    }
    // Begin anywhere, so that equals share evenly.
    let skip = lots.below(count.max(1));
    let all = endpoints.iter().filter(&wanted);
    let turned = all.clone().skip(skip).chain(all.take(skip));
    turned.min_by_key(|instance| instance.under_way())
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
