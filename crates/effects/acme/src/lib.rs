//! Certificates from a certificate authority that speaks ACME (RFC 8555): had by http-01 or tls-alpn-01 (RFC 8737),
//! and renewed when the authority says so (ARI, RFC 9773), or when two thirds of their time are over.
//!
//! A certificate and its key are one file, so that no crash leaves a key without its certificate. The file lies in
//! the state folder's `acme`, for its owner alone, as the account's key does.

mod account;
mod moment;
mod order;

use std::io;
use std::path::{Path, PathBuf};

use ward_types::tls::acme_file;

pub use moment::{Due, Present};
pub use order::{Answers, Way};

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The URL of the authority's directory (RFC 8555 section 7.1.1).
    pub directory: String,
    /// Whom the authority may write to, as a URL: `mailto:ops@example.org`.
    pub contact: Option<String>,
    /// A file with the root that the authority's own certificate leads to, in PEM; `None`: one that this machine
    /// trusts.
    pub root: Option<PathBuf>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// A file cannot be read or written.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The account's file is not what was written.
    #[error(
        "the account in {path} cannot be read; remove the file and a new account is made",
        path = path.display()
    )]
    Account {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: serde_json::Error,
    },
    /// The authority cannot be talked to, or refuses.
    #[error("{what} with {directory}")]
    Authority {
        /// What was being done.
        what: &'static str,
        /// The authority.
        directory: String,
        /// What failed.
        #[source]
        source: instant_acme::Error,
    },
    /// The authority does not believe that the host is ours.
    #[error("the authority could not see that {host} is served here: {why}")]
    Unproven {
        /// The host.
        host: String,
        /// What it says.
        why: String,
    },
    /// The gateway did not take the answers to the authority's questions.
    #[error("the gateway cannot answer the authority: {0}")]
    Gateway(String),
    /// No key or request could be made.
    #[error("no key could be made for {host}")]
    Key {
        /// The host.
        host: String,
        /// What failed.
        #[source]
        source: rcgen::Error,
    },
}

/// Certificates of one authority, in one state folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acme {
    home: PathBuf,
    settings: Settings,
}

impl Acme {
    /// In the state folder `home`. Nobody is asked yet.
    #[must_use]
    pub fn new(home: PathBuf, settings: Settings) -> Self {
        Self { home, settings }
    }

    /// The file with a host's certificate and its key.
    #[must_use]
    pub fn file(&self, host: &str) -> PathBuf {
        acme_file(&self.home, host)
    }

    fn failed(&self, what: &'static str) -> impl Fn(instant_acme::Error) -> AcmeError {
        let directory = self.settings.directory.clone();
        move |source| AcmeError::Authority {
            what,
            directory: directory.clone(),
            source,
        }
    }
}

/// Writes a file for its owner alone, so that a crash leaves the old one or the new one.
fn write(path: &Path, text: &str) -> Result<(), AcmeError> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let write = || {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let beside = path.with_extension("new");
        let _ = std::fs::remove_file(&beside);
        let mut options = std::fs::OpenOptions::new();
        options.create_new(true).write(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| AcmeError::File {
        path: path.to_owned(),
        source,
    })
}
