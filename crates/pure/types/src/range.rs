//! Ranges of addresses, as in `10.0.0.0/8`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// All addresses that begin with the same bits (RFC 4632 section 3.1, RFC 4291 section 2.3). A single
/// address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRange {
    /// It is no address, or its length is none.
    #[error("`{0}` is not a range of addresses, such as `10.0.0.0/8` or `2001:db8::/32`")]
    Unreadable(String),
    /// Bits are set behind its length: which range is meant cannot be told.
    #[error(
        "`{text}` has bits set behind its first {bits}; the range that begins with them is `{meant}`"
    )]
    LooseBits {
        /// What was written.
        text: String,
        /// Its length.
        bits: u8,
        /// The range that it lies in.
        meant: AddressRange,
    },
}

impl AddressRange {
    /// Whether an address lies in it. An IPv4 address that came as an IPv6 one (`::ffff:10.0.0.1`) is taken as
    /// what it is.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let mask = mask4(self.bits);
                u32::from(address) & mask == u32::from(first)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let mask = mask6(self.bits);
                u128::from(address) & mask == u128::from(first)
            }
            _ => false,
        }
    }

    /// Whether every address of another range lies in it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.first)
    }

    /// The range of so many leading bits that an address lies in; `None`: it has fewer bits.
    fn around(address: IpAddr, bits: u8) -> Option<Self> {
        let first = match address {
            IpAddr::V4(_) if bits > 32 => return None,
            IpAddr::V6(_) if bits > 128 => return None,
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask4(bits))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask6(bits))),
        };
        Some(Self { first, bits })
    }
}

fn mask4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn mask6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

impl FromStr for AddressRange {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let unreadable = || InvalidRange::Unreadable(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| unreadable())?;
        // It would hold no address ever: those are taken as the IPv4 addresses that they are.
        if address.to_canonical() != address {
            return Err(unreadable());
        }
        let plain = |bits: &&str| {
            let digits = (1..=3).contains(&bits.len()) && bits.bytes().all(|b| b.is_ascii_digit());
            digits && (*bits == "0" || !bits.starts_with('0'))
        };
        let bits = match bits {
            None if address.is_ipv4() => 32,
            None => 128,
            Some(bits) => Some(bits)
                .filter(plain)
                .and_then(|bits| bits.parse().ok())
                .ok_or_else(unreadable)?,
        };
        let range = Self::around(address, bits).ok_or_else(unreadable)?;
        match range.first == address {
            true => Ok(range),
            false => Err(InvalidRange::LooseBits {
                text: text.to_owned(),
                bits,
                meant: range,
            }),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match self.first {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        match self.bits == whole {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}/{}", self.first, self.bits),
        }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = InvalidRange;

    fn try_from(text: String) -> Result<Self, InvalidRange> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn what_lies_in_a_range() {
        for (text, address, lies_in) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let found = range(text).contains(address.parse().unwrap());
            assert_eq!(found, lies_in, "{address} in {text}");
        }
    }

    #[test]
    fn a_range_is_written_in_one_way() {
        for text in [
            "10.0.0.0/8",
            "192.0.2.7",
            "2001:db8::/32",
            "::1",
            "0.0.0.0/0",
        ] {
            assert_eq!(range(text).to_string(), text);
            let json = serde_json::to_string(&range(text)).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(
                serde_json::from_str::<AddressRange>(&json).unwrap(),
                range(text)
            );
        }
        assert_eq!(range("192.0.2.7/32"), range("192.0.2.7"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/08",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/8/8",
            " 10.0.0.0/8",
            "localhost",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/255.0.0.0",
        ] {
            let refused = text.parse::<AddressRange>();
            assert!(
                matches!(refused, Err(InvalidRange::Unreadable(_))),
                "{text}"
            );
        }
        let loose = "10.1.2.3/8".parse::<AddressRange>();
        assert!(
            matches!(loose, Err(InvalidRange::LooseBits { meant, .. }) if meant == range("10.0.0.0/8"))
        );
    }
}
