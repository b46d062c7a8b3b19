//! Milliseconds since the process began: for deadlines and budgets, never for people.

use std::sync::OnceLock;
use std::time::Instant;

/// Now. Never goes back.
pub(crate) fn millis() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX)
}
