//! How often each limit was met. What nobody can see, nobody can set.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ward_types::table::Refusal;

/// The counts, since the process began.
#[derive(Default)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    /// Once more.
    pub(crate) fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were met.
    pub(crate) fn all(&self) -> BTreeMap<Refusal, u64> {
        let all = Refusal::ALL.iter().zip(&self.0);
        let all = all.map(|(refusal, count)| (*refusal, count.load(Ordering::Relaxed)));
        all.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_of_its_own() {
        let tally = Refusals::default();
        for (times, refusal) in Refusal::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| tally.count(refusal));
        }
        let counted: Vec<u64> = tally.all().into_values().collect();
        assert_eq!(counted, (1..10).collect::<Vec<u64>>());
    }
}
