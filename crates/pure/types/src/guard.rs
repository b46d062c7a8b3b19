//! What keeps a service from being asked for more than it can take, and its clients from taking each
//! other's share.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// The limits of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Guard {
    /// How many requests each client may make; `None`: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<RateLimit>,
    /// How many requests may be under way.
    pub concurrency: Concurrency,
}

impl Guard {
    /// Whether it is what a stack file says that says nothing of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How many requests each client of the outside may make. Links are not limited.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RateLimit {
    /// In the long run.
    pub rate: Rate,
    /// At once, after a pause; at least 1.
    pub burst: u32,
    /// Whose requests are counted together.
    pub by: LimitBy,
}

/// So many requests in a second, a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many, from 1 to a million.
    pub requests: u32,
    /// In what time.
    pub per: Millis,
}

/// The form of a rate, as a noun phrase.
pub const RATE_RULE: &str = "a rate such as 10/s, 300/m or 1000/h, at most a million";

impl Rate {
    const UNITS: [(&str, Millis); 3] = [
        ("s", Millis::secs(1)),
        ("m", Millis::secs(60)),
        ("h", Millis::secs(3600)),
    ];

    /// Reads `100/s`; `None` when it is not [`RATE_RULE`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (requests, unit) = text.split_once('/')?;
        let plain = requests.bytes().all(|b| b.is_ascii_digit()) && !requests.starts_with('0');
        let requests: u32 = requests.parse().ok().filter(|_| plain)?;
        let (_, per) = Self::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        (1..=1_000_000)
            .contains(&requests)
            .then_some(Self { requests, per })
    }

    /// From one request to the next, in nanoseconds.
    #[must_use]
    pub fn interval(self) -> u64 {
        self.per.0 * 1_000_000 / u64::from(self.requests.max(1))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS.iter().find(|(_, per)| *per == self.per);
        let unit = unit.map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.requests)
    }
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// Those of an IPv4 address, or of the first 64 bits of an IPv6 address.
    Address,
    /// Those with one value of this header, and without it those of one address.
    Header(String),
}

impl LimitBy {
    /// Reads `address` or `header:NAME`; the name is not looked at.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let header = || text.strip_prefix("header:").map(str::to_owned);
        match text {
            "address" => Some(Self::Address),
            _ => header().map(Self::Header),
        }
    }
}

/// How many requests may be under way in a service at once: those that an instance has not begun to answer.
/// Long connections, gRPC calls and what is waiting for its client do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concurrency {
    /// As many as the service shows that it can take.
    Adaptive,
    /// So many for each instance, at least 1.
    PerInstance(u32),
    /// Any number.
    #[default]
    Unlimited,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written() {
        for (text, interval) in [
            ("100/s", 10_000_000),
            ("1/m", 60_000_000_000),
            ("1000000/h", 3_600_000),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!(
                (rate.to_string().as_str(), rate.interval()),
                (text, interval)
            );
        }
        for text in [
            "0/s",
            "-1/s",
            "+1/s",
            "01/s",
            "1000001/s",
            "10",
            "10/d",
            "/s",
            "10/",
            "1.5/s",
        ] {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_old_record_has_the_default() {
        let guard: Guard = serde_json::from_str("{}").unwrap();
        assert!(guard.is_default());
        let text = r#"{"limit":{"rate":{"requests":5,"per":60000},"burst":5,"by":{"header":"x-key"}},"concurrency":{"per_instance":4}}"#;
        let guard: Guard = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&guard).unwrap(), text);
    }
}
