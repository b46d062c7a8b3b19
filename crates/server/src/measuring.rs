//! What volumes hold, looked at again and again while the server runs, and kept nowhere.
//!
//! A tree of many files takes long to measure, and the disk has other work: after a pass comes a pause of many times
//! as long.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ward_store::Log;
use ward_types::id::{EnvId, Name};
use ward_types::release::{Environment, Goal};
use ward_types::spec::EnvSpec;
use ward_types::view::VolumeUseView;

use crate::actor::{Refusal, RefusalKind};
use crate::control::{Control, lock};

/// Between two passes, at least.
const PAUSE: Duration = Duration::from_secs(5);
/// How many times as long as a pass the pause behind it is.
const RESTS: u32 = 20;

/// What each volume took of the disk when it was last looked at, in bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured(Arc<Mutex<BTreeMap<(EnvId, Name), u64>>>);

impl Control {
    /// Measures for as long as the server runs.
    pub(crate) fn keep_measuring(&self) {
        let control = self.clone();
        tokio::spawn(async move {
            loop {
                let since = Instant::now();
                control.measure_volumes().await;
                tokio::time::sleep(PAUSE.max(since.elapsed() * RESTS)).await;
            }
        });
    }

    async fn measure_volumes(&self) {
        let state = self.store().state();
        let envs = state.environments.values();
        let envs = envs.filter(|env| env.goal == Goal::Up);
        let all = envs.flat_map(|env| {
            let release = env.current_release().into_iter();
            let volumes = release.flat_map(|release| &release.spec.volumes);
            volumes.map(|(name, spec)| ((env.id.clone(), name.clone()), spec.size.0))
        });
        let all: Vec<_> = all.collect();
        let disk = self.0.world.composer.volumes.clone();
        let measured = self.0.measured.clone();
        let work = tokio::task::spawn_blocking(move || {
            let mut seen = BTreeMap::new();
            for ((env, name), size) in all {
                // What cannot be measured now is unknown until the next time.
                if let Ok(bytes) = disk.bytes(&env, &name) {
                    let before = lock(&measured.0).get(&(env.clone(), name.clone())).copied();
                    if bytes > size && before.is_none_or(|before| before <= size) {
                        tracing::warn!(%env, volume = %name, bytes, size, "a volume holds more than its size");
                    }
                    seen.insert((env, name), bytes);
                }
            }
            *lock(&measured.0) = seen;
        });
        if let Err(error) = work.await {
            tracing::warn!(%error, "the volumes cannot be measured");
        }
    }

    /// Whether every volume of a spec held no more than it is to when it was last looked at. Asked of what changes an
    /// environment that is up, never of a way back.
    ///
    /// # Errors
    /// The first that held more.
    pub(crate) fn volumes_fit(&self, spec: &EnvSpec) -> Result<(), Refusal> {
        let measured = lock(&self.0.measured.0);
        let over = spec.volumes.iter().find_map(|(name, volume)| {
            let bytes = measured.get(&(spec.id.clone(), name.clone()))?;
            (*bytes > volume.size.0).then_some((name, volume.size, *bytes))
        });
        let Some((name, size, bytes)) = over else {
            return Ok(());
        };
        let message = format!(
            "the volume {name} of {} held {} MiB a moment ago, and its size is {size}; nothing was changed",
            spec.id,
            bytes >> 20
        );
        Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
            "remove files (`ward exec` runs a program beside an instance), or raise `volume.{name}.size`; going back is \
             possible"
        )))
    }

    /// The volumes of the release that serves, as they were last looked at.
    pub(crate) fn volume_uses(&self, env: &Environment) -> Vec<VolumeUseView> {
        let measured = lock(&self.0.measured.0);
        let release = env.current_release().into_iter();
        let volumes = release.flat_map(|release| &release.spec.volumes);
        let uses = volumes.map(|(name, spec)| VolumeUseView {
            name: name.clone(),
            bytes: measured.get(&(env.id.clone(), name.clone())).copied(),
            size: spec.size,
        });
        uses.collect()
    }
}
