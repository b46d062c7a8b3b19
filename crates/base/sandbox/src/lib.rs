//! Namespaces, mounts, seccomp and descriptors: the only crate with unsafe code.

pub mod keeper_socket;
