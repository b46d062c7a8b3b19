//! The local engine: unpacks images, starts keepers, finds them again, reads their output.
//!
//! An instance belongs to its keeper, never to the server: the engine only starts keepers, listens to
//! them and asks them to stop. What it knows of an instance is what the keeper's `Watch` connection last
//! said, held in memory, so that observing costs no I/O; what it must still know after the server was
//! killed lies in the instance's folder (`facts.json`, `exit.json`, `failed.json`), so that
//! [`Engine::open`] finds it all again.
//!
//! [`Options`] say where and how, [`Engine`] is the handle (cheap to clone), and one task per keeper does
//! the listening.

mod altered;
mod checkup;
pub mod client;
mod engine;
mod error;
mod folder;
mod image;
pub mod keeper;
mod layers;
mod logs;
pub mod probe;
mod start;
mod watcher;

pub use engine::{Engine, Options, Seen};
pub use error::Error;
pub use image::{Image, ImageUser, LayerError};
pub use layers::Collected;
pub use logs::{LogFollow, LogQuery, LogReader};
