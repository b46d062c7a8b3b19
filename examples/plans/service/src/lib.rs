//! What the services share: lines of output, settings, an orderly end, and links to each other.

pub mod guard;
pub mod link;
pub mod log;
pub mod serve;
pub mod settings;

pub use link::Link;
pub use settings::Identity;
