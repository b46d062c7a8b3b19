//! More and more environments beside those that are there, until one does not answer, or a limit is reached that is said.

use std::time::{Duration, Instant};

use super::{asked, created, first};
use crate::load::Target;
use crate::machine;
use crate::report::say;
use crate::ward::Ward;

/// So many more at a time.
const STEP: usize = 25;
/// No answer may take longer than this.
const SLOWEST: Duration = Duration::from_secs(1);
/// So much of the machine's memory is left to others.
const LEFT: u64 = 1 << 30;
/// How long it goes on.
const LONGEST: Duration = Duration::from_secs(4 * 60);

/// How many environments were there when all answered, and why there were not more.
pub(super) struct Reached {
    pub(super) answering: usize,
    pub(super) because: String,
}

impl Reached {
    pub(super) fn said(&self) -> String {
        format!(
            "From the first hundred on it goes further by {STEP} until one fails, an answer takes longer than {} s, less than {} MiB \
             of memory are left, or {} min are over: it ended at {} because {}.",
            SLOWEST.as_secs(),
            LEFT >> 20,
            LONGEST.as_secs() / 60,
            self.answering,
            self.because
        )
    }
}

/// Goes further from where all of `names`, and the one that they are copies of, are there.
pub(super) async fn measure(ward: &Ward, base: &Target, mut names: Vec<String>) -> Reached {
    let began = Instant::now();
    let mut answering = names.len();
    loop {
        if began.elapsed() > LONGEST {
            let because = format!("{} min were over", LONGEST.as_secs() / 60);
            return Reached { answering, because };
        }
        if machine::available().is_some_and(|left| left < LEFT) {
            let because = "the machine's memory was used up".to_owned();
            return Reached { answering, because };
        }
        let there = names.len() + 1;
        let more: Vec<String> = (there + 1..=there + STEP)
            .map(|number| format!("e{number:03}"))
            .collect();
        let (_, mut failures) = created(ward, &more).await;
        names.extend(more);
        if failures.is_empty() {
            let (well, latency, failed) = asked(base, &names).await;
            let slowest = latency.max().unwrap_or_default();
            say(&format!(
                "  {well} of {} environments answer, in {slowest:.0} ms at most",
                names.len() + 1
            ));
            if failed.is_empty() && slowest > SLOWEST.as_secs_f64() * 1000.0 {
                let because = format!("of {} one took {slowest:.0} ms to answer", names.len() + 1);
                return Reached { answering, because };
            }
            failures = failed;
        }
        if !failures.is_empty() {
            let because = format!(
                "of {} one failed: {}",
                names.len() + 1,
                first(&failures).join("; ")
            );
            return Reached { answering, because };
        }
        answering = names.len() + 1;
    }
}
