//! Secrets in an instance's output: what is written down instead is `[secret NAME]`.
//!
//! A value is looked for as it is, and as base64 and base32 (also within a longer text that was encoded), hexadecimal and as
//! a JSON string writes it; in the text as it was said, and in the ways in which it can be read without what only carries
//! it: colours of a terminal, breaks of encoded lines, percent-encoding and `\xNN` ([`view`]), what stands between pairs of
//! digits ([`digits`]). Of a value of several lines each line is looked for, so that a line of output does not wait for the
//! next one, but for a line of base64, or of pairs of digits, that is full: that goes on in the next one. What is shorter
//! than eight bytes is no secret that can be told from other text.

mod digits;
mod forms;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use ward_types::secrets::Mask;
use zeroize::Zeroize as _;

use self::forms::forms;
use self::view::views;

/// Longer ones are looked for in pieces of at most so many bytes.
const PIECE: usize = 512;
/// The most of the output, in bytes, that is held back for what may still come.
const HELD: usize = 8 * 1024;
/// How much of what was said before is remembered, to tell how long a line is: more than any line of base64 has.
const BEFORE: usize = 192;

/// All that must not appear in an instance's output.
pub(super) struct Masks {
    automaton: AhoCorasick,
    /// In order.
    patterns: Vec<Vec<u8>>,
    names: Vec<Rc<str>>,
    firsts: [bool; 256],
    longest: usize,
}

impl Masks {
    /// `None` where there is nothing to look for.
    pub(super) fn new(masks: &[Mask]) -> Option<Rc<Self>> {
        let mut all: BTreeMap<Vec<u8>, Rc<str>> = BTreeMap::new();
        for mask in masks {
            let name: Rc<str> = format!("[secret {}]", mask.name).into();
            for form in forms(mask.value.expose()) {
                for piece in pieces(&form) {
                    all.entry(piece.to_vec()).or_insert_with(|| name.clone());
                }
            }
        }
        let (patterns, names): (Vec<Vec<u8>>, Vec<Rc<str>>) = all.into_iter().unzip();
        if patterns.is_empty() {
            return None;
        }
        let mut firsts = [false; 256];
        for pattern in &patterns {
            firsts[usize::from(pattern[0])] = true;
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns);
        Some(Rc::new(Self {
            // Patterns of these sizes are far from what an automaton can hold.
            automaton: automaton.ok()?,
            longest: patterns.iter().map(Vec::len).max().unwrap_or(0),
            patterns,
            names,
            firsts,
        }))
    }

    /// The first place from `from` on where a text begins whose end is still to come.
    fn unfinished(&self, text: &[u8], from: usize) -> Option<usize> {
        let from = from.max((text.len() + 1).saturating_sub(self.longest));
        let begins = |at: &usize| {
            let rest = &text[*at..];
            self.firsts[usize::from(rest[0])] && self.is_begun(rest)
        };
        (from..text.len()).find(begins)
    }

    /// Whether one begins with this and goes on: those that do follow each other, in order.
    fn is_begun(&self, text: &[u8]) -> bool {
        let at = self.patterns.partition_point(|p| p.as_slice() < text);
        let mut next = self.patterns.iter().skip(at).take(2);
        next.any(|p| p.len() > text.len() && p.starts_with(text))
    }
}

impl Drop for Masks {
    fn drop(&mut self) {
        self.patterns.zeroize();
    }
}

/// What one stream has said, and may not have finished saying.
#[derive(Default)]
pub(super) struct Masker {
    masks: Option<Rc<Masks>>,
    /// The end of what was said and is done with.
    before: Vec<u8>,
    held: Vec<u8>,
    /// How much of what is held belongs to a secret whose name was written down.
    named: usize,
}

impl Drop for Masker {
    fn drop(&mut self) {
        self.before.zeroize();
        self.held.zeroize();
    }
}

impl Masker {
    pub(super) fn new(masks: Option<Rc<Masks>>) -> Self {
        Self {
            masks,
            before: Vec::new(),
            held: Vec::new(),
            named: 0,
        }
    }

    /// What can be written down, now that this has been said.
    pub(super) fn feed<'a>(&mut self, said: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(masks) = self.masks.clone() else {
            return Cow::Borrowed(said);
        };
        Cow::Owned(self.masked(&masks, said, Until::MoreMayCome))
    }

    /// What is left when nothing more will be said.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        match self.masks.clone() {
            Some(masks) => self.masked(&masks, &[], Until::TheEnd),
            None => Vec::new(),
        }
    }

    fn masked(&mut self, masks: &Masks, said: &[u8], until: Until) -> Vec<u8> {
        let mut held = std::mem::take(&mut self.held);
        let mut text = [&self.before[..], &held, said].concat();
        held.zeroize();
        let mut masked = Vec::with_capacity(text.len());
        let from = self.before.len();
        let views = views(&text);
        let end = match until {
            Until::MoreMayCome => {
                let ends = views.iter().map(|view| view.unfinished(masks, from));
                ends.min().unwrap_or(text.len())
            }
            Until::TheEnd => text.len(),
        };
        let all = views.iter().flat_map(|view| view.found(masks, from));
        let mut all: Vec<Found> = all.filter(|found| found.start < end).collect();
        all.sort_unstable_by_key(|found| (found.start, std::cmp::Reverse(found.end)));
        let mut done = from + self.named;
        for found in all {
            // Secrets lie within each other, and so do the pieces of one that repeats itself: one name is said for all.
            if found.start >= done {
                masked.extend_from_slice(&text[done..found.start]);
                masked.extend_from_slice(masks.names[found.pattern].as_bytes());
            }
            done = done.max(found.end);
        }
        masked.extend_from_slice(text.get(done..end).unwrap_or_default());
        self.named = done.saturating_sub(end);
        drop(views);
        self.held = text.split_off(end);
        let known = text.len().saturating_sub(BEFORE);
        self.before.zeroize();
        self.before
            .extend_from_slice(text.get(known..).unwrap_or_default());
        text.zeroize();
        masked
    }
}

/// What hides secrets in whole texts.
pub struct Hiding(Option<Rc<Masks>>);

impl Hiding {
    /// What hides these.
    #[must_use]
    pub fn of(masks: &[Mask]) -> Self {
        Self(Masks::new(masks))
    }

    /// A whole text with the names of secrets in place of their values.
    #[must_use]
    pub fn masked(&self, text: &str) -> String {
        let mut masker = Masker::new(self.0.clone());
        let mut written = masker.feed(text.as_bytes()).into_owned();
        written.extend(masker.finish());
        String::from_utf8_lossy(&written).into_owned()
    }
}

#[derive(Clone, Copy)]
enum Until {
    MoreMayCome,
    TheEnd,
}

/// A secret in a text.
#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    pattern: usize,
}

/// A form as it is, or in pieces that follow each other: where all that are found are hidden, nothing of it is left.
fn pieces(form: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = form.len().div_ceil(PIECE).max(1);
    form.chunks(form.len().div_ceil(count).max(1))
}

#[cfg(test)]
mod tests;
