//! Decision: what of a path says where a request goes, and which paths are refused because of it.
//!
//! Where a host's routes ask for prefixes, a path is matched by its first segments, as many as the longest
//! prefix has, each decoded once (RFC 3986 section 2.1), upper and lower case told apart. What the instance gets is
//! what the client wrote. So a path may not mean something else to the instance than to the match: it is refused
//! when another reader could find other first segments in it. These are:
//!
//! - dot segments, in whatever guise: `..`, `%2e%2E`, `..;x`, `..%2F`, `..\`, and encoded up to three times over.
//!   Clients resolve them before they ask (RFC 3986 section 5.2.4), so who sends them wants something else;
//! - within the first segments: empty ones (`//`), parameters (`;`), backslashes, and `/`, `\`, `;`, `%`, `?` and `#` in
//!   escapes. Behind them they lead nowhere else, and pass;
//! - escapes that are none, control characters in escapes, and bytes that no UTF-8 has (`%C0%AE`, an overlong dot);
//! - a path that leads elsewhere when cases are not told apart (see [`crate::site`]).
//!
//! A host with one route, or with routes that do not ask for prefixes, takes every path.

use std::borrow::Cow;

/// How often escapes are taken to be escaped again.
const LAYERS: usize = 3;

/// What a path's first `depth` segments are, and perhaps more of them; `None`: that can be read in two ways.
pub(crate) fn leading(path: &str, depth: usize) -> Option<Cow<'_, str>> {
    match is_simple(path) {
        true => Some(Cow::Borrowed(path)),
        false => decoded_leading(path, depth).map(Cow::Owned),
    }
}

/// Whether nothing in it could be read in two ways.
fn is_simple(path: &str) -> bool {
    let mut before = 0;
    path.bytes().all(|byte| {
        let segment_begins = std::mem::replace(&mut before, byte) == b'/';
        match byte {
            b'%' | b';' | b'\\' => false,
            b'/' | b'.' => !segment_begins,
            _ => true,
        }
    })
}

fn decoded_leading(path: &str, depth: usize) -> Option<String> {
    let mut leading = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/')?.split('/').enumerate().peekable();
    while let Some((place, segment)) = segments.next() {
        let decoded = decoded(segment.as_bytes(), Escapes::Strict)?;
        if decoded.iter().any(|byte| is_foul(*byte)) || climbs(&decoded) {
            return None;
        }
        if place < depth {
            let is_last = segments.peek().is_none();
            let divided = decoded.iter().any(|byte| b"/\\;%?#".contains(byte));
            if divided || (segment.is_empty() && !is_last) {
                return None;
            }
            leading.push('/');
            leading.push_str(std::str::from_utf8(&decoded).ok()?);
        }
    }
    Some(leading)
}

fn is_foul(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, 0xC0 | 0xC1)
}

/// Whether somebody could find a dot segment in a decoded segment.
fn climbs(decoded_once: &[u8]) -> bool {
    let mut text = Cow::Borrowed(decoded_once);
    for _ in 0..LAYERS {
        let mut pieces = text.split(|byte| matches!(byte, b'/' | b'\\'));
        if pieces.any(is_dots) {
            return true;
        }
        if !text.contains(&b'%') {
            return false;
        }
        let next = decoded(&text, Escapes::Lenient).unwrap_or_default();
        text = Cow::Owned(next);
    }
    false
}

fn is_dots(piece: &[u8]) -> bool {
    let name = piece.split(|byte| *byte == b';').next().unwrap_or(piece);
    matches!(name.trim_ascii_end(), b"." | b"..")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// One that is none is a mistake.
    Strict,
    /// One that is none stays as it is.
    Lenient,
}

fn decoded(text: &[u8], escapes: Escapes) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = (*byte == b'%').then(|| text.get(at + 1..at + 3).and_then(escaped));
        match escaped {
            Some(Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            Some(None) if escapes == Escapes::Strict => return None,
            Some(None) | None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    Some(out)
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(value(*high)? * 16 + value(*low)?).ok()
}

/// Whether a prefix covers a path: all of it or up to a slash. `same` compares texts of one length.
pub(crate) fn covers(prefix: &str, path: &str, same: fn(&[u8], &[u8]) -> bool) -> bool {
    let (prefix, path) = (prefix.as_bytes(), path.as_bytes());
    let ends = matches!(path.get(prefix.len()), None | Some(b'/'));
    ends && path
        .get(..prefix.len())
        .is_some_and(|start| same(start, prefix))
}

/// What is left of a target, a path with or without a query, without its first `count` segments; `None` when it
/// would begin with two slashes, which some take for a host's name.
pub(crate) fn without(target: &str, count: usize) -> Option<Cow<'_, str>> {
    let path_ends = target.find('?').unwrap_or(target.len());
    let slashes = target[..path_ends].match_indices('/');
    let rest = slashes
        .map(|(place, _)| place)
        .nth(count)
        .unwrap_or(path_ends);
    let rest = &target[rest..];
    match rest.starts_with('/') {
        true if rest.starts_with("//") => None,
        true => Some(Cow::Borrowed(rest)),
        false => Some(Cow::Owned(format!("/{rest}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_segments_are_decoded_once() {
        for (path, depth, expected) in [
            ("/api/v1", 1, "/api/v1"),
            ("/%61pi/v1", 1, "/api"),
            ("/a%70i", 2, "/api"),
            ("/api/", 2, "/api/"),
            ("/api/a%2Fb;c//d", 1, "/api"),
            ("/api/100%25", 1, "/api"),
            ("/%C3%A9/x", 1, "/é"),
            ("/.well-known/x", 1, "/.well-known"),
            ("/api/..x/x..", 1, "/api"),
        ] {
            let leading = leading(path, depth);
            assert_eq!(leading.as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for path in [
            "/x/../admin",
            "/x/./admin",
            "/x/%2e%2e/admin",
            "/x/%2E./admin",
            "/x/.%2e",
            "/x/..%2Fadmin",
            "/x/a%2f..%2fadmin",
            "/x/..;/admin",
            "/x/..;a=b/admin",
            "/x/..%3b/admin",
            "/x/..%5cadmin",
            "/x/..\\admin",
            "/x\\..\\admin",
            "/x/%252e%252e/admin",
            "/x/%25252e./admin",
            "/x/..%20/admin",
            "/x/%252e%252e%252f%25",
            "//admin",
            "/x//y",
            "/x;a/y",
            "/x%3Ba/y",
            "/x%2Fy",
            "/admin%3Fx",
            "/admin%23x",
            "/x%5Cy",
            "/x\\y",
            "/%2561dmin",
            "/x/y/%",
            "/x/y/%4",
            "/x/y/%zz",
            "/x/y/%00",
            "/x/y/%0a",
            "/x/y/%7F",
            "/x/y/%c0%ae%c0%ae/z",
            "/%ff",
            "/..",
            "/.",
            "*",
        ] {
            let refused = path == "*" || leading(path, 2).is_none();
            assert!(refused, "{path} was taken");
        }
        assert_eq!(decoded_leading("*", 1), None);
    }

    #[test]
    fn a_long_chain_of_escapes_is_not_followed_to_its_end() {
        let path = format!("/x/%{}2e", "25".repeat(30_000));
        assert!(leading(&path, 1).is_some());
    }

    #[test]
    fn prefixes_end_at_the_borders_of_segments() {
        let exact = |one: &[u8], other: &[u8]| one == other;
        for (path, covered) in [
            ("/api", true),
            ("/api/", true),
            ("/api/x", true),
            ("/apis", false),
            ("/ap", false),
            ("/", false),
        ] {
            assert_eq!(covers("/api", path, exact), covered, "{path}");
        }
        assert!(covers("/API", "/api/x", <[u8]>::eq_ignore_ascii_case));
    }

    #[test]
    fn what_is_left_begins_with_one_slash() {
        for (target, count, rest) in [
            ("/api/x?y=/z", 1, "/x?y=/z"),
            ("/api", 1, "/"),
            ("/api?x=/a/b", 1, "/?x=/a/b"),
            ("/api/", 1, "/"),
            ("/a/b/c", 2, "/c"),
            ("/a/b", 2, "/"),
            ("/%61pi/%2F", 1, "/%2F"),
        ] {
            assert_eq!(without(target, count).as_deref(), Some(rest), "{target}");
        }
        assert_eq!(without("/api//host/x", 1), None);
    }

    /// What a reader makes of a path that resolves and folds whatever `habits` say.
    fn another_reader(path: &str, habits: u8) -> Vec<String> {
        let has = |bit: u8| habits & (1 << bit) != 0;
        let cut = |text: String| match has(0) {
            true => text
                .split('/')
                .map(|s| s.split(';').next().unwrap())
                .collect::<Vec<_>>()
                .join("/"),
            false => text,
        };
        let text = match has(5) {
            true => cut(path.to_owned()),
            false => path.to_owned(),
        };
        let mut bytes = text.into_bytes();
        for _ in 0..=usize::from(has(1)) {
            bytes = decoded(&bytes, Escapes::Lenient).unwrap();
        }
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if has(2) {
            text = text.replace('\\', "/");
        }
        text = cut(text);
        let mut found: Vec<String> = Vec::new();
        for segment in text.split('/').skip(1) {
            match segment {
                "" if has(3) => {}
                "." if has(4) => {}
                ".." if has(4) => drop(found.pop()),
                other => found.push(other.to_owned()),
            }
        }
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn no_other_reader_finds_another_first_segment(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "/", "/", "/", "admin", "x", "..", ".", ";", "%2f", "%5C", "\\", "%2e", "%25", "2e", "2f", "%3b", "a", "%61",
                ]), 1..12),
            habits in 0_u8..64,
        ) {
            let path = format!("/{}", pieces.concat());
            if let Some(leading) = leading(&path, 1) {
                let own = leading.split('/').nth(1).unwrap_or("").to_owned();
                let other = another_reader(&path, habits).first().cloned().unwrap_or_default();
                prop_assert_eq!(own, other, "{} as {:06b} reads it", path, habits);
            }
        }
    }
}
