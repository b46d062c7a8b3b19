//! Where everything of an instance lies in the state folder, and the small files in its own folder.
//!
//! `facts.json` and `root.json` are written before the keeper exists, so that an instance whose start was
//! interrupted at any point is found again; neither holds a secret. `exit.json` is the keeper's, written
//! before it leaves. `failed.json` is the engine's, for an instance that never came to be. `keeper.log` is
//! the keeper's standard error; the engine locks it (`flock`) and hands the locked descriptor over, so the
//! lock tells whether a keeper lives that does not listen yet.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{Exit, InstanceFacts};
use ward_types::time::Timestamp;

use crate::error::{Error, file};

pub(crate) const FACTS: &str = "facts.json";
pub(crate) const ROOT: &str = "root.json";
pub(crate) const FAILED: &str = "failed.json";
const EXIT: &str = "exit.json";
const KEEPER_LOG: &str = "keeper.log";

/// What a keeper leaves behind in `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitNote {
    pub(crate) exit: Exit,
    pub(crate) asked: bool,
    pub(crate) at: Timestamp,
}

/// What the engine leaves behind of an instance that could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedNote {
    pub(crate) message: String,
    pub(crate) at: Timestamp,
}

/// The paths of a state folder.
#[derive(Debug, Clone)]
pub(crate) struct Home(pub(crate) PathBuf);

impl Home {
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    pub(crate) fn env_run(&self, env: &EnvId) -> PathBuf {
        self.run()
            .join(env.stack().as_str())
            .join(env.env().as_str())
    }

    pub(crate) fn instance(&self, env: &EnvId, id: &InstanceId) -> PathBuf {
        self.env_run(env).join(id.as_str())
    }

    pub(crate) fn current(&self, env: &EnvId, database: &Name) -> PathBuf {
        self.env_run(env).join(format!("{database}.current"))
    }

    pub(crate) fn env_logs(&self, env: &EnvId) -> PathBuf {
        let logs = self.0.join("logs");
        logs.join(env.stack().as_str()).join(env.env().as_str())
    }

    pub(crate) fn log(&self, facts: &InstanceFacts) -> PathBuf {
        self.env_logs(&facts.env)
            .join(facts.component.as_str())
            .join(facts.release.to_string())
            .join(format!("{}.log", facts.id))
    }

    /// The folders of all instances, of all environments.
    pub(crate) fn instances(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = vec![self.run()];
        for _ in ["stack", "environment", "instance"] {
            let mut below = Vec::new();
            for folder in found {
                below.extend(subfolders(&folder)?);
            }
            found = below;
        }
        Ok(found)
    }
}

/// The folders (not symbolic links) directly in `folder`; none when it does not exist.
pub(crate) fn subfolders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    entries_that_are(folder, fs::FileType::is_dir)
}

/// Removes a folder with all that is in it, on a thread that may block.
pub(crate) async fn removed(folder: &Path) -> io::Result<()> {
    let path = folder.to_owned();
    let removing = tokio::task::spawn_blocking(move || ward_tree::remove(&path)).await;
    removing.unwrap_or_else(|broken| Err(io::Error::other(broken)))
}

/// Removes the symbolic links directly in `folder`.
pub(crate) fn remove_links(folder: &Path) -> Result<(), Error> {
    for link in entries_that_are(folder, fs::FileType::is_symlink)? {
        fs::remove_file(&link).map_err(file("remove", &link))?;
    }
    Ok(())
}

/// Whatever is directly in `folder`; nothing when it does not exist.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    entries_that_are(folder, |_| true)
}

fn entries_that_are(
    folder: &Path,
    wanted: impl Fn(&fs::FileType) -> bool,
) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file("read", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file("read", folder))?;
        if entry.file_type().is_ok_and(|kind| wanted(&kind)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Makes a folder that only its owner may enter, and those above it.
pub(crate) fn make_private(folder: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(file("create", folder))
}

/// Writes a file so that a reader, or a crash, sees all of it or nothing.
pub(crate) fn write_whole<T: Serialize>(folder: &Path, name: &str, value: &T) -> Result<(), Error> {
    let path = folder.join(name);
    let temporary = folder.join(format!(".{name}.new"));
    let written = serde_json::to_vec(value)
        .map_err(io::Error::from)
        .and_then(|bytes| {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(&temporary)?.write_all(&bytes)?;
            fs::rename(&temporary, &path)
        });
    written.map_err(file("write", &path))
}

/// Reads a file written by [`write_whole`]; `None` when there is none.
pub(crate) fn read_whole<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Option<T>, Error> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| file("read", &path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file("read", &path)(error)),
    }
}

pub(crate) fn exit_note(dir: &Path) -> Option<ExitNote> {
    read_whole(dir, EXIT).unwrap_or_else(|error| {
        tracing::warn!(dir = %dir.display(), %error, "exit.json is not understood");
        None
    })
}

/// Opens and locks a keeper's `keeper.log`. The lock lives as long as the keeper does, or any process that
/// inherited its standard error.
pub(crate) fn lock_keeper_log(dir: &Path) -> Result<fs::File, Error> {
    let path = dir.join(KEEPER_LOG);
    let mut options = fs::OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(&path);
    let log = opened.map_err(file("create", &path))?;
    rustix::fs::flock(&log, FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| file("lock", &path)(errno.into()))?;
    Ok(log)
}

/// Whether a keeper of this folder lives, listening or not.
pub(crate) fn keeper_lives(dir: &Path) -> bool {
    let Ok(log) = fs::File::open(dir.join(KEEPER_LOG)) else {
        return false;
    };
    rustix::fs::flock(&log, FlockOperation::NonBlockingLockShared).is_err()
}

/// The end of what the keeper said on its standard error, on one line.
pub(crate) fn keeper_said(dir: &Path) -> String {
    let bytes = fs::read(dir.join(KEEPER_LOG)).unwrap_or_default();
    let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2000)..]).into_owned();
    let lines: Vec<&str> = tail
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(5)..].join("; ")
}
