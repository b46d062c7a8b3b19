//! Decides what to do next, and checks what was decided. Pure: names no I/O crate, no clock and no
//! randomness. One loop carries it: observe, [`plan`], [`check`], act, and again.

mod action;
mod check;
mod memory;
mod observed;
mod waiting;

pub use action::{Action, Plan, PlannedPool};
pub use check::{Objection, check};
pub use memory::Memory;
pub use observed::{Observed, SeenGateway, SeenInstance};
pub use waiting::{Bound, Waiting};

use ward_types::release::Environment;
use ward_types::time::Timestamp;

/// What to do now about one environment. The same arguments give the same plan.
#[must_use]
pub fn plan(
    _env: &Environment,
    _observed: &Observed,
    _now: Timestamp,
    next_ordinal: u64,
    memory: &Memory,
) -> Plan {
    Plan {
        actions: Vec::new(),
        waiting: Vec::new(),
        wake: None,
        first_ordinal: next_ordinal,
        next_ordinal,
        memory: memory.clone(),
    }
}
