//! The PROXY protocol, version 2 (haproxy.org, proxy-protocol.txt): who is listened to, and that no byte behind the
//! header is lost.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use ward_gateway::fuzzing::proxied;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fuzz_target!(|data: &[u8]| {
    assert_eq!(proxied(data, PEER), told(data));
    // Most of what is thought of has no signature.
    let signed = [b"\r\n\r\n\0\r\nQUIT\n", data].concat();
    assert_eq!(proxied(&signed, PEER), told(&signed));
});

fn told(data: &[u8]) -> Option<(IpAddr, usize)> {
    let after = data.strip_prefix(b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a")?;
    let [command, family, high, low, after @ ..] = after else {
        return None;
    };
    let length = usize::from(*high) * 256 + usize::from(*low);
    if length > 4096 || after.len() < length {
        return None;
    }
    let (block, left) = after.split_at(length);
    let address = match (command, family) {
        (0x20, _) | (0x21, 0) => PEER,
        (0x21, 0x11) if length >= 12 => {
            Ipv4Addr::new(block[0], block[1], block[2], block[3]).into()
        }
        (0x21, 0x21) if length >= 36 => {
            let address: [u8; 16] = block[..16].try_into().unwrap();
            IpAddr::from(Ipv6Addr::from(address)).to_canonical()
        }
        _ => return None,
    };
    Some((address, left.len()))
}
