//! What this kernel allows this user: found out by making a real sandbox, never by guessing.
//!
//! A list of settings to look at would be out of date with the next kernel or distribution. So the probe is
//! an instance like any other, which does nothing, in a folder of its own; what its keeper reports as
//! missing is what every instance will miss.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    InstanceFacts, InstanceSpec, Limits, LogSpec, Reply, Role, RootSpec, UserSpec,
};
use ward_types::time::{Millis, Timestamp};

use crate::start::unprivileged_id;

/// Why no sandbox could be made.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The probe itself could not be set up.
    #[error("the probe's folder {} cannot be used", dir.display())]
    Folder {
        /// Below the folder for temporary files.
        dir: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The keeper could not be started or did not answer.
    #[error("the probe's keeper did not answer")]
    Keeper(#[source] io::Error),
    /// No sandbox can be made here.
    #[error("{message}")]
    Refused {
        /// Why, and what to do, in the keeper's words.
        message: String,
    },
}

/// Makes a sandbox with every protection asked for, and tells which are missing, a sentence each. `exe` is
/// the `ward` binary. Blocks for some milliseconds.
///
/// # Errors
/// [`ProbeError::Refused`] when no instance could run here; the others when that could not be found out.
pub fn sandbox(exe: &Path) -> Result<Vec<String>, ProbeError> {
    let dir = std::env::temp_dir().join(format!("ward-doctor-{}", std::process::id()));
    let unusable = |source| ProbeError::Folder {
        dir: dir.clone(),
        source,
    };
    DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .map_err(unusable)?;
    let result = run(exe, &dir);
    fs::remove_dir_all(&dir).map_err(unusable)?;
    result
}

fn run(exe: &Path, dir: &Path) -> Result<Vec<String>, ProbeError> {
    let spec = serde_json::to_vec(&spec(dir)).map_err(|error| ProbeError::Keeper(error.into()))?;
    let mut keeper = Command::new(exe)
        .arg("keeper")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ProbeError::Keeper)?;
    let mut line = String::new();
    let asked = keeper.stdin.take().map(|mut input| input.write_all(&spec));
    let answer = keeper
        .stdout
        .take()
        .map(|output| BufReader::new(output).read_line(&mut line));
    // It ends by itself: the instance is a program that does nothing.
    keeper.wait().map_err(ProbeError::Keeper)?;
    asked
        .transpose()
        .and(answer.transpose())
        .map_err(ProbeError::Keeper)?;
    match serde_json::from_str(&line) {
        Ok(Reply::Status { status }) => Ok(status.missing),
        Ok(Reply::Refused { message }) => Err(ProbeError::Refused { message }),
        Ok(_) => Err(ProbeError::Keeper(io::ErrorKind::InvalidData.into())),
        Err(error) => Err(ProbeError::Keeper(error.into())),
    }
}

fn spec(dir: &Path) -> InstanceSpec {
    let name = Name::parse("doctor").expect("a constant name is a name");
    let env = EnvId::new(&name, &name);
    let own = rustix::process::geteuid();
    InstanceSpec {
        user: UserSpec {
            uid: 1000,
            gid: 1000,
            host_id: if own.is_root() {
                unprivileged_id(&env, &name)
            } else {
                own.as_raw()
            },
        },
        facts: InstanceFacts {
            id: InstanceId::new(&name, ReleaseId(0), 1),
            env,
            component: name,
            release: ReleaseId(0),
            role: Role::Service,
            port: None,
            started: Timestamp(0),
        },
        dir: dir.to_owned(),
        root: RootSpec {
            layers: Vec::new(),
            host_usr: true,
            mounts: Vec::new(),
        },
        argv: vec!["/usr/bin/true".to_owned()],
        cwd: "/".to_owned(),
        env: BTreeMap::new(),
        limits: Limits {
            memory: Some(64 << 20),
            processes: Some(64),
        },
        health: None,
        links: Vec::new(),
        log: LogSpec {
            file: dir.join("output.log"),
            max_bytes: 1 << 20,
        },
        stop_timeout: Millis::secs(1),
        stop_signal: 15,
        gateway_links: dir.join("links.sock"),
    }
}
