//! What stacks share, as it stands: where links to other stacks lead, and whose links lead here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{EnvId, Name};
use crate::sharing::{Export, Importer};

/// What the release that serves in an environment shares with other stacks, and links to there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SharingView {
    /// Its links to other stacks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SharedLinkView>,
    /// What it exports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportView>,
    /// The links of other stacks that lead to it, let in or not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub importers: Vec<Importer>,
}

impl SharingView {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A link to another stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedLinkView {
    /// Whose link.
    pub service: Name,
    /// Which environment it leads to.
    pub env: EnvId,
    /// Which service there.
    pub to: Name,
    /// Whether requests pass.
    pub state: LinkState,
}

/// Whether requests pass a link to another stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// They do; one that sleeps is woken by them.
    Open,
    /// There is no such environment, or no release serves in it.
    NotThere,
    /// It is down.
    Down,
    /// The release that serves there has no such service.
    NoService,
    /// The release that serves there does not export it to whoever links.
    NotExported,
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::NotThere => "that environment is not there",
            Self::Down => "that environment is down",
            Self::NoService => "there is no such service",
            Self::NotExported => "it is not exported to this environment",
        })
    }
}

/// A service that others may link to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportView {
    /// Which service.
    pub service: Name,
    /// To whom.
    pub to: Vec<Export>,
}
