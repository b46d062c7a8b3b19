//! What a check wrote, as the log may have it.
//!
//! Decision: a check is a client of its stage, and may well be told the values of secrets there. What it wrote is masked as
//! the output of the stage's instances is; where the values cannot be opened, nothing of it is kept. Nothing is looked at in
//! part: a line that is too long is left out whole, with all of its pieces, and more lines are looked at than are kept, so
//! that of a value that goes over several nothing is left where the first of them were forgotten.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ward_build::Piece;
use ward_types::pipeline::Run;

use crate::control::Control;

/// How many lines of a check are kept.
const KEPT: usize = 20;
/// How many are looked at, how many bytes of one, and of all.
const LOOKED_AT: usize = 200;
const LONGEST: usize = 64 * 1024;
const BYTES_LOOKED_AT: usize = 1024 * 1024;
/// How many bytes of all are kept.
const BYTES: usize = 256 * 1024;
/// What stands there for a line that is longer.
const LEFT_OUT: &str = "(a line of more than 64 KiB)";

/// The last lines that a check wrote.
#[derive(Default)]
pub(super) struct Said(Mutex<Lines>);

#[derive(Default)]
struct Lines {
    all: VecDeque<String>,
    bytes: usize,
    /// Whether there were more before.
    forgot: bool,
}

impl Said {
    pub(super) fn take(&self, piece: Piece) {
        // What was left out with its beginning.
        if !piece.begins {
            return;
        }
        let whole = piece.ends && piece.text.len() <= LONGEST;
        let mut lines = self.lock();
        let line = match whole {
            true => piece.text,
            false => LEFT_OUT.to_owned(),
        };
        lines.bytes += line.len();
        lines.all.push_back(line);
        while lines.all.len() > LOOKED_AT || lines.bytes > BYTES_LOOKED_AT {
            let first = lines.all.pop_front();
            lines.bytes -= first.map_or(0, |first| first.len());
            lines.forgot = true;
        }
    }

    /// The last lines of what it is when masked.
    fn kept(&self, masked: &str) -> Vec<String> {
        let mut lines: Vec<&str> = masked.lines().collect();
        if self.lock().forgot {
            // They may go on with a value that began before.
            lines.drain(..KEPT.min(lines.len()));
        }
        let mut bytes = 0;
        let fits = |line: &&&str| {
            bytes += line.len();
            bytes <= BYTES
        };
        let last = lines.iter().rev().take(KEPT).take_while(fits);
        let mut kept: Vec<String> = last.map(|line| (*line).to_owned()).collect();
        kept.reverse();
        kept
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
        Ok(said.kept(&masked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: impl Into<String>) -> Piece {
        Piece {
            text: text.into(),
            begins: true,
            ends: true,
        }
    }

    #[test]
    fn the_last_lines_are_looked_at_and_fewer_are_kept() {
        let said = Said::default();
        (0..1000).for_each(|number| said.take(line(number.to_string())));
        let text = said.text();
        assert_eq!(text.lines().count(), LOOKED_AT);
        assert!(text.starts_with("800\n") && text.ends_with("\n999"));
        let kept = said.kept(&text);
        assert_eq!((kept.len(), kept[0].as_str()), (KEPT, "980"));
        // Where masks have taken most lines away, those at the beginning may be the rest of a value.
        let few: Vec<&str> = text.lines().take(KEPT + 1).collect();
        assert_eq!(said.kept(&few.join("\n")), ["820"]);
        let long = Said::default();
        (0..100).for_each(|_| long.take(line("x".repeat(LONGEST))));
        assert_eq!(long.text().lines().count(), BYTES_LOOKED_AT / LONGEST);
        assert!(long.lock().forgot);
        let many = vec!["x".repeat(LONGEST); KEPT].join("\n");
        assert_eq!(said.kept(&many), [] as [&str; 0]);
        assert_eq!(Said::default().kept(&many).len(), BYTES / LONGEST);
    }

    #[test]
    fn of_a_line_that_is_too_long_nothing_is_looked_at() {
        const CUT: usize = 1 << 20;
        let value = "SEKRET-abcdef-123456";
        for before in CUT - value.len() - 1..=CUT + 1 {
            let long = format!("{}{value} tail", "A".repeat(before));
            let (first, rest) = long.split_at(CUT);
            let piece = |text: &str, begins| Piece {
                text: text.to_owned(),
                begins,
                ends: !begins,
            };
            let said = Said::default();
            said.take(line("before"));
            said.take(piece(first, true));
            said.take(piece(rest, false));
            said.take(line("behind"));
            assert_eq!(said.text(), format!("before\n{LEFT_OUT}\nbehind"));
        }
        let said = Said::default();
        said.take(line("x".repeat(LONGEST)));
        said.take(line("x".repeat(LONGEST + 1)));
        assert_eq!(said.text().len(), LONGEST + 1 + LEFT_OUT.len());
    }
}
