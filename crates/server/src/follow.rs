//! Tells the one who asked what an operation does, while it does it.
//!
//! It only watches: the operation goes on when nobody listens any more.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::{mpsc, watch};
use ward_store::Log;
use ward_types::id::{DeploymentId, EnvId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::life::Cause;
use ward_types::release::{Deployment, Environment, Goal, Phase};
use ward_types::time::{Millis, Timestamp};
use ward_types::view::Progress;

use crate::clock::now;
use crate::control::Control;
use crate::driver::Live;
use crate::views::deployment_view;

/// A phase that takes longer than this says what it waits for.
const SLOW: Millis = Millis::secs(2);

/// A deployment that waits its turn for less than this is not worth a sentence.
const QUIET: Millis = Millis(300);

/// A driver that sees its log grow looks at the world again at once.
const LOOKS_AGAIN_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// What was said to be waited for. The same with other numbers in it is the same.
#[derive(Default)]
pub(crate) struct Told(BTreeSet<String>);

impl Told {
    /// The sentences that are new.
    pub(crate) fn news<'a>(&mut self, all: impl Iterator<Item = &'a String>) -> Vec<String> {
        all.filter(|sentence| self.0.insert(subject(sentence)))
            .cloned()
            .collect()
    }
}

/// A sentence without its counts, and without the reason behind a semicolon.
fn subject(sentence: &str) -> String {
    let what = sentence.split(';').next().unwrap_or_default();
    let words = what.split(' ').map(|word| match word.parse::<u64>() {
        Ok(_) => "…",
        // `1 request`, `2 requests`.
        Err(_) => word.trim_end_matches('s'),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// From when on somebody follows a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// Since it was asked for: all that it did is news.
    FromTheRequest,
    /// Only now, as who watches or cancels it, again after the server was started anew too: what it did before
    /// was told then.
    FromNow,
}

/// What was said already.
#[derive(Default)]
struct Said {
    /// What was seen to become healthy before is no news.
    since: Timestamp,
    phase: Option<&'static str>,
    healthy: BTreeMap<Name, (u32, u32)>,
    /// What each stage was held for.
    stages: BTreeSet<String>,
    waiting: Told,
    /// How many exchanges.
    gaps: usize,
    /// Since when it is this one's turn, though it has not begun.
    turn: Option<Timestamp>,
}

impl Control {
    /// Tells of a deployment until it has ended, and how.
    pub(crate) async fn follow_deployment(
        &self,
        env: &EnvId,
        id: DeploymentId,
        follows: Follows,
        progress: &mpsc::Sender<Progress>,
    ) -> Progress {
        let mut live = self.live(env);
        let mut log = self.store().changed();
        let mut said: Option<Said> = None;
        loop {
            log.mark_unchanged();
            let state = self.store().state();
            let Some(environment) = state.environments.get(env) else {
                return gone();
            };
            let Some(deployment) = environment.deployments.get(&id) else {
                return gone();
            };
            let seen = live.borrow_and_update().clone();
            let said = said.get_or_insert_with(|| Said::before(deployment, follows, now()));
            for step in said.news(environment, deployment, &seen) {
                // Nobody may be listening any more; the deployment goes on.
                let _ = progress.send(step).await;
            }
            if matches!(deployment.phase, Phase::Finished { .. }) {
                for sentence in unprotected(&seen) {
                    let message = format!("unprotected: {sentence}");
                    let _ = progress
                        .send(Progress::Step {
                            message,
                            took: None,
                        })
                        .await;
                }
                if deployment.cancelled.is_some() {
                    let events = *log.borrow();
                    let seen = seen_since(&mut live, events).await;
                    prove(environment, deployment, &seen, progress).await;
                }
                // What could not be made has an end of its own, which says why.
                let unmade = environment.life.ending.as_ref();
                let unmade = unmade.is_some_and(|ending| ending.cause == Cause::Unmade);
                if environment.goal != Goal::Up && !unmade {
                    return went_down(environment, deployment);
                }
                let release = environment.current_release();
                let addresses = release
                    .map(|release| self.addresses(release))
                    .unwrap_or_default();
                return Progress::Ended {
                    deployment: deployment_view(deployment, now()),
                    addresses,
                };
            }
            tokio::select! {
                _ = log.changed() => {}
                _ = live.changed() => {}
            }
        }
    }
}

/// What the driver saw after the log had so many events.
async fn seen_since(live: &mut watch::Receiver<Live>, events: u64) -> Live {
    let later = live.wait_for(|live| live.events >= events);
    match tokio::time::timeout(LOOKS_AGAIN_WITHIN, later).await {
        Ok(Ok(seen)) => seen.clone(),
        _ => Live::default(), // Then there is no proof.
    }
}

async fn prove(
    env: &Environment,
    deployment: &Deployment,
    seen: &Live,
    progress: &mpsc::Sender<Progress>,
) {
    if let Some(message) = proof(env, deployment, seen) {
        let took = None;
        let _ = progress.send(Progress::Step { message, took }).await;
    }
}

/// Of a deployment that was taken back: what is left of its release, as the engine and the gateway show it.
fn proof(env: &Environment, deployment: &Deployment, live: &Live) -> Option<String> {
    let to = deployment.to;
    if env.current == Some(to) {
        return None;
    }
    let gateway = live.observed.gateway.as_ref()?;
    let instances = live.observed.instances.values();
    let running = instances.filter(|i| i.facts.release == to && !i.status.state.is_over());
    let mut endpoints = gateway.pools.iter().flat_map(|pool| &pool.endpoints);
    let routed = endpoints.any(|endpoint| endpoint.release == to);
    Some(match (running.count(), routed) {
        (0, false) => format!("nothing of {to} runs, and no request goes to it"),
        (left, false) => format!("no request goes to {to}; {left} of its instances still end"),
        (_, true) => format!("{to} still takes requests, because nothing else can"),
    })
}

/// The protections that the kernel denied to any instance, each once.
fn unprotected(live: &Live) -> BTreeSet<String> {
    let instances = live.observed.instances.values();
    instances
        .flat_map(|seen| seen.status.missing.iter().cloned())
        .collect()
}

/// What its verdict found to be serving is being stopped: to say that it serves would be untrue by now.
fn went_down(env: &Environment, deployment: &Deployment) -> Progress {
    let (id, to, name) = (deployment.id, deployment.to, env.id.env());
    let (why, hint) = match env.life.ending.as_ref().map(|ending| ending.cause) {
        Some(Cause::Expired) => (
            "the time of its environment was over",
            format!("`ward env create {name}` makes it again; `--ttl` says for how long"),
        ),
        Some(Cause::Asked | Cause::Unmade) => (
            "its environment was deleted",
            format!("`ward env create {name}` makes it again"),
        ),
        None => (
            "its environment was taken down",
            "`ward up` brings it up again".to_owned(),
        ),
    };
    Progress::Failed {
        message: format!("{id} to {to} ended because {why}"),
        hint: Some(hint),
    }
}

fn gone() -> Progress {
    Progress::Failed {
        message: "the deployment is not in the log any more".to_owned(),
        hint: None,
    }
}

impl Said {
    fn before(deployment: &Deployment, follows: Follows, now: Timestamp) -> Self {
        match follows {
            Follows::FromTheRequest => Self {
                since: deployment.requested,
                ..Self::default()
            },
            Follows::FromNow => Self {
                since: now,
                gaps: deployment.gaps.len(),
                ..Self::default()
            },
        }
    }

    fn news(&mut self, env: &Environment, deployment: &Deployment, live: &Live) -> Vec<Progress> {
        let mut news = Vec::new();
        let waits = deployment.phase == Phase::Queued;
        if waits && now().since(deployment.requested) < QUIET {
            return news;
        }
        // What it did before it was cancelled is not told to who cancels it.
        let goes_back = matches!(
            deployment.phase,
            Phase::Reverting { .. } | Phase::Finished { .. }
        );
        if deployment.cancelled.is_some() && !goes_back {
            return news;
        }
        self.phase(env, deployment, live, &mut news);
        for gap in deployment.gaps.iter().skip(self.gaps) {
            let message = gap.to_string();
            let took = None;
            news.push(Progress::Step { message, took });
        }
        self.gaps = deployment.gaps.len();
        if !matches!(deployment.phase, Phase::Queued | Phase::Finished { .. }) {
            self.counts(env, deployment, live, &mut news);
        }
        // What goes back is held no more, whatever was seen of it last.
        if matches!(deployment.phase, Phase::Rolling { .. }) {
            self.stage(live, &mut news);
        }
        let since = match (waits, ahead_of(env, deployment.id)) {
            // What the other one waits for is told to who follows that one.
            (true, Some(_)) => None,
            (true, None) => Some(*self.turn.get_or_insert_with(now)),
            (false, _) => Some(deployment.phase_since),
        };
        if since.is_some_and(|since| now().since(since) > SLOW) {
            let stages = &self.stages;
            let on = live.waits_on().filter(|on| !stages.contains(*on));
            let on = self.waiting.news(on);
            if !on.is_empty() {
                news.push(Progress::Waiting { on });
            }
        }
        news
    }

    /// Says a phase when it begins; later it is the same phase, whatever is seen.
    fn phase(
        &mut self,
        env: &Environment,
        deployment: &Deployment,
        live: &Live,
        news: &mut Vec<Progress>,
    ) {
        let (id, to) = (deployment.id, deployment.to);
        let (phase, message) = match &deployment.phase {
            Phase::Queued => match ahead_of(env, id) {
                Some(other) => ("queued", format!("{id} to {to} waits for {other} to end")),
                None => return,
            },
            Phase::Preparing => ("preparing", format!("{id} to {to} begins")),
            Phase::Rolling { .. } => ("rolling", rolling(env, deployment, live)),
            Phase::Reverting { .. } => ("reverting", format!("taking {to} back")),
            Phase::Finished { .. } => return,
        };
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            news.push(Progress::Step {
                message,
                took: None,
            });
        }
    }

    /// A stage is told as soon as it is held: that requests have moved is news.
    fn stage(&mut self, live: &Live, news: &mut Vec<Progress>) {
        let Some(sentence) = &live.stage else { return };
        if self.stages.insert(sentence.clone()) {
            let message = sentence.clone();
            let took = None;
            news.push(Progress::Step { message, took });
        }
    }

    fn counts(
        &mut self,
        env: &Environment,
        deployment: &Deployment,
        live: &Live,
        news: &mut Vec<Progress>,
    ) {
        let Some(release) = env.releases.get(&deployment.to) else {
            return;
        };
        let services = release
            .spec
            .services
            .iter()
            .map(|(name, service)| (name, service.instances, deployment.to));
        let databases = release
            .spec
            .databases
            .keys()
            .map(|name| (name, 1, ReleaseId(0)));
        for (name, wanted, of) in databases.chain(services) {
            let (healthy, since) = healthy(live, name, of);
            let before = self.healthy.insert(name.clone(), (healthy, wanted));
            let during = since.is_some_and(|(_, at)| at >= self.since);
            if healthy > 0 && during && before != Some((healthy, wanted)) {
                news.push(Progress::Step {
                    message: format!("{name}: {healthy}/{wanted} healthy"),
                    took: since.map(|(started, at): (Timestamp, Timestamp)| at.since(started)),
                });
            }
        }
    }
}

/// The deployment whose end another one waits for.
fn ahead_of(env: &Environment, id: DeploymentId) -> Option<DeploymentId> {
    let mut earlier = env.deployments.range(..id).rev();
    let ahead = earlier.find(|(_, other)| !matches!(other.phase, Phase::Finished { .. }));
    ahead.map(|(id, _)| *id)
}

/// What a rollout begins with: it starts only what was not kept warm.
fn rolling(env: &Environment, deployment: &Deployment, live: &Live) -> String {
    let to = deployment.to;
    let services = env.releases.get(&to).into_iter();
    let services = services.flat_map(|release| &release.spec.services);
    let declared = services.filter(|(_, service)| service.instances > 0);
    let (warm, cold): (Vec<_>, Vec<_>) = declared.partition(|(name, service)| {
        let own = live.observed.instances.values().filter(|seen| {
            let facts = &seen.facts;
            let ours = facts.component == **name && facts.release == to;
            let before = facts.started < deployment.requested;
            ours && before && seen.status.state == InstanceState::Healthy
        });
        own.count() >= service.instances as usize
    });
    let names = |services: Vec<(&Name, _)>| -> String {
        let names: Vec<&str> = services
            .into_iter()
            .map(|(name, _)| name.as_str())
            .collect();
        names.join(", ")
    };
    match (warm.is_empty(), cold.is_empty()) {
        (true, _) => format!("starting the instances of {to}"),
        (false, true) => format!("switching to the instances of {to}, which are kept warm"),
        (false, false) => format!(
            "starting the instances of {to} for {}; those for {} are kept warm",
            names(cold),
            names(warm)
        ),
    }
}

/// How many instances are healthy, and of the last that became so, from when to when it took.
fn healthy(
    live: &Live,
    component: &Name,
    release: ReleaseId,
) -> (u32, Option<(Timestamp, Timestamp)>) {
    let own = live.observed.instances.values().filter(|seen| {
        let facts = &seen.facts;
        facts.component == *component
            && facts.release == release
            && matches!(facts.role, Role::Service | Role::Database)
            && seen.status.state == InstanceState::Healthy
    });
    own.fold((0, None), |(count, last), seen| {
        let this = (seen.facts.started, seen.since);
        let later = last.is_none_or(|(_, at)| seen.since > at);
        (count + 1, if later { Some(this) } else { last })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news(told: &mut Told, sentences: &[&str]) -> Vec<String> {
        let sentences: Vec<String> = sentences.iter().map(|text| (*text).to_owned()).collect();
        told.news(sentences.iter())
    }

    #[test]
    fn what_is_waited_for_is_said_once_whatever_the_count() {
        let mut told = Told::default();
        let first = "Waiting for web-r1-1 to finish 3 requests and 0 long connections.";
        let other = "Waiting for web-r1-2 to finish 3 requests and 0 long connections.";
        assert_eq!(news(&mut told, &[first]), [first]);
        let later = "Waiting for web-r1-1 to finish 1 request and 0 long connections.";
        assert_eq!(news(&mut told, &[later, other]), [other]);
    }

    #[test]
    fn another_reason_for_the_same_is_no_news() {
        let mut told = Told::default();
        let refused = "Waiting for web of r3: 0 of 2 instances are healthy; last health check: connection refused.";
        let status =
            "Waiting for web of r3: 1 of 2 instances are healthy; last health check: status 500.";
        assert_eq!(news(&mut told, &[refused, status]), [refused]);
    }

    #[test]
    fn who_comes_later_is_not_told_what_was_before() {
        let deployment = r#"{"id":2,"reason":"deploy","from":1,"to":2,"requested":1000,"started":1000,
            "phase_since":1000,"by":"anna","phase":{"state":"rolling","stage":0},
            "gaps":[{"service":"worker","release":2,"lasted":40}]}"#;
        let deployment: Deployment = serde_json::from_str(deployment).unwrap();
        let env = Environment::new("returns/dev".parse().unwrap());
        let live = Live::default();
        let pauses = |follows| {
            let mut said = Said::before(&deployment, follows, Timestamp(5000));
            let news = said.news(&env, &deployment, &live);
            let steps = news.iter().filter_map(|news| match news {
                Progress::Step { message, .. } => Some(message.as_str()),
                _ => None,
            });
            let told = steps.filter(|message| message.contains("worker")).count();
            (said.since, told)
        };
        assert_eq!(pauses(Follows::FromTheRequest), (Timestamp(1000), 1));
        assert_eq!(pauses(Follows::FromNow), (Timestamp(5000), 0));
    }
}
