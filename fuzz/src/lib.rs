//! What the fuzz targets compare the gateway with: second readings, written from the specifications, that share
//! nothing with the first.
#![cfg_attr(not(fuzzing), allow(unused))]

pub mod http1;

/// Cuts bytes into parts of so many bytes; nothing of 0.
pub fn parts(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(size.max(1))
}
