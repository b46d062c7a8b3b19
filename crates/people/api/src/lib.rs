//! The control API: HTTP/1.1 and JSON over a Unix socket in the state folder, and its client.
//!
//! The socket's peer must be the user that Ward runs as, or root: there is no password to leak, and no
//! port to reach. A second socket, where one is asked for, is for every user of the machine, and offers nothing but the
//! pipelines and a word about them. [`ward_types::view`] names the routes beside the values that they carry.

pub mod client;
pub mod hooks;
mod places;
pub mod routes;
pub mod socket;

pub use client::{Client, ClientError};
pub use routes::{people, router};
pub use socket::{Admits, SOCKET, SocketError, serve};
