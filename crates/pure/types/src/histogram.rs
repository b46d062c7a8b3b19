//! How long things took, counted in buckets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets per doubling: the edges are 19 % apart, so that a change of a fifth is seen.
const PER_DOUBLING: u32 = 4;

/// What is shorter than this, in microseconds, is in the first bucket.
const SHORTEST: u64 = 64;

/// The last bucket, which holds whatever is longer than its lower edge (about 70 s).
const LAST: u8 = 80;

/// Durations, counted in buckets that grow with the duration, from 64 µs to 70 s.
///
/// Written as a list of pairs: JSON has no numbers as keys, and inside of a tagged message none are read back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(u8, u64)>", into = "Vec<(u8, u64)>")]
pub struct Histogram(BTreeMap<u8, u64>);

impl From<Vec<(u8, u64)>> for Histogram {
    fn from(counts: Vec<(u8, u64)>) -> Self {
        let known = counts
            .into_iter()
            .filter(|(b, count)| *b <= LAST && *count > 0);
        Self(known.collect())
    }
}

impl From<Histogram> for Vec<(u8, u64)> {
    fn from(histogram: Histogram) -> Self {
        histogram.0.into_iter().collect()
    }
}

impl Histogram {
    /// How many buckets there are.
    pub const BUCKETS: usize = LAST as usize + 1;

    /// Counts one duration, in microseconds.
    pub fn record(&mut self, micros: u64) {
        *self.0.entry(bucket(micros)).or_default() += 1;
    }

    /// How many durations were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The buckets that hold anything, the shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        self.0.iter().map(|(bucket, count)| (*bucket, *count))
    }

    /// How many are in a bucket.
    #[must_use]
    pub fn count(&self, bucket: u8) -> u64 {
        self.0.get(&bucket).copied().unwrap_or_default()
    }

    /// Both together.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.buckets() {
            *self.0.entry(bucket).or_default() += count;
        }
    }

    /// What was counted after `earlier`, an older state of the same counts. Where that counts more, the
    /// counting began anew in between, and everything counts.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let fewer = |(bucket, count): (u8, u64)| self.count(bucket) < count;
        if earlier.buckets().any(fewer) {
            return self.clone();
        }
        let left = self
            .buckets()
            .map(|(b, count)| (b, count - earlier.count(b)));
        Self(left.filter(|(_, count)| *count > 0).collect())
    }

    /// The upper edge, in microseconds, of the bucket in which `percent` of all durations have been
    /// passed; `None` where nothing was counted.
    #[must_use]
    pub fn quantile(&self, percent: u8) -> Option<u64> {
        let total = self.total();
        let rank = (total * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut passed = 0;
        self.buckets().find_map(|(bucket, count)| {
            passed += count;
            (passed >= rank).then(|| upper_edge(bucket))
        })
    }
}

/// The first bucket whose upper edge is above so many microseconds.
#[must_use]
pub fn bucket(micros: u64) -> u8 {
    let Some(doublings) = (micros / SHORTEST).checked_ilog2() else {
        return 0;
    };
    let base = SHORTEST << doublings;
    let quarter = (micros - base) / (base / u64::from(PER_DOUBLING));
    let above = u64::from(doublings * PER_DOUBLING) + quarter + 1;
    u8::try_from(above).map_or(LAST, |bucket| bucket.min(LAST))
}

/// What the durations in a bucket are shorter than, in microseconds. Between two doublings in equal steps,
/// which needs no fractions.
#[must_use]
pub fn upper_edge(bucket: u8) -> u64 {
    let quarters = u32::from(bucket);
    let base = SHORTEST << (quarters / PER_DOUBLING);
    base + base / u64::from(PER_DOUBLING) * u64::from(quarters % PER_DOUBLING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations
            .iter()
            .for_each(|micros| histogram.record(*micros));
        histogram
    }

    #[test]
    fn a_duration_is_below_the_upper_edge_of_its_bucket_and_by_a_quarter_at_most() {
        for micros in (0..200).map(|i| 64 + i * i * i * 7) {
            let edge = of(&[micros]).quantile(50).unwrap_or_default();
            assert!(
                edge > micros && edge <= micros + micros / 4 + 1,
                "{micros} {edge}"
            );
        }
        assert_eq!(of(&[u64::MAX]).quantile(50), Some(upper_edge(LAST)));
        assert_eq!(of(&[0]).quantile(50), Some(SHORTEST));
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let written = of(&[100, 100, 9000]);
        let text = serde_json::to_string(&written).unwrap_or_default();
        assert_eq!(text, "[[3,2],[29,1]]");
        assert_eq!(serde_json::from_str::<Histogram>(&text).ok(), Some(written));
        let beyond = serde_json::from_str::<Histogram>("[[200,1],[3,0]]");
        assert_eq!(beyond.ok(), Some(Histogram::default()));
    }

    #[test]
    fn quantiles_are_of_everything_that_was_counted() {
        let mut all = of(&[100; 90]);
        all.merge(&of(&[50_000; 10]));
        assert_eq!(all.total(), 100);
        assert_eq!(all.quantile(90), Some(112));
        assert!(all.quantile(91) > Some(50_000));
        assert_eq!(Histogram::default().quantile(50), None);
    }

    #[test]
    fn what_came_since_is_the_difference_unless_counting_began_anew() {
        let earlier = of(&[100, 100, 9000]);
        let later = of(&[100, 100, 9000, 9000, 70]);
        assert_eq!(later.since(&earlier), of(&[9000, 70]));
        assert_eq!(of(&[70]).since(&earlier), of(&[70]));
    }
}
