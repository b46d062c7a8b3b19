//! A state folder with an engine, and instances to start in it.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use ward_engine::{Engine, Seen};
use ward_types::id::{Digest, EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    InstanceFacts, InstanceSpec, Limits, LinkSpec, LinkTarget, LogSpec, Role, RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::time::Millis;

use crate::real;

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) env: EnvId,
    home: TempDir,
    next: AtomicU64,
}

impl World {
    pub(crate) async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = real::open(home.path()).await;
        let env = EnvId::parse("returns/dev").unwrap();
        Self {
            engine,
            env,
            home,
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The server dies, `meanwhile` happens, and another server comes.
    pub(crate) async fn replace_engine(&mut self, meanwhile: impl FnOnce()) {
        // What the old engine still hears, nobody looks at.
        meanwhile();
        self.engine = real::open(self.home.path()).await;
    }

    fn spec(&self, argv: Vec<String>, port: Option<u16>) -> InstanceSpec {
        let component = Name::parse("web").unwrap();
        let ordinal = self.next.fetch_add(1, Ordering::Relaxed);
        let id = InstanceId::new(&component, ReleaseId(1), ordinal);
        let host_id = self.engine.host_id(&self.env, &component);
        let facts = InstanceFacts {
            id: id.clone(),
            env: self.env.clone(),
            component,
            release: ReleaseId(1),
            role: Role::Service,
            port,
            started: real::now(),
            passwords: None,
        };
        let path = Secret::new("/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        InstanceSpec {
            dir: self.engine.instance_dir(&self.env, &id),
            root: RootSpec {
                layers: Vec::new(),
                host_usr: true,
                mounts: Vec::new(),
            },
            argv,
            cwd: "/".to_owned(),
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            secrets: Default::default(),
            user: UserSpec {
                uid: 1000,
                gid: 1000,
                host_id,
            },
            limits: Limits::default(),
            health: None,
            links: Vec::new(),
            log: LogSpec {
                file: self.engine.log_file(&facts),
                max_bytes: 1 << 20,
            },
            stop_timeout: Millis::secs(5),
            stop_signal: 15,
            gateway_links: self.engine.gateway_links(),
            facts,
        }
    }

    pub(crate) fn shell(&self, script: &str) -> InstanceSpec {
        self.spec(["/bin/sh", "-c", script].map(str::to_owned).to_vec(), None)
    }

    pub(crate) fn server(&self, perl: &str) -> InstanceSpec {
        self.spec(
            ["/usr/bin/perl", "-e", perl].map(str::to_owned).to_vec(),
            Some(8080),
        )
    }

    /// A link to whatever instance is the current one of `component`.
    pub(crate) fn link(&self, component: &Name, port: u16) -> LinkSpec {
        let dir = self.engine.current_link(&self.env, component);
        LinkSpec {
            host: component.to_string(),
            address: Ipv4Addr::new(127, 77, 0, 2),
            port,
            target: LinkTarget::Keeper { dir, port },
        }
    }

    pub(crate) async fn until_over(&self, id: &InstanceId) -> Seen {
        let look = || self.engine.observe(&self.env)[id].clone();
        real::until("it is over", || look().status.state.is_over()).await;
        look()
    }

    /// Unpacked layers with these files, lowest first.
    pub(crate) fn image(&self, layers: &[&[(&str, &str)]]) -> Vec<PathBuf> {
        let archives: Vec<Vec<u8>> = layers.iter().map(|files| archive(files)).collect();
        let digests: Vec<Digest> = archives.iter().map(|archive| sha256(archive)).collect();
        for (digest, archive) in digests.iter().zip(&archives) {
            fs::write(self.home().join(digest.hex()), archive).unwrap();
        }
        let config = serde_json::json!({ "rootfs": { "diff_ids": digests } });
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<_> = digests
            .iter()
            .map(|digest| serde_json::json!({ "digest": digest }))
            .collect();
        let manifest =
            serde_json::json!({ "config": { "digest": sha256(&config) }, "layers": layers });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let blob = |digest: &Digest| self.home().join(digest.hex());
        self.engine
            .unpack(&manifest, &config, &blob)
            .unwrap()
            .layers
    }
}

impl Drop for World {
    fn drop(&mut self) {
        real::end(&self.engine, &self.env);
    }
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn sha256(bytes: &[u8]) -> Digest {
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    Digest::from_sha256(sum.as_ref().try_into().unwrap())
}
