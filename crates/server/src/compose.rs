//! What an instance is given: its files, its command, its variables, its links.

mod backups;
mod volumes;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ward_engine::{Engine, Image};
use ward_postgres::{CopyPlace, LinkVariables, Place};
use ward_store::Log;
use ward_types::id::{EnvId, Name};
use ward_types::keeper::{
    HealthCheck, InstanceFacts, InstanceSpec, Limits, LinkSpec, LinkTarget, LogSpec, MountSpec,
    Probe, Role, RootSpec, UserSpec,
};
use ward_types::release::Release;
use ward_types::run::Run;
use ward_types::secret::Secret;
use ward_types::secrets::{self, Mask, SecretFile, SecretLabel, SecretName, SecretPlace};
use ward_types::sharing;
use ward_types::spec::{Base, EnvSpec, HealthSpec, ImageSource, ServiceSpec};
use ward_volume::Volumes;

use crate::images::{ImageError, Images};
use crate::opening::{Given, Opened, Opener};

/// An instance's log is rotated beyond this many bytes.
const LOG_BYTES: u64 = 16 << 20;
/// Where programs are looked for, unless the image says otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why an instance cannot be composed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComposeError {
    #[error("the release {release} has no service or database {component}")]
    NoComponent { release: String, component: Name },
    #[error("{env} is no clone, and its data nobody's copy")]
    NoOriginal { env: EnvId },
    #[error("the release {release} has no image for {component}")]
    NoImage { release: String, component: Name },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("the image of {component} names no command, and neither does the stack file")]
    NoCommand { component: Name },
    #[error("the database {database} cannot be prepared")]
    Database {
        database: Name,
        #[source]
        source: Box<ward_postgres::Error>,
    },
    #[error("the release {release} has no version of the secret {name}")]
    NoSecret { release: String, name: SecretName },
    #[error(transparent)]
    Secret(#[from] ward_seal::Error),
    #[error("its secrets could not be opened to the end")]
    Opening(#[source] tokio::task::JoinError),
    #[error("the volume {volume} cannot be made ready")]
    Volume {
        volume: Name,
        #[source]
        source: ward_volume::Error,
    },
    #[error("the release {release} has no service with the volume {volume}")]
    NoVolume { release: String, volume: Name },
    #[error("the volumes cannot be removed")]
    PurgeVolumes(#[source] ward_volume::Error),
    #[error(transparent)]
    Engine(#[from] ward_engine::Error),
    #[error("the data in {path} cannot be removed")]
    Purge {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Composes instances.
pub(crate) struct Composer {
    pub(crate) home: PathBuf,
    pub(crate) engine: Engine,
    pub(crate) images: Images,
    pub(crate) opener: Opener,
    pub(crate) volumes: Volumes,
}

/// An instance that can be started.
pub(crate) struct Composed {
    pub(crate) spec: InstanceSpec,
    /// The passwords in it, which are not withdrawn while this is held.
    pub(crate) given: Option<Given>,
}

/// What an instance is made for, where its role alone does not say it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Occasion<'a> {
    /// The run that it is an attempt of.
    pub(crate) run: Option<&'a Run>,
    /// The environment whose rows or files it copies.
    pub(crate) copies: Option<&'a EnvId>,
    /// Whether these are in a backup of that.
    pub(crate) restores: bool,
}

impl Composer {
    /// The whole specification of an instance, which is of `run` where its role says so.
    ///
    /// # Errors
    /// [`ComposeError`], as it says.
    pub(crate) async fn instance(
        &self,
        facts: InstanceFacts,
        release: &Release,
        occasion: Occasion<'_>,
    ) -> Result<Composed, ComposeError> {
        match facts.role {
            Role::Database => self.database(facts, release).await,
            Role::Drill(_) => self.drill(facts, release).await,
            Role::Copy if occasion.restores => self.restore(facts).await,
            Role::Copy => self.copy(facts, occasion.copies).await,
            Role::VolumeCopy => self.volume_copy(facts, occasion.copies).await,
            Role::Snapshot => self.snapshot(facts, release).await,
            Role::Service | Role::ReleaseCommand | Role::Seed | Role::Run(_) => {
                self.service(facts, release, occasion.run).await
            }
        }
    }

    /// What fills a database of a clone.
    async fn copy(
        &self,
        mut facts: InstanceFacts,
        copies: Option<&EnvId>,
    ) -> Result<Composed, ComposeError> {
        let (env, name) = (facts.env.clone(), facts.component.clone());
        let missing = || ComposeError::NoOriginal { env: env.clone() };
        let parent = copies.ok_or_else(missing)?;
        let both = vec![(parent.clone(), name.clone()), (env.clone(), name.clone())];
        let opened = self.opener.opened(&facts.id, Vec::new(), both).await?;
        facts.passwords = Some(opened.passwords());
        let [from, to] = opened.databases.as_slice() else {
            return Err(missing());
        };
        let spec = to.database.copy_of(
            Some(&from.database),
            CopyPlace {
                dir: self.engine.instance_dir(&env, &facts.id),
                host_id: self.engine.host_id(&env, &name),
                log: LogSpec {
                    file: self.engine.log_file(&facts),
                    max_bytes: LOG_BYTES,
                },
                gateway_links: self.engine.gateway_links(),
                from: Some(self.engine.current_link(parent, &name)),
                to: self.engine.current_link(&env, &name),
                facts,
            },
        );
        let given = Some(opened.given);
        Ok(Composed { spec, given })
    }

    async fn database(
        &self,
        facts: InstanceFacts,
        release: &Release,
    ) -> Result<Composed, ComposeError> {
        let missing = || ComposeError::NoComponent {
            release: release.id.to_string(),
            component: facts.component.clone(),
        };
        let spec = release
            .spec
            .databases
            .get(&facts.component)
            .ok_or_else(missing)?;
        let database = facts.component.clone();
        // Its clients' password is nothing that it needs: it comes up where that cannot be opened, to be given another.
        let own = self.opener.own(&facts.env, &database).await?;
        let spec = own.instance(
            spec,
            Place {
                started: facts.started,
                dir: self.engine.instance_dir(&facts.env, &facts.id),
                host_id: self.engine.host_id(&facts.env, &database),
                log: LogSpec {
                    file: self.engine.log_file(&facts),
                    max_bytes: LOG_BYTES,
                },
                gateway_links: self.engine.gateway_links(),
                id: facts.id,
            },
        );
        Ok(Composed { spec, given: None })
    }

    async fn service(
        &self,
        mut facts: InstanceFacts,
        release: &Release,
        run: Option<&Run>,
    ) -> Result<Composed, ComposeError> {
        let name = facts.component.clone();
        let service =
            release
                .spec
                .services
                .get(&name)
                .ok_or_else(|| ComposeError::NoComponent {
                    release: release.id.to_string(),
                    component: name.clone(),
                })?;
        let digest = release
            .build
            .images
            .get(&name)
            .ok_or_else(|| ComposeError::NoImage {
                release: release.id.to_string(),
                component: name.clone(),
            })?;
        let repository = Images::repository(&facts.env.stack(), &name);
        let image = self.images.ready(&repository, digest).await?;
        let serves = facts.role == Role::Service;
        facts.port = service.port.filter(|_| serves);
        let labels = labels(&facts.env, release, service)?;
        let databases = linked(release, service).map(|name| (facts.env.clone(), name.clone()));
        let opened = self.opener.opened(&facts.id, labels, databases.collect());
        let opened = opened.await?;
        facts.passwords = Some(opened.passwords());
        let mut env = variables(&facts, release, service, &image, &opened);
        env.extend(run.into_iter().flat_map(run_variables));
        let secrets = secrets(release, service, &opened, &mut env);
        let host_id = self.engine.host_id(&facts.env, &name);
        let mounts = self.mounts(&facts.env, service, host_id).await?;
        let spec = InstanceSpec {
            dir: self.engine.instance_dir(&facts.env, &facts.id),
            root: root(service, &image, mounts),
            argv: command(&facts, service, &image, run)?,
            cwd: if image.cwd.is_empty() {
                "/".to_owned()
            } else {
                image.cwd.clone()
            },
            env,
            secrets,
            user: UserSpec {
                uid: image.user.uid,
                gid: image.user.gid,
                host_id,
            },
            limits: Limits {
                memory: service.memory.map(|size| size.0),
                processes: Some(service.processes),
                scratch: Some(service.scratch.0),
                file: volumes::largest_file(&release.spec, service),
            },
            health: service
                .health
                .as_ref()
                .filter(|_| serves)
                .zip(service.port)
                .map(check),
            links: self.links(&facts.env, &release.spec, service),
            log: LogSpec {
                file: self.engine.log_file(&facts),
                max_bytes: LOG_BYTES,
            },
            stop_timeout: service.stop_timeout,
            stop_signal: image.stop_signal.unwrap_or(15),
            gateway_links: self.engine.gateway_links(),
            facts,
        };
        let given = Some(opened.given);
        Ok(Composed { spec, given })
    }

    /// Each host name has a loopback address of its own; ports of one host share it.
    fn links(&self, env: &EnvId, spec: &EnvSpec, service: &ServiceSpec) -> Vec<LinkSpec> {
        let inside = service.links.iter().filter_map(|name| {
            let (port, target) = self.target(env, spec, name)?;
            Some((name.to_string(), port, target))
        });
        let outside = service.egress.iter().map(|egress| {
            let target = LinkTarget::Egress {
                host: egress.host.clone(),
                port: egress.port,
            };
            (egress.host.clone(), egress.port, target)
        });
        let mut hosts: Vec<String> = Vec::new();
        let with_address = |(host, port, target): (String, u16, LinkTarget)| {
            let place = hosts
                .iter()
                .position(|known| *known == host)
                .unwrap_or_else(|| {
                    hosts.push(host.clone());
                    hosts.len() - 1
                });
            // An outside address that is declared as a number is the instance's own, inside.
            LinkSpec {
                address: host.parse().unwrap_or_else(|_| address(place)),
                host,
                port,
                target,
            }
        };
        let shared = service.shared_links.iter().map(|link| {
            let target = LinkTarget::Service {
                env: link.target(env),
                service: link.service.clone(),
            };
            (link.host(), sharing::PORT, target)
        });
        let all = inside.chain(shared).chain(outside);
        all.map(with_address).collect()
    }

    fn target(&self, env: &EnvId, spec: &EnvSpec, name: &Name) -> Option<(u16, LinkTarget)> {
        if spec.databases.contains_key(name) {
            let dir = self.engine.current_link(env, name);
            let port = ward_postgres::PORT;
            return Some((port, LinkTarget::Keeper { dir, port }));
        }
        let port = spec.services.get(name)?.port?;
        Some((
            port,
            LinkTarget::Service {
                env: env.clone(),
                service: name.clone(),
            },
        ))
    }

    /// Removes an environment's data and secrets, what its instances left where they ran, and the folders above
    /// that nothing else is in. Its releases and logs stay, and so do its backups, unless it ends.
    ///
    /// # Errors
    /// [`ComposeError::Purge`], [`ComposeError::Engine`].
    pub(crate) fn purge(&self, env: &EnvId) -> Result<(), ComposeError> {
        for part in ["data", "secrets"] {
            let above = self.home.join(part);
            let path = self.home.join(part).join(env.as_str());
            match ward_tree::remove(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(ComposeError::Purge { path, source });
                }
                _ => {}
            }
            // One that holds another environment's is not empty, and stays.
            let stack = above.join(env.stack().as_str());
            let _ = std::fs::remove_dir(stack).and_then(|()| std::fs::remove_dir(above));
        }
        self.volumes
            .purge(env)
            .map_err(ComposeError::PurgeVolumes)?;
        self.opener.vault.purge(env)?;
        let state = self.opener.store.state();
        let known = state.environments.get(env);
        if known.is_some_and(|known| known.ending().is_some()) {
            self.opener.vault.purge_backups(env)?;
        }
        self.engine.clear(env)?;
        Ok(())
    }
}

fn variables(
    facts: &InstanceFacts,
    release: &Release,
    service: &ServiceSpec,
    image: &Image,
    opened: &Opened,
) -> BTreeMap<String, Secret> {
    let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
    env.extend(image.env.clone());
    env.extend(service.env.clone());
    env.extend(own_variables(facts, release, service));
    let mut env: BTreeMap<String, Secret> = env
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value)))
        .collect();
    for (place, prepared) in opened.databases.iter().enumerate() {
        // A second database's variables carry its name, so that they do not hide the first one's.
        let variables = if place == 0 {
            LinkVariables::Plain
        } else {
            LinkVariables::Prefixed
        };
        env.extend(prepared.database.link_env(variables));
    }
    env
}

/// What a release has of a service's secrets.
fn labels(
    env: &EnvId,
    release: &Release,
    service: &ServiceSpec,
) -> Result<Vec<SecretLabel>, ComposeError> {
    let label = |name: &SecretName| {
        let version = release.secrets.get(name).copied();
        let version = version.ok_or_else(|| ComposeError::NoSecret {
            release: release.id.to_string(),
            name: name.clone(),
        })?;
        Ok(SecretLabel {
            env: env.clone(),
            name: name.clone(),
            version,
        })
    };
    service.secrets.keys().map(label).collect()
}

/// Puts a service's secrets into its variables, and gives what else its keeper needs of them.
fn secrets(
    release: &Release,
    service: &ServiceSpec,
    opened: &Opened,
    variables: &mut BTreeMap<String, Secret>,
) -> secrets::Given {
    let mut given = secrets::Given::default();
    for (name, value) in &opened.values {
        given.masks.push(Mask {
            name: name.to_string(),
            value: value.clone(),
        });
        match service.secrets.get(name) {
            Some(SecretPlace::Variable) => {
                variables.insert(name.to_string(), value.clone());
                given.variables.insert(name.to_string());
            }
            Some(SecretPlace::File(path)) => given.files.push(SecretFile {
                path: path.clone(),
                value: value.clone(),
            }),
            None => {}
        }
    }
    for prepared in &opened.databases {
        given.masks.push(Mask {
            name: prepared.name.to_string(),
            value: prepared.database.credential().password,
        });
    }
    given.variables.extend(database_variables(release, service));
    given
}

/// The databases that a service is linked to.
fn linked<'a>(release: &'a Release, service: &'a ServiceSpec) -> impl Iterator<Item = &'a Name> {
    let links = service.links.iter();
    links.filter(|link| release.spec.databases.contains_key(link))
}

/// The variables of its links that hold a password.
fn database_variables(release: &Release, service: &ServiceSpec) -> Vec<String> {
    let databases = linked(release, service).enumerate();
    let names = databases.flat_map(|(place, database)| {
        let prefix = match place {
            0 => String::new(),
            _ => format!("{}_", database.as_str().to_uppercase().replace('-', "_")),
        };
        ["DATABASE_URL", "PGPASSWORD"].map(|name| format!("{prefix}{name}"))
    });
    names.collect()
}

/// 127.77.0.2, 127.77.0.3, … : apart from 127.0.0.1, where the application itself listens.
fn address(place: usize) -> Ipv4Addr {
    let number = u32::try_from(place)
        .unwrap_or(u32::MAX / 2)
        .saturating_add(2);
    Ipv4Addr::from_bits(
        Ipv4Addr::new(127, 77, 0, 0)
            .to_bits()
            .saturating_add(number),
    )
}

fn root(service: &ServiceSpec, image: &Image, mounts: Vec<MountSpec>) -> RootSpec {
    let declared = matches!(
        service.source,
        ImageSource::Command {
            base: Base::Host,
            ..
        }
    );
    let labelled = image
        .labels
        .get(ward_build::BASE_LABEL)
        .is_some_and(|base| base == "host");
    RootSpec {
        layers: image.layers.clone(),
        host_usr: declared && labelled,
        mounts,
    }
}

fn command(
    facts: &InstanceFacts,
    service: &ServiceSpec,
    image: &Image,
    run: Option<&Run>,
) -> Result<Vec<String>, ComposeError> {
    let release = service.release.as_ref().map(|release| &release.command);
    let seed = service.seed.as_ref().map(|seed| &seed.command);
    let own = match facts.role {
        Role::ReleaseCommand => release,
        Role::Seed => seed,
        Role::Run(_) => run.map(|run| &run.command),
        Role::Service
        | Role::Database
        | Role::Copy
        | Role::VolumeCopy
        | Role::Snapshot
        | Role::Drill(_) => None,
    };
    let argv = own.or(service.command.as_ref()).unwrap_or(&image.argv);
    let argv = argv.clone();
    if argv.is_empty() {
        return Err(ComposeError::NoCommand {
            component: facts.component.clone(),
        });
    }
    Ok(argv)
}

/// What an attempt of a run may want to know of itself.
fn run_variables(run: &Run) -> Vec<(String, Secret)> {
    let job = run.job.as_ref().map(|job| ("WARD_JOB", job.to_string()));
    let due = run.due.map(|due| ("WARD_DUE", due.0.to_string()));
    let id = Some(("WARD_RUN", run.id.to_string()));
    let all = [id, job, due].into_iter().flatten();
    all.map(|(name, value)| (name.to_owned(), Secret::new(value)))
        .collect()
}

fn own_variables(
    facts: &InstanceFacts,
    release: &Release,
    service: &ServiceSpec,
) -> Vec<(String, String)> {
    let mut own = vec![
        ("WARD_STACK", facts.env.stack().to_string()),
        ("WARD_ENV", facts.env.env().to_string()),
        ("WARD_SERVICE", facts.component.to_string()),
        ("WARD_RELEASE", release.id.to_string()),
        ("WARD_VERSION", release.build.version.clone()),
        ("WARD_INSTANCE", facts.id.to_string()),
    ];
    own.extend(service.port.map(|port| ("PORT", port.to_string())));
    own.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn check((health, port): (&HealthSpec, u16)) -> HealthCheck {
    HealthCheck {
        probe: Probe::Http {
            path: health.path.clone(),
        },
        port,
        interval: health.interval,
        timeout: health.timeout,
        healthy: health.healthy,
        unhealthy: health.unhealthy,
    }
}
