//! The one clock of the control plane.

use ward_types::time::Timestamp;

/// Now, by the machine's clock.
#[must_use]
pub(crate) fn now() -> Timestamp {
    Timestamp(u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0))
}
