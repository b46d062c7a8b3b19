//! Whose connection it is that a balancer passes on: the PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt,
//! section 2.2).
//!
//! Who may say so is set by the operator, by address. Such a peer must say it at the beginning of every connection, and
//! nobody else is listened to: a header that is there or not, as the peer likes, would let a client choose its address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use ward_types::range::AddressRange;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The most that may follow the fixed part: addresses, and what else a balancer has to say.
const LONGEST: usize = 4096;

/// Those whose word is taken on whose connection it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balancers(pub Vec<AddressRange>);

impl Balancers {
    /// Whether `peer` is one.
    pub(crate) fn has(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(peer))
    }
}

/// Reads what a balancer says of a connection, within a time. The client's address; `peer` where the connection is the
/// balancer's own, such as a health check.
///
/// # Errors
/// When it is not the protocol's version 2, or of a kind that is not TCP.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    peer: IpAddr,
    within: Duration,
) -> io::Result<IpAddr> {
    let reading = async {
        let mut fixed = [0; 16];
        stream.read_exact(&mut fixed).await?;
        let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
        if fixed[..12] != SIGNATURE || length > LONGEST {
            return Err(bad(
                "it does not begin with a header of the PROXY protocol, version 2",
            ));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await?;
        address(fixed[12], fixed[13], &rest).map(|address| address.unwrap_or(peer))
    };
    let late = |_| Err(io::ErrorKind::TimedOut.into());
    tokio::time::timeout(within, reading)
        .await
        .unwrap_or_else(late)
}

fn address(command: u8, family: u8, rest: &[u8]) -> io::Result<Option<IpAddr>> {
    match (command, family) {
        // LOCAL, and a family that is not told.
        (0x20, _) | (0x21, 0x00) => Ok(None),
        (0x21, 0x11) => {
            let source = rest.get(..12).and_then(|all| all.first_chunk::<4>());
            let source = source.ok_or_else(|| bad("its addresses are cut off"))?;
            Ok(Some(Ipv4Addr::from(*source).into()))
        }
        (0x21, 0x21) => {
            let source = rest.get(..36).and_then(|all| all.first_chunk::<16>());
            let source = source.ok_or_else(|| bad("its addresses are cut off"))?;
            Ok(Some(Ipv6Addr::from(*source).to_canonical()))
        }
        _ => Err(bad("its PROXY header is of another version, or not of TCP")),
    }
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    async fn told(bytes: &[u8]) -> (io::Result<IpAddr>, usize) {
        let mut stream = bytes;
        let read = read(&mut stream, PEER, Duration::from_secs(5)).await;
        (read, stream.len())
    }

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest, b"GET /"].concat()
    }

    #[tokio::test]
    async fn addresses_are_told_and_nothing_behind_them_is_read() {
        let four = [192, 0, 2, 7, 10, 0, 0, 9, 0x1f, 0x90, 0, 80];
        let with_more = [&four[..], &[0x04, 0, 2, 1, 2]].concat();
        let mut six = [0; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        six[15] = 5;
        let mut mapped = [0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 8]);
        for (bytes, expected) in [
            (header(0x21, 0x11, &four), "192.0.2.7"),
            (header(0x21, 0x11, &with_more), "192.0.2.7"),
            (header(0x21, 0x21, &six), "2001:db8::5"),
            (header(0x21, 0x21, &mapped), "192.0.2.8"),
            (header(0x20, 0x00, &[]), "10.0.0.1"),
            (header(0x20, 0x11, &four), "10.0.0.1"),
            (header(0x21, 0x00, &[1, 2, 3]), "10.0.0.1"),
        ] {
            let (read, left) = told(&bytes).await;
            assert_eq!((read.unwrap().to_string().as_str(), left), (expected, 5));
        }
    }

    #[tokio::test]
    async fn whoever_says_nothing_or_something_else_is_not_guessed_at() {
        let four = [0; 12];
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            header(0x11, 0x11, &four),
            header(0x22, 0x11, &four),
            header(0x21, 0x12, &four),
            header(0x21, 0x31, &[0; 216]),
            header(0x21, 0x11, &four[..11]),
            header(0x21, 0x21, &four),
            header(0x20, 0x00, &[0; LONGEST + 1]),
            SIGNATURE.to_vec(),
            Vec::new(),
        ] {
            assert!(told(&bytes).await.0.is_err(), "{}", bytes.escape_ascii());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_must_come_in_time() {
        let (mut stream, _kept) = tokio::io::duplex(64);
        let error = read(&mut stream, PEER, Duration::from_secs(5))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
