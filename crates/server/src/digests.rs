//! The digests of secrets in what is shown of releases, which hold the numbers of versions alone.

use std::collections::BTreeMap;

use ward_plan::changes::{secret_of, with_digests};
use ward_types::changes::Change;
use ward_types::id::EnvId;
use ward_types::secrets::SecretName;

use crate::actor::Refusal;
use crate::control::Control;

type Digests = BTreeMap<(SecretName, u64), String>;

impl Control {
    /// Says the digests of secrets beside their versions, of those that differ.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn digested(
        &self,
        changes: &mut [Change],
        from: &EnvId,
        to: &EnvId,
    ) -> Result<(), Refusal> {
        if !changes.iter().any(|change| secret_of(change).is_some()) {
            return Ok(());
        }
        let before = self.digests(from)?;
        let after = match from == to {
            true => None,
            false => Some(self.digests(to)?),
        };
        let of = |digests: &Digests, name: &SecretName, version: u64| {
            digests.get(&(name.clone(), version)).cloned()
        };
        let after = after.as_ref().unwrap_or(&before);
        with_digests(
            changes,
            |name, version| of(&before, name, version),
            |name, version| of(after, name, version),
        );
        Ok(())
    }

    /// Of all versions that an environment ever had: a release that serves may have an old one.
    fn digests(&self, env: &EnvId) -> Result<Digests, Refusal> {
        let all = self.secret_history(env, None)?.into_iter();
        let versions = all.flat_map(|(name, versions)| {
            let set = versions.into_iter().filter(|view| view.origin.is_some());
            set.map(move |view| ((name.clone(), view.version), view.digest))
        });
        Ok(versions.collect())
    }
}
