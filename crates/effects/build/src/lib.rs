//! Makes OCI images from a source, byte for byte the same each time.
