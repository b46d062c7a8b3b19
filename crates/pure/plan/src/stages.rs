//! Decision: every strategy is a list of stages, and all services of a deployment go through them together.
//!
//! A stage says of each service how many instances of the new release run, how many of the old one, and
//! who takes the requests. It begins by starting what is new; when all of that is healthy the table
//! follows; when the gateway has that in force the stage is held for as long as it says, and the next
//! begins. Services with fewer stages join later: the last stage is the same for all, so that whatever is
//! left of the old release leaves in one table. A service that the old release does not have is there in
//! full from the first stage on, because nothing is lost by it.
//!
//! | strategy     | its stages |
//! | ------------ | --- |
//! | `blue_green` | one: all new beside all old, then every request |
//! | `canary`     | one per step: a part of the new that is as large as the share of the requests, rounded up, beside all old; then as `blue_green` |
//! | `rolling`    | one per batch: some new more, as many old less |
//!
//! A rolling service's requests are balanced over the instances of both releases, and not divided by a
//! share: each instance takes what it can, whichever release it is of, and one that dies takes nothing
//! with it. A batch is never larger than the surge, so that with `instances` declared by both releases, as
//! many are healthy and in rotation at each moment: `Pace::floor`.
//!
//! Where the releases of a service do not overlap, its instances are exchanged at the last stage, and the one
//! before that, which moves no requests, has everything else ready.
//!
//! Only a deploy beside a release that serves is gradual. What is to be quick, a rollback above all, has
//! one stage and is not held; where instances are exchanged a second one follows the switch.

use std::collections::{BTreeMap, BTreeSet};

use ward_types::id::{Name, ReleaseId};
use ward_types::release::{Deployment, Environment, Phase, Reason};
use ward_types::spec::{Amount, EnvSpec, ServiceSpec, Strategy};
use ward_types::time::Millis;

/// The stages of the deployment that is under way.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) to: ReleaseId,
    /// The release that it takes over from by stages, if it does.
    pub(crate) from: Option<ReleaseId>,
    /// At least one.
    stages: Vec<Stage>,
    paces: BTreeMap<Name, Pace>,
    /// The services whose old instances are gone before the new ones start.
    exchanged: BTreeSet<Name>,
    /// The stage that moves no requests, and waits until everything else is ready for the exchange.
    ready: Option<u32>,
}

#[derive(Debug, Clone)]
struct Stage {
    shares: BTreeMap<Name, Share>,
    hold: Hold,
}

/// One service at one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Instances of the new release.
    pub(crate) new: u32,
    /// Instances of the old release, once the stage's table is in force.
    pub(crate) old: u32,
    pub(crate) requests: Requests,
}

/// Who takes a service's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    Old,
    /// Both, by what their instances can take.
    ByInstances,
    /// So many of any 100 go to the new release, 1 to 99.
    Percent(u8),
    New,
}

/// How long a stage is held once its table is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    For(Millis),
    UntilTold,
}

/// Between what a rolling service moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Never fewer than this in rotation and healthy: what the release with fewer declares.
    pub(crate) floor: u32,
    /// Never more than this running, what drains and stops included: what the release with more declares,
    /// and the surge.
    pub(crate) most: u32,
    /// How many are replaced at a time.
    pub(crate) step: u32,
}

impl Rollout {
    /// Of the deployment that is under way, if its release is retained.
    pub(crate) fn of(env: &Environment) -> Option<Self> {
        let deployment = env.active()?;
        let new = &env.releases.get(&deployment.to)?.spec;
        let Some((from, old)) = taken_over(env, deployment) else {
            return Some(Self::at_once(deployment.to, new));
        };
        let exchanged = exchanged(new, old);
        match deployment.reason {
            Reason::Deploy => {
                let rollout = Self::beside(deployment.to, new, from, old);
                Some(rollout.with_exchange_before_the_switch(exchanged, old))
            }
            Reason::Rollback | Reason::Rollforward | Reason::Up if exchanged.is_empty() => {
                Some(Self::at_once(deployment.to, new))
            }
            Reason::Rollback | Reason::Rollforward | Reason::Up => {
                let rollout = Self::switched(deployment.to, new, from, old);
                Some(rollout.with_exchange_after_the_switch(exchanged, new, old))
            }
        }
    }

    /// One switch beside the old release, whatever the strategies.
    fn switched(to: ReleaseId, new: &EnvSpec, from: ReleaseId, old: &EnvSpec) -> Self {
        let mut rollout = Self::at_once(to, new);
        rollout.from = Some(from);
        let shares = &mut rollout.stages[0].shares;
        for (name, before) in &old.services {
            let share = shares.entry(name.clone());
            let share = share.or_insert_with(|| left_alone(before, 1));
            share.old = before.instances;
        }
        rollout
    }

    /// A deploy: when all else is ready, and then the last table.
    fn with_exchange_before_the_switch(mut self, exchanged: BTreeSet<Name>, old: &EnvSpec) -> Self {
        if exchanged.is_empty() {
            return self;
        }
        let Some(last) = self.stages.pop() else {
            return self;
        };
        let before = self.stages.last();
        let requests = |name: &Name| {
            let share = before.and_then(|stage| stage.shares.get(name));
            share.map_or(Requests::Old, |share| share.requests)
        };
        let shares = last.shares.iter().map(|(name, share)| {
            let requests = requests(name);
            (name.clone(), Share { requests, ..*share })
        });
        let ready = Stage {
            shares: shares.collect(),
            hold: Hold::For(Millis(0)),
        };
        self.ready = u32::try_from(self.stages.len()).ok();
        self.stages.extend([ready, last]);
        self.exchange(exchanged, old)
    }

    /// Requests do not wait for it. What only the old release has stays for as long as an instance that may
    /// call it.
    fn with_exchange_after_the_switch(
        mut self,
        exchanged: BTreeSet<Name>,
        new: &EnvSpec,
        old: &EnvSpec,
    ) -> Self {
        let last = self.stages[0].clone();
        for (name, share) in &mut self.stages[0].shares {
            if !new.services.contains_key(name) {
                share.requests = Requests::Old;
            }
        }
        self.stages.push(last);
        self.exchange(exchanged, old)
    }

    /// At the last stage, and not before.
    fn exchange(mut self, exchanged: BTreeSet<Name>, old: &EnvSpec) -> Self {
        let last = self.stages.len() - 1;
        for (index, stage) in self.stages.iter_mut().enumerate() {
            for name in &exchanged {
                let before = &old.services[name];
                match stage.shares.get_mut(name) {
                    Some(share) if index == last => share.old = 0,
                    Some(share) => {
                        *share = Share {
                            requests: Requests::Old,
                            ..left_alone(before, 2)
                        }
                    }
                    None => {}
                }
            }
        }
        self.exchanged = exchanged;
        self
    }

    fn at_once(to: ReleaseId, new: &EnvSpec) -> Self {
        let services = new.services.iter();
        let shares = services.map(|(name, service)| (name.clone(), alone(service)));
        let stage = Stage {
            shares: shares.collect(),
            hold: Hold::For(Millis(0)),
        };
        Self {
            to,
            from: None,
            stages: vec![stage],
            paces: BTreeMap::new(),
            exchanged: BTreeSet::new(),
            ready: None,
        }
    }

    fn beside(to: ReleaseId, new: &EnvSpec, from: ReleaseId, old: &EnvSpec) -> Self {
        let mut courses = BTreeMap::new();
        let mut paces = BTreeMap::new();
        for (name, service) in &new.services {
            let before = old.services.get(name);
            courses.insert(name, before.map(|before| course(service, before)));
            let pace = before.and_then(|before| pace(service, before));
            paces.extend(pace.map(|pace| (name.clone(), pace)));
        }
        let number = courses.values().flatten().map(Vec::len).max().unwrap_or(1);
        let stages = (0..number).map(|stage| {
            let left = number - stage;
            let mut shares: BTreeMap<Name, Share> = old
                .services
                .iter()
                .map(|(name, before)| (name.clone(), left_alone(before, left)))
                .collect();
            let mut hold = Hold::For(Millis(0));
            for (name, course) in &courses {
                let joined = course
                    .as_ref()
                    .map(|c| c.len().checked_sub(left).map(|i| c[i]));
                match joined {
                    Some(Some((share, held))) => {
                        shares.insert((*name).clone(), share);
                        hold = hold.longer(held);
                    }
                    Some(None) => {}
                    None => drop(shares.insert((*name).clone(), alone(&new.services[*name]))),
                }
            }
            Stage { shares, hold }
        });
        Self {
            to,
            from: Some(from),
            stages: stages.collect(),
            paces,
            exchanged: BTreeSet::new(),
            ready: None,
        }
    }

    pub(crate) fn last(&self) -> u32 {
        u32::try_from(self.stages.len() - 1).unwrap_or(u32::MAX)
    }

    /// The stage that a deployment is at, if it rolls out; one that is not there counts as the last.
    pub(crate) fn stage(&self, deployment: &Deployment) -> Option<u32> {
        match deployment.phase {
            Phase::Rolling { stage } => Some(stage.min(self.last())),
            _ => None,
        }
    }

    fn at(&self, stage: u32) -> &Stage {
        &self.stages[stage.min(self.last()) as usize]
    }

    pub(crate) fn share(&self, stage: u32, service: &Name) -> Option<Share> {
        self.at(stage).shares.get(service).copied()
    }

    pub(crate) fn hold(&self, stage: u32) -> Hold {
        self.at(stage).hold
    }

    pub(crate) fn pace(&self, service: &Name) -> Option<Pace> {
        self.paces.get(service).copied()
    }

    /// Whether the number of old instances shrinks on the way.
    pub(crate) fn shrinks(&self) -> bool {
        !self.paces.is_empty()
    }

    /// How many batches it takes at most to bring the old release back.
    pub(crate) fn rounds_back(&self) -> u32 {
        let rounds = self.paces.values().map(|p| p.most.div_ceil(p.step));
        rounds.max().unwrap_or(0)
    }

    /// Whether a service's old instances are gone before the new ones start.
    pub(crate) fn exchanges(&self, service: &Name) -> bool {
        self.exchanged.contains(service)
    }

    pub(crate) fn exchanges_any(&self) -> bool {
        !self.exchanged.is_empty()
    }

    pub(crate) fn exchanged(&self) -> impl Iterator<Item = &Name> {
        self.exchanged.iter()
    }

    /// The stage that only waits until everything is ready for an exchange.
    pub(crate) fn ready(&self) -> Option<u32> {
        self.ready
    }

    /// Whether some of the requests have moved when a stage begins.
    pub(crate) fn has_moved_before(&self, stage: u32) -> bool {
        let before = self.stages.iter().take(stage as usize);
        let mut shares = before.flat_map(|stage| stage.shares.values());
        shares.any(|share| share.requests != Requests::Old)
    }

    /// Whether a share of a service's requests comes first.
    pub(crate) fn is_canary(&self, service: &Name) -> bool {
        let shares = self.stages.iter().filter_map(|s| s.shares.get(service));
        let mut requests = shares.map(|share| share.requests);
        requests.any(|requests| matches!(requests, Requests::Percent(_)))
    }

    /// Whether both releases may serve at the same time.
    pub(crate) fn is_gradual(&self) -> bool {
        self.stages.len() > 1 || self.shrinks()
    }

    /// One switch and done.
    pub(crate) fn is_plain(&self) -> bool {
        !self.is_gradual() && self.stages[0].hold == Hold::For(Millis(0))
    }
}

/// The release that serves, beside which a new one is deployed.
fn taken_over<'a>(
    env: &'a Environment,
    deployment: &Deployment,
) -> Option<(ReleaseId, &'a EnvSpec)> {
    let current = env.current_release()?;
    let other = current.id != deployment.to;
    other.then_some((current.id, &current.spec))
}

/// The services that both releases run, and that one of them does not want beside the other.
fn exchanged(new: &EnvSpec, old: &EnvSpec) -> BTreeSet<Name> {
    let both = new.services.iter().filter(|(name, new)| {
        let old = old.services.get(*name);
        old.is_some_and(|old| is_exchanged(new, old))
    });
    both.map(|(name, _)| name.clone()).collect()
}

fn is_exchanged(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    let run = old.instances > 0 && new.instances > 0;
    run && !(old.overlap && new.overlap)
}

fn alone(service: &ServiceSpec) -> Share {
    Share {
        new: service.instances,
        old: 0,
        requests: Requests::New,
    }
}

/// A service of the old release for which nothing changes yet, `left` stages before the end.
fn left_alone(before: &ServiceSpec, left: usize) -> Share {
    Share {
        new: 0,
        old: before.instances,
        requests: match left {
            1 => Requests::New,
            _ => Requests::Old,
        },
    }
}

/// The stages of one service that both releases have.
fn course(new: &ServiceSpec, old: &ServiceSpec) -> Vec<(Share, Hold)> {
    let whole = Share {
        new: new.instances,
        old: old.instances,
        requests: Requests::New,
    };
    match &new.strategy {
        Strategy::Canary { .. } | Strategy::Rolling { .. } if is_exchanged(new, old) => {
            vec![(whole, Hold::For(Millis(0)))]
        }
        Strategy::BlueGreen { bake } => vec![(whole, Hold::For(*bake))],
        Strategy::Canary { steps, bake, .. } => {
            let steps = steps.iter().filter(|_| can_share(new, old));
            let steps = steps.map(|step| {
                let weight = step.weight.clamp(1, 99);
                let hold = step.hold.map_or(Hold::UntilTold, Hold::For);
                let share = Share {
                    new: Amount::Percent(weight).of(new.instances),
                    requests: Requests::Percent(weight),
                    ..whole
                };
                (share, hold)
            });
            steps.chain([(whole, Hold::For(*bake))]).collect()
        }
        Strategy::Rolling { .. } => match pace(new, old) {
            Some(pace) => batches(new.instances, old.instances, pace.step),
            None => vec![(whole, Hold::For(Millis(0)))],
        },
    }
}

/// Both releases can take requests of the same clients.
fn can_share(new: &ServiceSpec, old: &ServiceSpec) -> bool {
    let takes = |service: &ServiceSpec| service.port.is_some() && service.instances > 0;
    takes(new) && takes(old)
}

fn pace(new: &ServiceSpec, old: &ServiceSpec) -> Option<Pace> {
    let Strategy::Rolling { batch, surge } = &new.strategy else {
        return None;
    };
    if is_exchanged(new, old) {
        return None;
    }
    let surge = surge.of(new.instances);
    let most = new.instances.max(old.instances);
    can_share(new, old).then(|| Pace {
        floor: new.instances.min(old.instances),
        most: most.saturating_add(surge),
        step: batch.of(new.instances).min(surge),
    })
}

/// As much of the old is kept as is missing of the new, in proportion, rounded up: never below the floor,
/// and with the next batch never above the most. The last of the old are kept until the verdict.
fn batches(new: u32, old: u32, step: u32) -> Vec<(Share, Hold)> {
    let left = |started: u32| {
        let exact = u64::from(old) * u64::from(new - started);
        u32::try_from(exact.div_ceil(u64::from(new))).unwrap_or(u32::MAX)
    };
    let number = new.div_ceil(step);
    let stages = (1..=number).map(|batch| {
        let before = (batch - 1).saturating_mul(step).min(new);
        let started = batch.saturating_mul(step).min(new);
        let share = match started == new {
            true => Share {
                new,
                old: left(before),
                requests: Requests::New,
            },
            false => Share {
                new: started,
                old: left(started),
                requests: Requests::ByInstances,
            },
        };
        (share, Hold::For(Millis(0)))
    });
    stages.collect()
}

impl Hold {
    fn longer(self, other: Self) -> Self {
        match (self, other) {
            (Self::For(a), Self::For(b)) => Self::For(a.max(b)),
            _ => Self::UntilTold,
        }
    }
}
