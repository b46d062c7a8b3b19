//! Looks at the files that instances run from, and has what other hands changed put right.
//!
//! Each instance's start looks at its own layers ([`Images::ready`]); `ward plan` looks at those of its environment, and
//! this at those of all that runs, every [`EVERY`]. A look reads no file. What differs is unpacked anew from the registry, and
//! the engine then says of the instances that run from the other one that they do; the planner replaces them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use ward_store::Log;
use ward_types::id::{Digest, EnvId};
use ward_types::keeper::Role;

use crate::actor::causes;
use crate::control::Control;
use crate::images::Images;

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(30);
/// A look is followed by so many times as long of none.
const REST: u32 = 100;

impl Control {
    /// Looks for as long as the server runs.
    pub(crate) fn keep_files_whole(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            let mut pause = EVERY;
            loop {
                sleep(pause).await;
                let began = Instant::now();
                control.look_at_files(None).await;
                control.sweep().await;
                pause = EVERY.max(began.elapsed() * REST);
            }
        });
    }

    /// Looks at the files of what runs in an environment, or in all.
    pub(crate) async fn look_at_files(&self, env: Option<&EnvId>) {
        for (repository, digest) in self.running_images(env) {
            // Nothing is collected between the look and what is unpacked for it.
            let _unrecorded = self.0.unrecorded.read().await;
            if let Err(error) = self.0.images.ready(&repository, &digest).await {
                let error = causes(&error);
                tracing::warn!(error, "files that were changed cannot be put right");
            }
        }
    }

    fn running_images(&self, env: Option<&EnvId>) -> BTreeSet<(String, Digest)> {
        let state = self.store().state();
        let environments = state.environments.values();
        let mut images = BTreeSet::new();
        for env in environments.filter(|known| env.is_none_or(|env| known.id == *env)) {
            for seen in self.engine().observe(&env.id).into_values() {
                let facts = &seen.facts;
                let built = !matches!(facts.role, Role::Database | Role::Drill(_));
                let release = env.releases.get(&facts.release);
                let digest = release.and_then(|r| r.build.images.get(&facts.component));
                let digest = digest.filter(|_| built && !seen.status.state.is_over());
                let repository = Images::repository(&env.id.stack(), &facts.component);
                images.extend(digest.map(|digest| (repository, digest.clone())));
            }
        }
        images
    }

    async fn sweep(&self) {
        let engine = self.engine().clone();
        let swept = tokio::task::spawn_blocking(move || engine.sweep_layers()).await;
        if let Ok(Err(error)) = swept {
            let error = causes(&error);
            tracing::warn!(error, "layers that were changed are not removed");
        }
    }
}
