//! Settings from the environment.

use serde::Serialize;

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// It is needed and not there.
    #[error("{name} is not set; it is {meaning}")]
    Missing {
        /// The variable.
        name: &'static str,
        /// What belongs into it.
        meaning: &'static str,
    },
    /// It is no number in its range.
    #[error("{name} is “{value}”; it must be a whole number from {least} to {most}")]
    Number {
        /// The variable.
        name: &'static str,
        /// What is in it.
        value: String,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// It is no address of a service.
    #[error("{name} is “{value}”; it must be an address such as http://engine:8081")]
    Address {
        /// The variable.
        name: &'static str,
        /// What is in it.
        value: String,
    },
}

/// A text that must be there.
pub fn required(name: &'static str, meaning: &'static str) -> Result<String, SettingError> {
    std::env::var(name).map_err(|_| SettingError::Missing { name, meaning })
}

/// A whole number in a range.
pub fn number(
    name: &'static str,
    default: usize,
    least: usize,
    most: usize,
) -> Result<usize, SettingError> {
    let Ok(value) = std::env::var(name) else {
        return Ok(default);
    };
    match value.trim().parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(SettingError::Number {
            name,
            value,
            least,
            most,
        }),
    }
}

/// Which instance of which release this is.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    /// As Ward says it, or `none`.
    pub release: String,
    /// As Ward says it, or `none`.
    pub instance: String,
    /// The build's version.
    pub version: String,
    /// The process.
    pub pid: u32,
}

impl Identity {
    /// From `WARD_RELEASE`, `WARD_INSTANCE` and `WARD_VERSION`.
    pub fn own() -> Self {
        let read = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        Self {
            release: read("WARD_RELEASE", "none"),
            instance: read("WARD_INSTANCE", "none"),
            version: read("WARD_VERSION", env!("CARGO_PKG_VERSION")),
            pid: std::process::id(),
        }
    }
}
