//! Benefits plans: what a year costs under each, and which one to recommend.
//!
//! Pure: no clock, no files, no network, no randomness. The same request always gives the same answer.
//!
//! Money is whole US cents ([`money`]). What is rounded is said where it is rounded, and rounded once.

pub mod compare;
pub mod cost;
pub mod csv;
pub mod import;
pub mod money;
pub mod plan;
pub mod reason;
pub mod synthetic;

pub use compare::{Comparison, Goal, Request};
pub use cost::{Assumptions, Bill, Usage};
pub use money::Cents;
pub use plan::{Coverage, Employee, Plan};
