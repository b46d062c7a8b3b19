//! A small life of an environment, to fill logs with.
#![allow(dead_code, reason = "each test program uses its own part of the scene")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use ward_store::{Entry, Store};
use ward_types::event::Event;
use ward_types::id::{DeploymentId, EnvId, ReleaseId};
use ward_types::release::{Build, Deployment, Goal, Phase, Reason, Release, Verdict};
use ward_types::spec::{Deadlines, EnvSpec};
use ward_types::time::{Millis, Timestamp};

pub(crate) fn env() -> EnvId {
    EnvId::parse("returns/dev").unwrap()
}

pub(crate) fn entry(at: u64, event: Event) -> Entry {
    Entry {
        at: Timestamp(at),
        who: "uid:1000(anna)".into(),
        why: "release é \"1.0\"\n".into(),
        request: format!("req-{at}"),
        event,
    }
}

pub(crate) fn created(env: &EnvId) -> Event {
    Event::created(env.clone())
}

pub(crate) fn executed(program: &str) -> Event {
    Event::CommandExecuted {
        env: env(),
        instance: "web-r1-1".into(),
        program: program.into(),
        command: None,
        secrets: None,
    }
}

pub(crate) fn recorded(env: &EnvId, id: u64) -> Event {
    let spec = EnvSpec {
        id: env.clone(),
        version: "1.0".into(),
        services: BTreeMap::new(),
        volumes: BTreeMap::new(),
        jobs: BTreeMap::new(),
        databases: BTreeMap::new(),
        keep_warm: Millis::secs(600),
        keep_releases: 10,
        deadlines: Deadlines::default(),
        seeded: false,
        copy_data: ward_types::spec::CopyData::Denied,
        sleep: None,
        region: None,
        protected: false,
        policy: ward_types::policy::Policy::default(),
        secrets: BTreeMap::new(),
    };
    let build = Build {
        version: format!("1.0.{id}"),
        images: BTreeMap::new(),
        stack_file: None,
        provenance: None,
    };
    Event::ReleaseRecorded {
        env: env.clone(),
        release: Box::new(Release {
            id: ReleaseId(id),
            build,
            spec,
            config: Default::default(),
            secrets: Default::default(),
            recorded: Timestamp(1000 + id),
            by: "anna".into(),
            named: None,
            promoted: None,
        }),
    }
}

pub(crate) fn queued(env: &EnvId, id: u64) -> Event {
    Event::DeploymentQueued {
        env: env.clone(),
        deployment: Box::new(Deployment {
            id: DeploymentId(id),
            reason: Reason::Deploy,
            from: None,
            to: ReleaseId(id),
            requested: Timestamp(1000 + id),
            started: None,
            phase_since: Timestamp(1000 + id),
            by: "anna".into(),
            paused: None,
            resumed: None,
            promoted: 0,
            served: None,
            cancelled: None,
            despite_schema: None,
            plan: None,
            gaps: Vec::new(),
            phase: Phase::Queued,
        }),
    }
}

pub(crate) fn moved(env: &EnvId, id: u64, phase: Phase) -> Event {
    Event::DeploymentMoved {
        env: env.clone(),
        deployment: DeploymentId(id),
        phase,
    }
}

/// Everything that release `id` goes through: six events.
pub(crate) fn release(env: &EnvId, id: u64) -> Vec<Entry> {
    let finished = Phase::Finished {
        verdict: Verdict::Succeeded,
        failure: None,
        at: Timestamp(2000 + id),
    };
    let events = [
        recorded(env, id),
        queued(env, id),
        moved(env, id, Phase::Preparing),
        moved(env, id, Phase::Rolling { stage: 0 }),
        moved(env, id, finished),
        Event::GoalChanged {
            env: env.clone(),
            goal: Goal::Up,
        },
    ];
    events
        .into_iter()
        .map(|event| entry(10 + id, event))
        .collect()
}

/// A database in a folder of its own, with an environment and `releases` releases: 1 + 6 each events.
pub(crate) fn filled(releases: u64) -> (tempfile::TempDir, PathBuf) {
    use ward_store::Log;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ward.db");
    let store = Store::open(&path).unwrap();
    store.append(vec![entry(1, created(&env()))]).unwrap();
    for id in 1..=releases {
        store.append(release(&env(), id)).unwrap();
    }
    (dir, path)
}
