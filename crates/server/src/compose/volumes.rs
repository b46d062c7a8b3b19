//! What instances are given of volumes, and what makes snapshots of them.

use std::path::PathBuf;

use ward_types::id::{EnvId, Name, SnapshotId};
use ward_types::keeper::{Access, InstanceFacts, LogSpec, MountSpec};
use ward_types::release::Release;
use ward_types::spec::{EnvSpec, ServiceSpec};
use ward_volume::{SnapshotPlace, snapshot_instance};

use super::{ComposeError, Composed, Composer, LOG_BYTES};

impl Composer {
    /// What makes a snapshot of a volume: as the user that the volume belongs to in the release that is deployed.
    pub(super) async fn snapshot(
        &self,
        facts: InstanceFacts,
        release: &Release,
    ) -> Result<Composed, ComposeError> {
        let (env, volume) = (facts.env.clone(), facts.component.clone());
        let mut services = release.spec.services.iter();
        let owner = services.find(|(_, service)| service.volumes.contains_key(&volume));
        let (service, _) = owner.ok_or_else(|| ComposeError::NoVolume {
            release: release.id.to_string(),
            volume: volume.clone(),
        })?;
        let host_id = self.engine.host_id(&env, service);
        let from = self.ready(&env, &volume, host_id).await?;
        let id = SnapshotId(facts.id.ordinal());
        let to = self.volumes.snapshot(&env, &volume, id);
        Ok(self.copier(facts, host_id, from, to))
    }

    /// What fills a volume of a clone: as the user that the original belongs to, because nobody else reads all of it. The
    /// first instance of the clone's service that starts gets the files.
    pub(super) async fn volume_copy(
        &self,
        facts: InstanceFacts,
        copies: Option<&EnvId>,
    ) -> Result<Composed, ComposeError> {
        let (env, volume) = (facts.env.clone(), facts.component.clone());
        let parent = copies.ok_or_else(|| ComposeError::NoOriginal { env: env.clone() })?;
        let owner = self.volumes.owner(parent, &volume);
        let host_id = owner.map_err(|source| ComposeError::Volume {
            volume: volume.clone(),
            source,
        })?;
        let from = self.volumes.data(parent, &volume);
        let to = self.ready(&env, &volume, host_id).await?;
        Ok(self.copier(facts, host_id, from, to))
    }

    fn copier(&self, facts: InstanceFacts, host_id: u32, from: PathBuf, to: PathBuf) -> Composed {
        let spec = snapshot_instance(SnapshotPlace {
            dir: self.engine.instance_dir(&facts.env, &facts.id),
            host_id,
            log: LogSpec {
                file: self.engine.log_file(&facts),
                max_bytes: LOG_BYTES,
            },
            gateway_links: self.engine.gateway_links(),
            from,
            to,
            facts,
        });
        Composed { spec, given: None }
    }

    /// A volume that is there, and belongs to a user.
    async fn ready(
        &self,
        env: &EnvId,
        volume: &Name,
        host_id: u32,
    ) -> Result<PathBuf, ComposeError> {
        let (volumes, env, name) = (self.volumes.clone(), env.clone(), volume.clone());
        let making = tokio::task::spawn_blocking(move || volumes.ready(&env, &name, host_id));
        let made = making.await.unwrap_or_else(|broken| {
            Err(ward_volume::Error::Broken {
                message: broken.to_string(),
            })
        });
        made.map_err(|source| ComposeError::Volume {
            volume: volume.clone(),
            source,
        })
    }

    /// What a service's instances see of its volumes.
    pub(super) async fn mounts(
        &self,
        env: &EnvId,
        service: &ServiceSpec,
        host_id: u32,
    ) -> Result<Vec<MountSpec>, ComposeError> {
        let mut mounts = Vec::new();
        for (volume, path) in &service.volumes {
            mounts.push(MountSpec {
                source: self.ready(env, volume, host_id).await?,
                target: path.clone(),
                access: Access::ReadWrite,
            });
        }
        Ok(mounts)
    }
}

/// No file becomes larger than the largest of the places that it can be in.
pub(super) fn largest_file(spec: &EnvSpec, service: &ServiceSpec) -> Option<u64> {
    let volumes = service.volumes.keys();
    let sizes = volumes.filter_map(|volume| Some(spec.volumes.get(volume)?.size.0));
    let largest = sizes.max()?;
    Some(largest.max(service.scratch.0))
}
