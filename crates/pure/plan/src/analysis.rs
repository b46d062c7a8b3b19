//! Decision: whether a new release answers worse than the one before, from few requests.
//!
//! Both are judged over the same window. Errors: Fisher's exact test, which is right however few requests
//! there are, so that a release that fails everything is seen after a handful of them. Latency: the
//! Mann-Whitney test with tied ranks on the two histograms, which asks whether the new one's durations tend
//! to be longer and assumes nothing of their shape. A difference has to be certain and to matter: what is
//! significant among a million requests may be of no consequence.
//!
//! The question is asked again and again while a window grows, and each time is a chance to be wrong, so
//! that a single answer must be wrong in no more than one of ten thousand cases ([`ALPHA`]). What begins
//! to fail after an hour is lost among an hour's good answers, so that the last seconds are asked about,
//! too; of those there are thousands in a day, and the answer must be so much more certain
//! ([`ALPHA_RECENT`]).

use ward_types::histogram::Histogram;
use ward_types::time::Millis;

/// How often a difference that is none may be taken for one, at a single look.
const ALPHA: f64 = 1e-4;

/// The same for one of the many short windows that a long one consists of.
const ALPHA_RECENT: f64 = 1e-7;

/// A difference of error ratios that matters: one of a hundred requests.
const ERRORS: f64 = 0.01;

/// Fewer failed requests than this say nothing, however many the old release answered well: a connection
/// may break anywhere.
const FAILED: u64 = 3;

/// A latency that matters: longer by this factor in the median or in the 95th percentile.
const SLOWER: f64 = 1.25;

/// And by this much, in microseconds: nobody waits for less.
const SLOWER_BY: u64 = 2_000;

/// The normal approximation of the Mann-Whitney test is good from so many on each side.
const RANKED: u64 = 20;

/// What one release answered in a window.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sample {
    /// How many requests were answered or failed.
    pub(crate) requests: u64,
    /// Of those, how many failed by the instance's doing.
    pub(crate) failed: u64,
    /// How long the answered ones took, to the first byte of the answer.
    pub(crate) latency: Histogram,
}

/// What a window says of the new release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It fails more often.
    Fails {
        /// Failed requests of all, of the new release.
        new: (u64, u64),
        /// The same of the one before.
        old: (u64, u64),
    },
    /// It answers later.
    Slower {
        /// The percentile that shows it best: 50 or 95.
        percentile: u8,
        /// Its value for the new release.
        new: Millis,
        /// And for the one before.
        old: Millis,
    },
    /// No difference that matters, among enough requests.
    AsGood,
    /// Nothing was found, among too few requests to say that nothing is there.
    Inconclusive {
        /// How many requests of the new release there were.
        requests: u64,
    },
}

/// Compares a window of the new release with the same window of the one before; `enough` requests of
/// the new release are needed to say that it is as good.
#[must_use]
pub(crate) fn judge(old: &Sample, new: &Sample, enough: u64) -> Judgement {
    if let Some(worse) = worse(old, new, ALPHA) {
        return worse;
    }
    match new.requests >= enough {
        true => Judgement::AsGood,
        false => Judgement::Inconclusive {
            requests: new.requests,
        },
    }
}

/// What the last seconds say of a release whose whole window says nothing.
pub(crate) fn judge_recent(old: &Sample, new: &Sample) -> Option<Judgement> {
    worse(old, new, ALPHA_RECENT)
}

fn worse(old: &Sample, new: &Sample, alpha: f64) -> Option<Judgement> {
    if fails_more(old, new, alpha) {
        return Some(Judgement::Fails {
            new: (new.failed, new.requests),
            old: (old.failed, old.requests),
        });
    }
    slower(&old.latency, &new.latency, alpha)
}

/// Where the old release answered nothing in the window, it is taken to have failed as seldom as one that
/// works does: one of a thousand.
fn fails_more(old: &Sample, new: &Sample, alpha: f64) -> bool {
    if new.failed < FAILED {
        return false;
    }
    let (old_failed, old_requests) = match old.requests {
        0 => (1, 1000),
        requests => (old.failed, requests),
    };
    let more = ratio(new.failed, new.requests) - ratio(old_failed, old_requests);
    more > ERRORS && fisher(old_failed, old_requests, new.failed, new.requests) < alpha
}

fn slower(old: &Histogram, new: &Histogram, alpha: f64) -> Option<Judgement> {
    if old.total() < RANKED || new.total() < RANKED || mann_whitney(old, new) >= alpha {
        return None;
    }
    let matters = |percentile: u8| {
        let (was, is) = (old.quantile(percentile)?, new.quantile(percentile)?);
        let longer = is > was + SLOWER_BY && ratio(is, was) > SLOWER;
        longer.then_some(Judgement::Slower {
            percentile,
            new: Millis(is / 1000),
            old: Millis(was / 1000),
        })
    };
    matters(50).or_else(|| matters(95))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests are far below 2^52"
)]
fn float(count: u64) -> f64 {
    count as f64
}

fn ratio(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        whole => float(part) / float(whole),
    }
}

/// The natural logarithm of the number of ways to choose `some` of `all`.
fn ln_choose(all: u64, some: u64) -> f64 {
    let ln_factorial = |n: u64| libm::lgamma(float(n) + 1.0);
    ln_factorial(all) - ln_factorial(some) - ln_factorial(all - some)
}

/// Fisher's exact test, one-sided: how likely it is that, of all failures, at least as many fall on the
/// new release as did, if which release a request met made no difference.
fn fisher(old_failed: u64, old: u64, new_failed: u64, new: u64) -> f64 {
    let (failed, all) = (old_failed + new_failed, old + new);
    let ways = ln_choose(all, failed);
    let most = failed.min(new);
    let least = new_failed.max(failed.saturating_sub(old));
    let tail = (least..=most)
        .map(|on_new| libm::exp(ln_choose(new, on_new) + ln_choose(old, failed - on_new) - ways));
    // Terms only get smaller from the mean on; what is beyond a thousand of them is nothing.
    tail.take(1000).sum::<f64>().min(1.0)
}

/// The Mann-Whitney test, one-sided, by the normal approximation with ties: how likely ranks at least as
/// high are for the new release, if which release a request met made no difference.
fn mann_whitney(old: &Histogram, new: &Histogram) -> f64 {
    let (m, n) = (float(old.total()), float(new.total()));
    let mut all = old.clone();
    all.merge(new);
    let (mut below, mut wins, mut ties) = (0.0, 0.0, 0.0);
    for (bucket, both) in all.buckets() {
        let (ours, theirs) = (float(new.count(bucket)), float(old.count(bucket)));
        wins += ours * (below + theirs / 2.0);
        below += theirs;
        let tied = float(both);
        ties += tied * tied * tied - tied;
    }
    let size = m + n;
    let variance = m * n / 12.0 * (size + 1.0 - ties / (size * (size - 1.0)));
    if variance <= 0.0 {
        return 1.0; // Everything took the same time.
    }
    let z = (wins - m * n / 2.0 - 0.5) / libm::sqrt(variance);
    0.5 * libm::erfc(z / core::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests;
