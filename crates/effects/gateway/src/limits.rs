//! How much a client may take. What a service may take is in its guard ([`crate::guard`]).

use std::time::Duration;

use http::request::Parts;

use crate::failure::Failure;

/// Limits of one gateway.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections at once, HTTP and HTTPS together. Above it the gateway stops accepting, so that
    /// connections wait in the kernel's queue.
    pub connections: usize,
    /// Of those, from one client address (of IPv6, from one /64). An eighth: whole offices and mobile networks
    /// stand behind one address, so this only keeps a single one from taking all.
    pub address_connections: usize,
    /// The same for each address of this machine's own.
    pub loopback_connections: usize,
    /// Connections of instances to others, links and egress, and the gateway's own probes, beside the clients'.
    pub inner_connections: usize,
    /// TLS handshakes at once. More wait their turn, within the time that a handshake has.
    pub handshakes: usize,
    /// Of those, from one client address.
    pub address_handshakes: usize,
    /// From a connection's or a request's first byte to the end of its header section, and for a TLS
    /// handshake.
    pub header_timeout: Duration,
    /// How long a connection without a request is kept.
    pub idle_timeout: Duration,
    /// Bytes of a request's header section, its target included; more is answered with 431.
    pub header_bytes: usize,
    /// Lines of a header section.
    pub headers: usize,
    /// Bytes of the buffer that a connection reads into. A head that does not fit is answered with 431 as well.
    pub buffer: usize,
    /// Bytes a second of a request's body, at the least, over all the time in which the gateway waited for
    /// more of it; and how much of that time is free. gRPC calls are exempt, and so is what is still sent when
    /// the answer has begun: both may have pauses that mean something.
    pub body_rate: u64,
    /// See `body_rate`.
    pub body_grace: Duration,
    /// How many bodies of a worker's requests may be waited for at instances before short ones, of HTTP/1.1 in 16 KiB with
    /// their heads, are waited for in the gateway.
    pub awaited_bodies: usize,
    /// How long a client may take none of an answer that is there for it. It is TCP, and HTTP/2's windows,
    /// that say so, not the pace: who is slow but reads on is served to the end. Long connections are exempt;
    /// keep-alive probes find out which of those are gone.
    pub stalled: Duration,
    /// Requests per connection; then its client is told to make another one, so that no connection is
    /// bound for ever to the worker that accepted it.
    pub requests: usize,
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
    /// Unused connections kept per instance and worker. As many as are likely to be needed at once: HTTP/2 brings
    /// requests by the hundred, and a connection that is made anew costs more than the request.
    pub upstream_kept: usize,
    /// Bytes of memory that the whole process may use before clients are refused and cut; `None`: a quarter of
    /// what the machine, or the cgroup, has. Less than 64 MiB is taken for 64 MiB.
    pub memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            address_connections: 2_500,
            loopback_connections: 20_000,
            inner_connections: 10_000,
            handshakes: 1_024,
            address_handshakes: 256,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            header_bytes: 16 * 1024,
            headers: 100,
            buffer: 64 * 1024,
            body_rate: 500,
            body_grace: Duration::from_secs(10),
            awaited_bodies: 32,
            stalled: Duration::from_secs(60),
            requests: 10_000,
            streams: 100,
            response_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            hold: Duration::from_secs(5),
            waiting: 2_000,
            upstream_idle: Duration::from_secs(30),
            upstream_kept: 1_024,
            memory: None,
        }
    }
}

impl Limits {
    /// Refuses a head that is too large, as it would be written in HTTP/1.1.
    pub(crate) fn head(&self, parts: &Parts) -> Result<(), Failure> {
        let lines = parts.headers.iter();
        let lines = lines.map(|(name, value)| name.as_str().len() + value.len() + 4);
        let target = parts
            .uri
            .path_and_query()
            .map_or(1, |path| path.as_str().len());
        match parts.headers.len() > self.headers
            || target + lines.sum::<usize>() > self.header_bytes
        {
            true => Err(Failure::HEAD),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn a_head_may_have_so_many_bytes_and_lines() {
        let limits = Limits::default();
        let head = |target: usize, lines: usize, value: usize| {
            let mut request = Request::get(format!("/{}", "x".repeat(target)));
            for line in 0..lines {
                request = request.header(format!("x-{line}"), "v".repeat(value));
            }
            limits.head(&request.body(()).unwrap().into_parts().0)
        };
        assert!(head(0, 100, 100).is_ok());
        assert_eq!(head(0, 101, 1), Err(Failure::HEAD));
        assert!(head(16_383, 0, 0).is_ok());
        assert_eq!(head(16_384, 0, 0), Err(Failure::HEAD));
        assert_eq!(head(0, 2, 8_192), Err(Failure::HEAD));
    }
}
