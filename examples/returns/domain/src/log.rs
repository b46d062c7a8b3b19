//! One line per event on standard output: time, level, event, then `key=value` pairs (logfmt).
//!
//! The level comes from `RUST_LOG` (`error`, `warn`, `info`, `debug` or `off`; `info` where it says nothing
//! that is understood). A line that cannot be written is dropped: a full pipe must not stop the service.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
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

static LOUDEST: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Takes the level from the value of `RUST_LOG`.
pub fn set_level(text: &str) {
    let level = match text.trim().to_ascii_lowercase().as_str() {
        "off" => 0,
        "error" => Level::Error as u8,
        "warn" => Level::Warn as u8,
        "debug" | "trace" => Level::Debug as u8,
        _ => Level::Info as u8,
    };
    LOUDEST.store(level, Ordering::Relaxed);
}

/// Writes one line, if the level is wanted.
pub fn line(level: Level, event: &str, pairs: &[(&str, &dyn std::fmt::Display)]) {
    if level as u8 > LOUDEST.load(Ordering::Relaxed) {
        return;
    }
    let text = format_line(&jiff::Timestamp::now(), level, event, pairs);
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// A line at level info.
pub fn info(event: &str, pairs: &[(&str, &dyn std::fmt::Display)]) {
    line(Level::Info, event, pairs);
}

/// A line at level warn.
pub fn warn(event: &str, pairs: &[(&str, &dyn std::fmt::Display)]) {
    line(Level::Warn, event, pairs);
}

/// A line at level error.
pub fn error(event: &str, pairs: &[(&str, &dyn std::fmt::Display)]) {
    line(Level::Error, event, pairs);
}

/// An error with everything that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
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
    pairs: &[(&str, &dyn std::fmt::Display)],
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

/// Quoted and escaped where it would not read as one word, so that no value can forge a line or a pair.
fn quoted(value: &str) -> String {
    let plain = !value.is_empty()
        && !value.contains(|c: char| c.is_whitespace() || c.is_control() || "\"=\\".contains(c));
    if plain {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_forge_a_line() {
        let at: jiff::Timestamp = "2026-11-21T01:02:03.5Z".parse().unwrap();
        let text = format_line(
            &at,
            Level::Info,
            "request",
            &[("path", &"/x\n2026 ERROR a=b"), ("status", &200)],
        );
        assert_eq!(
            text,
            "2026-11-21T01:02:03.500Z INFO request path=\"/x\\n2026 ERROR a=b\" status=200\n"
        );
    }
}
