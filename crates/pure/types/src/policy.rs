//! Policy: rules that a plan must pass.
//!
//! A policy stands in the stack file, and beside it in one file of the installation. Both hold: where they differ the
//! stricter one does, so that a stack file cannot take away what the installation asks for.

mod declared;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::id::EnvId;
use crate::time::Timestamp;

pub use self::declared::Declared;

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// No database is removed.
    DatabaseRemoved,
    /// No volume is removed.
    VolumeRemoved,
    /// No export is removed that another stack uses.
    ExportRemoved,
    /// Each service that takes requests has so many instances.
    MinInstances,
    /// No public route answers without TLS.
    Tls,
    /// No image lies on the machine's own files.
    HostBase,
    /// No public route is without a limit on requests.
    RateLimit,
    /// Images are built here, or lie in this Ward's registry.
    Images,
    /// Each database is backed up.
    Backups,
    /// Whoever changes the environment says why.
    Reason,
    /// Data stays in its region.
    Residency,
    /// Nothing changes on certain days.
    Freeze,
    /// A build has come through the gates of a pipeline.
    Pipeline,
    /// Somebody has approved a build who did not bring it.
    SecondPerson,
}

impl Rule {
    /// The command by which somebody answers for breaking it, in an environment that is named where it is known.
    #[must_use]
    pub fn waiver(self, env: Option<&EnvId>) -> String {
        let of = env.map(|env| format!(" --env {env}")).unwrap_or_default();
        format!("`ward policy waive {self}{of} --until DATE --why TEXT`")
    }

    /// All of them.
    pub const ALL: [Rule; 14] = [
        Rule::DatabaseRemoved,
        Rule::VolumeRemoved,
        Rule::ExportRemoved,
        Rule::MinInstances,
        Rule::Tls,
        Rule::HostBase,
        Rule::RateLimit,
        Rule::Images,
        Rule::Backups,
        Rule::Reason,
        Rule::Residency,
        Rule::Freeze,
        Rule::Pipeline,
        Rule::SecondPerson,
    ];

    /// Its name: the key below `policy`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Rule::DatabaseRemoved => "database_removed",
            Rule::VolumeRemoved => "volume_removed",
            Rule::ExportRemoved => "export_removed",
            Rule::MinInstances => "min_instances",
            Rule::Tls => "tls",
            Rule::HostBase => "host_base",
            Rule::RateLimit => "rate_limit",
            Rule::Images => "images",
            Rule::Backups => "backups",
            Rule::Reason => "reason",
            Rule::Residency => "residency",
            Rule::Freeze => "freeze",
            Rule::Pipeline => "pipeline",
            Rule::SecondPerson => "second_person",
        }
    }

    /// What it asks for, in a sentence without a full stop.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Rule::DatabaseRemoved => "no database is removed, and no data purged",
            Rule::VolumeRemoved => "no volume is removed, and no data purged",
            Rule::ExportRemoved => "no export is removed that another stack links to",
            Rule::MinInstances => "each service with a port has so many instances",
            Rule::Tls => "no public route answers without TLS, and each has a certificate",
            Rule::HostBase => "no image lies on the machine's own files",
            Rule::RateLimit => "each public route has a limit, its own or its service's",
            Rule::Images => "images are built here, or lie in this Ward's registry",
            Rule::Backups => "each database is backed up",
            Rule::Reason => "whoever changes the environment says why",
            Rule::Residency => {
                "data of a region is only where this Ward says that it is in that region"
            }
            Rule::Freeze => "nothing is deployed on certain days",
            Rule::Pipeline => {
                "a build comes through the gates of the stages before, by a declared pipeline"
            }
            Rule::SecondPerson => {
                "on its way there somebody approved the build who did not bring it"
            }
        }
    }

    /// Reads its name, with hyphens or underscores.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.replace('-', "_");
        Self::ALL.into_iter().find(|rule| rule.as_str() == text)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a plan that breaks a rule; the strictest last.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing.
    #[default]
    Off,
    /// It is said.
    Warn,
    /// It is refused.
    Deny,
}

impl Level {
    /// The word of the stack file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Off => "off",
            Level::Warn => "warn",
            Level::Deny => "deny",
        }
    }

    fn is_off(&self) -> bool {
        *self == Level::Off
    }
}

/// How many instances are asked for where only a level is said.
pub const FEW_INSTANCES: u32 = 2;

/// What is asked of plans for one environment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// [`Rule::DatabaseRemoved`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub database_removed: Level,
    /// [`Rule::VolumeRemoved`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub volume_removed: Level,
    /// [`Rule::ExportRemoved`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub export_removed: Level,
    /// [`Rule::MinInstances`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub min_instances: Level,
    /// How many that are; 0 where the rule is off.
    #[serde(skip_serializing_if = "is_zero")]
    pub instances: u32,
    /// [`Rule::Tls`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub tls: Level,
    /// [`Rule::HostBase`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub host_base: Level,
    /// [`Rule::RateLimit`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub rate_limit: Level,
    /// [`Rule::Images`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub images: Level,
    /// [`Rule::Backups`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub backups: Level,
    /// [`Rule::Reason`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub reason: Level,
    /// [`Rule::Residency`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub residency: Level,
    /// [`Rule::Freeze`]: on these days.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Freeze>,
    /// [`Rule::Pipeline`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub pipeline: Level,
    /// [`Rule::SecondPerson`].
    #[serde(skip_serializing_if = "Level::is_off")]
    pub second_person: Level,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Policy {
    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What holds in an environment that is marked `protected` and says nothing else. How a build comes there is not in
    /// it: a team of one has no second person, and a stack without a pipeline no gates.
    #[must_use]
    pub fn of_protected() -> Self {
        Self {
            database_removed: Level::Deny,
            volume_removed: Level::Deny,
            export_removed: Level::Deny,
            min_instances: Level::Deny,
            instances: FEW_INSTANCES,
            tls: Level::Deny,
            host_base: Level::Deny,
            rate_limit: Level::Deny,
            images: Level::Deny,
            backups: Level::Deny,
            // Whoever brings it in says so: commands that were typed without a reason are refused from then on.
            reason: Level::Off,
            residency: Level::Deny,
            freeze: Vec::new(),
            pipeline: Level::Off,
            second_person: Level::Off,
        }
    }

    /// What becomes of a plan that breaks a rule.
    #[must_use]
    pub fn level(&self, rule: Rule) -> Level {
        match rule {
            Rule::DatabaseRemoved => self.database_removed,
            Rule::VolumeRemoved => self.volume_removed,
            Rule::ExportRemoved => self.export_removed,
            Rule::MinInstances => self.min_instances,
            Rule::Tls => self.tls,
            Rule::HostBase => self.host_base,
            Rule::RateLimit => self.rate_limit,
            Rule::Images => self.images,
            Rule::Backups => self.backups,
            Rule::Reason => self.reason,
            Rule::Residency => self.residency,
            Rule::Freeze if self.freeze.is_empty() => Level::Off,
            Rule::Freeze => Level::Deny,
            Rule::Pipeline => self.pipeline,
            Rule::SecondPerson => self.second_person,
        }
    }
}

/// A day of the Gregorian calendar, in whatever zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// 1 to 9999.
    pub year: u16,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl Day {
    /// Reads `2026-12-20`; `None` also where the calendar has no such day.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let [year, month, day] = text.split('-').collect::<Vec<_>>().try_into().ok()?;
        let number = |text: &str, length: usize| {
            let plain = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| plain)
        };
        let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        let there = year > 0 && (1..=days).contains(&day);
        Some(Self {
            year,
            month: u8::try_from(month).ok()?,
            day: u8::try_from(day).ok()?,
        })
        .filter(|_| there)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Days on which nothing is deployed, the first and the last among them, by the calendar of a time zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Freeze {
    /// From the beginning of this day.
    pub first: Day,
    /// To the end of this day.
    pub last: Day,
    /// The zone, by its name in the IANA time zone database.
    pub zone: String,
}

/// The form of the days of a freeze, as a noun phrase.
pub const DAYS_RULE: &str = "two days of the calendar such as 2026-12-20/2027-01-05, or one";

impl Freeze {
    /// Reads `2026-12-20/2027-01-05`, or one day.
    #[must_use]
    pub fn days(text: &str) -> Option<(Day, Day)> {
        let (first, last) = text.split_once('/').unwrap_or((text, text));
        let (first, last) = (Day::parse(first)?, Day::parse(last)?);
        (first <= last).then_some((first, last))
    }

    /// Whether a day is one of them.
    #[must_use]
    pub fn holds_on(&self, day: Day) -> bool {
        (self.first..=self.last).contains(&day)
    }

    /// Its days, behind a verb: `from 2026-12-20 to 2027-01-05`, or `on 2026-12-20`.
    #[must_use]
    pub fn when(&self) -> String {
        match self.first == self.last {
            true => format!("on {}", self.first),
            false => format!("from {} to {}", self.first, self.last),
        }
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} {}", self.first, self.last, self.zone)
    }
}

impl From<Freeze> for String {
    fn from(freeze: Freeze) -> Self {
        freeze.to_string()
    }
}

impl TryFrom<String> for Freeze {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let read = || {
            let (days, zone) = text.split_once(' ')?;
            let (first, last) = Self::days(days)?;
            let zone = zone.to_owned();
            Some(Self { first, last, zone })
        };
        read().ok_or_else(|| format!("{text:?} is not {DAYS_RULE}, and a time zone"))
    }
}

/// That a rule does not hold for a while, because somebody answers for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// Until when, exclusive.
    pub until: Timestamp,
    /// Why.
    pub why: String,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The waivers of an environment, by rule: of each the last one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Waivers(pub BTreeMap<Rule, Waiver>);

impl Waivers {
    /// What an event says of them.
    pub fn take(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::PolicyWaived {
                rule,
                until,
                reason,
                by,
                ..
            } => {
                let waiver = Waiver {
                    until: *until,
                    why: reason.clone(),
                    by: by.clone(),
                    at,
                };
                self.0.insert(*rule, waiver);
            }
            Event::PolicyEnforced { rule, .. } => drop(self.0.remove(rule)),
            _ => {}
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that holds for a rule now.
    #[must_use]
    pub fn of(&self, rule: Rule, now: Timestamp) -> Option<&Waiver> {
        self.0.get(&rule).filter(|waiver| now < waiver.until)
    }
}

/// Who asks for a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The stack file.
    Stack,
    /// The installation: `policy.toml` in the state folder.
    Installation,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

/// That a plan breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// What becomes of the plan.
    pub level: Level,
    /// Who asks for it.
    pub origin: Origin,
    /// Where, in the words of the stack file.
    pub path: String,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What can be done, as a phrase.
    pub way_out: String,
    /// Where in the stack file; `None`: the plan was made without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Who answers for it, where it is waived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<Waiver>,
}

impl Violation {
    /// Whether the plan is refused for it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.level == Level::Deny && self.waived.is_none()
    }
}

/// What the policy says of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyOutcome {
    /// The rules that it breaks, also those that are waived.
    pub violations: Vec<Violation>,
}

impl PolicyOutcome {
    /// Those for which it is refused.
    pub fn denied(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(|one| one.is_denied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for good in ["2026-12-20", "2024-02-29", "2000-02-29", "0001-01-01"] {
            assert_eq!(Day::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "2026-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "26-1-1",
            "2026-04-31",
            "+026-01-01",
            "0000-01-01",
            "2026-01-01-01",
            "",
        ] {
            assert_eq!(Day::parse(bad), None, "{bad}");
        }
        assert!(Freeze::days("2026-12-20/2026-12-19").is_none());
    }

    #[test]
    fn a_freeze_holds_on_both_ends_and_is_read_as_it_is_written() {
        let text = "2026-12-20/2027-01-05 Europe/Berlin";
        let freeze = Freeze::try_from(text.to_owned()).unwrap();
        for (day, holds) in [
            ("2026-12-19", false),
            ("2026-12-20", true),
            ("2027-01-05", true),
            ("2027-01-06", false),
        ] {
            assert_eq!(freeze.holds_on(Day::parse(day).unwrap()), holds, "{day}");
        }
        assert_eq!(String::from(freeze), text);
    }

    #[test]
    fn a_policy_that_asks_for_nothing_takes_no_room() {
        assert_eq!(serde_json::to_string(&Policy::default()).unwrap(), "{}");
        let all = Policy::of_protected();
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), all);
    }

    #[test]
    fn rules_are_named_with_hyphens_too() {
        for rule in Rule::ALL {
            assert_eq!(Rule::parse(&rule.as_str().replace('_', "-")), Some(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
    }
}
