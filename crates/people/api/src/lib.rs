//! The control API: HTTP/1.1 and JSON over a Unix socket in the state folder, and its client.
//!
//! The socket's peer must be the user that Ward runs as, or root: there is no password to leak, and no
//! port to reach. [`ward_types::view`] names the routes beside the values that they carry.

pub mod client;
pub mod hooks;
pub mod routes;
pub mod socket;

pub use client::{Client, ClientError};
pub use routes::router;
pub use socket::{SOCKET, SocketError, serve};
