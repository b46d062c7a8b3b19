//! Which rules hold in an environment.
//!
//! Decision: a release goes back, rules do not. Those of the newest build that ever served in this life of the environment
//! hold, and beside them those of what serves; where they differ the stricter does. So neither a rollback nor an older
//! build that is promoted again, nor other values for either, takes a rule away: only a newer build does, which is a
//! forward deploy that the rules judge. Builds are numbered over the whole stack, so the newest is known by its number,
//! whatever brought it there and whichever releases are still retained. Whether its rows may be copied is such a rule.

use serde::{Deserialize, Serialize};

use super::{Freeze, Policy};
use crate::id::ReleaseId;
use crate::release::Environment;
use crate::spec::{CopyData, EnvSpec};

/// The rules that were declared last in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The number of the build whose stack file declares them.
    pub build: u64,
    /// Its version.
    pub version: String,
    /// The release by which it served last.
    pub release: ReleaseId,
    /// What it asks for.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// Whether it lets its rows be copied.
    #[serde(default, skip_serializing_if = "CopyData::is_denied")]
    pub copy_data: CopyData,
}

impl Environment {
    /// What is asked of plans for it, by what was declared last and by what serves; `None`: nothing has served in it.
    #[must_use]
    pub fn policy(&self) -> Option<Policy> {
        let serves = self.current_release().map(|release| &release.spec.policy);
        match (&self.rules, serves) {
            (Some(declared), Some(serves)) => Some(declared.policy.and(serves)),
            (Some(declared), None) => Some(declared.policy.clone()),
            (None, serves) => serves.cloned(),
        }
    }

    /// The build that keeps the rows from being copied although a release that lets them, `of`, serves, or served when a
    /// backup was taken.
    #[must_use]
    pub fn keeps_data_from(&self, of: &EnvSpec) -> Option<&Declared> {
        let declared = self.rules.as_ref()?;
        let denied = declared.copy_data.is_denied() && !of.copy_data.is_denied();
        denied.then_some(declared)
    }

    /// Whose rules hold although what would serve asks for less than they do.
    #[must_use]
    pub fn outlasting(&self, serves: &Policy) -> Option<&Declared> {
        let declared = self.rules.as_ref()?;
        (declared.policy.and(serves) != *serves).then_some(declared)
    }

    /// A release has served: its build's rules hold from now on, unless those of a newer one do.
    pub(crate) fn declare(&mut self, id: ReleaseId) {
        let Some(release) = self.releases.get(&id) else {
            return;
        };
        self.life.declared |= release.is_named();
        let version = &release.build.version;
        let known = self.rules.as_ref();
        // Each build has a number; one that had none would be as new as the newest.
        let newest = || known.map_or(0, |known| known.build);
        let build = crate::source::number(version).unwrap_or_else(newest);
        if known.is_none_or(|known| known.build <= build) {
            self.rules = Some(Declared {
                build,
                version: version.clone(),
                release: id,
                policy: release.spec.policy.clone(),
                copy_data: release.spec.copy_data,
            });
        }
    }
}

impl Policy {
    /// What satisfies both: of each rule the stricter.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut freeze: Vec<Freeze> = self.freeze.clone();
        let more = other.freeze.iter().filter(|one| !self.freeze.contains(one));
        freeze.extend(more.cloned());
        Self {
            database_removed: self.database_removed.max(other.database_removed),
            volume_removed: self.volume_removed.max(other.volume_removed),
            export_removed: self.export_removed.max(other.export_removed),
            min_instances: self.min_instances.max(other.min_instances),
            instances: self.instances.max(other.instances),
            tls: self.tls.max(other.tls),
            host_base: self.host_base.max(other.host_base),
            rate_limit: self.rate_limit.max(other.rate_limit),
            images: self.images.max(other.images),
            backups: self.backups.max(other.backups),
            reason: self.reason.max(other.reason),
            residency: self.residency.max(other.residency),
            freeze,
            pipeline: self.pipeline.max(other.pipeline),
            second_person: self.second_person.max(other.second_person),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Level, Rule};
    use super::*;
    use crate::event::{Event, State};
    use crate::id::EnvId;
    use crate::time::Timestamp;

    fn id() -> EnvId {
        EnvId::parse("shop/prod").unwrap()
    }

    fn release(number: u64, version: &str, policy: &Policy) -> Event {
        let release = serde_json::json!({
            "id": number, "build": {"version": version, "images": {}}, "recorded": 1, "by": "anna",
            "spec": {"id": "shop/prod", "version": "1.0", "keep_warm": 0, "services": {}, "databases": {},
                "policy": policy},
        });
        let release = serde_json::from_value(release).unwrap();
        Event::ReleaseRecorded {
            env: id(),
            release: Box::new(release),
        }
    }

    struct Log(State, u64);

    impl Log {
        fn new() -> Self {
            let created = r#"{"kind":"environment_created","env":"shop/prod"}"#;
            let mut log = Self(State::default(), 0);
            log.add(&serde_json::from_str(created).unwrap());
            log
        }

        fn add(&mut self, event: &Event) {
            self.0.apply(Timestamp(1), event).unwrap();
        }

        fn goes(&mut self, to: u64, reason: &str, verdict: &str) {
            self.1 += 1;
            let deployment = serde_json::json!({
                "id": self.1, "reason": reason, "from": null, "to": to, "requested": 1, "started": null,
                "phase_since": 1, "by": "anna", "phase": {"state": "queued"},
            });
            self.add(&Event::DeploymentQueued {
                env: id(),
                deployment: serde_json::from_value(deployment).unwrap(),
            });
            let phase = serde_json::json!(
                {"state": "finished", "verdict": verdict, "failure": null, "at": 1}
            );
            self.add(&Event::DeploymentMoved {
                env: id(),
                deployment: serde_json::from_value(self.1.into()).unwrap(),
                phase: serde_json::from_value(phase).unwrap(),
            });
        }

        fn holds(&self, rule: Rule) -> Level {
            let policy = self.0.environments[&id()].policy();
            policy.unwrap_or_default().level(rule)
        }
    }

    #[test]
    fn rules_do_not_go_back_with_a_release_and_only_a_newer_build_takes_them_away() {
        let (none, all) = (Policy::default(), Policy::of_protected());
        let mut log = Log::new();
        assert_eq!(log.holds(Rule::Tls), Level::Off);
        log.add(&release(1, "1.0.1", &none));
        log.goes(1, "deploy", "succeeded");
        assert_eq!(log.holds(Rule::Tls), Level::Off);
        log.add(&release(2, "1.0.2", &all));
        log.goes(2, "deploy", "failed_old_serving");
        assert_eq!(log.holds(Rule::Tls), Level::Off, "it never served");
        log.goes(2, "deploy", "succeeded");
        log.goes(1, "rollback", "succeeded");
        assert_eq!(log.holds(Rule::DatabaseRemoved), Level::Deny);
        let env = &log.0.environments[&id()];
        assert_eq!(env.outlasting(&none).unwrap().version, "1.0.2");
        assert_eq!(env.outlasting(&all), None);
        // Neither with other values for what was gone back to, nor when that build is promoted again.
        log.add(&release(3, "1.0.1", &none));
        log.goes(3, "deploy", "succeeded");
        assert_eq!(log.holds(Rule::Tls), Level::Deny);
        // Nor when the release that declared them is retained no more.
        log.add(&release(4, "1.0.1", &none));
        log.goes(4, "deploy", "succeeded");
        log.add(&Event::ReleaseRetired {
            env: id(),
            release: ReleaseId(2),
        });
        assert_eq!(log.holds(Rule::Tls), Level::Deny);
        // A newer build that failed takes nothing away, one that serves does.
        log.add(&release(5, "1.0.3", &none));
        log.goes(5, "deploy", "failed_old_serving");
        assert_eq!(log.holds(Rule::Tls), Level::Deny);
        log.goes(5, "deploy", "succeeded");
        assert_eq!(log.holds(Rule::Tls), Level::Off);
    }

    #[test]
    fn what_began_as_a_copy_is_none_from_when_what_is_declared_has_served() {
        let created = r#"{"kind":"environment_created","env":"shop/prod",
            "origin":{"from":"dev","hosts":"{service}.{env}.localhost"}}"#;
        let mut log = Log(State::default(), 0);
        log.add(&serde_json::from_str(created).unwrap());
        let is_copy = |log: &Log| log.0.environments[&id()].is_copy();
        let of = |number, version, named, seeded| {
            let mut event = release(number, version, &Policy::default());
            if let Event::ReleaseRecorded { release, .. } = &mut event {
                (release.named, release.spec.seeded) = (named, seeded);
            }
            event
        };
        log.add(&of(1, "1.0.1", Some(false), true));
        log.goes(1, "deploy", "succeeded");
        assert!(is_copy(&log));
        // Of an older Ward, which said nothing: every copy is seeded.
        let mut older = Log(State::default(), 0);
        older.add(&serde_json::from_str(created).unwrap());
        for (number, seeded) in [(1, true), (2, false)] {
            older.add(&of(number, "1.0.1", None, seeded));
            older.goes(number, "deploy", "succeeded");
            assert_eq!(is_copy(&older), seeded);
        }
        log.add(&of(2, "1.0.2", Some(true), false));
        log.goes(2, "deploy", "failed_old_serving");
        assert!(is_copy(&log));
        log.goes(2, "deploy", "succeeded");
        assert!(!is_copy(&log));
        // A release goes back, what was declared does not.
        log.goes(1, "rollback", "succeeded");
        assert!(!is_copy(&log));
    }

    #[test]
    fn whether_rows_may_be_copied_does_not_go_back_with_a_release() {
        let of = |number, version, copy_data| {
            let mut event = release(number, version, &Policy::default());
            if let Event::ReleaseRecorded { release, .. } = &mut event {
                release.spec.copy_data = copy_data;
            }
            event
        };
        let mut log = Log::new();
        log.add(&of(1, "1.0.1", CopyData::Allowed));
        let first = &log.0.environments[&id()].releases[&ReleaseId(1)];
        let allows = first.spec.clone();
        let kept_by = |log: &Log| {
            let declared = log.0.environments[&id()].keeps_data_from(&allows).cloned();
            declared.map(|declared| declared.version)
        };
        log.goes(1, "deploy", "succeeded");
        assert_eq!(kept_by(&log), None);
        log.add(&of(2, "1.0.2", CopyData::Denied));
        log.goes(2, "deploy", "failed_old_serving");
        assert_eq!(kept_by(&log), None, "it never served");
        log.goes(2, "deploy", "succeeded");
        log.goes(1, "rollback", "succeeded");
        assert_eq!(kept_by(&log).as_deref(), Some("1.0.2"));
        log.add(&of(3, "1.0.3", CopyData::Allowed));
        log.goes(3, "deploy", "succeeded");
        assert_eq!(kept_by(&log), None);
    }

    #[test]
    fn what_serves_holds_too_where_it_asks_for_more() {
        let (none, all) = (Policy::default(), Policy::of_protected());
        let mut log = Log::new();
        log.add(&release(1, "1.0.1", &all));
        log.goes(1, "deploy", "succeeded");
        log.add(&release(2, "1.0.2", &none));
        log.goes(2, "deploy", "succeeded");
        assert_eq!(log.holds(Rule::Tls), Level::Off);
        log.goes(1, "rollback", "succeeded");
        assert_eq!(log.holds(Rule::Tls), Level::Deny);
    }

    #[test]
    fn of_each_rule_the_stricter_holds() {
        let freeze = |text: &str| Freeze::try_from(text.to_owned()).unwrap();
        let one = Policy {
            instances: 3,
            tls: Level::Warn,
            freeze: vec![freeze("2026-12-20/2026-12-31 UTC")],
            ..Policy::default()
        };
        let other = Policy {
            freeze: vec![
                freeze("2026-12-20/2026-12-31 UTC"),
                freeze("2027-12-20/2027-12-31 UTC"),
            ],
            ..Policy::of_protected()
        };
        for both in [one.and(&other), other.and(&one)] {
            assert!(
                Rule::ALL
                    .iter()
                    .all(|rule| { both.level(*rule) == one.level(*rule).max(other.level(*rule)) })
            );
            assert_eq!((both.instances, both.freeze.len()), (3, 2));
        }
    }
}
