//! How much a client may take. Starting values; a later issue makes them adapt.

use std::time::Duration;

/// Limits of one gateway.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections at once, HTTP and HTTPS together. Above it the gateway stops accepting, so that
    /// connections wait in the kernel's queue.
    pub connections: usize,
    /// TLS handshakes at once per worker.
    pub handshakes: usize,
    /// From a connection's or a request's first byte to the end of its header section, and for a TLS
    /// handshake.
    pub header_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// Bytes of a header section, and of the buffer that a connection reads into.
    pub header_bytes: usize,
    /// Concurrent HTTP/2 streams per connection.
    pub streams: u32,
    /// How long an instance may take to the head of its response, and a client to the next bytes of a
    /// request's body before that. gRPC calls are exempt: they bring deadlines of their own.
    pub response_timeout: Duration,
    /// How long making a connection to an instance may take.
    pub connect_timeout: Duration,
    /// How long a request may wait for an instance, counted from when its service was seen to have none.
    /// Ward starts a replacement at once, and most are healthy within a second or two. Clients that get no
    /// answer for longer than about five seconds give up or ask again, and then only add to the load.
    pub hold: Duration,
    /// Requests of one service that may wait for an instance at once. A tenth of the connections: a service
    /// that died must not take the places of the others' clients.
    pub waiting: usize,
    /// How long an unused connection to an instance is kept.
    pub upstream_idle: Duration,
    /// Unused connections kept per instance and worker.
    pub upstream_kept: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            handshakes: 256,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            header_bytes: 64 * 1024,
            streams: 250,
            response_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            hold: Duration::from_secs(5),
            waiting: 2_000,
            upstream_idle: Duration::from_secs(30),
            upstream_kept: 64,
        }
    }
}
