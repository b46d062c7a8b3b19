//! Clients that show a certificate (mutual TLS).
//!
//! Whether a client must is decided in the handshake, by the name that it asks for, because nothing else is known
//! then; and again for each request, by the host that it names ([`crate::gate`]): a connection of which the two
//! differ must not pass by what the host asks for, and one that was made before the host asked, or before its
//! authorities changed, does not count any more. Sessions are not resumed: each connection shows the certificate
//! anew, so that one that has expired opens nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// What hosts that take the clients of the authorities in one file ask for.
pub(crate) struct Demand {
    path: Arc<Path>,
    /// How often the authorities have changed.
    epoch: AtomicU64,
    config: ArcSwapOption<(u64, Arc<ServerConfig>)>,
}

impl Demand {
    /// Nobody is let in yet.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            epoch: AtomicU64::new(0),
            config: ArcSwapOption::empty(),
        }
    }

    /// Other authorities count from now on: who was let in by those before must show a certificate again.
    pub(crate) fn renew(&self, config: Option<ServerConfig>) {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        let config = config.map(|config| Arc::new((epoch, Arc::new(config))));
        self.config.store(config);
    }

    /// How hands are shaken with such a client; `None` where the authorities are not to be had.
    pub(crate) fn terms(&self) -> Option<Arc<(u64, Arc<ServerConfig>)>> {
        self.config.load_full()
    }
}

/// A client that has shown a certificate.
#[derive(Clone)]
pub(crate) struct Holder {
    demand: Arc<Demand>,
    epoch: u64,
    /// The distinguished name of its subject, as RFC 4514 writes it.
    pub(crate) subject: HeaderValue,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub(crate) fingerprint: HeaderValue,
}

impl Holder {
    /// Whoever has shown `certificate` on the terms of `epoch`; `None` where it cannot be read.
    pub(crate) fn of(
        certificate: &CertificateDer<'_>,
        demand: Arc<Demand>,
        epoch: u64,
    ) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        Some(Self {
            demand,
            epoch,
            subject: HeaderValue::try_from(distinguished(parsed.subject())).ok()?,
            fingerprint: HeaderValue::try_from(hex::encode(digest.as_ref())).ok()?,
        })
    }

    /// Whether it satisfies who asks for the clients of the authorities in the file `path`.
    pub(crate) fn satisfies(&self, path: &Path) -> bool {
        *self.demand.path == *path && self.demand.epoch.load(Ordering::Acquire) == self.epoch
    }
}

/// Whose clients a host takes.
pub(crate) type Clients = Option<Arc<PathBuf>>;

/// A distinguished name as text (RFC 4514): the last of its parts first, and nothing in a value that could be
/// taken for another part. What is not plain ASCII is written by its bytes, because a header holds no more.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (number, part) in parts.iter().rev().enumerate() {
        for (also, attribute) in part.iter().enumerate() {
            text.push_str(match (number, also) {
                (0, 0) => "",
                (_, 0) => ",",
                _ => "+",
            });
            attribute_text(&mut text, attribute);
        }
    }
    text
}

fn attribute_text(text: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type().to_id_string();
    let short = match kind.as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        other => other,
    };
    text.push_str(short);
    text.push('=');
    match attribute.as_str() {
        Ok(value) => escape(text, value),
        // RFC 4514 section 2.4: the encoded value. Its tag and length say nothing to who compares.
        Err(_) => {
            text.push('#');
            text.push_str(&hex::encode(attribute.as_slice()));
        }
    }
}

fn escape(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (place, byte) in value.bytes().enumerate() {
        let outer = place == 0 || place == last;
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' | b'=' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'#' if place == 0 => text.push_str("\\#"),
            b' ' if outer => text.push_str("\\ "),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    fn shown(parts: &[(DnType, &str)]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn holder(parts: &[(DnType, &str)]) -> Holder {
        Holder::of(&shown(parts), Arc::new(Demand::new(Path::new("/ca"))), 0).unwrap()
    }

    #[test]
    fn a_value_is_never_taken_for_another_part() {
        for (parts, text) in [
            (
                &[
                    (DnType::OrganizationName, "Acme"),
                    (DnType::CommonName, "lab 7"),
                ][..],
                "CN=lab 7,O=Acme",
            ),
            (&[(DnType::CommonName, "x,O=Acme")], "CN=x\\,O\\=Acme"),
            (&[(DnType::CommonName, " #a ")], "CN=\\ #a\\ "),
            (&[(DnType::CommonName, "#a\r\nb: c")], "CN=\\#a\\0D\\0Ab: c"),
            (&[(DnType::CommonName, "J\u{fc}rg")], "CN=J\\C3\\BCrg"),
            (&[], ""),
        ] {
            assert_eq!(holder(parts).subject, text);
        }
    }

    #[test]
    fn a_holder_counts_for_its_own_authorities_and_until_they_change() {
        let demand = Arc::new(Demand::new(Path::new("/ca")));
        let certificate = shown(&[(DnType::CommonName, "a")]);
        let holder = Holder::of(&certificate, Arc::clone(&demand), 0).unwrap();
        assert!(holder.satisfies(Path::new("/ca")) && !holder.satisfies(Path::new("/other")));
        assert_eq!(holder.fingerprint.len(), 64);
        demand.renew(None);
        assert!(!holder.satisfies(Path::new("/ca")));
    }
}
