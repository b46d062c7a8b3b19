//! What a check wrote, as the log may have it.
//!
//! Decision: a check is a client of its stage, and may well be told the values of secrets there. What it wrote is masked as
//! the output of the stage's instances is; where the values cannot be opened, nothing of it is kept. More lines are looked
//! at than are kept, so that of a value that goes over several none is looked at in part.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ward_types::pipeline::Run;

use crate::control::Control;

/// How many lines of a check are kept.
const KEPT: usize = 20;
/// How many are looked at, and how many bytes of them.
const LOOKED_AT: usize = 200;
const BYTES: usize = 256 * 1024;

/// The last lines that a check wrote.
#[derive(Default)]
pub(super) struct Said(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    all: VecDeque<String>,
    bytes: usize,
}

impl Said {
    pub(super) fn take(&self, line: String) {
        let mut lines = self.lock();
        lines.bytes += line.len();
        lines.all.push_back(line);
        while lines.all.len() > LOOKED_AT || (lines.bytes > BYTES && lines.all.len() > 1) {
            let first = lines.all.pop_front();
            lines.bytes -= first.map_or(0, |line| line.len());
        }
    }

    fn text(&self) -> String {
        let lines = self.lock();
        let all: Vec<&str> = lines.all.iter().map(String::as_str).collect();
        all.join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// The last lines of a check for the log, or why they are not in it.
    pub(super) async fn told_by_check(
        &self,
        run: &Run,
        said: &Said,
    ) -> Result<Vec<String>, String> {
        let text = said.text();
        let (Some(env), false) = (run.env(run.stage()), text.is_empty()) else {
            return Ok(Vec::new());
        };
        let reached = run.reached.get(run.stage());
        let release = reached.map(|reached| reached.release);
        let masked = self.without_secrets(&env, release, &text).await?;
        let lines: Vec<&str> = masked.lines().collect();
        let last = lines.len().saturating_sub(KEPT);
        let kept = lines.into_iter().skip(last);
        Ok(kept.map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_looked_at_and_no_more_than_so_many_bytes() {
        let said = Said::default();
        (0..1000).for_each(|number| said.take(number.to_string()));
        let text = said.text();
        assert_eq!(text.lines().count(), LOOKED_AT);
        assert!(text.starts_with("800\n") && text.ends_with("\n999"));
        said.take("x".repeat(BYTES));
        assert_eq!(said.text().len(), BYTES);
        said.take("y".to_owned());
        assert_eq!(said.text(), "y");
    }
}
