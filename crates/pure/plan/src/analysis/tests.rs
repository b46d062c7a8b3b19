//! The tests against worked examples, and against many windows in which nothing, or something, is wrong.

use super::*;

fn sample(requests: u64, failed: u64, micros: u64) -> Sample {
    let mut latency = Histogram::default();
    (failed..requests).for_each(|_| latency.record(micros));
    Sample {
        requests,
        failed,
        latency,
    }
}

/// Draws that are the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    /// From 0 up to 1.
    fn draw(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        float(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) / float(1 << 53)
    }

    /// Requests to a service that fails so often, and answers after 2 to 40 ms, mostly early.
    fn answer(&mut self, sample: &mut Sample, failing: f64, slower: f64) {
        sample.requests += 1;
        if self.draw() < failing {
            sample.failed += 1;
            return;
        }
        let late = self.draw();
        let micros = (2_000.0 + 38_000.0 * late * late * late) * slower;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 2000 and a million"
        )]
        sample.latency.record(micros as u64);
    }
}

/// A canary of 10 % at 200 requests per second, judged four times a second for a minute: after how many
/// milliseconds it was found to be worse, if it was.
fn found_after(seed: u64, failing: (f64, f64), slower: f64) -> Option<u64> {
    let mut dice = Dice(seed);
    let (mut old, mut new) = (Sample::default(), Sample::default());
    (1..=240).find_map(|look| {
        (0..45).for_each(|_| dice.answer(&mut old, failing.0, 1.0));
        (0..5).for_each(|_| dice.answer(&mut new, failing.1, slower));
        let judgement = judge(&old, &new, 50);
        let worse = matches!(
            judgement,
            Judgement::Fails { .. } | Judgement::Slower { .. }
        );
        worse.then_some(look * 250)
    })
}

fn share(seeds: u64, is: impl Fn(u64) -> bool) -> f64 {
    ratio((1..=seeds).filter(|seed| is(*seed)).count() as u64, seeds)
}

#[test]
fn fishers_test_is_exact() {
    // The lady who tasted tea: 3 of 4 right, p = 17/70; and all 4, p = 1/70.
    assert!((fisher(1, 4, 3, 4) - 17.0 / 70.0).abs() < 1e-9);
    assert!((fisher(0, 4, 4, 4) - 1.0 / 70.0).abs() < 1e-9);
    assert!((fisher(5, 10, 0, 10) - 1.0).abs() < 1e-9);
}

#[test]
fn the_rank_test_agrees_with_one_that_was_worked_out_by_hand() {
    // m = n = 3 without ties, all new above all old: U = 9, mean 4.5, variance 5.25, z = 4/2.2913.
    let of = |micros: [u64; 3]| {
        let mut histogram = Histogram::default();
        micros.iter().for_each(|m| histogram.record(*m));
        histogram
    };
    let p = mann_whitney(&of([100, 200, 400]), &of([1000, 2000, 4000]));
    assert!((p - 0.040_42).abs() < 1e-4, "{p}");
    let same = of([100, 100, 100]);
    assert!((mann_whitney(&same, &same) - 1.0).abs() < 1e-9);
}

#[test]
fn a_release_that_fails_everything_is_found_after_a_handful_of_requests() {
    let old = sample(36, 0, 5_000);
    assert!(matches!(
        judge(&old, &sample(4, 4, 5_000), 50),
        Judgement::Fails {
            new: (4, 4),
            old: (0, 36)
        }
    ));
    // Also when nothing else is there to compare with.
    let none = Sample::default();
    assert!(matches!(
        judge(&none, &sample(4, 4, 5_000), 50),
        Judgement::Fails { .. }
    ));
}

#[test]
fn few_requests_without_a_difference_are_inconclusive_and_enough_are_as_good() {
    let old = sample(400, 4, 5_000);
    let few = judge(&old, &sample(40, 1, 5_000), 50);
    assert_eq!(few, Judgement::Inconclusive { requests: 40 });
    assert_eq!(judge(&old, &sample(50, 1, 5_000), 50), Judgement::AsGood);
}

#[test]
fn one_or_two_failures_are_nothing_even_beside_a_release_that_never_failed() {
    let old = sample(1_000_000, 0, 5_000);
    let judged = |failed| judge(&old, &sample(10, failed, 5_000), 1);
    assert_eq!(
        (judged(1), judged(2)),
        (Judgement::AsGood, Judgement::AsGood)
    );
    assert!(matches!(judged(3), Judgement::Fails { .. }));
}

#[test]
fn a_difference_that_does_not_matter_is_none_however_certain() {
    let old = sample(1_000_000, 1_000, 5_000);
    let new = sample(1_000_000, 5_000, 6_000);
    assert_eq!(judge(&old, &new, 50), Judgement::AsGood);
}

#[test]
fn a_release_that_is_as_good_is_hardly_ever_taken_for_worse() {
    let wrong = share(400, |seed| found_after(seed, (0.01, 0.01), 1.0).is_some());
    assert!(wrong <= 0.01, "{wrong}");
}

/// For an hour, in windows of 10 seconds, of which each is looked at 50 times while it grows.
#[test]
fn what_is_recent_is_hardly_ever_taken_for_worse() {
    let wrong = |seed| {
        let mut dice = Dice(seed);
        (0..360).any(|_| {
            let (mut old, mut new) = (Sample::default(), Sample::default());
            (0..50).any(|_| {
                (0..36).for_each(|_| dice.answer(&mut old, 0.02, 1.0));
                (0..4).for_each(|_| dice.answer(&mut new, 0.02, 1.0));
                judge_recent(&old, &new).is_some()
            })
        })
    };
    let wrong = share(20, wrong);
    assert!(wrong <= 0.0, "{wrong}");
}

#[test]
fn one_that_fails_everything_is_found_within_half_a_second_and_one_that_fails_a_tenth_in_half_a_minute()
 {
    let late = share(400, |seed| {
        found_after(seed, (0.01, 1.0), 1.0).is_none_or(|after| after > 500)
    });
    assert!(late <= 0.0, "{late}");
    let late = share(200, |seed| {
        found_after(seed, (0.001, 0.1), 1.0).is_none_or(|after| after > 30_000)
    });
    assert!(late <= 0.02, "{late}");
}

#[test]
fn one_that_takes_twice_as_long_is_found_within_a_quarter_of_a_minute() {
    let late = share(200, |seed| {
        found_after(seed, (0.0, 0.0), 2.0).is_none_or(|after| after > 15_000)
    });
    assert!(late <= 0.02, "{late}");
}
