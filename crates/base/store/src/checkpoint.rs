//! Signed heads of the log, for others to keep.
//!
//! The text is a checkpoint as transparency logs write it (C2SP tlog-checkpoint on C2SP signed-note):
//!
//! ```text
//! ward-4f1c0a9be2d37765                         the log's origin, from its key
//! 42                                            events
//! 1rSPcP7NKI5ylW0YvG2ORJ0mF2h0cXlZ5s4F2xX3Hkg=   the root of the tree, base64
//!
//! — ward-4f1c0a9be2d37765 dz0uPqz…              4 bytes of key hash and an Ed25519 signature, base64
//! ```
//!
//! The key (`checkpoint.key`, PKCS#8, mode 0600) is made once, beside the database; the public one stands
//! in `checkpoints/key` in the form that note verifiers read.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::merkle::Hash;
use crate::{Error, Result};

mod folder;

pub(crate) use folder::Folder;

/// The algorithm byte of Ed25519 in C2SP signed-note.
const ALGORITHM: u8 = 1;

/// A signed head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many events the log held.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The whole note, to be kept and handed back to [`Log::verify`](crate::Log::verify).
    pub text: String,
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no checkpoint of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// It does not have the form.
    #[error("it does not have the form of a checkpoint")]
    Form,
    /// It names another log.
    #[error("it is of another log, or was signed with another key")]
    Origin,
    /// The signature does not fit the text.
    #[error("its signature does not fit, so it was altered")]
    Signature,
}

/// The public half of the key: what checks checkpoints.
#[derive(Debug, Clone)]
pub struct Verifier {
    name: String,
    public: Vec<u8>,
}

impl Verifier {
    fn new(public: &[u8]) -> Self {
        let id = hex::encode(&digest(&SHA256, public).as_ref()[..8]);
        Self {
            name: format!("ward-{id}"),
            public: public.to_vec(),
        }
    }

    fn key_hash(&self) -> [u8; 4] {
        let mut input = self.name.clone().into_bytes();
        input.extend_from_slice(&[b'\n', ALGORITHM]);
        input.extend_from_slice(&self.public);
        let hash = digest(&SHA256, &input);
        let bytes = hash.as_ref();
        [bytes[0], bytes[1], bytes[2], bytes[3]]
    }

    /// The key in the form that note verifiers read: `name+hash+key`.
    #[must_use]
    pub fn text(&self) -> String {
        let hash = u32::from_be_bytes(self.key_hash());
        let key = STANDARD.encode([&[ALGORITHM], self.public.as_slice()].concat());
        format!("{}+{hash:08x}+{key}", self.name)
    }

    /// Reads a checkpoint of this log.
    ///
    /// # Errors
    /// [`InvalidCheckpoint`] when it is none, or its signature does not fit.
    pub fn read(&self, text: &str) -> std::result::Result<Checkpoint, InvalidCheckpoint> {
        let (body, signatures) = text.split_once("\n\n").ok_or(InvalidCheckpoint::Form)?;
        let mut lines = body.lines();
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        if origin != Some(&self.name) {
            return Err(InvalidCheckpoint::Origin);
        }
        let size = size.and_then(|digits| digits.parse().ok());
        let root = root
            .and_then(|text| STANDARD.decode(text).ok())
            .and_then(|bytes| Hash::try_from(bytes).ok());
        let (Some(size), Some(root)) = (size, root) else {
            return Err(InvalidCheckpoint::Form);
        };
        self.check_signature(&format!("{body}\n"), signatures)?;
        Ok(Checkpoint {
            size,
            root,
            text: text.to_owned(),
        })
    }

    fn check_signature(
        &self,
        signed: &str,
        signatures: &str,
    ) -> std::result::Result<(), InvalidCheckpoint> {
        let prefix = format!("\u{2014} {} ", self.name);
        let ours = signatures
            .lines()
            .find_map(|line| line.strip_prefix(&prefix));
        let bytes = ours
            .and_then(|text| STANDARD.decode(text).ok())
            .ok_or(InvalidCheckpoint::Origin)?;
        let signature = bytes
            .strip_prefix(&self.key_hash())
            .ok_or(InvalidCheckpoint::Origin)?;
        UnparsedPublicKey::new(&ED25519, &self.public)
            .verify(signed.as_bytes(), signature)
            .map_err(|_| InvalidCheckpoint::Signature)
    }
}

/// The key that signs the log's heads.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// Reads the key file, which is made when it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let pkcs8 = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(path)?,
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        Self::from_pkcs8(&pkcs8).ok_or_else(|| Error::Key {
            path: path.to_owned(),
        })
    }

    /// Reads the key file, if there is one.
    pub(crate) fn find(path: &Path) -> Option<Self> {
        Self::from_pkcs8(&std::fs::read(path).ok()?)
    }

    fn from_pkcs8(bytes: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(bytes).ok()?;
        let verifier = Verifier::new(pair.public_key().as_ref());
        Some(Self { pair, verifier })
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub(crate) fn sign(&self, size: u64, root: Hash) -> Checkpoint {
        let name = &self.verifier.name;
        let body = format!("{name}\n{size}\n{}\n", STANDARD.encode(root));
        let signature = self.pair.sign(body.as_bytes());
        let signature = [&self.verifier.key_hash(), signature.as_ref()].concat();
        let text = format!("{body}\n\u{2014} {name} {}\n", STANDARD.encode(signature));
        Checkpoint { size, root, text }
    }
}

fn make_key(path: &Path) -> Result<Vec<u8>> {
    let key_error = || Error::Key {
        path: path.to_owned(),
    };
    let pair = Ed25519KeyPair::generate().map_err(|_| key_error())?;
    let pkcs8 = pair.to_pkcs8().map_err(|_| key_error())?.as_ref().to_vec();
    folder::replace(path, &pkcs8)?;
    Ok(pkcs8)
}

/// The file of the key that belongs to a database.
pub(crate) fn key_path(database: &Path) -> PathBuf {
    database.with_file_name("checkpoint.key")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> (tempfile::TempDir, Signer) {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::open(&dir.path().join("checkpoint.key")).unwrap();
        (dir, signer)
    }

    #[test]
    fn a_checkpoint_reads_back_and_no_altered_one_does() {
        let (_dir, signer) = signer();
        let checkpoint = signer.sign(42, [7; 32]);
        let read = signer.verifier().read(&checkpoint.text);
        assert_eq!(read, Ok(checkpoint.clone()));
        let altered = checkpoint.text.replacen("\n42\n", "\n41\n", 1);
        let read = signer.verifier().read(&altered);
        assert_eq!(read, Err(InvalidCheckpoint::Signature));
        assert_eq!(
            signer.verifier().read("hello"),
            Err(InvalidCheckpoint::Form)
        );
    }

    #[test]
    fn a_checkpoint_of_another_log_is_named_as_such() {
        let ((_a, ours), (_b, theirs)) = (signer(), signer());
        let read = ours.verifier().read(&theirs.sign(1, [0; 32]).text);
        assert_eq!(read, Err(InvalidCheckpoint::Origin));
    }

    #[test]
    fn the_key_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, first) = signer();
        let path = dir.path().join("checkpoint.key");
        let again = Signer::open(&path).unwrap();
        assert_eq!(again.verifier().text(), first.verifier().text());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(Signer::open(&path), Err(Error::Key { .. })));
    }

    /// The public key's text, checked against the definition in C2SP signed-note with the key hash
    /// computed here from its parts.
    #[test]
    fn the_public_key_has_the_form_that_note_verifiers_read() {
        let (_dir, signer) = signer();
        let text = signer.verifier().text();
        let [name, hash, key] = text.splitn(3, '+').collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        let key = STANDARD.decode(key).unwrap();
        assert_eq!((key.len(), key[0]), (33, 1));
        let expected = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
        assert_eq!(
            hash,
            format!(
                "{:08x}",
                u32::from_be_bytes(expected.as_ref()[..4].try_into().unwrap())
            )
        );
    }
}
