//! A typed id per resource, so that a release is never passed where a deployment is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not the id that it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    /// The offending text.
    pub text: String,
    /// What would have been right, as a noun phrase.
    pub expected: &'static str,
}

fn invalid(text: &str, expected: &'static str) -> InvalidId {
    InvalidId {
        text: text.to_owned(),
        expected,
    }
}

/// A name of a stack, environment, service, database, job or link.
///
/// 1 to 40 characters: lower-case letters, digits and hyphens, beginning with a letter and not
/// ending with a hyphen, so that it is a DNS label (RFC 1123) and a file name at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// What a [`Name`] looks like, in words for an error message.
pub const NAME_RULE: &str = "a name of 1 to 40 lower-case letters, digits and hyphens that begins with a letter and does not end with a hyphen";

impl Name {
    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidId`] when the text breaks [`NAME_RULE`].
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        let chars = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if starts && chars && text.len() <= 40 && !text.ends_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid(text, NAME_RULE))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A content digest, `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, descriptors).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Reads a digest.
    ///
    /// # Errors
    /// [`InvalidId`] when it is not `sha256:` followed by 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let hex = text.strip_prefix("sha256:").unwrap_or("");
        let valid = hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid(
                text,
                "a digest such as sha256:9f86d081… (64 hexadecimal digits)",
            ))
        }
    }

    /// The digest of a finished SHA-256 computation.
    #[must_use]
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Self(text)
    }

    /// The whole digest, with its algorithm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hexadecimal part.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }
}

macro_rules! text_id {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }
        impl FromStr for $type {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }
    };
}
text_id!(Name);
text_id!(Digest);
text_id!(InstanceId);
text_id!(EnvId);

/// One running copy of a service of one release: `web-r2-17`. The last number is given out once per
/// environment and never again, so an action that names an instance can be repeated safely.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

impl InstanceId {
    /// The id of the `ordinal`th instance ever made in an environment.
    #[must_use]
    pub fn new(service: &Name, release: ReleaseId, ordinal: u64) -> Self {
        Self(format!("{service}-{release}-{ordinal}"))
    }

    /// Reads an instance id.
    ///
    /// # Errors
    /// [`InvalidId`] when it is not `SERVICE-rN-M`.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let id = Self(text.to_owned());
        match id.parts() {
            Some(_) => Ok(id),
            None => Err(invalid(text, "an instance such as web-r2-17")),
        }
    }

    fn parts(&self) -> Option<(Name, ReleaseId, u64)> {
        let mut parts = self.0.rsplitn(3, '-');
        let ordinal = parts.next()?.parse().ok()?;
        let release = parts.next()?.parse().ok()?;
        Some((Name::parse(parts.next()?).ok()?, release, ordinal))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The service whose instance it is; every id that was read or made names one.
    #[must_use]
    pub fn service(&self) -> Option<Name> {
        self.parts().map(|(service, _, _)| service)
    }

    /// The release that it runs.
    #[must_use]
    pub fn release(&self) -> Option<ReleaseId> {
        self.parts().map(|(_, release, _)| release)
    }

    /// The number that is given out once per environment.
    #[must_use]
    pub fn ordinal(&self) -> u64 {
        self.parts().map_or(0, |(_, _, ordinal)| ordinal)
    }
}

/// An environment in full: `returns/dev`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvId(String);

impl EnvId {
    /// The environment `env` of the stack `stack`.
    #[must_use]
    pub fn new(stack: &Name, env: &Name) -> Self {
        Self(format!("{stack}/{env}"))
    }

    /// Reads `STACK/ENVIRONMENT`.
    ///
    /// # Errors
    /// [`InvalidId`] when it is not two names with a slash between them.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let two = text.split_once('/');
        match two.map(|(stack, env)| (Name::parse(stack), Name::parse(env))) {
            Some((Ok(_), Ok(_))) => Ok(Self(text.to_owned())),
            _ => Err(invalid(text, "an environment such as returns/dev")),
        }
    }

    fn halves(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, ""))
    }

    /// The stack's half.
    #[must_use]
    pub fn stack(&self) -> Name {
        Name(self.halves().0.to_owned())
    }

    /// The environment's half.
    #[must_use]
    pub fn env(&self) -> Name {
        Name(self.halves().1.to_owned())
    }

    /// The id as text, with its slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $type:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl FromStr for $type {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| invalid(text, $expected))
            }
        }
        impl $type {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}
number_id!(
    /// A release of one environment, `r1`, `r2`, …
    ReleaseId, "r", "a release such as r2"
);
number_id!(
    /// A deployment of one environment, `d1`, `d2`, …
    DeploymentId, "d", "a deployment such as d7"
);
number_id!(
    /// A run of one environment, `run1`, `run2`, …
    RunId, "run", "a run such as run4"
);
number_id!(
    /// A build's way through a pipeline, counted over all stacks: `p1`, `p2`, …
    PipelineRunId, "p", "a run of a pipeline such as p3"
);
number_id!(
    /// A snapshot of a volume, by the number of the instance that made it: `s4`, `s17`, …
    SnapshotId, "s", "a snapshot such as s17"
);
number_id!(
    /// A backup of a database, in its environment: `b1`, `b2`, …
    BackupId, "b", "a backup such as b7"
);
number_id!(
    /// The order of plans and routing tables: an action of an older generation is refused. `g1`, `g2`, …
    Generation, "g", "a generation such as g12"
);
number_id!(
    /// A server's fencing number: each start of one takes a greater one, and what has heard of a greater one
    /// obeys no smaller one. `t1`, `t2`, …
    Term, "t", "a fencing number such as t3"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web", "close-month", "r2d2"] {
            assert_eq!(Name::parse(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Web",
            "2web",
            "web-",
            "we_b",
            "we/b",
            "..",
            &"a".repeat(41),
        ] {
            assert!(Name::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn an_instance_id_survives_hyphens_in_the_service() {
        let id = InstanceId::new(&Name::parse("close-month").unwrap(), ReleaseId(3), 12);
        assert_eq!(id.as_str(), "close-month-r3-12");
        assert_eq!(InstanceId::parse(id.as_str()).unwrap().ordinal(), 12);
        assert!(InstanceId::parse("web-2-1").is_err());
    }

    #[test]
    fn environments_are_two_names() {
        let id = EnvId::parse("returns/dev").unwrap();
        assert_eq!((id.stack().as_str(), id.env().as_str()), ("returns", "dev"));
        assert!(EnvId::parse("returns").is_err());
        assert!(EnvId::parse("returns/../x").is_err());
    }

    #[test]
    fn digests_are_checked() {
        let digest = Digest::from_sha256(&[0xab; 32]);
        assert_eq!(Digest::parse(digest.as_str()).unwrap(), digest);
        assert!(Digest::parse("sha256:ABC").is_err());
        assert!(Digest::parse("md5:00").is_err());
    }
}
