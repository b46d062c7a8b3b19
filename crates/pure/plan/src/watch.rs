//! Decision: what a release on trial answered, and beside what that is judged.
//!
//! An instance's counters go on from stage to stage and begin anew with the gateway's process, and those of
//! one that has left are forgotten. So what came to them since the last look is added up, from the moment
//! that a stage's table is in force until the next one's is. A planner that has forgotten begins anew. At a
//! step of a canary both releases answer at the same time, and are compared over that. While everything
//! goes to the new release, it is compared with the old one's last step, or where that had few requests
//! with everything that the old one was seen to answer. Beside all of a stage, its last seconds are judged by
//! themselves: what begins to fail late is seen as soon as what fails from the start.

use std::collections::BTreeMap;

use ward_types::histogram::Histogram;
use ward_types::id::{DeploymentId, InstanceId, Name};
use ward_types::keeper::Role;
use ward_types::release::Deployment;
use ward_types::spec::{Analysis, Inconclusive};
use ward_types::time::{Millis, Timestamp};

use crate::analysis::{self, Judgement, Sample};
use crate::hold;
use crate::limits::WARM_UP;
use crate::memory::Reached;
use crate::observed::{SeenGateway, SeenInstance};
use crate::scene::Scene;
use crate::stages::{Requests, Rollout};
use crate::waiting::Bound;

/// What is recent: between this and twice as long.
const RECENT: Millis = Millis::secs(10);

/// From so many requests on, a canary's last step alone stands for the old release.
const TELLING: u64 = 200;

/// What was answered while a deployment rolls out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Watch {
    deployment: DeploymentId,
    /// Whose table is in force, or was last; `None`: no stage's yet.
    stage: Option<u32>,
    since: Timestamp,
    /// Since when the newer of the recent halves is counted, and since when the older.
    parted: [Timestamp; 2],
    /// Each instance's counters at the last look.
    counters: BTreeMap<InstanceId, Sample>,
    windows: BTreeMap<Name, Window>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Window {
    whole: Both,
    /// The last seconds: since `Watch::parted`, and as long again before that.
    recent: [Both; 2],
    /// Of the old release, before this window.
    before: Sample,
}

/// What both releases answered over the same time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Both {
    new: Sample,
    old: Sample,
}

/// One service of a release on trial, judged.
pub(crate) struct Judged<'a> {
    pub(crate) service: &'a Name,
    pub(crate) analysis: Option<Analysis>,
    pub(crate) judgement: Judgement,
    /// Since when the new release was looked at.
    pub(crate) since: Timestamp,
}

/// What is watched after this scene was seen.
pub(crate) fn note(scene: &Scene, held: Option<Reached>) -> Option<Watch> {
    let (active, rollout) = (scene.active()?, scene.rollout?);
    scene.stage()?;
    if rollout.is_plain() || rollout.from.is_none() {
        return None;
    }
    let before = scene.memory.watch.as_ref();
    let before = before.filter(|watch| watch.deployment == active.id);
    let mut watch = before
        .cloned()
        .unwrap_or_else(|| Watch::begin(scene, active, rollout));
    watch.count(scene, rollout);
    if let Some(held) = held.filter(|held| Some(held.stage) != watch.stage) {
        watch.turn(held);
    }
    Some(watch)
}

impl Watch {
    /// What was counted before counts for nothing but as the old release's past.
    fn begin(scene: &Scene, active: &Deployment, rollout: &Rollout) -> Self {
        let mut watch = Self {
            deployment: active.id,
            stage: None,
            since: scene.now,
            parted: [scene.now; 2],
            counters: BTreeMap::new(),
            windows: BTreeMap::new(),
        };
        watch.count(scene, rollout);
        for window in watch.windows.values_mut() {
            let before = std::mem::take(&mut window.whole).old;
            *window = Window {
                before,
                ..Window::default()
            };
        }
        watch
    }

    /// Adds what came since the last look.
    fn count(&mut self, scene: &Scene, rollout: &Rollout) {
        self.part(scene.now);
        let Some(gateway) = scene.gateway() else {
            return;
        };
        for instance in scene.seen().filter(|i| i.facts.role == Role::Service) {
            let Some(counted) = counted(gateway, instance) else {
                continue;
            };
            let facts = &instance.facts;
            let last = self.counters.entry(facts.id.clone()).or_default();
            let more = counted.since(last);
            *last = counted;
            let ours = rollout.to == facts.release || rollout.from == Some(facts.release);
            if ours && more != Sample::default() {
                let window = self.windows.entry(facts.component.clone()).or_default();
                let is_new = rollout.to == facts.release;
                for both in [&mut window.whole, &mut window.recent[0]] {
                    let side = if is_new { &mut both.new } else { &mut both.old };
                    side.merge(&more);
                }
            }
        }
    }

    /// What is recent is forgotten by halves.
    fn part(&mut self, now: Timestamp) {
        let [newer, _] = self.parted.map(|since| since.min(now));
        if now < newer + RECENT {
            return;
        }
        self.parted = [now, newer];
        for window in self.windows.values_mut() {
            let newer = std::mem::take(&mut window.recent[0]);
            window.recent[1] = newer;
        }
    }

    /// A stage's table came into force. Before the first one the new release took nothing: what it was seen
    /// to answer it has answered by this table.
    fn turn(&mut self, held: Reached) {
        let first = self.stage.is_none();
        for window in self.windows.values_mut() {
            let ended = std::mem::take(&mut window.whole);
            window.recent = Default::default();
            match !first && ended.old.requests >= TELLING {
                true => window.before = ended.old,
                false => window.before.merge(&ended.old),
            }
            if first {
                window.whole.new = ended.new;
            }
        }
        // By the log it may have been in force before this was watched.
        let since = held.since.max(self.since);
        self.parted = [since; 2];
        (self.stage, self.since) = (Some(held.stage), since);
    }

    /// Every service on trial.
    pub(crate) fn judge<'a>(&self, scene: &Scene<'a>) -> Vec<Judged<'a>> {
        let (Some(rollout), Some(stage)) = (scene.rollout, self.stage) else {
            return Vec::new();
        };
        let services = scene.spec(rollout.to).into_iter().flat_map(|s| &s.services);
        let services = services.filter(|(_, s)| s.port.is_some() && s.instances > 0);
        let judged = services.filter_map(|(name, service)| {
            let nothing = Window::default();
            let window = self.windows.get(name).unwrap_or(&nothing);
            let bakes = stage == rollout.last() && hold::is_baking(rollout);
            let beside = match rollout.share(stage, name)?.requests {
                Requests::Percent(_) => Beside::Old,
                Requests::New if bakes => Beside::Before,
                Requests::Old | Requests::ByInstances | Requests::New => return None,
            };
            let cold = !scene.is_past(&Bound::fixed(self.since, WARM_UP));
            let enough = service.analysis.map_or(0, |a| u64::from(a.requests));
            let (judgement, recent) = window.judge(beside, cold, enough);
            Some(Judged {
                service: name,
                analysis: service.analysis,
                judgement,
                since: if recent { self.parted[1] } else { self.since },
            })
        });
        judged.collect()
    }

    /// The services of which too few requests were seen at a stage, with what is to become of them.
    pub(crate) fn inconclusive<'a>(
        &self,
        scene: &Scene<'a>,
        stage: u32,
        inconclusive: Inconclusive,
    ) -> Option<(&'a Name, u64, u64)> {
        let judged = self.judge(scene).into_iter();
        let mut judged = judged.filter(|_| self.stage == Some(stage));
        judged.find_map(|judged| {
            let analysis = judged.analysis?;
            let so = analysis.inconclusive == inconclusive;
            match judged.judgement {
                Judgement::Inconclusive { requests } if so => {
                    Some((judged.service, requests, u64::from(analysis.requests)))
                }
                _ => None,
            }
        })
    }
}

/// What the new release is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// The old one over the same time.
    Old,
    /// The old one before.
    Before,
}

impl Window {
    /// By everything, or else by what is recent; which of the two it was.
    fn judge(&self, beside: Beside, cold: bool, enough: u64) -> (Judgement, bool) {
        let mut new = self.whole.new.sound();
        let old = match beside {
            Beside::Old => self.whole.old.sound(),
            Beside::Before => self.before.sound(),
        };
        if cold {
            new.latency = Histogram::default();
        }
        let judgement = analysis::judge(&old, &new, enough);
        match judgement {
            Judgement::Fails { .. } | Judgement::Slower { .. } => (judgement, false),
            Judgement::AsGood | Judgement::Inconclusive { .. } => {
                let recent = self.judge_recent(beside, cold);
                let is_recent = recent.is_some();
                (recent.unwrap_or(judgement), is_recent)
            }
        }
    }

    /// What was fast at another time says nothing of these seconds: latency is compared only over the same.
    fn judge_recent(&self, beside: Beside, cold: bool) -> Option<Judgement> {
        let [newer, older] = &self.recent;
        let (mut new, mut old) = (newer.new.clone(), newer.old.clone());
        new.merge(&older.new);
        old.merge(&older.old);
        if beside == Beside::Before {
            old = self.before.clone();
        }
        if cold || beside == Beside::Before {
            new.latency = Histogram::default();
        }
        analysis::judge_recent(&old.sound(), &new.sound())
    }
}

/// What the gateway has counted of an instance; `None`: it has forgotten it, or never knew it.
fn counted(gateway: &SeenGateway, instance: &SeenInstance) -> Option<Sample> {
    let id = &instance.facts.id;
    let traffic = gateway.traffic.get(id)?;
    Some(Sample {
        requests: traffic.answered,
        failed: traffic.failed,
        latency: gateway.latency.get(id).cloned().unwrap_or_default(),
    })
}

impl Sample {
    /// What was counted after `earlier`; everything, if the counting began anew in between.
    fn since(&self, earlier: &Self) -> Self {
        if self.requests < earlier.requests || self.failed < earlier.failed {
            return self.clone();
        }
        Self {
            requests: self.requests - earlier.requests,
            failed: self.failed - earlier.failed,
            latency: self.latency.since(&earlier.latency),
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.latency.merge(&other.latency);
    }

    /// An answer that breaks off is counted when it begins, and as failed later: perhaps in another window.
    fn sound(&self) -> Self {
        Self {
            failed: self.failed.min(self.requests),
            ..self.clone()
        }
    }
}
