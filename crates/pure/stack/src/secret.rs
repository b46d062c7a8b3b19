//! Names of secrets, and where services find them.

use ward_types::secrets::{SecretName, SecretPlace};

use crate::mistake::Code;
use crate::suggest;
use crate::value::{Wrong, no_nul, quote};

/// What a place says that is an environment variable.
const VARIABLE: &str = "env";
/// What a file's path begins with: scratch space, which is a memory file system.
const BELOW: &str = "/run/";

/// A secret's name in a stack file: that of a database's password is Ward's own.
pub(crate) fn name(text: &str) -> Result<(), Wrong> {
    if SecretName::parse(text).is_ok_and(|name| name.database().is_none()) {
        return Ok(());
    }
    let message = format!("{} is not a name of a secret", quote(text));
    let meant: String = text
        .chars()
        .map(|c| if matches!(c, '.' | ' ' | '/') { '_' } else { c })
        .collect();
    let good = meant != text && SecretName::parse(&meant).is_ok();
    Err(Wrong::new(Code::BadSecretName, message)
        .expected("a letter, then letters, digits, `_` and `-`, at most 64")
        .mean(good.then_some(meant)))
}

/// Reads a place.
pub(crate) fn read(text: &str) -> Option<SecretPlace> {
    match text {
        VARIABLE => Some(SecretPlace::Variable),
        path if is_path(path) => Some(SecretPlace::File(path.to_owned())),
        _ => None,
    }
}

pub(crate) fn place(text: &str) -> Result<(), Wrong> {
    no_nul(text)?;
    if read(text).is_some() {
        return Ok(());
    }
    let wrong = |message: String| Wrong::new(Code::BadSecretPlace, message);
    let meant = match text.to_ascii_lowercase().as_str() {
        "environment" | "variable" | "var" | "environ" => Some(VARIABLE.to_owned()),
        _ if text.starts_with('/') => {
            let last = text.rsplit('/').next().unwrap_or_default();
            Some(format!("/run/secrets/{last}")).filter(|path| is_path(path))
        }
        _ => suggest::closest(text, [VARIABLE]),
    };
    let message = match text.starts_with('/') {
        true => format!("{} is not below `{BELOW}`, which is memory", quote(text)),
        false => format!("{} is no place of a secret", quote(text)),
    };
    Err(wrong(message).mean(meant))
}

fn is_path(text: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control) && part.len() < 256
    };
    let below = text.strip_prefix(BELOW);
    text.len() <= 1024 && below.is_some_and(|rest| rest.split('/').all(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_variables_or_files_in_memory() {
        assert_eq!(read("env"), Some(SecretPlace::Variable));
        assert!(place("/run/secrets/signing-key").is_ok() && place("/run/key").is_ok());
        let refused = |text: &str| place(text).unwrap_err();
        assert_eq!(refused("environment").did_you_mean.as_deref(), Some("env"));
        let moved = refused("/etc/key.pem").did_you_mean;
        assert_eq!(moved.as_deref(), Some("/run/secrets/key.pem"));
        for bad in [
            "",
            "/run",
            "/run/",
            "/run/a/../b",
            "/run//a",
            "/run/a/",
            "/tmp/a",
            "run/a",
        ] {
            refused(bad);
        }
        assert_eq!(
            name("api.key").unwrap_err().did_you_mean.as_deref(),
            Some("api_key")
        );
        assert!(name("database/db").is_err());
    }
}
