//! Connections to instances: asked for at the keepers, kept for reuse, per worker.

mod keeper;
mod pool;

pub(crate) use pool::{Lease, Reuse, SendError, Upstream, Upstreams};
