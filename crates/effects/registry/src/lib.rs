//! An OCI distribution 1.1 registry over a content-addressed store.
