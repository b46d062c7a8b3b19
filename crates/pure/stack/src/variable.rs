//! The rules of a stack file's `env`, for values that are set elsewhere.

use crate::fit::links::DATABASE_VARIABLES;
use crate::shape::ours;
use crate::value::{Wrong, no_nul};

/// Why a variable cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WrongVariable {
    /// What is wrong.
    pub message: String,
    /// What was expected, and what may have been meant, if that can be told.
    pub hint: Option<String>,
}

impl From<Wrong> for WrongVariable {
    fn from(wrong: Wrong) -> Self {
        let expected = wrong
            .expected
            .map(|expected| format!("expected {expected}"));
        let meant = wrong
            .did_you_mean
            .map(|meant| format!("did you mean `{meant}`?"));
        let hints: Vec<String> = meant.into_iter().chain(expected).collect();
        Self {
            message: wrong.message,
            hint: Some(hints.join("; ")).filter(|hint| !hint.is_empty()),
        }
    }
}

/// Whether `name` can be given this value in every service.
///
/// # Errors
/// When it is no name of an environment variable, or one that Ward sets in every instance; when the value holds a
/// NUL character.
pub fn variable(name: &str, value: &str) -> Result<(), WrongVariable> {
    crate::value::variable(name)?;
    ours(name)?;
    no_nul(value)?;
    Ok(())
}

/// Whether a link to a database sets it.
#[must_use]
pub fn database_variable(name: &str) -> bool {
    DATABASE_VARIABLES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_those_of_the_stack_file() {
        assert_eq!(variable("LOG_LEVEL", "info"), Ok(()));
        let refused = |name: &str, value: &str| variable(name, value).unwrap_err();
        let dashed = refused("LOG-LEVEL", "x");
        assert!(
            dashed
                .hint
                .unwrap()
                .starts_with("did you mean `LOG_LEVEL`?")
        );
        assert_eq!(refused("PORT", "1").message, "Ward sets `PORT` itself");
        assert_eq!(
            refused("WARD_ENV", "1").message,
            "Ward sets `WARD_ENV` itself"
        );
        assert_eq!(refused("A", "\0").message, "the text holds a NUL character");
        assert!(database_variable("PGHOST") && !database_variable("PGX"));
    }
}
