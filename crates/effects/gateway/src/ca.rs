//! The local certificate authority, in the state folder's `ca`.
//!
//! It is made once and may speak for `localhost`, names below it and loopback addresses only: a name
//! constraint in its certificate (RFC 5280 section 4.2.1.10) keeps a stolen key from being worth more.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

const DAY: Duration = Duration::from_secs(24 * 3600);
const AUTHORITY_DAYS: u32 = 3650;
/// Browsers and operating systems refuse more than 398 days, and Apple's more than 825 even locally.
const LEAF_DAYS: u32 = 90;

/// Why there is no certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of it cannot be read or written.
    #[error("cannot use {path} of the local certificate authority")]
    File {
        /// The file or folder.
        path: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The key or a certificate cannot be made or understood.
    #[error(
        "the local certificate authority in {path} is broken; remove that folder and run `ward trust` again"
    )]
    Broken {
        /// Its folder.
        path: String,
        /// What failed.
        #[source]
        source: rcgen::Error,
    },
}

/// The authority's certificate as PEM, for `ward trust`. The authority is made when there is none.
///
/// # Errors
/// [`CaError`]
pub fn certificate_pem(home: &Path) -> Result<String, CaError> {
    let folder = home.join("ca");
    make_once(&folder)?;
    read(&folder.join("ca.pem"))
}

/// The authority, able to sign.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// One key for all names: making one costs more than signing, and clients choose the names.
    leaf_key: KeyPair,
}

impl Authority {
    /// The authority of the state folder `home`, made when there is none.
    pub(crate) fn open(home: &Path) -> Result<Self, CaError> {
        let folder = home.join("ca");
        make_once(&folder)?;
        let broken = |source| CaError::Broken {
            path: folder.display().to_string(),
            source,
        };
        let key = KeyPair::from_pem(&read(&folder.join("ca.key"))?).map_err(broken)?;
        let certificate = read(&folder.join("ca.pem"))?;
        Ok(Self {
            issuer: Issuer::from_ca_cert_pem(&certificate, key).map_err(broken)?,
            leaf_key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?,
        })
    }

    /// A certificate for `name`, good from a day before `now` on.
    pub(crate) fn certify(
        &self,
        name: &str,
        now: SystemTime,
    ) -> Result<CertifiedKey, rustls::Error> {
        let made = leaf(name, now).and_then(|leaf| leaf.signed_by(&self.leaf_key, &self.issuer));
        let made = made.map_err(|error| rustls::Error::General(error.to_string()))?;
        let key = PrivatePkcs8KeyDer::from(self.leaf_key.serialize_der());
        let key = aws_lc_rs::sign::any_ecdsa_type(&PrivateKeyDer::Pkcs8(key))?;
        Ok(CertifiedKey::new(vec![made.der().clone()], key))
    }
}

fn leaf(name: &str, now: SystemTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    if name == "localhost" {
        let addresses = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ];
        let addresses = addresses.map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
    }
    params.distinguished_name = distinguished(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * LEAF_DAYS).into();
    Ok(params)
}

fn authority(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished("Ward local certificate authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(Ipv6Addr::LOCALHOST.octets(), [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    });
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * AUTHORITY_DAYS).into();
    params
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Makes the authority beside its place and renames it there, so that the gateway and `ward trust` never
/// make two, and never see half of one.
fn make_once(folder: &Path) -> Result<(), CaError> {
    if folder.join("ca.pem").exists() {
        return Ok(());
    }
    let beside = folder.with_extension(format!("new.{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&beside);
    make(&beside)?;
    match std::fs::rename(&beside, folder) {
        Ok(()) => Ok(()),
        // Another process was faster: its authority counts.
        Err(_) if folder.join("ca.pem").exists() => {
            let _ = std::fs::remove_dir_all(&beside);
            Ok(())
        }
        Err(source) => Err(at(folder)(source)),
    }
}

fn make(folder: &Path) -> Result<(), CaError> {
    let broken = |source| CaError::Broken {
        path: folder.display().to_string(),
        source,
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(broken)?;
    let certificate = authority(SystemTime::now());
    let certificate = certificate.self_signed(&key).map_err(broken)?;
    let mut builder = std::fs::DirBuilder::new();
    builder.mode(0o700).create(folder).map_err(at(folder))?;
    write(&folder.join("ca.key"), &key.serialize_pem(), 0o600)?;
    write(&folder.join("ca.pem"), &certificate.pem(), 0o644)
}

fn write(path: &PathBuf, text: &str, mode: u32) -> Result<(), CaError> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(mode);
    let mut file = options.open(path).map_err(at(path))?;
    file.write_all(text.as_bytes()).map_err(at(path))?;
    file.sync_all().map_err(at(path))
}

fn read(path: &Path) -> Result<String, CaError> {
    std::fs::read_to_string(path).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> CaError {
    let path = path.display().to_string();
    move |source| CaError::File {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let home = tempfile::tempdir().unwrap();
        let first = certificate_pem(home.path()).unwrap();
        assert_eq!(certificate_pem(home.path()).unwrap(), first);
        let key = home.path().join("ca/ca.key").metadata().unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
        let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "something was left beside it");
        let authority = Authority::open(home.path()).unwrap();
        authority
            .certify("shop.localhost", SystemTime::now())
            .unwrap();
    }

    #[test]
    fn a_broken_key_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        certificate_pem(home.path()).unwrap();
        std::fs::write(home.path().join("ca/ca.key"), "nonsense").unwrap();
        let error = Authority::open(home.path()).err().unwrap().to_string();
        assert!(error.contains("remove that folder"), "{error}");
    }
}
