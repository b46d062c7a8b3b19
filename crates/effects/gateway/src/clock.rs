//! Milliseconds since the process began: for deadlines and budgets, never for people.

use std::sync::OnceLock;
use std::time::Instant;

/// Now. Never goes back.
pub(crate) fn millis() -> u64 {
    millis_at(Instant::now())
}

/// The same for a moment that is known already.
pub(crate) fn millis_at(now: Instant) -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let began = *BEGAN.get_or_init(|| now);
    u64::try_from(now.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX)
}
