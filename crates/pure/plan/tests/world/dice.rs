//! Random numbers from a seed (SplitMix64), so that a case is one number and replays exactly.

use proptest::prelude::*;

pub struct Dice(u64);

/// Any number; or the one in `WARD_SEED`, to replay a case.
pub fn seeds() -> BoxedStrategy<u64> {
    match std::env::var("WARD_SEED") {
        Ok(seed) => Just(seed.parse().expect("WARD_SEED is a number")).boxed(),
        Err(_) => any::<u64>().boxed(),
    }
}

/// How many cases to try; `PROPTEST_CASES` changes it.
pub fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let asked = asked.map(|n| n.parse().expect("PROPTEST_CASES is a number"));
    ProptestConfig {
        cases: asked.unwrap_or(usual),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
