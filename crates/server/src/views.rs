//! Shows what is there.

use std::collections::{BTreeMap, BTreeSet};

use ward_engine::Seen;
use ward_store::Log;
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{InstanceState, Role};
use ward_types::life::Life;
use ward_types::release::{Deployment, Environment, Goal, Phase, Release};
use ward_types::route::{Audience, Https, RouteSpec};
use ward_types::sleep::Sleep;
use ward_types::time::Timestamp;
use ward_types::tls::CertificateObserved;
use ward_types::view::{
    Cancellation, CancelledStage, ComponentView, DeploymentView, EnvironmentView, InstanceView,
    ServerView, SharingView, StatusView,
};

use crate::actor::Refusal;
use crate::clock::now;
use crate::configuration;
use crate::control::Control;
use crate::driver::Live;
use crate::maintenance;

/// Whether environments are shown that were purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purged {
    /// No.
    #[default]
    Hidden,
    /// Yes.
    Shown,
}

/// Whether it is looked whether the master keys are there, which may take a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// No.
    #[default]
    Unasked,
    /// Yes.
    LookedFor,
}

impl Control {
    /// The platform and its environments, or the one that is asked for.
    ///
    /// # Errors
    /// When it does not exist.
    pub async fn status(
        &self,
        env: Option<&EnvId>,
        purged: Purged,
        keys: Keys,
    ) -> Result<StatusView, Refusal> {
        let state = self.store().state();
        let building: BTreeSet<EnvId> = self.0.builds.environments().into_iter().collect();
        let wanted: BTreeSet<EnvId> = match env {
            Some(id) => BTreeSet::from([self.environment(Some(id))?]),
            None => state
                .environments
                .keys()
                .chain(&building)
                .cloned()
                .collect(),
        };
        // Whoever was told the end of something shall not be shown what was before it.
        let lives = |id: &&EnvId| {
            let known = state.environments.get(id);
            known.is_some_and(|known| !known.is_deleted())
        };
        let recorded = wanted.iter().filter(lives);
        futures_util::future::join_all(recorded.map(|id| self.seen_lately(id))).await;
        let shown = |known: &Environment| {
            let asked = env.is_some() || purged == Purged::Shown;
            asked || building.contains(&known.id) || !self.is_gone(known)
        };
        let environments = wanted.iter().filter_map(|id| {
            let Some(known) = state.environments.get(id) else {
                return Some(self.unrecorded_view(id));
            };
            shown(known).then(|| self.environment_view(known))
        });
        let mut view = StatusView {
            server: self.server_view(),
            environments: environments.collect(),
        };
        if keys == Keys::LookedFor {
            self.look_for_keys(&mut view).await;
        }
        Ok(view)
    }

    /// What of the master keys is missing, and what cannot be woken for that.
    async fn look_for_keys(&self, view: &mut StatusView) {
        view.server.keys = self.keys_missing().await;
        if view.server.keys.is_none() {
            return;
        }
        for env in &mut view.environments {
            if env.sleep.asleep.is_some()
                && let Err(refusal) = self.can_wake(&env.id).await
            {
                env.waiting.push(refusal.message);
            }
        }
    }

    /// Whether an environment was purged, and nothing of it runs any more.
    pub(crate) fn is_gone(&self, env: &Environment) -> bool {
        let stopped = || self.live(&env.id).borrow().observed.instances.is_empty();
        env.is_deleted() || (env.goal == Goal::Purged && stopped())
    }

    fn server_view(&self) -> ServerView {
        let (http, https) = self.0.world.routing.addresses();
        ServerView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            term: self.0.world.lease.term(),
            gateway_pid: self.0.world.routing.last_seen().map(|seen| seen.pid),
            home: self.0.home.display().to_string(),
            http: http.to_string(),
            https: https.to_string(),
            registry: self.0.registry_address.clone(),
            arguments: self.0.world.routing.again().to_vec(),
            metrics: self
                .0
                .world
                .routing
                .metrics_address()
                .map(|address| address.to_string())
                .unwrap_or_default(),
            log: self.0.auditor.view(),
            notices: self.notices(),
            keys: None,
        }
    }

    pub(crate) fn environment_view(&self, env: &Environment) -> EnvironmentView {
        let live = self.live(&env.id).borrow().clone();
        let deployment = env
            .active()
            .or_else(|| env.next_queued())
            .map(|d| deployment_view(d, now()));
        EnvironmentView {
            id: env.id.clone(),
            goal: env.goal,
            current: env.current,
            version: env
                .current_release()
                .map(|release| release.build.version.clone()),
            provenance: env
                .current_release()
                .and_then(|release| release.build.provenance.as_deref().cloned()),
            addresses: env
                .current_release()
                .map(|release| self.addresses(release))
                .unwrap_or_default(),
            maintenance: maintenance::views(&env.maintained),
            certificates: self.certificates(&env.id),
            outdated_config: configuration::outdated(env),
            components: components(env, &live, &self.engine().observe(&env.id)),
            volumes: self.volume_uses(env),
            overdue_backups: env.overdue_backups(now()),
            sharing: self.sharing(env),
            deployment,
            life: env.life.clone(),
            sleep: env.sleep.clone(),
            waiting: live
                .waits_on()
                .chain(&live.queued)
                .cloned()
                .chain(self.0.builds.sentences(&env.id))
                .chain(live.keeping.iter().cloned())
                .collect(),
        }
    }

    /// What the gateway knows of the files with certificates that an environment names.
    fn certificates(&self, env: &EnvId) -> Vec<CertificateObserved> {
        let seen = self.0.world.routing.last_seen();
        let all = seen.into_iter().flat_map(|seen| seen.certificates);
        let all = all.filter(|one| one.env == *env);
        let told = |one| match &self.0.issuing {
            Some(issuing) => issuing.told(one),
            None => one,
        };
        all.map(told).collect()
    }

    /// An environment that is being built for the first time, and is in no log yet.
    fn unrecorded_view(&self, env: &EnvId) -> EnvironmentView {
        EnvironmentView {
            id: env.clone(),
            goal: Goal::Up,
            current: None,
            version: None,
            provenance: None,
            addresses: Vec::new(),
            maintenance: Vec::new(),
            certificates: Vec::new(),
            outdated_config: None,
            volumes: Vec::new(),
            overdue_backups: Vec::new(),
            sharing: SharingView::default(),
            components: Vec::new(),
            deployment: None,
            life: Life::default(),
            sleep: Sleep::default(),
            waiting: self.0.builds.sentences(env),
        }
    }

    /// The URLs by which a release is reached.
    pub(crate) fn addresses(&self, release: &Release) -> Vec<String> {
        let (http, https) = self.0.world.routing.addresses();
        let services = release.spec.services.values();
        let routes = services.flat_map(|service| &service.routes);
        let public = routes.filter(|route| route.settings.audience == Audience::Public);
        let mut addresses: Vec<String> = Vec::new();
        for route in public.filter_map(RouteSpec::route) {
            let path = route.path.trim_end_matches('/');
            let schemes = match route.settings.https {
                Https::Optional => &[("http", http.port()), ("https", https.port())][..],
                Https::Redirect => &[("https", https.port())],
            };
            for (scheme, port) in schemes {
                let address = format!("{scheme}://{}:{port}{path}", route.host);
                // Two routes may differ in a header alone.
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        addresses
    }
}

/// A deployment as it stands at `now`.
pub(crate) fn deployment_view(deployment: &Deployment, now: Timestamp) -> DeploymentView {
    let (phase, verdict, failure, until) = match &deployment.phase {
        Phase::Queued => ("queued", None, None, now),
        Phase::Preparing => ("preparing", None, None, now),
        Phase::Rolling { .. } => ("rolling", None, None, now),
        Phase::Reverting { failure } => ("reverting", None, Some(failure.clone()), now),
        Phase::Finished {
            verdict,
            failure,
            at,
        } => ("finished", Some(*verdict), failure.clone(), *at),
    };
    DeploymentView {
        id: deployment.id,
        reason: deployment.reason,
        from: deployment.from,
        to: deployment.to,
        phase: phase.to_owned(),
        verdict,
        cancelled: cancellation(deployment),
        failure,
        gaps: deployment.gaps.clone(),
        took: until.since(deployment.requested),
    }
}

/// Who cancelled a deployment. One that never began left the queue by ending: both at the same moment.
pub(crate) fn cancellation(deployment: &Deployment) -> Option<Cancellation> {
    let by = deployment.cancelled.clone()?;
    let waited = match deployment.phase {
        Phase::Queued => true,
        Phase::Finished { .. } => deployment.started == Some(deployment.phase_since),
        Phase::Preparing | Phase::Rolling { .. } | Phase::Reverting { .. } => false,
    };
    let stage = match waited {
        true => CancelledStage::BeforeItBegan,
        false => CancelledStage::UnderWay,
    };
    Some(Cancellation { by, stage })
}

/// What other hands did to an instance that runs, as a predicate. The engine knows it before the driver has planned
/// with it.
fn drift(seen: &Seen, now: Timestamp) -> Option<String> {
    let stops = seen.status.state == InstanceState::Stopping;
    if seen.status.state.is_over() || stops {
        return None;
    }
    match &seen.altered {
        Some(what) => Some(format!(
            "runs from files that are not its image's any more ({what})"
        )),
        None => seen.status.stopped.then(|| {
            let for_so_long = now.since(seen.since).0 / 1000;
            format!("is stopped by a signal, for {for_so_long} s")
        }),
    }
}

fn components(
    env: &Environment,
    live: &Live,
    seen: &BTreeMap<InstanceId, Seen>,
) -> Vec<ComponentView> {
    let spec = env
        .current_release()
        .or_else(|| env.releases.get(&env.active()?.to))
        .map(|r| &r.spec);
    let mut wanted: BTreeMap<&Name, (&str, u32)> = BTreeMap::new();
    if let Some(spec) = spec {
        wanted.extend(
            spec.services
                .iter()
                .map(|(name, service)| (name, ("service", service.instances))),
        );
        wanted.extend(spec.databases.keys().map(|name| (name, ("database", 1))));
    }
    for seen in live.observed.instances.values() {
        let kind = match seen.facts.role {
            Role::Database | Role::Drill(_) => "database",
            _ => "service",
        };
        wanted.entry(&seen.facts.component).or_insert((kind, 0));
    }
    let routed = in_rotation(live);
    let component = |(name, (kind, wanted)): (&Name, (&str, u32))| ComponentView {
        name: name.clone(),
        kind: kind.to_owned(),
        wanted,
        instances: instances(live, name, &routed, seen),
    };
    wanted.into_iter().map(component).collect()
}

fn in_rotation(live: &Live) -> BTreeSet<InstanceId> {
    let pools = live
        .observed
        .gateway
        .iter()
        .flat_map(|gateway| &gateway.pools);
    pools
        .flat_map(|pool| {
            pool.endpoints
                .iter()
                .map(|endpoint| endpoint.instance.clone())
        })
        .collect()
}

fn instances(
    live: &Live,
    component: &Name,
    routed: &BTreeSet<InstanceId>,
    known: &BTreeMap<InstanceId, Seen>,
) -> Vec<InstanceView> {
    let now = now();
    let own = live
        .observed
        .instances
        .values()
        .filter(|seen| seen.facts.component == *component);
    let view = |seen: &ward_plan::SeenInstance| InstanceView {
        id: seen.facts.id.clone(),
        release: seen.facts.release,
        state: seen.status.state.clone(),
        in_rotation: routed.contains(&seen.facts.id),
        started: seen.facts.started,
        pid: seen.status.pid,
        keeper_pid: seen.status.keeper_pid,
        last_failure: seen.status.last_failure.clone(),
        missing: seen.status.missing.clone(),
        drill: match seen.facts.role {
            Role::Drill(backup) => Some(backup),
            _ => None,
        },
        drift: known.get(&seen.facts.id).and_then(|seen| drift(seen, now)),
    };
    let mut views: Vec<InstanceView> = own.map(view).collect();
    views.sort_by_key(|view| view.id.ordinal());
    views
}
