//! Milliseconds since the process began: for deadlines and budgets, never for people.

use std::sync::OnceLock;
use std::time::Instant;

static BEGAN: OnceLock<Instant> = OnceLock::new();

/// Now. Never goes back.
pub(crate) fn millis() -> u64 {
    millis_at(Instant::now())
}

/// The same for a moment that is known already.
pub(crate) fn millis_at(now: Instant) -> u64 {
    let began = *BEGAN.get_or_init(|| now);
    u64::try_from(now.saturating_duration_since(began).as_millis()).unwrap_or(u64::MAX)
}

/// The same in nanoseconds: enough for five hundred years.
pub(crate) fn nanos() -> u64 {
    u64::try_from(BEGAN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
