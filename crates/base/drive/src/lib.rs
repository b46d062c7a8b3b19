//! The one loop of each environment: observe, plan, check, act.
//!
//! It is activated without input: by a change in the log, of an instance or of the gateway, by the plan's
//! own alarm, and by the clock. A step that failed is planned again at the next turn; nothing is retried
//! inside. A plan that the checker objects to is not carried out, and said loudly: that is a defect.
//!
//! It knows no engine, no gateway, no log and no clock, but only a [`World`]: the control plane gives it
//! the real one, and a simulator one that it makes up.

mod driver;
mod live;
mod settle;
mod turn;
mod world;

pub use driver::Driver;
pub use live::Live;
pub use turn::{Next, Turn};
pub use world::{Log, Look, World};
