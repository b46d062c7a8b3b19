//! One database: its instance, and what those who are linked to it are given.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    Access, HealthCheck, InstanceFacts, InstanceSpec, Limits, LogSpec, MountSpec, Probe, Role,
    RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::secrets::{Given, Mask, SecretName};
use ward_types::spec::DatabaseSpec;
use ward_types::time::{Millis, Timestamp};
use ward_types::unit::ByteSize;
use ward_types::view::ExecCommand;

use crate::installation::Installation;
use crate::role::{self, Credential};

/// Where PostgreSQL listens, inside.
pub const PORT: u16 = 5432;

/// The folder of its Unix socket, inside: nobody but the instance itself sees it.
const SOCKET: &str = "/tmp";

/// Where its data is, inside.
const FOLDER: &str = "/var/lib/postgresql";

/// Who it is inside. PostgreSQL refuses to be 0.
const USER: u32 = 70;

/// The role that the application is: it owns its database and nothing else.
const ROLE: &str = role::OWNER;

/// What the instance runs first.
const SCRIPT: &str = include_str!("start.sh");

/// SIGINT is PostgreSQL's fast shutdown: it ends the sessions and writes a checkpoint.
const FAST_SHUTDOWN: i32 = 2;

/// A checkpoint of everything in memory onto a slow disk takes its time, and an aborted one costs a recovery.
const STOP_TIMEOUT: Millis = Millis::secs(60);

/// One database of one environment.
#[derive(Debug, Clone)]
pub struct Database {
    env: EnvId,
    name: Name,
    installation: Installation,
    data: PathBuf,
    app: Secret,
    superuser: Secret,
    /// What links get in place of the first credential.
    rotated: Option<Credential>,
}

/// What the engine decides about a database's instance.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its id.
    pub id: InstanceId,
    /// When it is started.
    pub started: Timestamp,
    /// Its folder.
    pub dir: PathBuf,
    /// Its user and group id on the host; not 0.
    pub host_id: u32,
    /// Where its output goes.
    pub log: LogSpec,
    /// The gateway's socket.
    pub gateway_links: PathBuf,
}

/// How the variables of a link are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkVariables {
    /// `DATABASE_URL`, `PGHOST`, …: for the only, or the first, database that a service is linked to.
    Plain,
    /// `AUDIT_DATABASE_URL`, `AUDIT_PGHOST`, …, after the database's name: for the others.
    Prefixed,
}

impl Database {
    pub(crate) fn new(
        env: &EnvId,
        name: &Name,
        installation: Installation,
        data: PathBuf,
        app: Secret,
        superuser: Secret,
    ) -> Self {
        let (env, name) = (env.clone(), name.clone());
        Self {
            env,
            name,
            installation,
            data,
            app,
            superuser,
            rotated: None,
        }
    }

    /// The same with another credential for whoever is linked to it, and for its shell.
    #[must_use]
    pub fn with(mut self, credential: Credential) -> Self {
        self.rotated = Some(credential);
        self
    }

    /// One like it in another folder, with other passwords.
    pub(crate) fn elsewhere(&self, data: PathBuf, (app, superuser): (Secret, Secret)) -> Self {
        Self {
            data,
            app,
            superuser,
            rotated: None,
            ..self.clone()
        }
    }

    /// The role that logs in, and its password.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.rotated.clone().unwrap_or_else(|| Credential {
            role: ROLE.to_owned(),
            password: self.app.clone(),
        })
    }

    /// What runs statements from standard input inside the database's instance (`Request::Exec`), as the superuser,
    /// and ends with the first one that fails.
    #[must_use]
    pub fn superuser_psql(&self) -> ExecCommand {
        let mut command = self.psql(&[]);
        let more = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"];
        command.argv.extend(more.map(str::to_owned));
        let own = [
            ("PGUSER", Secret::new("ward".to_owned())),
            ("PGPASSWORD", self.superuser.clone()),
        ];
        command
            .env
            .extend(own.map(|(name, value)| (name.to_owned(), value)));
        command
    }

    /// The PostgreSQL that runs it.
    #[must_use]
    pub fn installation(&self) -> &Installation {
        &self.installation
    }

    /// The folder on the host that holds its data (in `data`) and nothing else's.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        &self.data
    }

    /// The name of the application's database: the stack's, with underscores.
    #[must_use]
    pub fn database_name(&self) -> String {
        let name = self.env.stack().as_str().replace('-', "_");
        match name.as_str() {
            // These are PostgreSQL's own.
            "postgres" | "template0" | "template1" => format!("{name}_app"),
            _ => name,
        }
    }

    /// What a keeper must know to run it.
    #[must_use]
    pub fn instance(&self, spec: &DatabaseSpec, place: Place) -> InstanceSpec {
        let facts = InstanceFacts {
            id: place.id,
            env: self.env.clone(),
            component: self.name.clone(),
            release: ReleaseId(0),
            role: Role::Database,
            port: Some(PORT),
            started: place.started,
            // Its own does not change; it logs in nowhere.
            passwords: Some(Vec::new()),
        };
        InstanceSpec {
            facts,
            dir: place.dir,
            root: RootSpec {
                layers: Vec::new(),
                host_usr: true,
                mounts: vec![MountSpec {
                    source: self.data.clone(),
                    target: FOLDER.to_owned(),
                    access: Access::ReadWrite,
                }],
            },
            argv: self.argv(spec.memory),
            cwd: "/".to_owned(),
            env: self.variables(),
            secrets: self.given(),
            user: UserSpec {
                uid: USER,
                gid: USER,
                host_id: place.host_id,
            },
            limits: Limits {
                memory: spec.memory.map(|size| size.0),
                processes: None,
                scratch: None,
                file: None,
            },
            health: Some(health()),
            links: Vec::new(),
            log: place.log,
            stop_timeout: STOP_TIMEOUT,
            stop_signal: FAST_SHUTDOWN,
            gateway_links: place.gateway_links,
        }
    }

    fn argv(&self, memory: Option<ByteSize>) -> Vec<String> {
        let mut argv: Vec<String> = ["/bin/sh", "-c", SCRIPT, "postgres"]
            .map(str::to_owned)
            .into();
        for (name, value) in settings(memory) {
            argv.extend(["-c".to_owned(), format!("{name}={value}")]);
        }
        argv
    }

    /// The script takes what begins with `WARD_`, and drops it before it becomes `postgres`. The rest is for
    /// `psql`, which is run beside it.
    fn variables(&self) -> BTreeMap<String, Secret> {
        let bin = self.installation.bin.display().to_string();
        let plain = |text: &str| Secret::new(text.to_owned());
        let mut variables = BTreeMap::from([
            (
                "PATH".to_owned(),
                Secret::new(format!("{bin}:/usr/bin:/bin")),
            ),
            ("HOME".to_owned(), plain("/tmp")),
            ("LANG".to_owned(), plain("C.UTF-8")),
            // Without it initdb compares every time zone that there is with the machine's.
            ("TZ".to_owned(), plain("UTC")),
            ("WARD_FOLDER".to_owned(), plain(FOLDER)),
            ("WARD_ROLE".to_owned(), plain(ROLE)),
            ("WARD_SUPERUSER_PASSWORD".to_owned(), self.superuser.clone()),
        ]);
        let first = Credential {
            role: ROLE.to_owned(),
            password: self.app.clone(),
        };
        variables.extend(self.connection(SOCKET, &first));
        variables
    }

    /// What nobody gets by `ward exec` unasked, and what is in no output.
    fn given(&self) -> Given {
        let names = ["WARD_SUPERUSER_PASSWORD", "PGPASSWORD"];
        let superuser = format!("{}.superuser", SecretName::of_database(&self.name));
        Given {
            variables: names.map(str::to_owned).into(),
            files: Vec::new(),
            masks: vec![
                self.mask(self.app.clone()),
                Mask {
                    name: superuser,
                    value: self.superuser.clone(),
                },
            ],
        }
    }

    pub(crate) fn mask(&self, value: Secret) -> Mask {
        let name = SecretName::of_database(&self.name).to_string();
        Mask { name, value }
    }

    /// The variables of a program that connects to it, but for host, role and password.
    pub(crate) fn client(&self) -> BTreeMap<String, Secret> {
        let mut variables = self.variables();
        variables.retain(|name, _| !name.starts_with("WARD_"));
        for own in ["PGHOST", "PGUSER", "PGPASSWORD"] {
            variables.remove(own);
        }
        variables
    }

    fn connection(&self, host: &str, with: &Credential) -> BTreeMap<String, Secret> {
        let plain = |text: &str| Secret::new(text.to_owned());
        BTreeMap::from([
            ("PGHOST".to_owned(), plain(host)),
            ("PGPORT".to_owned(), Secret::new(PORT.to_string())),
            ("PGUSER".to_owned(), plain(&with.role)),
            ("PGPASSWORD".to_owned(), with.password.clone()),
            ("PGDATABASE".to_owned(), Secret::new(self.database_name())),
        ])
    }

    /// The variables that a link to it gives: `DATABASE_URL`, `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD` and
    /// `PGDATABASE`. The host is the database's name, which the sandbox resolves to the link.
    #[must_use]
    pub fn link_env(&self, variables: LinkVariables) -> BTreeMap<String, Secret> {
        let with = self.credential();
        let mut given = self.connection(self.name.as_str(), &with);
        let (role, password, name) = (&with.role, with.password.expose(), self.database_name());
        let url = format!("postgres://{role}:{password}@{}:{PORT}/{name}", self.name);
        given.insert("DATABASE_URL".to_owned(), Secret::new(url));
        match variables {
            LinkVariables::Plain => given,
            LinkVariables::Prefixed => {
                let prefix = self.name.as_str().to_uppercase().replace('-', "_");
                let named = |(key, value)| (format!("{prefix}_{key}"), value);
                given.into_iter().map(named).collect()
            }
        }
    }

    /// What `ward db psql` runs inside the database's instance (`Request::Exec`): `psql` as the application's
    /// role, followed by `arguments`. Address and password are in the instance's own variables already.
    #[must_use]
    pub fn psql(&self, arguments: &[String]) -> ExecCommand {
        let mut argv = vec![self.installation.bin.join("psql").display().to_string()];
        argv.extend_from_slice(arguments);
        let history = Secret::new("/dev/null".to_owned());
        let mut env = BTreeMap::from([("PSQL_HISTORY".to_owned(), history)]);
        if let Some(Credential { role, password }) = &self.rotated {
            env.insert("PGUSER".to_owned(), Secret::new(role.clone()));
            env.insert("PGPASSWORD".to_owned(), password.clone());
        }
        ExecCommand { argv, env }
    }
}

/// What differs from PostgreSQL's own defaults. `fsync`, `synchronous_commit` and `full_page_writes` are
/// not here: they stay on.
fn settings(memory: Option<ByteSize>) -> Vec<(&'static str, String)> {
    const MIB: u64 = 1 << 20;
    let buffers = memory.map_or(64, |size| (size.0 / 4 / MIB).clamp(16, 4096));
    vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", SOCKET.to_owned()),
        ("max_connections", "200".to_owned()),
        ("shared_buffers", format!("{buffers}MB")),
        ("password_encryption", "scram-sha-256".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("log_line_prefix", "[%p] %q%u@%d ".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("timezone", "UTC".to_owned()),
        // A sandbox has no huge pages to give, and trying costs a warning.
        ("huge_pages", "off".to_owned()),
        // A client behind a link that broke would otherwise be noticed only when it is written to.
        ("client_connection_check_interval", "10s".to_owned()),
    ]
}

fn health() -> HealthCheck {
    HealthCheck {
        probe: Probe::Postgres,
        port: PORT,
        interval: Millis(1000),
        timeout: Millis::secs(3),
        healthy: 1,
        unhealthy: 3,
    }
}
