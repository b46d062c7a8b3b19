//! Who needs what the registry has.
//!
//! Decision: the registry answers whoever reaches its port, and so asks before it takes a manifest out of a repository: what
//! a release is brought back from does not go because somebody said so. A tag goes as anybody likes, because no tag decides
//! anything.

use ward_types::id::Digest;

use crate::name::Repository;

/// Knows which manifests are needed.
pub trait Needs: Send + Sync + 'static {
    /// Whether a manifest may be taken out of a repository. Until the pass is dropped nothing begins to need it.
    ///
    /// # Errors
    /// Why it stays.
    fn lets_go(&self, repository: &Repository, digest: &Digest) -> Result<Pass<'_>, Stays>;
}

/// That a manifest may go.
pub type Pass<'a> = Box<dyn Send + 'a>;

/// Why a manifest stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stays {
    /// It is needed: by what, in a sentence.
    Needed(String),
    /// It cannot be told now; why, in a sentence.
    Untold(String),
}

/// Of a registry by itself nobody needs anything.
impl Needs for () {
    fn lets_go(&self, _: &Repository, _: &Digest) -> Result<Pass<'_>, Stays> {
        Ok(Box::new(()))
    }
}
