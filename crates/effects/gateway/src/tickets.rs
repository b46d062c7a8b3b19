//! The keys of session tickets: what lets a client come back without a whole handshake (RFC 5077, RFC 8446
//! section 4.6.1).
//!
//! All workers have the same keys, and a gateway that takes over is given those of the one before over its
//! control socket: after an upgrade no crowd of clients asks for whole handshakes at once. They are in memory
//! alone, because whoever has one can read recorded TLS 1.2 sessions that were resumed with it. One seals for six
//! hours and opens for six more.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use rustls::server::ProducesTickets;
use ward_types::secret::Secret;
use ward_types::table::TicketKey;
use ward_types::time::Millis;

use crate::clock;

/// For how long a key seals, and how long a client may keep a ticket.
const SEALS: Duration = Duration::from_secs(6 * 3600);
/// For how long a key opens.
const OPENS: Duration = Duration::from_secs(12 * 3600);

const NAME: usize = 16;
const BYTES: usize = 32;

/// The keys, the newest first.
pub(crate) struct Tickets(RwLock<Vec<Key>>);

struct Key {
    name: [u8; NAME],
    bytes: Secret,
    aead: RandomizedNonceKey,
    /// When it was made, in this process's time; before its start: how long before that.
    made: i64,
}

impl Key {
    fn fresh(now: i64) -> Result<Self, Unspecified> {
        let mut bytes = [0; NAME + BYTES];
        aws_lc_rs::rand::fill(&mut bytes)?;
        Self::of(&bytes, now)
    }

    fn of(bytes: &[u8; NAME + BYTES], made: i64) -> Result<Self, Unspecified> {
        let (name, key) = bytes.split_at(NAME);
        Ok(Self {
            name: name.try_into().map_err(|_| Unspecified)?,
            bytes: Secret::new(hex::encode(bytes)),
            aead: RandomizedNonceKey::new(&AES_256_GCM, key)?,
            made,
        })
    }

    fn is_younger(&self, than: Duration, now: i64) -> bool {
        u128::from(now.saturating_sub(self.made).unsigned_abs()) < than.as_millis()
    }

    /// Name, nonce, what was sealed.
    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self
            .aead
            .seal_in_place_append_tag(Aad::from(self.name), &mut sealed);
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + sealed.len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(nonce.ok()?.as_ref());
        ticket.append(&mut sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.get(NAME..)?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = self
            .aead
            .open_in_place(nonce, Aad::from(self.name), &mut plain)
            .ok()?
            .len();
        plain.truncate(length);
        Some(plain)
    }
}

impl Tickets {
    /// With the keys of the gateway before, or one of its own.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn new(handed: &[TicketKey]) -> Result<Self, Unspecified> {
        Self::with(handed, now())
    }

    fn with(handed: &[TicketKey], now: i64) -> Result<Self, Unspecified> {
        let key = |handed: &TicketKey| {
            let age = i64::try_from(handed.age.0).ok()?;
            Key::of(&bytes(handed.secret.expose())?, now.checked_sub(age)?).ok()
        };
        let mut keys: Vec<Key> = handed.iter().filter_map(key).collect();
        if keys.is_empty() {
            keys.push(Key::fresh(now)?);
        }
        Ok(Self(RwLock::new(keys)))
    }

    /// For the gateway that takes over.
    pub(crate) fn handed(&self) -> Vec<TicketKey> {
        let now = now();
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let handed = |key: &Key| TicketKey {
            secret: key.bytes.clone(),
            age: Millis(now.saturating_sub(key.made).unsigned_abs()),
        };
        keys.iter().map(handed).collect()
    }

    fn sealed(&self, plain: &[u8], now: i64) -> Option<Vec<u8>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.first().filter(|key| key.is_younger(SEALS, now)) {
            return key.seal(plain);
        }
        drop(keys);
        self.renew(now);
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        keys.first()?.seal(plain)
    }

    fn renew(&self, now: i64) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have been faster.
        let stale = keys.first().is_none_or(|key| !key.is_younger(SEALS, now));
        if stale && let Ok(key) = Key::fresh(now) {
            keys.retain(|key| key.is_younger(OPENS, now));
            keys.insert(0, key);
        }
    }

    fn opened(&self, ticket: &[u8], now: i64) -> Option<Vec<u8>> {
        let name = ticket.get(..NAME)?;
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys
            .iter()
            .find(|key| key.name == name && key.is_younger(OPENS, now))?;
        key.open(ticket)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        SEALS.as_secs() as u32
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.sealed(plain, now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.opened(cipher, now())
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

fn now() -> i64 {
    i64::try_from(clock::millis()).unwrap_or(i64::MAX)
}

fn bytes(text: &str) -> Option<[u8; NAME + BYTES]> {
    let mut bytes = [0; NAME + BYTES];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_ticket_is_opened_by_whoever_has_its_key_and_by_nobody_else() {
        let one = Tickets::with(&[], 0).unwrap();
        let ticket = one.sealed(b"session", 0).unwrap();
        let successor = Tickets::with(&one.handed(), 0).unwrap();
        assert_eq!(successor.opened(&ticket, 0).unwrap(), b"session");
        let stranger = Tickets::with(&[], 0).unwrap();
        assert_eq!(stranger.opened(&ticket, 0), None);
        for place in 0..ticket.len() {
            let mut broken = ticket.clone();
            broken[place] ^= 1;
            assert_eq!(one.opened(&broken, 0), None, "byte {place}");
            assert_eq!(one.opened(&ticket[..place], 0), None);
        }
    }

    #[test]
    fn keys_are_renewed_and_the_one_before_opens_for_a_while() {
        let tickets = Tickets::with(&[], 0).unwrap();
        let first = tickets.sealed(b"session", 0).unwrap();
        let second = tickets.sealed(b"session", 7 * HOUR).unwrap();
        assert_ne!(first[..NAME], second[..NAME]);
        assert!(tickets.opened(&first, 11 * HOUR).is_some());
        assert!(tickets.opened(&first, 13 * HOUR).is_none());
        assert!(tickets.opened(&second, 13 * HOUR).is_some());
        tickets.sealed(b"session", 26 * HOUR).unwrap();
        assert_eq!(tickets.handed().len(), 1);
    }

    #[test]
    fn keys_that_were_handed_over_go_on_ageing() {
        let old = Tickets::with(&[], -5 * HOUR).unwrap();
        let keys = old.handed();
        let successor = Tickets::with(&keys, 0).unwrap();
        let before = successor.sealed(b"", HOUR / 2).unwrap();
        let after = successor.sealed(b"", 2 * HOUR).unwrap();
        assert_ne!(before[..NAME], after[..NAME]);
        assert!(!format!("{keys:?}").contains(keys[0].secret.expose()));
    }

    #[test]
    fn nonsense_is_no_key() {
        for nonsense in ["", "zz", &"g".repeat(2 * (NAME + BYTES))] {
            assert_eq!(bytes(nonsense), None);
        }
    }
}
