//! What the fuzz targets compare the gateway with: second readings, written from the specifications, that share
//! nothing with the first.
#![cfg_attr(not(fuzzing), allow(unused))]

pub mod http1;

/// What belongs to one connection in requests and answers alike (RFC 9110 section 7.6.1, and what others put there).
pub const HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "http2-settings",
    "proxy-authorization",
    "proxy-authenticate",
];

/// Cuts bytes into parts of so many bytes; nothing of 0.
pub fn parts(bytes: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(size.max(1))
}
