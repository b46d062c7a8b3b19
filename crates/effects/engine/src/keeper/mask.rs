//! Secrets in an instance's output: what is written down instead is `[secret NAME]`.
//!
//! A value is looked for as it is, and as base64 (also within a longer text that was encoded), percent-encoded,
//! hexadecimal and as a JSON string writes it. Of a value of several lines each line is looked for, so that a line of
//! output never waits for the next one. What is shorter than eight bytes is no secret that can be told from other
//! text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ward_types::secrets::{Mask, SHORTEST_MASKED as SHORTEST};
use zeroize::Zeroize as _;

/// Longer ones are looked for in pieces of so many bytes: no more of the output is ever held back.
const PIECE: usize = 512;

/// All that must not appear in an instance's output.
pub(super) struct Masks {
    automaton: AhoCorasick,
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
            .match_kind(MatchKind::LeftmostLongest)
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
    fn unfinished(&self, text: &[u8], from: usize) -> usize {
        let from = from.max((text.len() + 1).saturating_sub(self.longest));
        let begins = |at: &usize| {
            let rest = &text[*at..];
            let mut patterns = self.patterns.iter();
            self.firsts[usize::from(rest[0])]
                && patterns.any(|p| p.len() > rest.len() && p.starts_with(rest))
        };
        (from..text.len()).find(begins).unwrap_or(text.len())
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
    held: Vec<u8>,
}

impl Masker {
    pub(super) fn new(masks: Option<Rc<Masks>>) -> Self {
        Self {
            masks,
            held: Vec::new(),
        }
    }

    /// What can be written down, now that this has been said.
    pub(super) fn feed<'a>(&mut self, said: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(masks) = self.masks.clone() else {
            return Cow::Borrowed(said);
        };
        let nothing = self.held.is_empty()
            && masks.unfinished(said, 0) == said.len()
            && !masks.automaton.is_match(said);
        if nothing {
            return Cow::Borrowed(said);
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(said);
        let mut masked = Vec::with_capacity(text.len());
        let mut from = 0;
        loop {
            let end = masks.unfinished(&text, from);
            from = replace(&masks, &text, from, end, &mut masked);
            if from >= end {
                break;
            }
        }
        self.held = text.split_off(from);
        text.zeroize();
        Cow::Owned(masked)
    }

    /// What is left when nothing more will be said.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        let Some(masks) = &self.masks else {
            return text;
        };
        let mut masked = Vec::new();
        let mut from = 0;
        while from < text.len() {
            from = replace(masks, &text, from, text.len(), &mut masked);
        }
        masked
    }
}

/// Writes `text` from `from` on down, to the end of the first match that begins before `end`, or else to `end`; returns
/// how far that is.
fn replace(masks: &Masks, text: &[u8], from: usize, end: usize, masked: &mut Vec<u8>) -> usize {
    let input = aho_corasick::Input::new(text).range(from..);
    match masks
        .automaton
        .find(input)
        .filter(|found| found.start() < end)
    {
        Some(found) => {
            masked.extend_from_slice(&text[from..found.start()]);
            masked.extend_from_slice(masks.names[found.pattern().as_usize()].as_bytes());
            found.end()
        }
        None => {
            masked.extend_from_slice(&text[from..end]);
            end
        }
    }
}

/// The forms in which a value may appear, on one line each.
fn forms(value: &str) -> Vec<Vec<u8>> {
    let lines = value.lines().filter(|line| !is_armour(line));
    let mut forms: Vec<Vec<u8>> = lines.map(|line| line.trim().as_bytes().to_vec()).collect();
    let whole = value.trim_end_matches(['\r', '\n']);
    let mut encoded = Vec::new();
    if value.len() >= SHORTEST {
        for form in [value, whole] {
            encoded.extend(in_base64(form.as_bytes()));
            encoded.extend(percent_encoded(form));
            encoded.push(hex::encode(form).into_bytes());
            encoded.push(hex::encode_upper(form).into_bytes());
        }
        let json = serde_json::to_string(whole).unwrap_or_default();
        let inside = json
            .get(1..json.len().saturating_sub(1))
            .unwrap_or_default();
        encoded.push(inside.as_bytes().to_vec());
        encoded.push(in_ascii(inside).into_bytes());
    }
    forms.extend(encoded);
    forms.retain(|form| form.len() >= SHORTEST && !form.contains(&b'\n'));
    forms
}

/// The first and last line of a key in PEM (RFC 7468) are no secret, and many other things have them.
fn is_armour(line: &str) -> bool {
    line.starts_with("-----BEGIN ") || line.starts_with("-----END ")
}

/// Alone, and what stays the same wherever it lies in a longer text that was encoded: three bytes become four letters,
/// so that there are three ways, and the letters at the ends depend on the neighbours.
fn in_base64(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for engine in [STANDARD, URL_SAFE] {
        let alone = engine.encode(value);
        forms.push(alone.trim_end_matches('=').as_bytes().to_vec());
        forms.push(alone.into_bytes());
        for before in 0..3 {
            let shifted = [&vec![0; before][..], value].concat();
            let letters = engine.encode(&shifted);
            let first = (before * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            forms.push(letters.as_bytes()[first..last].to_vec());
        }
    }
    forms
}

/// A JSON string as those write it that leave ASCII alone in it: `\u00fc` for `ü`.
fn in_ascii(json: &str) -> String {
    let mut units = [0; 2];
    let mut text = String::new();
    for c in json.chars() {
        match c.is_ascii() {
            true => text.push(c),
            false => {
                for unit in c.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    text
}

/// As RFC 3986 encodes it, as JavaScript does, and as forms do; with digits in capitals and in small letters.
fn percent_encoded(value: &str) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for (also, space) in [("", "%20"), ("!'()*", "%20"), ("", "+"), ("*", "+")] {
        for capitals in [false, true] {
            let mut form = Vec::new();
            for byte in value.bytes() {
                let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                match byte {
                    b' ' => form.extend_from_slice(space.as_bytes()),
                    _ if plain || also.as_bytes().contains(&byte) => form.push(byte),
                    _ if capitals => form.extend_from_slice(format!("%{byte:02X}").as_bytes()),
                    _ => form.extend_from_slice(format!("%{byte:02x}").as_bytes()),
                }
            }
            forms.push(form);
        }
    }
    forms
}

/// A form as it is, or in pieces of equal length that cover it.
fn pieces(form: &[u8]) -> Vec<&[u8]> {
    if form.len() <= PIECE {
        return vec![form];
    }
    let mut pieces: Vec<&[u8]> = form.chunks_exact(PIECE).collect();
    pieces.push(&form[form.len() - PIECE..]);
    pieces
}

#[cfg(test)]
mod tests {
    use ward_types::secret::Secret;

    use super::*;

    fn masker(values: &[(&str, &str)]) -> Masker {
        let masks: Vec<Mask> = values
            .iter()
            .map(|(name, value)| Mask {
                name: (*name).to_owned(),
                value: Secret::new((*value).to_owned()),
            })
            .collect();
        Masker::new(Masks::new(&masks))
    }

    /// What is written down of a text that is said in pieces of this length.
    fn said(values: &[(&str, &str)], text: &str, length: usize) -> String {
        let mut masker = masker(values);
        let mut written = Vec::new();
        for piece in text.as_bytes().chunks(length) {
            written.extend_from_slice(&masker.feed(piece));
        }
        written.extend(masker.finish());
        String::from_utf8(written).unwrap()
    }

    const KEY: &str = "p4ss/w0rd+%&ü \"x\"";

    #[test]
    fn p6_a_value_is_masked_in_each_form_wherever_reads_are_cut() {
        let forms = [
            KEY.to_owned(),
            STANDARD.encode(KEY),
            URL_SAFE.encode(KEY).trim_end_matches('=').to_owned(),
            "p4ss%2Fw0rd%2B%25%26%C3%BC%20%22x%22".to_owned(),
            "p4ss%2fw0rd%2b%25%26%c3%bc+%22x%22".to_owned(),
            hex::encode(KEY),
            "p4ss/w0rd+%&ü \\\"x\\\"".to_owned(),
            "p4ss/w0rd+%&\\u00fc \\\"x\\\"".to_owned(),
        ];
        for form in forms {
            let text = format!("before {form}, twice: {form}{form} after");
            let masked = "before [secret KEY], twice: [secret KEY][secret KEY] after";
            for length in 1..text.len() {
                assert_eq!(
                    said(&[("KEY", KEY)], &text, length),
                    masked,
                    "{form} by {length}"
                );
            }
        }
    }

    #[test]
    fn within_a_longer_text_that_was_encoded_little_is_left() {
        for user in ["a", "ab", "abc"] {
            let encoded = STANDARD.encode(format!("{user}:{KEY}@host"));
            let written = said(&[("KEY", KEY)], &encoded, 7);
            assert!(written.contains("[secret KEY]"), "{written}");
            let left = written.len() - "[secret KEY]".len();
            let around = STANDARD.encode(format!("{user}:@host")).len();
            assert!(left <= around + 4, "{written}");
        }
    }

    #[test]
    fn what_only_begins_like_a_secret_is_written_in_the_end() {
        let values = [("KEY", "abcdefgh"), ("LONG", "xxabcdefghyy")];
        assert_eq!(
            said(&values, "abcdefg and xxabcdef", 3),
            "abcdefg and xxabcdef"
        );
        assert_eq!(said(&values, "xxabcdefghyy", 3), "[secret LONG]");
        assert_eq!(said(&values, "xxabcdefghz", 3), "xx[secret KEY]z");
        assert_eq!(said(&values, "xxabcdefgh", 3), "xx[secret KEY]");
        // A line waits for nothing that its end rules out.
        let mut masker = masker(&values);
        assert_eq!(&*masker.feed(b"plain\nabc\n"), b"plain\nabc\n");
    }

    #[test]
    fn long_values_are_masked_in_pieces_and_short_ones_not_at_all() {
        let long: String = (0..2000)
            .map(|n| char::from(b'!' + (n * 7 % 90) as u8))
            .collect();
        let written = said(&[("LONG", &long)], &format!("a {long} b"), 300);
        assert!(written.starts_with("a [secret LONG]"), "{written}");
        let bare = written.replace("[secret LONG]", "");
        assert!(bare.len() < 2 * PIECE, "{bare}");
        assert!(masker(&[("SHORT", "1234567")]).masks.is_none());
        let pem =
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0B\n-----END PRIVATE KEY-----\n";
        let written = said(
            &[("PEM", pem)],
            &format!("{pem}-----BEGIN CERTIFICATE-----\n"),
            5,
        );
        let masked =
            "-----BEGIN PRIVATE KEY-----\n[secret PEM]\n[secret PEM]\n-----END PRIVATE KEY-----\n";
        assert_eq!(written, format!("{masked}-----BEGIN CERTIFICATE-----\n"));
    }
}
