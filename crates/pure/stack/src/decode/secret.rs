//! The secrets of services, and what is said of them.

use std::collections::BTreeMap;

use ward_types::secrets::{SecretName, SecretPlace, SecretSpec};

use super::At;
use crate::secret;
use crate::tree::Table;

pub(super) fn places(pairs: &BTreeMap<String, String>) -> BTreeMap<SecretName, SecretPlace> {
    let read = |(name, place): (&String, &String)| {
        Some((SecretName::parse(name).ok()?, secret::read(place)?))
    };
    pairs.iter().filter_map(read).collect()
}

pub(super) fn specs(env: &Table) -> BTreeMap<SecretName, SecretSpec> {
    let specs = env.tables("secret").filter_map(|(name, _, table)| {
        let at = At::new(table, "secret.*");
        let generate = at.number("generate");
        let spec = SecretSpec {
            generate: generate.and_then(|bytes| u32::try_from(bytes).ok()),
            rotate: at.words("rotate").unwrap_or_default(),
        };
        Some((SecretName::parse(name).ok()?, spec))
    });
    specs.collect()
}
