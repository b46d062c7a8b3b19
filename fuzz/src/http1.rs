//! HTTP/1.1 as RFC 9112 has it.

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// By CR and LF, and by nothing else.
    Strict,
    /// Also by LF alone, which a reader may take (section 2.2).
    Lenient,
}

/// A head: its first line, and its fields with their names in lower case.
#[derive(Debug, PartialEq, Eq)]
pub struct Head<'a> {
    pub start: &'a [u8],
    pub fields: Vec<(String, &'a [u8])>,
    /// How long it is, its empty line included.
    pub length: usize,
}

/// Reads a head; `None` where there is none, or not all of it.
pub fn head(bytes: &[u8], lines: Lines) -> Option<Head<'_>> {
    let mut at = 0;
    // Empty lines before it are passed over (section 2.2).
    while let Some((b"", next)) = line(bytes, at, Lines::Lenient) {
        if lines == Lines::Strict {
            return None;
        }
        at = next;
    }
    let (start, mut at) = line(bytes, at, lines)?;
    let mut fields = Vec::new();
    loop {
        let (text, next) = line(bytes, at, lines)?;
        at = next;
        if text.is_empty() {
            let length = at;
            return Some(Head {
                start,
                fields,
                length,
            });
        }
        fields.push(field(text)?);
    }
}

fn line(bytes: &[u8], at: usize, lines: Lines) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let text = match (rest[..end].strip_suffix(b"\r"), lines) {
        (Some(text), _) => text,
        (None, Lines::Lenient) => &rest[..end],
        (None, Lines::Strict) => return None,
    };
    Some((text, at + end + 1))
}

/// Section 5: a token, a colon with nothing before it, a value.
fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = &line[..colon];
    let value = trim(&line[colon + 1..]);
    let good_name = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let good_value = value
        .iter()
        .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..));
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    (good_name && good_value).then_some((name, value))
}

fn trim(value: &[u8]) -> &[u8] {
    let space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !space(byte));
    let end = value.iter().rposition(|byte| !space(byte));
    start
        .zip(end)
        .map_or(&value[..0], |(start, end)| &value[start..=end])
}

/// RFC 9110 section 5.6.2.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl<'a> Head<'a> {
    /// Method, target and version.
    pub fn request(&self) -> Option<[&'a str; 3]> {
        let text = std::str::from_utf8(self.start).ok()?;
        let mut words = text.split(' ');
        let all = [words.next()?, words.next()?, words.next()?];
        words.next().is_none().then_some(all)
    }

    /// Version and status.
    pub fn response(&self) -> Option<(&'a [u8], u16)> {
        let (version, rest) = self.start.split_at_checked(8)?;
        let code = rest.strip_prefix(b" ")?.get(..3)?;
        let code = std::str::from_utf8(code).ok()?.parse().ok()?;
        let after = rest.get(4);
        matches!(after, None | Some(b' ')).then_some((version, code))
    }

    /// The values of a field.
    pub fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + 'b {
        let fields = self.fields.iter();
        fields
            .filter(move |(own, _)| own == name)
            .map(|(_, value)| *value)
    }
}

/// Section 7.1, read as a whole: the body, and how many bytes were used; `None` where it is malformed. What is not
/// over has used everything.
pub fn chunked(bytes: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
    /// The most that may stand behind sizes, and in trailers.
    const ASIDE: usize = 8 * 1024;
    let (mut body, mut at) = (Vec::new(), 0);
    let unfinished = |body| Some((body, bytes.len(), false));
    loop {
        let rest = &bytes[at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.count();
        if digits > 16 {
            return None;
        }
        let (line, ended) = to_line_end(&rest[digits..])?;
        let begins_well = matches!(line.first(), None | Some(b';' | b' ' | b'\t'));
        if !begins_well || line.len() > ASIDE + 1 || (digits == 0 && !rest.is_empty()) {
            return None;
        }
        if !ended {
            return unfinished(body);
        }
        let size = std::str::from_utf8(&rest[..digits]).ok()?;
        let size = u64::from_str_radix(size, 16).ok()?;
        at += digits + line.len() + 2;
        if size == 0 {
            break;
        }
        let there = bytes.len() - at;
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= there) else {
            body.extend_from_slice(&bytes[at..]);
            return unfinished(body);
        };
        body.extend_from_slice(&bytes[at..at + size]);
        at += size;
        match &bytes[at..] {
            [] | [b'\r'] => return unfinished(body),
            [b'\r', b'\n', ..] => at += 2,
            _ => return None,
        }
    }
    let mut aside = 0;
    loop {
        let (line, ended) = to_line_end(&bytes[at..])?;
        aside += line.len();
        if aside > ASIDE {
            return None;
        }
        if !ended {
            return unfinished(body);
        }
        at += line.len() + 2;
        if line.is_empty() {
            return Some((body, at, true));
        }
    }
}

/// What stands before CR and LF, and whether they are there; `None` where a CR or an LF stands alone.
fn to_line_end(bytes: &[u8]) -> Option<(&[u8], bool)> {
    let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return Some((bytes, false));
    };
    match &bytes[end..] {
        [b'\r'] => Some((&bytes[..end], false)),
        [b'\r', b'\n', ..] => Some((&bytes[..end], true)),
        _ => None,
    }
}
