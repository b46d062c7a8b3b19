//! An OCI distribution 1.1 registry over a content-addressed store.
//!
//! Two doors lead to the same [`Registry`]: [`serve`] speaks the OCI distribution specification over
//! HTTP, and the methods of [`Registry`] serve callers in this process. [`pull`] brings in images
//! from other registries.
//!
//! The decisions, each explained where it is carried out:
//!
//! - `blobs`: content by digest through `object_store`; for a folder the way in is a file and a rename.
//! - `staging`: bytes are hashed while they are written, off the asynchronous threads, in constant memory.
//! - `read`: bytes are hashed again on their way out, and a wrong digest ends the body early.
//! - `catalog`: tags, manifests and referrers are small files, ordered so that a crash shows nothing half done.
//! - `uploads`: an upload outlives its connection and the process.
//! - `collect`: mark and sweep, sparing what an upload under way could refer to.
//! - `needs`: what is needed is not deleted over HTTP.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blobs;
mod catalog;
mod collect;
mod digest;
mod durable;
mod error;
mod http;
pub mod manifest;
mod name;
mod needs;
pub mod pull;
mod read;
mod registry;
mod staging;
mod uploads;

pub use crate::collect::Collected;
pub use crate::digest::{Algorithm, ContentDigest};
pub use crate::error::{Error, Result};
pub use crate::http::{router, serve};
pub use crate::name::{Reference, Repository, Tag};
pub use crate::needs::{Needs, Pass, Stays};
pub use crate::pull::pull;
pub use crate::registry::{BlobWriter, Manifest, Options, Registry};
