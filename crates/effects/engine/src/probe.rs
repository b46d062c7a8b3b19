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
    #[error("whether instances can run here was not found out: the probe's folder {} cannot be used", dir.display())]
    Folder {
        /// Below the folder for temporary files.
        dir: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The keeper could not be started or did not answer.
    #[error("whether instances can run here was not found out: the probe's keeper did not answer")]
    Keeper(#[source] io::Error),
    /// No sandbox can be made here.
    #[error("no instance can run here: {message}")]
    Refused {
        /// Why, in the keeper's words.
        message: String,
        /// What to do, in its words.
        remedy: String,
    },
}

impl ProbeError {
    /// What to do next.
    #[must_use]
    pub fn remedy(&self) -> &str {
        match self {
            ProbeError::Folder { .. } => {
                "name a folder that you may write to: TMPDIR=DIR ward doctor"
            }
            ProbeError::Keeper(_) => "put the ward binary where you may read and run it",
            ProbeError::Refused { remedy, .. } => remedy,
        }
    }
}

/// A protection that instances miss here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What is missing.
    pub missing: String,
    /// What is weaker for it.
    pub weakens: String,
    /// Why it is missing.
    pub reason: String,
    /// What mends it.
    pub remedy: String,
}

impl Finding {
    /// Takes a keeper's sentence apart: `MISSING, so that WEAKENS: REASON`.
    fn of(sentence: &str) -> Self {
        let (missing, rest) = sentence.split_once(", so that ").unwrap_or((sentence, ""));
        let (weakens, reason) = rest.split_once(": ").unwrap_or((rest, ""));
        Self {
            missing: missing.to_owned(),
            weakens: weakens.replace("this instance", "each instance"),
            reason: reason.to_owned(),
            remedy: remedy(sentence),
        }
    }
}

fn remedy(sentence: &str) -> String {
    if sentence.contains("control group") {
        let uid = rustix::process::geteuid();
        return groups_remedy(uid.as_raw(), Path::new("/sys/fs/cgroup"));
    }
    "run Ward outside of the container".to_owned()
}

/// How `uid` comes to a control group that it may divide; `mounted` is where control groups are.
fn groups_remedy(uid: u32, mounted: &Path) -> String {
    if uid == 0 {
        return "run Ward where control groups can be written; of a container: with --privileged"
            .to_owned();
    }
    if mounted.join("cgroup.controllers").exists() {
        return "ward down; systemd-run --user --scope ward up".to_owned();
    }
    // Version 1 is divided by whoever owns a group, and a process stays in the group of the shell that started it.
    let group = mounted.join("memory").join(format!("ward-{uid}"));
    let group = group.display();
    format!(
        "ward down; sudo sh -c \"mkdir -p {group} && chown {uid} {group} && echo $$ > {group}/cgroup.procs\"; ward up"
    )
}

/// Makes a sandbox with every protection asked for, and tells which are missing. `exe` is the `ward` binary.
/// Blocks for some milliseconds.
///
/// # Errors
/// [`ProbeError::Refused`] when no instance could run here; the others when that could not be found out.
pub fn sandbox(exe: &Path) -> Result<Vec<Finding>, ProbeError> {
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

fn run(exe: &Path, dir: &Path) -> Result<Vec<Finding>, ProbeError> {
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
        Ok(Reply::Status { status }) => {
            let sentences = status.missing.iter();
            Ok(sentences.map(|text| Finding::of(text)).collect())
        }
        Ok(Reply::Refused { message }) => Err(refused(&message)),
        Ok(_) => Err(ProbeError::Keeper(io::ErrorKind::InvalidData.into())),
        Err(error) => Err(ProbeError::Keeper(error.into())),
    }
}

/// Takes a keeper's refusal apart: `WHY; WHAT TO DO`.
fn refused(sentence: &str) -> ProbeError {
    let (message, remedy) = sentence
        .split_once("; ")
        .unwrap_or((sentence, "run Ward as root"));
    ProbeError::Refused {
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn spec(dir: &Path) -> InstanceSpec {
    let name = Name::parse("doctor").expect("a constant name is a name");
    let env = EnvId::new(&name, &name);
    let own = rustix::process::geteuid();
    InstanceSpec {
        secrets: Default::default(),
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
            passwords: None,
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
            scratch: Some(1 << 20),
            file: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_is_missing_what_is_weaker_and_what_mends_it() {
        let finding = Finding::of(
            "the memory limit is not enforced, so that this instance can take the machine's whole memory: no \
             writable memory control group (Permission denied (os error 13))",
        );
        assert_eq!(finding.missing, "the memory limit is not enforced");
        assert_eq!(
            finding.weakens,
            "each instance can take the machine's whole memory"
        );
        assert!(
            finding
                .reason
                .starts_with("no writable memory control group")
        );
        assert!(!finding.remedy.is_empty());
    }

    #[test]
    fn a_refusal_has_a_remedy_in_any_case() {
        let named = refused(
            "making the namespaces failed: No space left; an ordinary user needs more; or root",
        );
        assert_eq!(named.remedy(), "an ordinary user needs more; or root");
        assert_eq!(
            named.to_string(),
            "no instance can run here: making the namespaces failed: No space left"
        );
        assert_eq!(refused("nothing works").remedy(), "run Ward as root");
    }

    #[test]
    fn each_kind_of_machine_has_a_remedy_of_its_own() {
        let dir = std::env::temp_dir().join(format!("ward-probe-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let one = groups_remedy(1000, &dir);
        assert!(
            one.contains("chown 1000 ") && one.contains("/memory/ward-1000/cgroup.procs"),
            "{one}"
        );
        fs::write(dir.join("cgroup.controllers"), "memory pids").unwrap();
        let two = groups_remedy(1000, &dir);
        assert!(two.contains("systemd-run --user --scope ward up"), "{two}");
        assert!(groups_remedy(0, &dir).contains("--privileged"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
