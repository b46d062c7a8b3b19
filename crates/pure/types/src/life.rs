//! The life of an environment: where it comes from, how long it lasts, and how it ended.
//!
//! Decision: an environment ends in two steps. From the first (`EnvironmentEnding`: somebody asked for it, or its
//! time is over) nothing brings it up again; it goes down and its data is removed, as by `ward down --purge`. At
//! the second (`EnvironmentDeleted`) nothing of it is left but its history: the log, its deployments and who ended
//! it and why. A later environment of the same name is another life: its releases and deployments are numbered
//! on, so that no number ever means two things.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::copy::HostPattern;
use crate::event::MisfitEvent;
use crate::id::{BackupId, EnvId, Name, ReleaseId};
use crate::policy::Waivers;
use crate::release::{DataState, Environment, Goal, Phase};
use crate::sleep::Sleep;
use crate::spec::EnvSpec;
use crate::time::{Millis, Timestamp};

/// Shorter than this no environment lasts.
pub const SHORTEST: Millis = Millis::secs(1);
/// Longer than this none is promised to: who wants more extends it, or sets no end at all.
pub const LONGEST: Millis = Millis::secs(3650 * 24 * 3600);
/// The end is told so long before, or a tenth of the time that there was, where that is shorter.
const WARNED_BEFORE: Millis = Millis::secs(24 * 3600);

/// Where an environment comes from, and where it stands between its creation and its end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// When it was created, by whom and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Said>,
    /// What it is a copy of, or began as one; `None`: the stack file declares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Whether a release that the stack file declares has served in what began as a copy, which is none from then on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub declared: bool,
    /// Whose rows its databases are filled with while its data is new, and whose files its volumes; `None`: nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<EnvId>,
    /// The backups of that environment which they are filled from, by database; none: from the rows that are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub restores: BTreeMap<Name, BackupId>,
    /// The databases of which that was done.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub copied: BTreeSet<Name>,
    /// The volumes of which that was done.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub copied_volumes: BTreeSet<Name>,
    /// The services whose seed commands have ended well on its data.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub seeded: BTreeSet<Name>,
    /// Its end; `None`: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Expiry>,
    /// Why it ends, from when that is settled; stays when it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// When nothing of it was left but its history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// The newest release of the lives before: numbers go on from it.
    #[serde(skip_serializing_if = "is_none_yet")]
    pub last_release: ReleaseId,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none_yet(release: &ReleaseId) -> bool {
    *release == ReleaseId::default()
}

/// When something was asked for, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When.
    pub at: Timestamp,
    /// Who, as in the log; empty where an older Ward did not write it down beside the event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// What an environment is a copy of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The environment of the same stack.
    pub from: Name,
    /// How its hosts are named.
    pub hosts: HostPattern,
    /// After how long without a request it sleeps, where that was said for it; else as what it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sleep: Option<Millis>,
    /// What that one was a copy of, when this one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<Box<Origin>>,
}

/// The end of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// When it ends.
    pub at: Timestamp,
    /// When that was settled.
    pub set: Timestamp,
    /// When it was told that the end is near, once it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warned: Option<Timestamp>,
}

impl Expiry {
    /// From when on it is told that the end is near.
    #[must_use]
    pub fn warns(&self) -> Timestamp {
        let tenth = Millis(self.at.since(self.set).0 / 10);
        Timestamp(self.at.0.saturating_sub(tenth.min(WARNED_BEFORE).0))
    }

    /// Whether the end is near at `now`.
    #[must_use]
    pub fn is_near(&self, now: Timestamp) -> bool {
        now >= self.warns()
    }
}

/// Why an environment ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// By what.
    pub cause: Cause,
    /// When that was settled, by whom and why.
    pub said: Said,
}

/// What new data is filled by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filling {
    /// The rows of another environment's database.
    Copy,
    /// The files of another environment's volume.
    Volume,
    /// A service's seed command.
    Seed,
}

/// By what an environment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked for it.
    Asked,
    /// Its time was over.
    Expired,
    /// It could not be made.
    Unmade,
}

impl Environment {
    /// Whether nothing of it is left but its history.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.life.deleted.is_some()
    }

    /// Whether it comes and goes, as what somebody made of another one: no stack file has declared what serves in it.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.life.origin.is_some() && !self.life.declared
    }

    /// Whether nothing was deployed to it in this life: values may be set in it, and it can still become a copy.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        // The newest release is never retired, and none outlives its environment.
        self.releases.is_empty() && self.life.ending.is_none() && self.life.origin.is_none()
    }

    /// Whether it is not made yet, and only values are kept for it, or who answers for a rule.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.is_bare() && self.life.created.is_none()
    }

    /// Why it is on its way to its end, while it is.
    #[must_use]
    pub fn ending(&self) -> Option<&Ending> {
        let ending = self.life.ending.as_ref();
        ending.filter(|_| !self.is_deleted())
    }

    /// Begins a life: the first one, or another one of the same name.
    pub(crate) fn created(&mut self, life: Life) {
        let last_release = self.newest_release();
        self.life = Life {
            last_release,
            ..life
        };
        self.goal = Goal::Up;
        self.sleep = Sleep::default();
        self.data_gone = false;
    }

    /// The newest release of this life and of those before.
    #[must_use]
    pub fn newest_release(&self) -> ReleaseId {
        let newest = self.releases.keys().next_back().copied();
        newest.unwrap_or_default().max(self.life.last_release)
    }

    /// Whether its data is on its way out, and its secrets with it: what is set now would be lost with them.
    #[must_use]
    pub fn is_being_purged(&self) -> bool {
        self.goal == Goal::Purged && !self.data_gone
    }

    /// What is deployed, changed or brought up on its way to its end would be lost with it.
    pub(crate) fn must_live(&self) -> Result<(), MisfitEvent> {
        match self.life.ending {
            None => Ok(()),
            Some(_) => Err(MisfitEvent::Over(self.id.clone())),
        }
    }

    pub(crate) fn extend(
        &mut self,
        at: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(), MisfitEvent> {
        self.must_live()?;
        self.life.expires = until.map(|until| Expiry {
            at: until,
            set: at,
            warned: None,
        });
        Ok(())
    }

    pub(crate) fn warn(&mut self, at: Timestamp) -> Result<(), MisfitEvent> {
        self.must_live()?;
        let early = MisfitEvent::TooEarly(self.id.clone());
        let near = |expiry: &&mut Expiry| expiry.is_near(at) && expiry.warned.is_none();
        let expiry = self.life.expires.as_mut().filter(near).ok_or(early)?;
        expiry.warned = Some(at);
        Ok(())
    }

    /// Whether its databases and volumes are to be filled with another environment's.
    #[must_use]
    pub fn copies_data(&self) -> bool {
        self.data == DataState::New && self.life.copies.is_some()
    }

    /// Whether the seed commands of a spec are to run, those that have not.
    #[must_use]
    pub fn is_seeded_by(&self, spec: &EnvSpec) -> bool {
        self.data == DataState::New && self.life.copies.is_none() && spec.seeded
    }

    /// Whether that was done to its data.
    #[must_use]
    pub fn is_filled(&self, filling: Filling, component: &Name) -> bool {
        match filling {
            Filling::Copy => self.life.copied.contains(component),
            Filling::Volume => self.life.copied_volumes.contains(component),
            Filling::Seed => self.life.seeded.contains(component),
        }
    }

    pub(crate) fn fill(&mut self, filling: Filling, component: &Name) -> Result<(), MisfitEvent> {
        let filled = match filling {
            Filling::Copy => &mut self.life.copied,
            Filling::Volume => &mut self.life.copied_volumes,
            Filling::Seed => &mut self.life.seeded,
        };
        match filled.insert(component.clone()) {
            true => Ok(()),
            false => {
                let what = format!("what {component} was filled with");
                Err(MisfitEvent::Repeated(self.id.clone(), what))
            }
        }
    }

    /// New data is nobody's copy, and was not seeded.
    pub(crate) fn empty(&mut self) {
        self.life.copies = None;
        self.life.restores.clear();
        self.life.copied.clear();
        self.life.copied_volumes.clear();
        self.life.seeded.clear();
    }

    /// One whose time is not over ends only because somebody says so.
    pub(crate) fn settle_end(&mut self, ending: Ending) -> Result<(), MisfitEvent> {
        self.must_live()?;
        let over = |expiry: &Expiry| expiry.at <= ending.said.at;
        let due = self.life.expires.as_ref().is_some_and(over);
        let unmade = self.copies_data() && self.current.is_none();
        let fits = match ending.cause {
            Cause::Asked => true,
            Cause::Expired => due,
            Cause::Unmade => unmade,
        };
        if !fits {
            return Err(MisfitEvent::TooEarly(self.id.clone()));
        }
        let at = ending.said.at;
        self.life.ending = Some(ending);
        self.set_goal(at, Goal::Purged);
        // What was purged before kept its backups, and they are data.
        self.data_gone &= self.backups.all.is_empty();
        Ok(())
    }

    /// Whether it may be taken for gone, as far as the log knows.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let over = |phase: &Phase| matches!(phase, Phase::Finished { .. });
        let mut phases = self.deployments.values().map(|d| &d.phase);
        self.ending().is_some() && self.data_gone && phases.all(over)
    }

    pub(crate) fn delete(&mut self, at: Timestamp) -> Result<(), MisfitEvent> {
        if !self.has_ended() {
            return Err(MisfitEvent::NotOver(self.id.clone()));
        }
        self.life.last_release = self.newest_release();
        self.life.deleted = Some(at);
        self.releases.clear();
        // A later one of its name is another life: nobody has answered for it.
        self.rules = None;
        self.waivers = Waivers::default();
        self.backups.all.clear();
        self.forget_values();
        Ok(())
    }
}

/// The environment that `origin` is a copy of, in full.
#[must_use]
pub fn parent(of: &EnvId, origin: &Origin) -> EnvId {
    EnvId::new(&of.stack(), &origin.from)
}

/// A span as people say it: `7 days`, `23 h`, `5 min`, `12 s`; rounded.
#[must_use]
pub fn roughly(span: Millis) -> String {
    let rounded = |unit: u64| (span.0 + unit / 2) / unit;
    match span.0 / 1000 {
        0..120 => format!("{} s", rounded(1000)),
        120..7200 => format!("{} min", rounded(60_000)),
        7200..172_800 => format!("{} h", rounded(3_600_000)),
        _ => format!("{} days", rounded(86_400_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, State};
    use crate::policy::Rule;
    use crate::secrets::{self, SecretName};

    const HOUR: u64 = 3_600_000;

    fn expiry(at: u64) -> Expiry {
        Expiry {
            at: Timestamp(at),
            set: Timestamp(0),
            warned: None,
        }
    }

    fn id() -> EnvId {
        EnvId::parse("shop/demo").unwrap()
    }

    fn ending(cause: Cause) -> Event {
        Event::EnvironmentEnding {
            env: id(),
            cause,
            by: "anna".into(),
            why: String::new(),
        }
    }

    #[test]
    fn the_end_is_told_a_day_before_or_a_tenth_of_the_time() {
        let warns = |hours: u64| expiry(hours * HOUR).warns().0;
        assert_eq!(warns(30 * 24), 29 * 24 * HOUR);
        assert_eq!(warns(10), 9 * HOUR);
        assert_eq!(expiry(2000).warns(), Timestamp(1800));
    }

    #[test]
    fn a_span_is_said_as_people_say_it() {
        let said = |millis: u64| roughly(Millis(millis));
        assert_eq!(said(7 * 24 * HOUR - 1), "7 days");
        assert_eq!(
            (said(2100), said(5 * 60_000 + 1)),
            ("2 s".into(), "5 min".into())
        );
        assert_eq!(said(47 * HOUR + 1), "47 h");
    }

    #[test]
    fn an_environment_ends_when_its_time_is_over_and_can_be_made_again() {
        let mut state = State::default();
        let mut apply = |at: u64, event: &Event| state.apply(Timestamp(at), event).map(drop);
        let created = |until| Event::EnvironmentCreated {
            env: id(),
            origin: None,
            copies: None,
            restores: BTreeMap::new(),
            until,
            by: "anna".into(),
            why: String::new(),
        };
        apply(0, &created(Some(Timestamp(2000)))).unwrap();
        let early = Err(MisfitEvent::TooEarly(id()));
        assert_eq!(apply(1999, &ending(Cause::Expired)), early);
        let near = Event::ExpiryNear { env: id() };
        assert_eq!(apply(1799, &near), early);
        apply(1800, &near).unwrap();
        assert_eq!(apply(1801, &near), early, "it is told once");
        apply(2000, &ending(Cause::Expired)).unwrap();
        let over = Err(MisfitEvent::Over(id()));
        let goal = Goal::Up;
        assert_eq!(apply(2001, &Event::GoalChanged { env: id(), goal }), over);
        let deleted = Event::EnvironmentDeleted { env: id() };
        assert_eq!(apply(2001, &deleted), Err(MisfitEvent::NotOver(id())));
        apply(2002, &Event::DataPurged { env: id() }).unwrap();
        apply(2003, &deleted).unwrap();
        assert!(apply(2003, &deleted).is_err());
        apply(3000, &created(None)).unwrap();
        assert!(apply(3000, &created(None)).is_err(), "it lives");
        let again = &state.environments[&id()];
        assert_eq!((again.goal, again.data_gone), (Goal::Up, false));
        assert!(again.life.ending.is_none() && !again.is_deleted());
    }

    #[test]
    fn what_is_awaited_is_made_once_and_keeps_its_values() {
        let mut state = State::default();
        let mut apply = |at: u64, event: &Event| state.apply(Timestamp(at), event).map(drop);
        let awaited = Event::EnvironmentAwaited { env: id() };
        let set = Event::SecretChanged {
            env: id(),
            name: SecretName::parse("API_KEY").unwrap(),
            version: 1,
            digest: String::new(),
            origin: secrets::Origin::Set,
        };
        apply(1, &awaited).unwrap();
        apply(1, &set).unwrap();
        assert!(apply(2, &awaited).is_err(), "it is awaited already");
        let created = Event::created(id());
        apply(3, &created).unwrap();
        assert!(apply(4, &created).is_err(), "it is made");
        assert!(apply(4, &awaited).is_err(), "it is made");
        let env = &state.environments[&id()];
        assert_eq!(env.life.created.as_ref().unwrap().at, Timestamp(3));
        assert!(!env.is_awaited() && env.secrets.len() == 1);
    }

    #[test]
    fn nobody_answers_for_a_rule_in_another_life() {
        let mut state = State::default();
        let mut apply = |event: &Event| state.apply(Timestamp(1), event).unwrap();
        let waived = |rule| Event::PolicyWaived {
            env: id(),
            rule,
            until: Timestamp(9),
            reason: "it goes".into(),
            by: "anna".into(),
        };
        apply(&Event::created(id()));
        apply(&waived(Rule::DatabaseRemoved));
        apply(&ending(Cause::Asked));
        apply(&Event::DataPurged { env: id() });
        apply(&Event::EnvironmentDeleted { env: id() });
        // What is said of the next one while it is awaited is said of it.
        apply(&Event::EnvironmentAwaited { env: id() });
        apply(&waived(Rule::Tls));
        apply(&Event::created(id()));
        let holds = |rule| state.environments[&id()].waivers.of(rule, Timestamp(2));
        assert_eq!(holds(Rule::DatabaseRemoved), None);
        assert!(holds(Rule::Tls).is_some());
    }

    #[test]
    fn p4_no_secret_is_taken_that_a_purge_under_way_would_remove() {
        let mut state = State::default();
        let mut apply = |event: &Event| state.apply(Timestamp(1), event).map(drop);
        let created = r#"{"kind":"environment_created","env":"shop/demo"}"#;
        apply(&serde_json::from_str(created).unwrap()).unwrap();
        let set = |version| Event::SecretChanged {
            env: id(),
            name: SecretName::parse("API_KEY").unwrap(),
            version,
            digest: String::new(),
            origin: secrets::Origin::Set,
        };
        let goal = |goal| Event::GoalChanged { env: id(), goal };
        apply(&set(1)).unwrap();
        apply(&goal(Goal::Purged)).unwrap();
        assert_eq!(apply(&set(2)), Err(MisfitEvent::Purging(id())));
        apply(&Event::DataPurged { env: id() }).unwrap();
        apply(&set(2)).unwrap();
        apply(&goal(Goal::Down)).unwrap();
        apply(&set(3)).unwrap();
    }

    #[test]
    fn when_it_was_taken_down_last_is_known_also_where_it_is_up_again() {
        let mut state = State::default();
        let mut apply = |at, event: &Event| {
            state.apply(Timestamp(at), event).unwrap();
            state.environments[&id()].taken_down
        };
        let goal = |goal| Event::GoalChanged { env: id(), goal };
        assert_eq!(apply(1, &Event::created(id())), None);
        assert_eq!(apply(2, &goal(Goal::Up)), None);
        assert_eq!(apply(3, &goal(Goal::Down)), Some(Timestamp(3)));
        assert_eq!(apply(4, &goal(Goal::Up)), Some(Timestamp(3)));
        assert_eq!(apply(5, &goal(Goal::Purged)), Some(Timestamp(5)));
    }

    #[test]
    fn what_an_older_ward_wrote_down_is_read() {
        let created = r#"{"kind":"environment_created","env":"shop/demo"}"#;
        let created: Event = serde_json::from_str(created).unwrap();
        let mut state = State::default();
        state.apply(Timestamp(7), &created).unwrap();
        let life = &state.environments[&id()].life;
        assert_eq!(life.created.as_ref().unwrap().at, Timestamp(7));
        let plain = serde_json::to_string(&created).unwrap();
        assert_eq!(plain, r#"{"kind":"environment_created","env":"shop/demo"}"#);
    }
}
