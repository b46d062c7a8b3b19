//! The instance that copies the rows of one database into another of the same name and stack, or what a backup of it
//! holds.
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
use ward_types::view::ExecCommand;

use crate::database::{Database, PORT};

/// What the instance runs.
const SCRIPT: &str = include_str!("copy.sh");

/// It waits for the pipe that the instance reads.
const FEEDING: &str =
    "mkdir /tmp/feeding || exit 9; until [ -p /tmp/fed ]; do sleep 0.05; done; exec cat >/tmp/fed";

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
    /// The symbolic link that names the present instance of the database that is copied; `None`: a backup is written
    /// to it, by [`feeding`].
    pub from: Option<PathBuf>,
    /// The same of the one that is filled.
    pub to: PathBuf,
}

impl Database {
    /// What a keeper must know to fill this database with the rows of `from`; `None`: with those of a backup.
    #[must_use]
    pub fn copy_of(&self, from: Option<&Database>, place: CopyPlace) -> InstanceSpec {
        let from_link = place.from.map(|dir| link("from", 2, dir));
        let to_link = link("to", 3, place.to);
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
            links: from_link.into_iter().chain([to_link]).collect(),
            log: place.log,
            stop_timeout: Millis::secs(1),
            stop_signal: 15,
            gateway_links: place.gateway_links,
        }
    }

    fn copy_secrets(&self, from: Option<&Database>) -> Given {
        let names = ["WARD_FROM_PASSWORD", "WARD_TO_PASSWORD"];
        let all = from.into_iter().chain([self]);
        let masks = all.map(|database| database.mask(database.credential().password));
        Given {
            variables: names.map(str::to_owned).into(),
            files: Vec::new(),
            masks: masks.collect(),
        }
    }

    fn copy_variables(&self, from: Option<&Database>) -> BTreeMap<String, Secret> {
        let plain = |text: &str| Secret::new(text.to_owned());
        let mut variables = self.client();
        let to = self.credential();
        variables.extend([
            ("WARD_TO_ROLE".to_owned(), Secret::new(to.role)),
            ("WARD_TO_PASSWORD".to_owned(), to.password),
            ("WARD_WATCHED".to_owned(), plain(WATCHED)),
            ("WARD_RESERVE".to_owned(), plain(&RESERVE.to_string())),
        ]);
        match from.map(Database::credential) {
            Some(from) => variables.extend([
                ("WARD_FROM_ROLE".to_owned(), Secret::new(from.role)),
                ("WARD_FROM_PASSWORD".to_owned(), from.password),
            ]),
            None => variables.extend([("WARD_FED".to_owned(), plain("1"))]),
        }
        variables
    }
}

/// What takes a dump on standard input to the database that the instance fills (`Request::Exec`), once.
#[must_use]
pub fn feeding() -> ExecCommand {
    ExecCommand {
        argv: ["/bin/sh", "-c", FEEDING].map(str::to_owned).into(),
        env: BTreeMap::new(),
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
