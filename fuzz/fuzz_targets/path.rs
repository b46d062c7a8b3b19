//! Paths. What passes has the same first segments for every other reader: for those that decode once, twice or
//! three times, cut parameters, take backslashes for slashes, drop empty segments or resolve dots.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ward_gateway::fuzzing::{leading, without};

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else {
        return;
    };
    let Ok(rest) = std::str::from_utf8(rest) else {
        return;
    };
    let path = format!("/{rest}");
    if path.contains('?') || http::uri::PathAndQuery::try_from(&*path).is_err() {
        return;
    }
    let depth = usize::from(how & 1) + 1;
    if let Some(own) = leading(&path, depth) {
        let own: Vec<&str> = own.split('/').skip(1).take(depth).collect();
        for habits in 0..=127 {
            let other = another_reader(&path, habits);
            for (at, segment) in own.iter().enumerate() {
                let other = other.get(at).map_or("", String::as_str);
                assert_eq!(*segment, other, "{path} as {habits:07b} reads it");
            }
        }
        if let Some(left) = without(&path, depth) {
            assert!(left.starts_with('/') && !left.starts_with("//"), "{left}");
            assert!(path.ends_with(&*left) || left == "/", "{left} of {path}");
        }
    }
});

fn another_reader(path: &str, habits: u8) -> Vec<String> {
    let has = |bit: u8| habits & (1 << bit) != 0;
    let cut = |bytes: Vec<u8>, does: bool| match does {
        true => without_parameters(&bytes),
        false => bytes,
    };
    let mut bytes = cut(path.as_bytes().to_vec(), has(0) && has(5));
    // Once, twice, or three times.
    for _ in 0..1 + usize::from(has(1)) + usize::from(has(1) && has(6)) {
        bytes = decoded(&bytes);
    }
    if has(2) {
        bytes
            .iter_mut()
            .filter(|byte| **byte == b'\\')
            .for_each(|byte| *byte = b'/');
    }
    bytes = cut(bytes, has(0));
    let text = String::from_utf8_lossy(&bytes).into_owned();
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

fn without_parameters(bytes: &[u8]) -> Vec<u8> {
    let segments = bytes.split(|byte| *byte == b'/');
    let names = segments.map(|one| one.split(|byte| *byte == b';').next().unwrap_or(one));
    names.collect::<Vec<_>>().join(&b'/')
}

/// Escapes that are none stay.
fn decoded(text: &[u8]) -> Vec<u8> {
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        let digits = match &text[at..] {
            [b'%', high, low, ..] => value(*high).zip(value(*low)),
            _ => None,
        };
        at += match digits {
            Some((high, low)) => {
                out.push(high << 4 | low);
                3
            }
            None => {
                out.push(text[at]);
                1
            }
        };
    }
    out
}
