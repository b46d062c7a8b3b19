//! One line per event on standard output: time, level, event, then `key=value` pairs (logfmt).
//!
//! `RUST_LOG` says how much is written (`error`, `warn`, `info`, `debug` or `off`). A line that cannot be
//! written is dropped: a full pipe must not stop a service.

use std::error::Error;
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::sync::LazyLock;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed that somebody should look at.
    Error = 1,
    /// Something failed that mends itself.
    Warn = 2,
    /// What the program does.
    Info = 3,
    /// What only a search for a defect needs.
    Debug = 4,
}

static MOST: LazyLock<u8> = LazyLock::new(|| {
    let asked = std::env::var("RUST_LOG").unwrap_or_default();
    match asked.trim().to_ascii_lowercase().as_str() {
        "off" => 0,
        "error" => Level::Error as u8,
        "warn" => Level::Warn as u8,
        "debug" | "trace" => Level::Debug as u8,
        _ => Level::Info as u8,
    }
});

/// Writes one line, if its level is wanted.
pub fn line(level: Level, event: &str, pairs: &[(&str, &dyn Display)]) {
    if level as u8 <= *MOST {
        let text = format_line(&jiff::Timestamp::now(), level, event, pairs);
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// A line at level info.
pub fn info(event: &str, pairs: &[(&str, &dyn Display)]) {
    line(Level::Info, event, pairs);
}

/// A line at level warn.
pub fn warn(event: &str, pairs: &[(&str, &dyn Display)]) {
    line(Level::Warn, event, pairs);
}

/// A line at level error.
pub fn error(event: &str, pairs: &[(&str, &dyn Display)]) {
    line(Level::Error, event, pairs);
}

/// An error with everything that caused it.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    text
}

fn format_line(
    at: &jiff::Timestamp,
    level: Level,
    event: &str,
    pairs: &[(&str, &dyn Display)],
) -> String {
    let name = match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    let mut text = format!("{at:.3} {name} {}", quoted(event));
    for (key, value) in pairs {
        let _ = write!(text, " {key}={}", quoted(&value.to_string()));
    }
    text.push('\n');
    text
}

/// Quoted where it would not read as one word, so that no value can forge a line or a pair.
fn quoted(value: &str) -> String {
    let risky = |c: char| c.is_whitespace() || c.is_control() || "\"=\\".contains(c);
    match value.is_empty() || value.contains(risky) {
        true => format!("{value:?}"),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line() {
        let at: jiff::Timestamp = "2026-11-21T01:02:03.5Z".parse().unwrap();
        let text = format_line(&at, Level::Warn, "request", &[("path", &"/x\n2026 a=b")]);
        assert_eq!(
            text,
            "2026-11-21T01:02:03.500Z WARN request path=\"/x\\n2026 a=b\"\n"
        );
    }
}
