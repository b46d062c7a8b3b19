//! Volumes as people see them: listed with what they hold, and deleted.
//!
//! Decision: a volume is deleted only when no release in force has it and no instance sees it; else that is refused with
//! what to do first.

use ward_types::event::Event;
use ward_types::id::{EnvId, Name};
use ward_types::policy::Rule;
use ward_types::release::{Environment, Phase, Release};
use ward_types::spec::EnvSpec;
use ward_types::view::{DeleteVolumeRequest, SnapshotView, VolumeView, VolumesView};
use ward_volume::Volumes;

use crate::actor::{Actor, Refusal, RefusalKind};
use crate::control::Control;
use crate::environments::over;

impl Control {
    pub(crate) fn volumes_on_disk(&self) -> Volumes {
        self.0.world.composer.volumes.clone()
    }

    /// The volumes of an environment, each with what it takes of the disk.
    ///
    /// # Errors
    /// When there is no such environment, or its folders cannot be read.
    pub async fn volumes(&self, env: Option<&EnvId>) -> Result<VolumesView, Refusal> {
        let env = self.environment(env)?;
        let known = self
            .known(&env)
            .unwrap_or_else(|| Environment::new(env.clone()));
        let disk = self.volumes_on_disk();
        worked(move || {
            let declared = known.current_release().map(|release| &release.spec);
            let mut names = disk.list(&env)?;
            names.extend(
                declared
                    .into_iter()
                    .flat_map(|spec| spec.volumes.keys().cloned()),
            );
            names.extend(known.snapshots.values().map(|one| one.volume.clone()));
            names.sort();
            names.dedup();
            let volumes = names
                .into_iter()
                .map(|name| view(&disk, &known, declared, name));
            Ok(VolumesView {
                volumes: volumes.collect(),
                env,
            })
        })
        .await
    }

    /// Deletes a volume that nothing has any more, with its snapshots.
    ///
    /// # Errors
    /// When there is no such volume, something has it, or the policy forbids it.
    pub async fn delete_volume(
        &self,
        actor: &Actor,
        request: &DeleteVolumeRequest,
    ) -> Result<VolumesView, Refusal> {
        let env = self.environment(request.env.as_ref())?;
        let (volume, disk) = (&request.volume, self.volumes_on_disk());
        let there = disk.list(&env);
        let there = there.map_err(|error| Refusal::failed("the volumes cannot be read", &error))?;
        let _alone = self.alone_with(&env, volume).await?;
        let desk = self.desk_for(&request.why).await;
        let deciding = self.decided(&desk, actor, &request.why, |state| {
            let known = state.environments.get(&env);
            let known = known.ok_or_else(|| absent(&env, volume, &there))?;
            if let Some(refusal) = over(known) {
                return Err(refusal);
            }
            if !there.contains(volume) {
                return Err(absent(&env, volume, &there));
            }
            self.unused(known, volume)?;
            self.may_remove(known, Rule::VolumeRemoved)?;
            let event = Event::VolumeDeleted {
                env: env.clone(),
                volume: volume.clone(),
            };
            Ok(((), vec![event]))
        });
        deciding.await?;
        let (of, name) = (env.clone(), volume.clone());
        worked(move || disk.delete(&of, &name)).await?;
        drop(desk);
        self.volumes(Some(&env)).await
    }

    /// Whether no release in force has a volume, and no instance sees it.
    fn unused(&self, env: &Environment, volume: &Name) -> Result<(), Refusal> {
        let (id, has) = (&env.id, |release: &&Release| has(&release.spec, volume));
        let ahead = env.deployments.values();
        let ahead = ahead.filter(|d| !matches!(d.phase, Phase::Finished { .. }));
        let ahead = ahead.filter_map(|d| env.releases.get(&d.to));
        let mut in_force = env.current_release().into_iter().chain(ahead);
        if let Some(release) = in_force.find(has) {
            let message = format!(
                "{} of {id} has the volume {volume}; nothing was changed",
                release.id
            );
            return Err(Refusal::new(RefusalKind::Conflict, message).hint(format!(
                "take it out of ward.toml and deploy that first; `ward down --purge --env {id}` removes all data of \
                 the environment"
            )));
        }
        let instances = self.engine().observe(id);
        let sees = instances.values().find(|seen| {
            let release = env.releases.get(&seen.facts.release);
            release.is_some_and(|release| has(&release))
        });
        match sees {
            None => Ok(()),
            Some(seen) => {
                let message = format!(
                    "{} is kept for a rollback and sees the volume {volume}; nothing was changed",
                    seen.facts.id
                );
                Err(Refusal::new(RefusalKind::Conflict, message).hint(
                    "wait until it is gone (`stack.keep_warm`), which `ward status` shows, or `ward down` first",
                ))
            }
        }
    }
}

fn has(spec: &EnvSpec, volume: &Name) -> bool {
    spec.volumes.contains_key(volume)
}

fn absent(env: &EnvId, volume: &Name, there: &[Name]) -> Refusal {
    let names: Vec<&str> = there.iter().map(Name::as_str).collect();
    let message = format!("{env} has no volume {volume} on the disk");
    let refusal = Refusal::new(RefusalKind::NotFound, message);
    refusal.hint(match names.is_empty() {
        true => "it has none".to_owned(),
        false => format!("there are: {}", names.join(", ")),
    })
}

fn view(disk: &Volumes, env: &Environment, declared: Option<&EnvSpec>, name: Name) -> VolumeView {
    let mut services = declared.into_iter().flat_map(|spec| &spec.services);
    let owner = services.find_map(|(service, spec)| Some((service, spec.volumes.get(&name)?)));
    let spec = declared.and_then(|spec| spec.volumes.get(&name));
    let snapshots = env.snapshots.iter().rev();
    let snapshots = snapshots.filter(|(_, one)| one.volume == name);
    let snapshots = snapshots.map(|(id, one)| SnapshotView {
        id: *id,
        at: one.at,
        occasion: one.occasion,
        release: one.release,
        bytes: disk.snapshot_bytes(&env.id, &name, *id).ok(),
    });
    VolumeView {
        service: owner.map(|(service, _)| service.clone()),
        path: owner.map(|(_, path)| path.clone()),
        size: spec.map(|spec| spec.size),
        bytes: disk.bytes(&env.id, &name).ok(),
        snapshots: snapshots.collect(),
        name,
    }
}

/// What takes the disk a while, apart from what answers others.
pub(crate) async fn worked<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ward_volume::Error> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| Refusal::failed("work on a volume broke off", &error))?;
    done.map_err(|error| Refusal::failed("the disk does not do as it should", &error))
}
