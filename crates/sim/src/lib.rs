//! The simulator: the real planner, checker and driver of one environment, in a world that is made up.
//!
//! Everything that happens follows from a seed: what people ask for, how instances behave, what breaks,
//! and when the driver is killed. After every step the world is held against the promises of the design.
//! A seed that breaks one is printed and replays exactly, with a transcript.
//!
//! What is simulated, and how it fails:
//!
//! - the clock jumps, forward and back;
//! - the log refuses to be written (a full disk), or writes and the answer is lost;
//! - instances start slowly or never, end, ignore their signal, are killed with and without their keeper,
//!   and their health flaps; what the engine shows of them lags behind;
//! - the gateway is away, refuses a table, puts it into force late, or its answer is lost;
//! - the driver is killed at any boundary between an intent, its effect and its record, and starts again
//!   without its memory.

mod chaos;
mod dice;
mod engine;
mod fleet;
mod gateway;
mod inner;
mod promises;
mod returning;
mod run;
mod script;
mod simulation;
mod specs;
mod sweep;
mod world;

pub use chaos::{Outcome, try_seed};
pub use fleet::Fleet;
pub use run::Run;
pub use sweep::{Swept, sweep};
