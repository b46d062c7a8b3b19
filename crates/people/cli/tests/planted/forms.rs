//! What a value becomes in the mouth of a program.

/// What a search looks for: the lines of a value, and its other forms.
pub(crate) fn needles(value: &str) -> Vec<Vec<u8>> {
    let lines = value.lines().filter(|line| !line.starts_with("-----"));
    let lines: Vec<&str> = lines.collect();
    let mut needles: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    for line in lines.iter().filter(|line| line.is_ascii()) {
        let (head, rest) = line.split_at(5);
        let (middle, tail) = rest.split_at(4);
        let coloured = format!("{head}\x1b[1;31m{middle}\x1b[0m{tail}");
        needles.push(coloured.into_bytes());
    }
    let all = value.bytes().map(|byte| format!("%{byte:02x}"));
    needles.push(all.collect::<String>().into_bytes());
    // Whole lines of a dump, and a value of which a literal escapes some bytes.
    for line in value.as_bytes().chunks_exact(16).take(2) {
        let dump: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        needles.push(dump.join(" ").into_bytes());
    }
    if !value.is_ascii() {
        let escaped = |byte: u8| match byte.is_ascii() {
            true => char::from(byte).to_string(),
            false => format!("\\x{byte:02x}"),
        };
        needles.push(value.bytes().map(escaped).collect::<String>().into());
    }
    // Whole lines of a value that was encoded with what stood around it, and cut at 76 letters.
    for around in [format!("{{\"key\": \"{value}\"}}"), format!("key={value}")] {
        let letters = base64(around.as_bytes());
        let lines = letters.as_bytes().chunks_exact(76).skip(1).take(2);
        needles.extend(lines.clone().map(<[u8]>::to_vec));
        needles.extend(lines.map(|line| line.iter().map(url_safe).collect()));
    }
    needles.extend(encoded(value).into_iter().map(|(_, form)| form));
    needles
}

/// What a value becomes in the mouth of a program, by the words with which [`TALKS`] says it.
fn encoded(value: &str) -> Vec<(&'static str, Vec<u8>)> {
    let raw = value.as_bytes();
    let mut forms = vec![
        ("hex", hex(value).into_bytes()),
        ("HEX", hex(value).to_uppercase().into_bytes()),
        ("quoted", percent(value, false, "%20").into_bytes()),
        ("quoted small", percent(value, true, "%20").into_bytes()),
        ("form", percent(value, false, "+").into_bytes()),
        (
            "json",
            inside(&serde_json::to_string(value).unwrap()).into(),
        ),
        ("ascii", in_ascii(value).into_bytes()),
        ("numbers", in_numbers(raw, ", ")),
        ("numbers in json", in_numbers(raw, ",")),
        ("html", in_html(value).into_bytes()),
        ("html numbers", {
            let letters = value.chars().map(|c| format!("&#{};", u32::from(c)));
            letters.collect::<String>().into_bytes()
        }),
    ];
    for (name, announced, between) in [
        ("spaced hex", "", " "),
        ("hex with colons", "", ":"),
        ("array", "0x", ", "),
        ("escapes", "\\x", ""),
    ] {
        for capitals in [false, true] {
            let byte = |byte: &u8| match capitals {
                true => format!("{announced}{byte:02X}"),
                false => format!("{announced}{byte:02x}"),
            };
            // What announces the first one may stay.
            let all: Vec<String> = raw.iter().map(byte).collect();
            let all = all.join(between);
            forms.push((name, all.as_bytes()[announced.len()..].to_vec()));
        }
    }
    for before in 0..5 {
        let letters = base32(&[&b"abcd"[..before], raw].concat());
        let first = (before * 8).div_ceil(5);
        let last = (before + raw.len()) * 8 / 5;
        let own = &letters[first..last];
        forms.push(("base32", own.into()));
        forms.push(("small base32", own.to_lowercase().into()));
    }
    // The letters at the ends depend on what stands around it.
    for (name, before) in [("base64", ""), ("shifted", "a"), ("twice shifted", "ab")] {
        let letters = base64(&[before.as_bytes(), raw].concat());
        let first = (before.len() * 8).div_ceil(6);
        let last = (before.len() + raw.len()) * 8 / 6;
        let own = &letters.as_bytes()[first..last];
        forms.push((name, own.to_vec()));
        forms.push((name, own.iter().map(url_safe).collect()));
    }
    forms
}

fn in_numbers(bytes: &[u8], between: &str) -> Vec<u8> {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    numbers.join(between).into_bytes()
}

/// As Python's `html.escape` does.
fn in_html(value: &str) -> String {
    let letters = value.chars().map(|c| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => "&#x27;".to_owned(),
        other => other.to_string(),
    });
    letters.collect()
}

fn url_safe(letter: &u8) -> u8 {
    match letter {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    }
}

/// As RFC 3986 encodes it.
fn percent(value: &str, small: bool, space: &str) -> String {
    let encoded = value.bytes().map(|byte| match byte {
        b' ' => space.to_owned(),
        _ if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
            char::from(byte).to_string()
        }
        _ if small => format!("%{byte:02x}"),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}

/// A JSON string without its quotation marks.
fn inside(json: &str) -> &str {
    &json[1..json.len() - 1]
}

/// A JSON string as Python writes it: ASCII alone.
fn in_ascii(value: &str) -> String {
    let json = serde_json::to_string(value).unwrap();
    let mut text = String::new();
    for unit in inside(&json).encode_utf16() {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            Some(byte) => text.push(char::from(byte)),
            None => text.push_str(&format!("\\u{unit:04x}")),
        }
    }
    text
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let bits = (0..5).fold(0u64, |bits, at| {
            bits << 8 | u64::from(*chunk.get(at).unwrap_or(&0))
        });
        for at in 0..(chunk.len() * 8).div_ceil(5) {
            text.push(char::from(LETTERS[(bits >> (35 - 5 * at)) as usize & 31]));
        }
    }
    text
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0))
        });
        for at in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}
