//! TLS at a host: which files its certificate is in, and whose clients it takes.
//!
//! Only paths are here. What is in the files is read by the gateway alone, again when they change, and is kept
//! nowhere else: not in a table, an event or a log.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::id::EnvId;
use crate::time::Timestamp;

/// How TLS is spoken at a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostTls {
    /// Where its certificate is; `None`: as for hosts that say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
    /// The file, in PEM, with the authorities of which one must have signed a client's certificate. `None`: clients
    /// are asked for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether its certificate is had by ACME (RFC 8555), and lies where [`acme_file`] says.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acme: bool,
}

/// Where a host's certificate lies that was had by ACME, with its key, in the state folder `home`.
#[must_use]
pub fn acme_file(home: &Path, host: &str) -> PathBuf {
    home.join("acme/certificates").join(format!("{host}.pem"))
}

/// The files of a certificate, in PEM, each by its absolute path on the machine that the gateway runs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The host's certificate, then those that lead from it to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What the gateway knows of a file with certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateObserved {
    /// The environment that names it.
    pub env: EnvId,
    /// For which host.
    pub host: String,
    /// For what.
    pub of: CertificateOf,
    /// The file.
    pub file: PathBuf,
    /// From when what is in use is good; `None`: nothing is in use.
    pub from: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// What is wrong with the file, or with what is in use, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Whose certificates a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateOf {
    /// The host's own.
    Host,
    /// Those of the authorities of its clients.
    Clients,
}
