//! Connections to instances: asked for at the keepers, kept for reuse, per worker.

mod cutting;
mod keeper;
mod pool;
mod preface;
mod turns;
mod wire;

pub(crate) use pool::{Reuse, SendError, Upstream, Upstreams};
pub(crate) use wire::{NoWire, Wire};
