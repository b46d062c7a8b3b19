//! The texts that have a form: paths, versions, headers; addresses, image references and hosts are in [`address`].
//!
//! Nothing is corrected silently. What was reviewed is what runs, so a host in capitals is a mistake
//! with a suggestion and not a host in small letters.

mod address;

use ward_types::guard::{LimitBy, Rate};
use ward_types::id::Name;
use ward_types::range::{AddressRange, InvalidRange};
use ward_types::route::is_reserved;
use ward_types::unit::{ByteSize, parse_duration};

use crate::mistake::Code;
use crate::suggest;

pub(crate) use self::address::{egress, host, image};

/// Why a text is not what it should be; the place is added by whoever knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) expected: Option<String>,
    pub(crate) did_you_mean: Option<String>,
}

impl Wrong {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            expected: None,
            did_you_mean: None,
        }
    }

    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(crate) fn or_expected(mut self, expected: impl FnOnce() -> String) -> Self {
        self.expected.get_or_insert_with(expected);
        self
    }

    pub(crate) fn mean(mut self, text: Option<String>) -> Self {
        self.did_you_mean = text;
        self
    }
}

/// A text of the file as a message shows it: in backquotes, control characters escaped, cut when long.
pub(crate) fn quote(text: &str) -> String {
    let most = 80;
    let mut shown: String = text
        .chars()
        .take(most)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    format!("`{}`", shown.replace("\\\"", "\"").replace("\\'", "'"))
}

type Checked<T = ()> = Result<T, Wrong>;

/// `MAJOR.MINOR`, neither with a leading zero, each at most nine digits.
pub(crate) fn version(text: &str) -> Checked {
    if is_version(text) {
        return Ok(());
    }
    let message = format!("{} is not a version", quote(text));
    Err(Wrong::new(Code::BadVersion, message).mean(as_version(text)))
}

fn is_version(text: &str) -> bool {
    let number = |part: &str| {
        let digits = part.bytes().all(|b| b.is_ascii_digit());
        digits && (1..=9).contains(&part.len()) && (part == "0" || !part.starts_with('0'))
    };
    text.split_once('.')
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

/// The version that can have been meant by one with too few or too many parts, leading zeros or a `v`.
pub(crate) fn as_version(text: &str) -> Option<String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    let major = parts.next()??;
    let minor = parts.next().unwrap_or(Some(0))?;
    Some(format!("{major}.{minor}")).filter(|meant| is_version(meant))
}

/// A name that is like the text, where there is one.
pub(crate) fn as_name(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase().replace(['_', ' ', '.'], "-");
    let name = lower.trim_matches('-');
    Name::parse(name)
        .ok()
        .map(|name| name.as_str().to_owned())
        .filter(|name| name != text && name != "localhost")
}

/// The durations that can have been meant by one with a space, a long unit or no unit.
pub(crate) fn as_durations(text: &str) -> Vec<String> {
    let text = text.trim().to_ascii_lowercase();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let units: &[&str] = match text[end..].trim() {
        "" => &["ms", "s", "m", "h", "d"],
        "s" | "sec" | "secs" | "second" | "seconds" => &["s"],
        "ms" | "msec" | "millis" | "millisecond" | "milliseconds" => &["ms"],
        "m" | "min" | "mins" | "minute" | "minutes" => &["m"],
        "h" | "hr" | "hrs" | "hour" | "hours" => &["h"],
        "d" | "day" | "days" => &["d"],
        _ => &[],
    };
    let meant = units.iter().map(|unit| format!("{}{unit}", &text[..end]));
    meant
        .filter(|meant| parse_duration(meant).is_ok())
        .collect()
}

/// The size that was meant by one with a space, a short unit or no unit.
pub(crate) fn as_size(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    // So many without a unit are bytes.
    if end == text.len()
        && let Some(bytes) = text.parse().ok().filter(|bytes| *bytes >= 1 << 20)
    {
        return Some(ByteSize(bytes).to_string());
    }
    let unit = match text[end..].trim().to_ascii_lowercase().as_str() {
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "" | "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return None,
    };
    let meant = format!("{}{unit}", &text[..end]);
    ByteSize::parse(&meant).is_ok().then_some(meant)
}

/// Reads a percentage, `1%` to `100%`.
pub(crate) fn percentage(text: &str) -> Checked<u8> {
    let digits = text.trim().trim_end_matches('%').trim();
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain || digits.starts_with('0') && digits != "0" {
        let message = format!("{} is neither a number nor a percentage", quote(text));
        return Err(Wrong::new(Code::BadAmount, message));
    }
    if text != format!("{digits}%") {
        let meant = match text.contains('%') {
            true => format!("\"{digits}%\""),
            false => digits.to_owned(),
        };
        let message = format!("{} is neither a number nor a percentage", quote(text));
        return Err(Wrong::new(Code::BadAmount, message).mean(Some(meant)));
    }
    match digits.parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => {
            let message = format!("{} is out of range", quote(text));
            Err(Wrong::new(Code::OutOfRange, message))
        }
    }
}

/// The name of a cookie or header. RFC 9110 section 5.6.2 allows more characters, which serve nobody here.
pub(crate) fn token(text: &str) -> Checked {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(());
    }
    let message = format!("{} cannot name a cookie or a header", quote(text));
    let meant: String = text
        .trim()
        .chars()
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    let good = meant != text && (1..=64).contains(&meant.len()) && meant.bytes().all(plain);
    Err(Wrong::new(Code::BadToken, message).mean(good.then_some(meant)))
}

/// So many requests in a time.
pub(crate) fn rate(text: &str) -> Checked {
    if Rate::parse(text).is_some() {
        return Ok(());
    }
    let message = format!("{} is not a rate", quote(text));
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    let rest = text[digits.len()..].trim_matches(|c: char| !c.is_ascii_alphabetic());
    let unit = match rest.to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "second" | "seconds" | "rps" | "r/s" | "per second" => "s",
        "m" | "min" | "minute" | "minutes" | "r/m" | "rpm" | "per minute" => "m",
        "h" | "hour" | "hours" | "per hour" => "h",
        _ => return Err(Wrong::new(Code::BadRate, message)),
    };
    let meant = Some(format!("{digits}/{unit}")).filter(|meant| Rate::parse(meant).is_some());
    Err(Wrong::new(Code::BadRate, message).mean(meant))
}

/// Whose requests are counted together.
pub(crate) fn limit_by(text: &str) -> Checked {
    match LimitBy::parse(text) {
        Some(LimitBy::Address) => Ok(()),
        Some(LimitBy::Header(name)) => token(&name),
        None => {
            let message = format!("{} is not one of the choices", quote(text));
            let alike = matches!(text, "ip" | "client" | "remote_addr" | "addr");
            let meant = suggest::closest(text, ["address"]);
            let meant = meant.or_else(|| alike.then(|| "address".to_owned()));
            let header = token(text).is_ok().then(|| format!("header:{text}"));
            Err(Wrong::new(Code::BadChoice, message).mean(meant.or(header)))
        }
    }
}

/// The path of a GET request in origin form (RFC 9112, section 3.2.1), with or without a query.
pub(crate) fn url_path(text: &str) -> Checked {
    let wrong = |message: String| Wrong::new(Code::BadUrlPath, message);
    if !text.starts_with('/') {
        let path = match text.split_once("://") {
            Some((_, rest)) => rest.find('/').map(|at| rest[at..].to_owned()),
            None => Some(format!("/{text}")),
        };
        return Err(wrong(format!("{} does not begin with `/`", quote(text)))
            .mean(path.filter(|path| url_path(path).is_ok())));
    }
    if text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') && text.len() <= 1024 {
        Ok(())
    } else {
        Err(wrong(format!("{} is not the path of a URL", quote(text))))
    }
}

/// What the path of a route begins with. Only what can be written in one way, so that nobody asks what it means.
pub(crate) fn prefix(text: &str) -> Checked {
    let wrong = |message: String| Wrong::new(Code::BadPrefix, message);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()+,=:@".contains(&b);
    let segment = |s: &str| !matches!(s, "" | "." | "..") && s.bytes().all(plain);
    let good = |text: &str| {
        let segments = text.strip_prefix('/');
        text.len() <= 1024
            && segments.is_some_and(|all| all.is_empty() || all.split('/').all(segment))
    };
    if good(text) {
        return Ok(());
    }
    let meant = format!("/{}", text.trim_end_matches("/*").trim_matches('/'));
    let meant = Some(meant).filter(|meant| good(meant));
    let message = match text.starts_with('/') {
        false => format!("{} does not begin with `/`", quote(text)),
        true if text.ends_with('/') => format!("{} ends with `/`", quote(text)),
        true => format!("{} is not a path of whole, plain segments", quote(text)),
    };
    Err(wrong(message).mean(meant))
}

/// A range of addresses.
pub(crate) fn range(text: &str) -> Checked {
    let (message, meant) = match text.parse::<AddressRange>() {
        Ok(_) => return Ok(()),
        Err(InvalidRange::LooseBits { bits, meant, .. }) => {
            let message = format!("{} has bits set behind its first {bits}", quote(text));
            (message, Some(meant.to_string()))
        }
        Err(InvalidRange::Unreadable(_)) => {
            let message = format!("{} is not a range of addresses", quote(text));
            (message, None)
        }
    };
    Err(Wrong::new(Code::BadRange, message).mean(meant))
}

/// The value of a header (RFC 9110 section 5.5, without what is obsolete).
pub(crate) fn header_value(text: &str, empty: bool) -> Checked {
    let visible = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if visible && text.trim() == text && text.len() <= 1000 && (empty || !text.is_empty()) {
        return Ok(());
    }
    let message = match text {
        "" => "the value of a header is empty".to_owned(),
        text => format!("{} cannot be the value of a header", quote(text)),
    };
    let meant =
        Some(text.trim()).filter(|meant| *meant != text && header_value(meant, empty).is_ok());
    Err(Wrong::new(Code::BadHeaderValue, message).mean(meant.map(str::to_owned)))
}

/// The name of a response header that a route adds.
pub(crate) fn response_header(text: &str) -> Checked {
    token(text)?;
    let lower = text.to_ascii_lowercase();
    if is_reserved(&lower) {
        let message = format!("{} is not for a route to set", quote(text));
        let wrong = Wrong::new(Code::ReservedHeader, message);
        return Err(
            wrong.expected("a header that neither frames nor describes the answer's content")
        );
    }
    match lower == text {
        true => Ok(()),
        false => {
            let message = format!("{} is not in lower case", quote(text));
            let wrong = Wrong::new(Code::BadToken, message);
            Err(wrong.expected("a name in lower case").mean(Some(lower)))
        }
    }
}

/// A relative path that stays in its folder whatever is there.
pub(crate) fn file_path(text: &str) -> Checked {
    let wrong = |message: String| Err(Wrong::new(Code::BadFilePath, message));
    no_nul(text)?;
    match text {
        "" => wrong("the path is empty".to_owned()),
        _ if text.starts_with('/') => wrong(format!("{} is an absolute path", quote(text))),
        _ if text.starts_with('~') => wrong(format!("{} is a path in a home folder", quote(text))),
        _ if text.split('/').any(|part| part == "..") => {
            wrong(format!("{} leaves the stack's folder", quote(text)))
        }
        _ if text.len() > 4095 => wrong("the path is longer than 4095 bytes".to_owned()),
        _ => Ok(()),
    }
}

/// An absolute path that is written in one way.
pub(crate) fn machine_path(text: &str) -> Checked {
    let wrong = |message: String| Err(Wrong::new(Code::BadMachinePath, message));
    no_nul(text)?;
    match text {
        "" => wrong("the path is empty".to_owned()),
        _ if text.starts_with('~') => wrong(format!("{} is a path in a home folder", quote(text))),
        _ if !text.starts_with('/') => wrong(format!("{} is not an absolute path", quote(text))),
        _ if text.split('/').any(|part| part == "..") => {
            wrong(format!("{} has a `..` in it", quote(text)))
        }
        _ if text.ends_with('/') => wrong(format!("{} is a folder", quote(text))),
        _ if text.len() > 4095 => wrong("the path is longer than 4095 bytes".to_owned()),
        _ => Ok(()),
    }
}

/// A package name as Cargo takes it.
pub(crate) fn package(text: &str) -> Checked {
    let inner = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if inner && starts && text.len() <= 64 {
        Ok(())
    } else {
        Err(Wrong::new(
            Code::BadPackage,
            format!("{} is not the name of a Cargo package", quote(text)),
        ))
    }
}

/// A name of an environment variable (POSIX.1, section 8.1, with lower case allowed).
pub(crate) fn variable(text: &str) -> Checked {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if inner && !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    let meant = text.replace(['-', '.', ' '], "_");
    let wrong = Wrong::new(
        Code::BadVariable,
        format!("{} is not a name of an environment variable", quote(text)),
    );
    let wrong = wrong.expected("letters, digits and underscores, not beginning with a digit");
    Err(wrong.mean(Some(meant).filter(|meant| meant != text && variable(meant).is_ok())))
}

/// What the kernel's argument and environment blocks cannot hold.
pub(crate) fn no_nul(text: &str) -> Checked {
    if text.contains('\0') {
        let wrong = Wrong::new(Code::NulCharacter, "the text holds a NUL character");
        return Err(wrong.expected("a text without `\\u0000`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn all<T>(check: impl Fn(&str) -> Checked<T>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(check(text).is_ok(), "{text} was refused");
        }
        for text in bad {
            assert!(check(text).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn versions() {
        let bad = [
            "",
            "1",
            "1.",
            ".1",
            "1.0.0",
            "01.0",
            "1.00",
            "v1.0",
            "1.0-rc",
            "1.1234567890",
            "+1.0",
            "1.٣",
        ];
        all(version, &["0.0", "1.0", "12.345678901"], &bad[..]);
        assert_eq!(
            version("v2").unwrap_err().did_you_mean.as_deref(),
            Some("2.0")
        );
        let too_long = version("4294967295").unwrap_err();
        assert_eq!(too_long.did_you_mean, None);
    }

    #[test]
    fn paths() {
        all(
            url_path,
            &["/", "/healthz", "/a/b?c=d&e=%20"],
            &["", "a", "/a b", "/a#b", "/é", "/\n", "http://a/b"],
        );
        let bad = [
            "", "/", "/etc", "..", "../a", "a/..", "a/../b", "~", "~/a", "a\0b",
        ];
        all(
            file_path,
            &[".", "a", "a/b", "./a", "..a", "a..", "a b", "é"],
            &bad,
        );
    }

    #[test]
    fn prefixes() {
        let bad = [
            "",
            "api",
            "/api/",
            "//",
            "/a//b",
            "/a/../b",
            "/.",
            "/a%20b",
            "/a b",
            "/a;b",
            "/a?b",
            "/a#b",
            "/a*",
            "/é",
            "/a\\b",
            "*",
            "http://a/b",
        ];
        all(
            prefix,
            &[
                "/",
                "/api",
                "/api/v1.2",
                "/.well-known/x",
                "/~anna",
                "/a:b@c",
            ],
            &bad,
        );
        let meant = |text: &str| prefix(text).unwrap_err().did_you_mean;
        assert_eq!(meant("api").as_deref(), Some("/api"));
        assert_eq!(meant("/api/").as_deref(), Some("/api"));
        assert_eq!(meant("/api/*").as_deref(), Some("/api"));
        assert_eq!(meant("/a/../b"), None);
    }

    #[test]
    fn ranges_and_headers() {
        all(
            range,
            &["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"],
            &["", "10.0.0.0/33", "office"],
        );
        let meant = range("10.1.2.3/8").unwrap_err().did_you_mean;
        assert_eq!(meant.as_deref(), Some("10.0.0.0/8"));
        all(
            |text| header_value(text, false),
            &["a", "max-age=1; b"],
            &["", " a", "a ", "a\nb", "é", "a\tb"],
        );
        assert!(header_value("", true).is_ok());
        let bad = [
            "Content-Length",
            "ward-release",
            "X-Frame-Options",
            "a b",
            "",
            "set-cookie",
        ];
        all(
            response_header,
            &["x-frame-options", "permissions-policy"],
            &bad,
        );
    }

    #[test]
    fn names() {
        all(
            package,
            &["a", "returns-web", "_a", "A1"],
            &["", "1a", "-a", "a b", "a/b", "a.b", "é"],
        );
        all(
            variable,
            &["A", "_", "a1_B"],
            &["", "1A", "A-B", "A.B", "A=B", "É", "A\0"],
        );
    }

    #[test]
    fn slips_in_units_are_understood() {
        for (text, meant) in [("5 min", "5m"), ("2 hours", "2h"), ("100 MS", "100ms")] {
            assert_eq!(as_durations(text), [meant]);
        }
        assert_eq!(as_durations("5"), ["5ms", "5s", "5m", "5h", "5d"]);
        assert!(as_durations("soon").is_empty() && as_durations("").is_empty());
        for (text, meant) in [("256", "256MiB"), ("1g", "1GiB"), ("64 kb", "64KiB")] {
            assert_eq!(as_size(text).as_deref(), Some(meant));
        }
        assert_eq!((as_size("much"), as_size("")), (None, None));
    }

    #[test]
    fn a_quoted_text_steers_no_terminal_and_has_an_end() {
        assert_eq!(quote("a\"b"), "`a\"b`");
        assert_eq!(quote("\u{1b}[1m"), "`\\u{1b}[1m`");
        assert!(!quote("\u{202e}").contains('\u{202e}'));
        assert!(quote(&"x".repeat(1000)).len() < 100);
    }
}
