//! The policy of an installation: `policy.toml` in its state folder, with the keys that say the same in a stack file.

use std::collections::BTreeMap;

use ward_types::id::Name;
use ward_types::policy::Policy;

use crate::mistake::{Code, Mistake};
use crate::reading::{MAX_BYTES, too_large};
use crate::tree::Table;
use crate::{decode, keys, overrides, shape, syntax};

/// What holds for all stacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Installation {
    /// In environments that are not named.
    all: Policy,
    /// In those of this name, whatever their stack.
    named: BTreeMap<Name, Policy>,
}

impl Installation {
    /// What holds in an environment of this name.
    #[must_use]
    pub fn of(&self, env: &Name) -> &Policy {
        self.named.get(env).unwrap_or(&self.all)
    }

    /// Whether it says something of environments of this name.
    #[must_use]
    pub fn names(&self, env: &Name) -> bool {
        self.named.contains_key(env)
    }
}

/// Reads the file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn installation(text: &str) -> Result<Installation, Vec<Mistake>> {
    if text.len() > MAX_BYTES {
        return Err(vec![too_large(text.len() as u64)]);
    }
    let parsed = syntax::parse(text);
    let mut mistakes = parsed.mistakes;
    if mistakes.is_empty() {
        let strange = strangers(&parsed.file);
        let said = |other: &Mistake| strange.iter().any(|one| one.span == other.span);
        mistakes = shape::check(&parsed.file, text);
        mistakes.retain(|other| !said(other));
        mistakes.extend(strange);
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let of = |env: &str| decode::policy_alone(&overrides::apply(&parsed.file, env));
    let named = parsed
        .file
        .tables("environment")
        .filter_map(|(name, ..)| Some((Name::parse(name).ok()?, of(name))));
    Ok(Installation {
        all: of(""),
        named: named.collect(),
    })
}

/// What a stack file may hold, and a policy may not.
fn strangers(file: &Table) -> Vec<Mistake> {
    let own = ["policy", "protected"];
    let environments = file
        .tables("environment")
        .flat_map(|(.., table)| &table.entries);
    let base = file
        .entries
        .iter()
        .filter(|(name, _)| *name != "environment");
    let strange = base
        .chain(environments)
        .filter(|(name, _)| !own.contains(&name.as_str()));
    let strange = strange.map(|(name, entry)| {
        let message = match keys::child("", name) {
            Some(_) => format!("a policy has no `{name}`: that is for stack files to say"),
            None => format!("a policy has no `{name}`"),
        };
        Mistake::at(entry.key, Code::NotOfAPolicy, message)
            .expected("`policy`, `protected`, or `[environment.NAME]` with these")
    });
    strange.collect()
}

#[cfg(test)]
mod tests {
    use ward_types::policy::Level;

    use super::*;

    #[test]
    fn it_holds_for_all_and_for_the_named() {
        let read = installation(
            "policy.tls = \"warn\"\n[environment.prod]\nprotected = true\npolicy.images = \"off\"",
        )
        .unwrap();
        let (dev, prod) = (Name::parse("dev").unwrap(), Name::parse("prod").unwrap());
        assert_eq!(read.of(&dev).tls, Level::Warn);
        assert_eq!(read.of(&dev).rate_limit, Level::Off);
        assert_eq!(
            (read.of(&prod).tls, read.of(&prod).images),
            (Level::Warn, Level::Off)
        );
        assert_eq!(
            (read.of(&prod).rate_limit, read.of(&prod).instances),
            (Level::Deny, 2)
        );
        assert!(installation("").unwrap().of(&prod).is_default());
        assert_eq!((read.names(&prod), read.names(&dev)), (true, false));
    }

    #[test]
    fn what_belongs_into_a_stack_file_is_refused() {
        let codes = |text: &str| -> Vec<Code> {
            installation(text)
                .unwrap_err()
                .iter()
                .map(|mistake| mistake.code)
                .collect()
        };
        assert_eq!(codes("service.web.port = 1"), [Code::NotOfAPolicy]);
        assert_eq!(
            codes("[environment.prod]\nservice.web.port = 1"),
            [Code::NotOfAPolicy]
        );
        assert_eq!(codes("freze = 1"), [Code::NotOfAPolicy], "said once");
        assert_eq!(codes("policy.tsl = \"deny\""), [Code::UnknownKey]);
        assert_eq!(codes("policy.tls = true"), [Code::WrongType]);
        assert_eq!(
            codes("policy.freeze = [\"2027-01-05/2026-12-20\"]"),
            [Code::BadDays]
        );
        assert_eq!(codes("policy.freeze_zone = \"Mars Base\""), [Code::BadZone]);
    }
}
