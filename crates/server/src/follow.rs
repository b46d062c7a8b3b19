//! Tells the one who asked what an operation does, while it does it.
//!
//! It only watches: the operation goes on when nobody listens any more.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;
use ward_store::Log;
use ward_types::id::{DeploymentId, EnvId, Name, ReleaseId};
use ward_types::keeper::{InstanceState, Role};
use ward_types::release::{Deployment, Environment, Phase};
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

/// What was said already.
#[derive(Default)]
struct Said {
    phase: Option<String>,
    healthy: BTreeMap<Name, (u32, u32)>,
    waiting: Vec<String>,
}

impl Control {
    /// Tells of a deployment until it has ended, and how.
    pub(crate) async fn follow_deployment(
        &self,
        env: &EnvId,
        id: DeploymentId,
        progress: &mpsc::Sender<Progress>,
    ) -> Progress {
        let mut live = self.live(env);
        let mut log = self.store().changed();
        let mut said = Said::default();
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

/// The protections that the kernel denied to any instance, each once.
fn unprotected(live: &Live) -> BTreeSet<String> {
    let instances = live.observed.instances.values();
    instances
        .flat_map(|seen| seen.status.missing.iter().cloned())
        .collect()
}

fn gone() -> Progress {
    Progress::Failed {
        message: "the deployment is not in the log any more".to_owned(),
        hint: None,
    }
}

impl Said {
    fn news(&mut self, env: &Environment, deployment: &Deployment, live: &Live) -> Vec<Progress> {
        let mut news = Vec::new();
        let waits = deployment.phase == Phase::Queued;
        if waits && now().since(deployment.requested) < QUIET {
            return news;
        }
        self.phase(deployment, &mut news);
        if !matches!(deployment.phase, Phase::Queued | Phase::Finished { .. }) {
            self.counts(env, deployment, live, &mut news);
        }
        let unsaid = live
            .waits_on()
            .filter(|sentence| !self.waiting.contains(sentence));
        let unsaid: Vec<String> = unsaid.cloned().collect();
        if (waits || now().since(deployment.phase_since) > SLOW) && !unsaid.is_empty() {
            self.waiting.extend(unsaid.clone());
            news.push(Progress::Waiting { on: unsaid });
        }
        news
    }

    fn phase(&mut self, deployment: &Deployment, news: &mut Vec<Progress>) {
        let (id, to) = (deployment.id, deployment.to);
        let message = match &deployment.phase {
            Phase::Queued => format!("{id} to {to} waits its turn"),
            Phase::Preparing => format!("{id} to {to} begins"),
            Phase::Rolling => format!("starting the instances of {to}"),
            Phase::Reverting { failure } => format!("going back: {}", failure.message),
            Phase::Finished { .. } => return,
        };
        if self.phase.as_ref() != Some(&message) {
            self.phase = Some(message.clone());
            news.push(Progress::Step {
                message,
                took: None,
            });
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
            let during = since.is_some_and(|(_, at)| at >= deployment.requested);
            if healthy > 0 && during && before != Some((healthy, wanted)) {
                news.push(Progress::Step {
                    message: format!("{name}: {healthy}/{wanted} healthy"),
                    took: since.map(|(started, at): (Timestamp, Timestamp)| at.since(started)),
                });
            }
        }
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
            && facts.role != Role::ReleaseCommand
            && seen.status.state == InstanceState::Healthy
    });
    own.fold((0, None), |(count, last), seen| {
        let this = (seen.facts.started, seen.since);
        let later = last.is_none_or(|(_, at)| seen.since > at);
        (count + 1, if later { Some(this) } else { last })
    })
}
