//! The instance that copies the rows of one database into another of the same name and stack.
//!
//! It is an instance like any other, so that it outlives the server, has an output that is kept, and is gone with its
//! environment. It reaches two databases and nothing else, and passwords come to it as to services.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use ward_types::keeper::{
    Access, InstanceFacts, InstanceSpec, Limits, LinkSpec, LinkTarget, LogSpec, MountSpec,
    RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::secrets::Given;
use ward_types::time::Millis;

use crate::database::{Database, PORT};

/// What the instance runs.
const SCRIPT: &str = include_str!("copy.sh");

/// So many bytes of the disk are left free for all the other databases on it.
pub const RESERVE: u64 = 64 << 20;

/// Where it sees the disk, inside.
const WATCHED: &str = "/mnt";

/// What the engine decides about the instance.
#[derive(Debug, Clone)]
pub struct CopyPlace {
    /// Who it is.
    pub facts: InstanceFacts,
    /// Its folder.
    pub dir: PathBuf,
    /// Its user and group id on the host; not 0.
    pub host_id: u32,
    /// Where its output goes.
    pub log: LogSpec,
    /// The gateway's socket.
    pub gateway_links: PathBuf,
    /// The symbolic link that names the present instance of the database that is copied.
    pub from: PathBuf,
    /// The same of the one that is filled.
    pub to: PathBuf,
}

impl Database {
    /// What a keeper must know to fill this database with the rows of `from`.
    #[must_use]
    pub fn copy_of(&self, from: &Database, place: CopyPlace) -> InstanceSpec {
        let argv = ["/bin/sh", "-c", SCRIPT, "copy"];
        InstanceSpec {
            facts: place.facts,
            dir: place.dir,
            root: RootSpec {
                layers: Vec::new(),
                host_usr: true,
                mounts: vec![MountSpec {
                    source: self.folder().to_owned(),
                    target: WATCHED.to_owned(),
                    access: Access::ReadOnly,
                }],
            },
            argv: argv.map(str::to_owned).into(),
            cwd: "/".to_owned(),
            env: self.copy_variables(from),
            secrets: self.copy_secrets(from),
            user: UserSpec {
                uid: 70,
                gid: 70,
                host_id: place.host_id,
            },
            limits: Limits::default(),
            health: None,
            links: vec![link("from", 2, place.from), link("to", 3, place.to)],
            log: place.log,
            stop_timeout: Millis::secs(1),
            stop_signal: 15,
            gateway_links: place.gateway_links,
        }
    }

    fn copy_secrets(&self, from: &Database) -> Given {
        let names = ["WARD_FROM_PASSWORD", "WARD_TO_PASSWORD"];
        let (from, to) = (from.credential(), self.credential());
        Given {
            variables: names.map(str::to_owned).into(),
            files: Vec::new(),
            masks: vec![self.mask(from.password), self.mask(to.password)],
        }
    }

    fn copy_variables(&self, from: &Database) -> BTreeMap<String, Secret> {
        let mut variables = self.client();
        let (from, to) = (from.credential(), self.credential());
        variables.extend([
            ("WARD_FROM_ROLE".to_owned(), Secret::new(from.role)),
            ("WARD_FROM_PASSWORD".to_owned(), from.password),
            ("WARD_TO_ROLE".to_owned(), Secret::new(to.role)),
            ("WARD_TO_PASSWORD".to_owned(), to.password),
            ("WARD_WATCHED".to_owned(), Secret::new(WATCHED.to_owned())),
            ("WARD_RESERVE".to_owned(), Secret::new(RESERVE.to_string())),
        ]);
        variables
    }
}

fn link(host: &str, place: u8, dir: PathBuf) -> LinkSpec {
    LinkSpec {
        host: host.to_owned(),
        address: Ipv4Addr::new(127, 77, 0, place),
        port: PORT,
        target: LinkTarget::Keeper { dir, port: PORT },
    }
}
