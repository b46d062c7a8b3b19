//! The sandbox of one instance: namespaces, mounts, seccomp and descriptors.
//!
//! The only crate with unsafe code: `clone3`, `mount_setattr`, `signalfd`, `execve` with a chosen environment, `io_uring`,
//! `sched_setattr` and the interface ioctls have no safe form. Each block says why it is sound. Everything else goes
//! through rustix's safe functions.
//!
//! A sandbox is made by [`Sandbox::start`], from a process that has never had a second thread: what happens
//! between clone and exec allocates memory, and a lock held by another thread would never be released.

#![allow(unsafe_code)]

mod binds;
mod capabilities;
mod cgroup;
mod error;
mod etc;
mod exec;
pub mod filter;
mod identity;
mod init;
pub mod keeper_socket;
mod limits;
mod memory;
mod mounts;
mod network;
mod process;
mod program;
pub mod ring;
mod root;
mod sandbox;
pub mod signals;
mod stopped;

pub use cgroup::sweep as sweep_cgroups;
pub use error::SandboxError;
pub use exec::{ExecSpec, Executed, Joined};
pub use memory::{give_back_freed, let_go_of_code};
pub use network::add_address;
pub use sandbox::{Prepared, Sandbox};
