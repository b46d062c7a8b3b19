//! Certificates from files: read, and looked at before they are used.
//!
//! A pair that does not fit is worse than an old one, so it takes nobody's place ([`crate::renewed`]); and a
//! release that names such a pair is not even recorded ([`check`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use ward_types::secret::Secret;
use ward_types::table::KeptFiles;
use ward_types::time::Timestamp;
use ward_types::tls::{CertificateFiles, HostTls};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Larger than any chain or bundle: the authorities of all browsers are 250 KB.
const LARGEST: u64 = 4 << 20;

/// Why certificates of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The file cannot be read.
    #[error("cannot read {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// There is nothing of the kind in it.
    #[error("{path} holds no {what} in PEM", path = path.display())]
    Without {
        /// The file.
        path: PathBuf,
        /// What should be there.
        what: &'static str,
    },
    /// What it holds is broken, or of a kind that is not served.
    #[error("{what} in {path} cannot be used", path = path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: &'static str,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// The key is another's.
    #[error(
        "the key in {key} does not belong to the first certificate in {certificate}, which must be the host's own",
        key = files.key.display(), certificate = files.certificate.display()
    )]
    OtherKey {
        /// Both files.
        files: CertificateFiles,
    },
    /// It is over.
    #[error("the certificate in {path} was good until {until} only", path = path.display())]
    Over {
        /// The file.
        path: PathBuf,
        /// When it ended.
        until: Timestamp,
    },
    /// Its time has not come.
    #[error("the certificate in {path} is good from {from} on only; is the machine's clock right?", path = path.display())]
    Early {
        /// The file.
        path: PathBuf,
        /// When it begins.
        from: Timestamp,
    },
    /// It is for other hosts.
    #[error("the certificate in {path} is not for {host}, but for {names}", path = path.display())]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// The host that names it.
        host: String,
        /// The hosts that it is for.
        names: String,
    },
}

/// Whether the files that a host names can be used now.
///
/// # Errors
/// [`CertificateError`], as it says.
pub fn check(host: &str, tls: &HostTls, now: Timestamp) -> Result<(), CertificateError> {
    if let Some(files) = &tls.certificate {
        Pair::read(files)?.suits(host, now)?;
    }
    if let Some(path) = &tls.client_ca {
        Authorities::read(path)?.suits(now)?;
    }
    Ok(())
}

/// A certificate with its key.
pub(crate) struct Pair {
    /// What a handshake needs.
    pub(crate) key: Arc<CertifiedKey>,
    files: CertificateFiles,
    term: Term,
    names: Vec<String>,
    texts: [Secret; 2],
}

/// When a certificate is good.
#[derive(Debug, Clone, Copy)]
struct Term {
    from: Timestamp,
    until: Timestamp,
}

impl Pair {
    /// What the files hold, if it fits together.
    pub(crate) fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let texts = [text(&files.certificate)?, text(&files.key)?];
        Self::of(files, &texts)
    }

    /// The same of what was in the files.
    pub(crate) fn of(files: &CertificateFiles, texts: &[Secret]) -> Result<Self, CertificateError> {
        let path = &files.certificate;
        let [first, second] = texts else {
            return Err(without(path, "certificate"));
        };
        let chain = certificates(path, first)?;
        let key = private_key(&files.key, second)?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(|source| match source {
            rustls::Error::InconsistentKeys(_) => CertificateError::OtherKey {
                files: files.clone(),
            },
            source => CertificateError::Unusable {
                path: files.key.clone(),
                what: "the key",
                source,
            },
        })?;
        let own = own(path, &key.cert)?;
        Ok(Self {
            term: term(&own),
            names: names(&own),
            files: files.clone(),
            texts: [first.clone(), second.clone()],
            key: Arc::new(key),
        })
    }

    /// From when until when it is good.
    pub(crate) fn term(&self) -> (Timestamp, Timestamp) {
        (self.term.from, self.term.until)
    }

    /// Whether it is for a host, and good now.
    pub(crate) fn suits(&self, host: &str, now: Timestamp) -> Result<(), CertificateError> {
        in_time(&self.files.certificate, self.term, now)?;
        match self.is_for(host) {
            true => Ok(()),
            false => Err(CertificateError::OtherHost {
                path: self.files.certificate.clone(),
                host: host.to_owned(),
                names: match self.names.as_slice() {
                    [] => "no host at all".to_owned(),
                    names => names.join(", "),
                },
            }),
        }
    }

    /// For the gateway that takes over.
    pub(crate) fn files(&self) -> KeptFiles {
        KeptFiles {
            files: vec![self.files.certificate.clone(), self.files.key.clone()],
            texts: self.texts.to_vec(),
        }
    }

    fn is_for(&self, host: &str) -> bool {
        // A wildcard's certificate must be good for a name that nobody chose.
        let any = host
            .strip_prefix("*.")
            .map(|above| format!("ward-any.{above}"));
        let name = any.as_deref().unwrap_or(host);
        let own = self.key.end_entity_cert();
        let own = own.and_then(ParsedCertificate::try_from);
        match (own, ServerName::try_from(name)) {
            (Ok(own), Ok(name)) => verify_server_name(&own, &name).is_ok(),
            _ => false,
        }
    }
}

/// The authorities of a host's clients.
pub(crate) struct Authorities {
    /// What certificates of clients are checked against.
    pub(crate) roots: Arc<RootCertStore>,
    path: PathBuf,
    terms: Vec<Term>,
    text: Secret,
}

impl Authorities {
    /// What a file holds.
    pub(crate) fn read(path: &Path) -> Result<Self, CertificateError> {
        Self::of(path, &[text(path)?])
    }

    /// The same of what was in it.
    pub(crate) fn of(path: &Path, texts: &[Secret]) -> Result<Self, CertificateError> {
        let [text] = texts else {
            return Err(without(path, "certificate"));
        };
        let all = certificates(path, text)?;
        let mut roots = RootCertStore::empty();
        let mut terms = Vec::new();
        for authority in all {
            terms.push(term(&own(path, std::slice::from_ref(&authority))?));
            let added = roots.add(authority);
            added.map_err(|source| CertificateError::Unusable {
                path: path.to_owned(),
                what: "a certificate",
                source,
            })?;
        }
        Ok(Self {
            roots: Arc::new(roots),
            path: path.to_owned(),
            terms,
            text: text.clone(),
        })
    }

    /// For the gateway that takes over.
    pub(crate) fn files(&self) -> KeptFiles {
        KeptFiles {
            files: vec![self.path.clone()],
            texts: vec![self.text.clone()],
        }
    }

    /// From when until when the one is good that is good the longest.
    pub(crate) fn term(&self) -> (Timestamp, Timestamp) {
        let last = self.terms.iter().max_by_key(|term| term.until);
        last.map(|term| (term.from, term.until)).unwrap_or_default()
    }

    /// Whether any of them is good now. Others may be there for what is to come, or was.
    pub(crate) fn suits(&self, now: Timestamp) -> Result<(), CertificateError> {
        let mut outcome = Ok(());
        for term in &self.terms {
            outcome = in_time(&self.path, *term, now);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn in_time(path: &Path, term: Term, now: Timestamp) -> Result<(), CertificateError> {
    let path = path.to_owned();
    match (term.from, term.until) {
        (_, until) if until < now => Err(CertificateError::Over { path, until }),
        (from, _) if now < from => Err(CertificateError::Early { path, from }),
        _ => Ok(()),
    }
}

fn certificates(
    path: &Path,
    text: &Secret,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let all = CertificateDer::pem_slice_iter(text.expose().as_bytes());
    let all: Result<Vec<_>, _> = all.collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(without(path, "certificate")),
    }
}

fn private_key(path: &Path, text: &Secret) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let key = PrivateKeyDer::from_pem_slice(text.expose().as_bytes());
    key.map_err(|_| without(path, "private key (one that needs no password)"))
}

fn without(path: &Path, what: &'static str) -> CertificateError {
    CertificateError::Without {
        path: path.to_owned(),
        what,
    }
}

/// A whole file. Certificates are no secret, but the two are often in one file.
fn text(path: &Path) -> Result<Secret, CertificateError> {
    let read = || {
        let about = std::fs::metadata(path)?;
        // A pipe would be waited for.
        if !about.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        if about.len() > LARGEST {
            return Err(io::Error::other("it is larger than 4 MiB"));
        }
        std::fs::read_to_string(path)
    };
    let text = read().map_err(|source| CertificateError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(Secret::new(text))
}

fn own<'a>(
    path: &Path,
    chain: &'a [CertificateDer<'static>],
) -> Result<X509Certificate<'a>, CertificateError> {
    let own = chain.first().map(|own| X509Certificate::from_der(own));
    match own {
        Some(Ok((_, own))) => Ok(own),
        _ => Err(CertificateError::Unusable {
            path: path.to_owned(),
            what: "a certificate",
            source: rustls::CertificateError::BadEncoding.into(),
        }),
    }
}

fn term(own: &X509Certificate<'_>) -> Term {
    let millis = |seconds: i64| Timestamp(u64::try_from(seconds).unwrap_or(0) * 1000);
    Term {
        from: millis(own.validity().not_before.timestamp()),
        until: millis(own.validity().not_after.timestamp()),
    }
}

fn names(own: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = own.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(_) => Some("an address".to_owned()),
            _ => None,
        });
    names.take(20).collect()
}
