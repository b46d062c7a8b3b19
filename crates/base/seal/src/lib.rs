//! Secrets at rest: envelope encryption under a master key.
//!
//! Decision: each version of each secret has a data key of its own, which seals the value (AES-256-GCM); the master
//! key wraps the data key and nothing else. So another master key means wrapping a few bytes anew, and values are
//! never in the clear for it. What a value is sealed for (environment, name, version) is authenticated with it, so
//! that no file can stand in for another one. The id of the master key is written beside it: whoever cannot open a
//! value knows which key is needed.
//!
//! Files are written whole, synced, and renamed. A key is on the disk before anything is sealed under it, and goes
//! when nothing is any more; a crash in between leaves a key too many, never one too few.

mod backup;
mod command;
mod envelope;
mod error;
mod file;
mod key;
mod vault;

pub use backup::{BackupReader, BackupWriter, backup_label};
pub use error::Error;
pub use key::{COMMAND, KeyId, KeySource};
pub use vault::{Rekeyed, Vault};

use ward_types::secret::Secret;

/// A new secret of so many random bytes, as text: base64url without padding (RFC 4648, section 5).
///
/// # Errors
/// [`Error::Random`].
pub fn generate(bytes: u32) -> Result<Secret, Error> {
    use base64::Engine as _;
    let mut random = zeroize::Zeroizing::new(vec![0; bytes as usize]);
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::Random)?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&*random);
    Ok(Secret::new(text))
}
