//! Collection: what no retained release refers to any more is removed (promise P9), and only what is Ward's.
//!
//! A pass reads the state once and removes, in this order: what the registry cannot reach from a retained
//! release, a plan that can be carried out, a tag or an upload; unpacked layers; output of releases that were retired, and of all but the
//! newest instances of the others; and a build cache that has grown beyond all use. It begins when a
//! release was retired, soon after the server started, and once an hour.
//!
//! What is built but not yet recorded is reachable from nothing. So a pass and the way from a build to
//! its record exclude each other; it is the pass that steps back, and tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use ward_store::Log;
use ward_types::id::{Digest, EnvId, ReleaseId};

use crate::actor::causes;
use crate::control::Control;
use crate::images::Images;
use crate::plans::Plans;

/// The first pass lets the server find its instances in peace.
const FIRST: Duration = Duration::from_secs(60);
/// From one pass to the next, when nothing is retired.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// After a build was in the way.
const STEPPED_BACK: Duration = Duration::from_secs(2);
/// How many instances' output is kept of each component of a release.
const OUTPUTS: usize = 20;
/// How large the build cache of one stack may grow, in bytes, before it is begun anew.
const BUILD_CACHE: u64 = 20 << 30;

/// Everything that is retained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Retained {
    releases: BTreeMap<EnvId, BTreeSet<ReleaseId>>,
    /// Manifest digests, each with the repository that it is in.
    images: BTreeSet<(String, Digest)>,
}

impl Retained {
    fn lost_any_in(&self, later: &Self) -> bool {
        let kept = |env: &EnvId, id| later.releases.get(env).is_some_and(|r| r.contains(id));
        let mut releases = self.releases.iter();
        releases.any(|(env, releases)| releases.iter().any(|id| !kept(env, id)))
    }
}

impl Control {
    /// Collects for as long as the server runs.
    pub(crate) fn keep_collecting(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let mut known = control.retained();
            let mut next = Instant::now() + FIRST;
            loop {
                let _ = timeout_at(next, control.retires_any_of(&mut known)).await;
                known = loop {
                    match control.collect().await {
                        Some(retained) => break retained,
                        None => sleep(STEPPED_BACK).await,
                    }
                };
                next = Instant::now() + EVERY;
            }
        });
    }

    fn retained(&self) -> Retained {
        let state = self.store().state();
        let mut retained = Retained::default();
        for env in state.environments.values() {
            let releases = env.releases.keys().copied().collect();
            retained.releases.insert(env.id.clone(), releases);
            for (service, digest) in env.releases.values().flat_map(|r| &r.build.images) {
                let repository = Images::repository(&env.id.stack(), service);
                retained.images.insert((repository, digest.clone()));
            }
        }
        for kept in self.kept_builds() {
            for (service, digest) in &kept.build.images {
                let repository = Images::repository(&kept.stack, service);
                retained.images.insert((repository, digest.clone()));
            }
        }
        retained
    }

    /// Returns when a release of `known`, which grows meanwhile, is not retained any more.
    async fn retires_any_of(&self, known: &mut Retained) {
        let mut log = self.store().changed();
        loop {
            log.mark_unchanged();
            let now = self.retained();
            if known.lost_any_in(&now) {
                return;
            }
            *known = now;
            if log.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// One pass, and what it retained; `None` when a build was in the way.
    async fn collect(&self) -> Option<Retained> {
        let _alone = self.0.unrecorded.try_write().ok()?;
        let mut retained = self.retained();
        retained.images.extend(Plans::of(&self.0.home).images());
        if let Err(trouble) = self.collect_images(&retained).await {
            tracing::warn!(trouble, "images are not collected; it is tried again");
        }
        self.collect_secrets().await;
        let engine = self.engine().clone();
        let builds = self.0.home.join("builds");
        let releases = retained.releases.clone();
        let swept = tokio::task::spawn_blocking(move || {
            for (env, releases) in &releases {
                engine.collect_logs(env, releases, OUTPUTS)?;
            }
            ward_build::trim_cache(&builds, BUILD_CACHE);
            Ok::<_, ward_engine::Error>(())
        });
        match swept.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = causes(&error), "output is not collected"),
            Err(error) => tracing::warn!(%error, "output is not collected"),
        }
        Some(retained)
    }

    /// Versions that nothing needs. Alone at the desk: what is sealed there is in no log yet.
    async fn collect_secrets(&self) {
        let _desk = self.desk().await;
        let state = self.store().state();
        let vault = self.vault().clone();
        let collecting = tokio::task::spawn_blocking(move || {
            for env in state.environments.values() {
                vault.collect(&env.id, &env.secrets_needed())?;
            }
            Ok::<_, ward_seal::Error>(())
        });
        match collecting.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = causes(&error), "secrets are not collected"),
            Err(error) => tracing::warn!(%error, "secrets are not collected"),
        }
    }

    async fn collect_images(&self, retained: &Retained) -> Result<(), String> {
        let images: BTreeSet<Digest> = retained.images.iter().map(|(_, d)| d.clone()).collect();
        // Before anything is removed: without all manifests nobody knows which layers are in use.
        let layers = self.0.images.layers(&retained.images).await;
        let layers = layers.map_err(|error| causes(&error))?;
        let collected = self.0.registry.collect(&images).await;
        let collected = collected.map_err(|error| causes(&error))?;
        self.0.images.forget_all_but(&images);
        let engine = self.engine().clone();
        let unpacked = tokio::task::spawn_blocking(move || engine.collect_layers(&layers)).await;
        let unpacked = unpacked.map_err(|error| error.to_string())?;
        let unpacked = unpacked.map_err(|error| causes(&error))?;
        tracing::info!(?collected, ?unpacked, "collected what no release retains");
        Ok(())
    }
}
