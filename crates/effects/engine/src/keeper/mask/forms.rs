//! The forms in which a value is looked for.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ward_types::secrets::SHORTEST_MASKED as SHORTEST;

/// The forms in which a value may appear, on one line each.
pub(super) fn forms(value: &str) -> Vec<Vec<u8>> {
    let lines = value.lines().filter(|line| !is_armour(line));
    let mut forms: Vec<Vec<u8>> = lines.map(|line| line.trim().as_bytes().to_vec()).collect();
    // Percent-encoded it is found as it is; forms write a space as `+`.
    let spaced = forms.iter().filter(|form| form.contains(&b' '));
    let spaced: Vec<Vec<u8>> = spaced.map(|form| plus_for_spaces(form)).collect();
    forms.extend(spaced);
    let whole = value.trim_end_matches(['\r', '\n']);
    let mut encoded = Vec::new();
    if value.len() >= SHORTEST {
        for form in [value, whole] {
            encoded.extend(in_base64(form.as_bytes()));
            encoded.extend(in_base32(form.as_bytes()));
            if form.contains('\n') {
                // Its lines may be too short to be looked for one by one.
                encoded.extend(percent_encoded(form));
            }
            encoded.push(hex::encode(form).into_bytes());
            encoded.push(hex::encode_upper(form).into_bytes());
            encoded.extend([", ", ","].map(|between| as_numbers(form, between)));
        }
        let inside = in_json(whole);
        for form in [in_ascii(&inside), inside] {
            // And in a string that is in another one.
            encoded.push(in_json(&form).into_bytes());
            encoded.push(form.into_bytes());
        }
    }
    forms.extend(encoded);
    // Where a text is read without its escapes, those of the value are gone, too.
    let decoded: Vec<Vec<u8>> = forms
        .iter()
        .filter_map(|form| percent_decoded(form))
        .collect();
    forms.extend(decoded);
    forms.retain(|form| form.len() >= SHORTEST && !form.contains(&b'\n'));
    forms
}

/// As a list of bytes is written, in JSON or by who debugs.
fn as_numbers(value: &str, between: &str) -> Vec<u8> {
    let numbers: Vec<String> = value.bytes().map(|byte| byte.to_string()).collect();
    numbers.join(between).into_bytes()
}

/// Between the quotes of a JSON string that escapes only what it must.
fn in_json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    let inside = json.get(1..json.len().saturating_sub(1));
    inside.unwrap_or_default().to_owned()
}

/// Without its percent-encoding, if there is any in it.
fn percent_decoded(form: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(byte) = form.get(at) {
        let digits = form
            .get(at + 1)
            .and_then(digit)
            .zip(form.get(at + 2).and_then(digit));
        let (byte, length) = match digits.filter(|_| *byte == b'%') {
            Some((high, low)) => (high << 4 | low, 3),
            None => (*byte, 1),
        };
        decoded.push(byte);
        at += length;
    }
    (decoded.len() < form.len()).then_some(decoded)
}

fn plus_for_spaces(form: &[u8]) -> Vec<u8> {
    let plus = |byte: &u8| if *byte == b' ' { b'+' } else { *byte };
    form.iter().map(plus).collect()
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

/// The same of base32 (RFC 4648, section 6), where five bytes become eight letters; in capitals and in small letters.
fn in_base32(value: &[u8]) -> Vec<Vec<u8>> {
    let alone = base32(value);
    let padded = alone.len().next_multiple_of(8) - alone.len();
    let padded = [&alone[..], &vec![b'='; padded]].concat();
    let mut forms = vec![alone, padded];
    for before in 0..5 {
        let shifted = [&vec![0; before][..], value].concat();
        let letters = base32(&shifted);
        let own = (before * 8).div_ceil(5)..shifted.len() * 8 / 5;
        forms.extend(letters.get(own).map(<[u8]>::to_vec));
    }
    let small: Vec<Vec<u8>> = forms.iter().map(|form| form.to_ascii_lowercase()).collect();
    forms.extend(small);
    forms
}

/// Without padding.
fn base32(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or(0));
    let letter = |number: usize| {
        let (first, bits) = (number * 5 / 8, number * 5 % 8);
        let two = byte(first) << 8 | byte(first + 1);
        LETTERS[usize::from(two >> (11 - bits) & 31)]
    };
    let count = (bytes.len() * 8).div_ceil(5);
    (0..count).map(letter).collect()
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
