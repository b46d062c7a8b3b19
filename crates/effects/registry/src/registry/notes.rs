//! What is known in this process only, and may be forgotten.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use super::Registry;
use crate::blobs::Found;
use crate::catalog::now;
use crate::digest::ContentDigest;

/// Remembered verifications and promises; beyond that the old ones are forgotten.
const MEMORY: usize = 16 * 1024;
/// How long an object that has not changed since it was verified is delivered as it is. What changes
/// without anybody writing to it, a disk's decay, is found when this is over at the latest; and by every
/// client, which compares the digest as well.
const TRUSTED: Duration = Duration::from_secs(60 * 60);

/// What is known in this process only, and may be forgotten.
#[derive(Default)]
pub(super) struct Notes {
    /// Blobs that somebody was told are here.
    pub(super) vouched: HashMap<ContentDigest, SystemTime>,
    /// The stamp under which a blob was verified last, and when.
    pub(super) verified: HashMap<ContentDigest, (String, Instant)>,
    /// Blobs that were found damaged: they count as absent until they are pushed again.
    pub(super) damaged: HashSet<ContentDigest>,
    /// When each writer that is open was opened.
    pub(super) writers: BTreeMap<u64, SystemTime>,
    pub(super) next_writer: u64,
    /// When writers and uploads ended, and when each of these had begun: the manifest that refers to
    /// what was pushed meanwhile comes after the last of them.
    pub(super) ended: Vec<(SystemTime, SystemTime)>,
}

impl Registry {
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Notes) -> T) -> T {
        // Each change is one call on one map: a panic leaves nothing half done.
        let mut notes = self
            .inner
            .notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut notes)
    }

    pub(super) fn vouch(&self, digest: &ContentDigest) {
        let at = now();
        self.note(|notes| {
            if notes.vouched.len() >= MEMORY {
                let grace = self.inner.options.grace;
                let young =
                    |then: &SystemTime| at.duration_since(*then).is_ok_and(|age| age < grace);
                notes.vouched.retain(|_, then| young(then));
            }
            notes.vouched.insert(digest.clone(), at)
        });
    }

    /// When somebody was last told that the blob is here, in this process.
    pub(crate) fn vouched(&self, digest: &ContentDigest) -> Option<SystemTime> {
        self.note(|notes| notes.vouched.get(digest).copied())
    }

    /// Whether the content was found damaged when it was read last.
    pub(crate) fn is_damaged(&self, digest: &ContentDigest) -> bool {
        self.note(|notes| notes.damaged.contains(digest))
    }

    /// Whether the object as it is now was verified a short while ago in this process.
    pub(crate) fn is_verified(&self, found: &Found, digest: &ContentDigest) -> bool {
        let known = self.note(|notes| notes.verified.get(digest).cloned());
        known.is_some_and(|(stamp, at)| {
            found.stamp.as_ref() == Some(&stamp) && at.elapsed() < TRUSTED
        })
    }

    pub(super) fn note_verified(&self, digest: &ContentDigest, stamp: String) {
        self.note(|notes| {
            if notes.verified.len() >= MEMORY {
                notes.verified.clear();
            }
            notes
                .verified
                .insert(digest.clone(), (stamp, Instant::now()));
        });
    }

    /// When the oldest writer began that is open, or ended within the grace period.
    pub(crate) fn oldest_writer(&self) -> Option<SystemTime> {
        let (at, grace) = (now(), self.inner.options.grace);
        self.note(|notes| {
            let recent = |ended: SystemTime| at.duration_since(ended).is_ok_and(|age| age < grace);
            notes.ended.retain(|(ended, _)| recent(*ended));
            let begun = notes.ended.iter().map(|(_, began)| began);
            notes.writers.values().chain(begun).min().copied()
        })
    }

    /// An upload or writer that began at `began` has just ended.
    pub(crate) fn note_end(&self, began: SystemTime) {
        let at = now();
        self.note(|notes| {
            if notes.ended.len() >= MEMORY {
                // One entry that spares at least as much stands for all of them.
                let oldest = notes.ended.iter().map(|(_, began)| *began).min();
                notes.ended = oldest.map(|oldest| (at, oldest)).into_iter().collect();
            }
            notes.ended.push((at, began));
        });
    }
}
