//! Decision: `Forwarded` (RFC 7239) from the outside is dropped like `x-forwarded-*`, and written only where a route
//! asks for it. Nobody stands before the gateway whose word could be taken: a balancer says whose a connection is by
//! the PROXY protocol ([`crate::origin`]), and what a client claims about itself is a claim. `x-forwarded-*` says the same
//! to every application; few read `Forwarded`, and a line that nobody reads is not sent by default.

use std::io::Write as _;
use std::net::IpAddr;

use crate::head::Outside;

/// The header's name.
pub(crate) const NAME: &str = "forwarded";

/// Writes its value: one element, of this hop (sections 4 and 6). `authority` is the host as the client wrote it.
pub(crate) fn write(out: &mut Vec<u8>, outside: &Outside, authority: &[u8]) {
    // Writing to a vector does not fail.
    let _ = match outside.address.to_canonical() {
        IpAddr::V4(address) => write!(out, "for={address}"),
        IpAddr::V6(address) => write!(out, "for=\"[{address}]\""),
    };
    // Quoted, because of a port's colon. No host that was let through has a quote or a backslash.
    out.extend_from_slice(b";host=\"");
    out.extend_from_slice(authority);
    out.extend_from_slice(b"\";proto=");
    out.extend_from_slice(outside.scheme.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_rfc_wants_them() {
        for (address, scheme, expected) in [
            (
                "192.0.2.1",
                "http",
                r#"for=192.0.2.1;host="a:80";proto=http"#,
            ),
            (
                "::ffff:192.0.2.1",
                "https",
                r#"for=192.0.2.1;host="a:80";proto=https"#,
            ),
            (
                "2001:db8::5",
                "https",
                r#"for="[2001:db8::5]";host="a:80";proto=https"#,
            ),
        ] {
            let outside = Outside {
                address: address.parse().unwrap(),
                scheme,
                holder: None,
                words: std::cell::OnceCell::new(),
            };
            let mut out = Vec::new();
            write(&mut out, &outside, b"a:80");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
