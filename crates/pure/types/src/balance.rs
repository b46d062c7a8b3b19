//! How a service's requests are placed on its instances, where load alone does not decide.

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// What is asked for beside the least load.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Balance {
    /// What brings a client back to its instance; `None`: nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// After how long without the head of an answer a second instance is asked too; `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Millis>,
    /// How often a request that an instance may have seen is sent again, at the most [`Self::MOST_RETRIES`]; `None`:
    /// so often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

impl Balance {
    /// How often a request that an instance may have seen is sent again where nothing is said of it.
    pub const MOST_RETRIES: u32 = 2;

    /// Whether it is what a stack file says that says nothing of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What brings a client back to the instance that answered it last. Not to be confused with
/// [`crate::spec::Sticky`], which keeps a client with a release while a canary is weighed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// The name of a cookie, which the gateway sets. It has the characters of a token (RFC 9110 section 5.6.2).
    pub cookie: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_record_has_the_default() {
        let balance: Balance = serde_json::from_str("{}").unwrap();
        assert!(balance.is_default());
        let text = r#"{"affinity":{"cookie":"instance"},"hedge":100,"retries":0}"#;
        let balance: Balance = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&balance).unwrap(), text);
    }
}
