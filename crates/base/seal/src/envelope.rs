//! One sealed value: its data key, wrapped by the master key, and the value, sealed by the data key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use ward_types::secret::Secret;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::key::{KeyId, MasterKey};

/// What is written down: base64 of a nonce of 12 bytes, the ciphertext and its tag of 16 (RFC 5116, section 5.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// Of this form.
    form: u32,
    /// The master key that wraps the data key.
    pub(crate) key: KeyId,
    wrapped: String,
    sealed: String,
}

const FORM: u32 = 1;
const NONCE: usize = 12;
const WRAPPING: &str = "ward wraps data keys";

/// Sealing or opening failed: the key, the text or what it is for is another one.
pub(crate) struct DoesNotOpen;

impl Envelope {
    pub(crate) fn seal(master: &MasterKey, purpose: &str, value: &Secret) -> Result<Self, Error> {
        let mut data = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *data).map_err(|_| Error::Random)?;
        Ok(Self {
            form: FORM,
            key: master.id(),
            wrapped: wrap(master, purpose, &*data)?,
            sealed: encrypt(&*data, purpose, value.expose().as_bytes())?,
        })
    }

    pub(crate) fn open(&self, master: &MasterKey, purpose: &str) -> Result<Secret, DoesNotOpen> {
        let data = self.unwrap(master, purpose)?;
        let value = decrypt(&data, purpose, &self.sealed)?;
        let text = std::str::from_utf8(&value).map_err(|_| DoesNotOpen)?;
        Ok(Secret::new(text.to_owned()))
    }

    /// The same value, its data key wrapped by another master key.
    pub(crate) fn rewrapped(
        &self,
        from: &MasterKey,
        to: &MasterKey,
        purpose: &str,
    ) -> Result<Result<Self, Error>, DoesNotOpen> {
        let data = self.unwrap(from, purpose)?;
        Ok(wrap(to, purpose, &data).map(|wrapped| Self {
            form: FORM,
            key: to.id(),
            wrapped,
            sealed: self.sealed.clone(),
        }))
    }

    fn unwrap(&self, master: &MasterKey, purpose: &str) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        if self.form != FORM {
            return Err(DoesNotOpen);
        }
        let bound = format!("{purpose}\0{}", self.key);
        decrypt(&*master.derive(WRAPPING), &bound, &self.wrapped)
    }
}

fn wrap(master: &MasterKey, purpose: &str, data: &[u8]) -> Result<String, Error> {
    let bound = format!("{purpose}\0{}", master.id());
    encrypt(&*master.derive(WRAPPING), &bound, data)
}

fn encrypt(key: &[u8], bound: &str, value: &[u8]) -> Result<String, Error> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| Error::Random)?;
    let mut sealed = Zeroizing::new(value.to_vec());
    let aad = Aad::from(bound.as_bytes());
    let nonce = key.seal_in_place_append_tag(aad, &mut *sealed);
    let nonce = nonce.map_err(|_| Error::Random)?;
    let whole = [nonce.as_ref().as_slice(), &sealed].concat();
    Ok(STANDARD.encode(whole))
}

fn decrypt(key: &[u8], bound: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
    let mut whole = STANDARD.decode(text).map_err(|_| DoesNotOpen)?;
    if whole.len() < NONCE {
        return Err(DoesNotOpen);
    }
    let mut sealed = Zeroizing::new(whole.split_off(NONCE));
    let nonce = Nonce::try_assume_unique_for_key(&whole).map_err(|_| DoesNotOpen)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| DoesNotOpen)?;
    let opened = key.open_in_place(nonce, Aad::from(bound.as_bytes()), &mut sealed);
    let length = opened.map_err(|_| DoesNotOpen)?.len();
    sealed.truncate(length);
    Ok(sealed)
}
