//! Starting an instance, as one straight list of steps.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use ward_types::id::{EnvId, InstanceId, Name};
use ward_types::keeper::{
    Access, InstanceFacts, InstanceSpec, InstanceState, InstanceStatus, Reply, RootSpec,
};

use crate::engine::{Engine, Entered, Seen};
use crate::error::{Error, file};
use crate::folder::{self, FACTS, FAILED, FailedNote, Home, ROOT};
use crate::watcher;

/// From the keeper's start to its ready line. Setting a sandbox up takes milliseconds; a machine under
/// heavy load takes seconds; the sandbox itself gives up after 30.
const READY: Duration = Duration::from_secs(40);

/// The longest ready line, in bytes.
const READY_LINE: u64 = 64 * 1024;

pub(crate) async fn start(engine: &Engine, spec: InstanceSpec) -> Result<(), Error> {
    check(engine, &spec)?;
    let placeholder = Seen {
        facts: spec.facts.clone(),
        status: status(InstanceState::Starting, 0),
        since: (engine.0.clock)(),
        altered: None,
        checkup: None,
    };
    if let Entered::Known(seen) = engine.0.enter(placeholder) {
        return repeated(*seen);
    }
    let id = spec.facts.id.clone();
    let engine = engine.clone();
    // A task of its own: a caller that gives up must not leave a keeper half started and unwatched.
    let started = tokio::spawn(async move { start_new(&engine, spec).await });
    started.await.unwrap_or_else(|error| {
        let message = format!("starting it broke off: {error}");
        Err(Error::Refused { id, message })
    })
}

fn check(engine: &Engine, spec: &InstanceSpec) -> Result<(), Error> {
    let facts = &spec.facts;
    let wrong = |what: String| {
        Err(Error::Spec {
            id: facts.id.clone(),
            what,
        })
    };
    if spec.dir != engine.instance_dir(&facts.env, &facts.id) {
        return wrong(format!("its folder cannot be {}", spec.dir.display()));
    }
    if spec.argv.is_empty() {
        return wrong("it names no program to run".to_owned());
    }
    if !spec.log.file.is_absolute() || spec.log.file.parent().is_none() {
        return wrong(format!("its log cannot be {}", spec.log.file.display()));
    }
    Ok(())
}

fn repeated(seen: Seen) -> Result<(), Error> {
    match seen.status.state {
        InstanceState::Failed { message } => Err(Error::Refused {
            id: seen.facts.id,
            message,
        }),
        _ => Ok(()),
    }
}

async fn start_new(engine: &Engine, spec: InstanceSpec) -> Result<(), Error> {
    let (facts, dir) = (spec.facts.clone(), spec.dir.clone());
    match bring_up(spec, &engine.0.exe).await {
        Ok(first) => {
            engine.0.record(&facts, first, (engine.0.clock)());
            // Its layers may have been condemned since they were looked at for it.
            let noting = engine.clone();
            tokio::task::spawn_blocking(move || noting.0.note_altered());
            watcher::spawn(engine, facts);
            Ok(())
        }
        Err(error) => {
            let at = (engine.0.clock)();
            let message = sentence(&error);
            let note = FailedNote {
                message: message.clone(),
                at,
            };
            if let Err(unwritten) = folder::write_whole(&dir, FAILED, &note) {
                tracing::warn!(id = %facts.id, error = %unwritten, "a failed start is not noted");
            }
            let failed = InstanceState::Failed { message };
            engine.0.record(&facts, status(failed, 0), at);
            Err(error)
        }
    }
}

/// The steps of a start. Each leaves behind what [`Engine::open`] needs to find the instance again.
async fn bring_up(spec: InstanceSpec, exe: &Path) -> Result<InstanceStatus, Error> {
    let id = spec.facts.id.clone();
    // 1. The folder and who it belongs to, before anything that would have to be found again.
    folder::make_private(&spec.dir)?;
    folder::write_whole(&spec.dir, ROOT, &spec.root)?;
    folder::write_whole(&spec.dir, FACTS, &spec.facts)?;
    // 2. What the keeper expects to exist.
    if let Some(logs) = spec.log.file.parent() {
        folder::make_private(logs)?;
    }
    writable_folders(&spec)?;
    // 3. The keeper, with the lock that says that it lives.
    let mut keeper = spawn(&spec, exe)?;
    // 4. Its instructions. They hold secrets: through the pipe, and nowhere else.
    // 5. Its answer.
    let answer = tokio::time::timeout(READY, instruct_and_hear(&mut keeper, &spec)).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(_) => Err(Error::Late {
            id: id.clone(),
            seconds: READY.as_secs(),
        }),
    };
    match answer {
        Ok(Reply::Status { status }) if !matches!(status.state, InstanceState::Failed { .. }) => {
            reap(keeper, id);
            Ok(status)
        }
        other => {
            // A keeper that refused leaves by itself; one that is confused or late must not linger.
            let _ = keeper.start_kill();
            reap(keeper, id.clone());
            match other? {
                Reply::Refused { message }
                | Reply::Status {
                    status:
                        InstanceStatus {
                            state: InstanceState::Failed { message },
                            ..
                        },
                } => Err(Error::Refused { id, message }),
                _ => Err(Error::Mute {
                    id,
                    said: folder::keeper_said(&spec.dir),
                }),
            }
        }
    }
}

fn spawn(spec: &InstanceSpec, exe: &Path) -> Result<Child, Error> {
    let log = folder::lock_keeper_log(&spec.dir)?;
    let mut command = Command::new(exe);
    // The server's own variables may hold secrets; a keeper needs none of them.
    command.arg("keeper").env_clear().current_dir("/");
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("RUST_BACKTRACE", "1");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    command.spawn().map_err(|source| Error::Spawn {
        id: spec.facts.id.clone(),
        exe: exe.to_owned(),
        source,
    })
}

async fn instruct_and_hear(keeper: &mut Child, spec: &InstanceSpec) -> Result<Reply, Error> {
    let id = &spec.facts.id;
    let unheard = |source: io::Error| Error::Instruct {
        id: id.clone(),
        said: folder::keeper_said(&spec.dir),
        source,
    };
    let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
    let (stdin, stdout) = (keeper.stdin.take(), keeper.stdout.take());
    let mut stdin = stdin.ok_or_else(|| unheard(missing()))?;
    let instructions = serde_json::to_vec(spec).map_err(|error| unheard(error.into()))?;
    let instructions = zeroize::Zeroizing::new(instructions);
    stdin.write_all(&instructions).await.map_err(unheard)?;
    stdin.shutdown().await.map_err(unheard)?;
    drop(stdin);
    let stdout = stdout.ok_or_else(|| unheard(missing()))?;
    let mut line = String::new();
    let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(stdout, READY_LINE));
    reader.read_line(&mut line).await.map_err(unheard)?;
    serde_json::from_str(&line).map_err(|_| Error::Mute {
        id: id.clone(),
        said: folder::keeper_said(&spec.dir),
    })
}

/// A keeper outlives the server; while the server lives it must take the keeper's exit status.
fn reap(mut keeper: Child, id: InstanceId) {
    tokio::spawn(async move {
        let ended = keeper.wait().await;
        tracing::debug!(%id, ?ended, "its keeper left");
    });
}

/// Makes the folders that the instance may write to, and gives them to its user.
fn writable_folders(spec: &InstanceSpec) -> Result<(), Error> {
    for mount in &spec.root.mounts {
        if mount.access != Access::ReadWrite {
            continue;
        }
        if !mount.source.is_absolute() {
            let what = format!("the folder {} is not absolute", mount.source.display());
            return Err(Error::Spec {
                id: spec.facts.id.clone(),
                what,
            });
        }
        folder::make_private(&mount.source)?;
        if rustix::process::geteuid().is_root() {
            give(&mount.source, spec.user.host_id)?;
        }
    }
    Ok(())
}

fn give(folder: &Path, host_id: u32) -> Result<(), Error> {
    std::os::unix::fs::lchown(folder, Some(host_id), Some(host_id))
        .map_err(file("change the owner of", folder))
}

/// What [`crate::Engine::host_id`] promises, for root.
pub(crate) fn unprivileged_id(env: &EnvId, component: &Name) -> u32 {
    let text = format!("{env}/{component}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_ref()[..8]);
    let offset = u64::from_be_bytes(first) % 1_000_000_000;
    1_000_000_000 + u32::try_from(offset).unwrap_or(0)
}

/// The layers that instances with a folder use.
pub(crate) fn roots(home: &Home) -> Result<BTreeSet<PathBuf>, Error> {
    let mut layers = BTreeSet::new();
    for dir in home.instances()? {
        if let Some(root) = folder::read_whole::<RootSpec>(&dir, ROOT)? {
            layers.extend(root.layers);
        }
    }
    Ok(layers)
}

pub(crate) fn status(state: InstanceState, keeper_pid: u32) -> InstanceStatus {
    InstanceStatus {
        state,
        pid: None,
        keeper_pid,
        last_failure: None,
        missing: Vec::new(),
        stopped: false,
    }
}

/// Facts of a folder; `None` when its start was interrupted before there was anything to find, in which
/// case the folder is removed.
pub(crate) fn facts_of(dir: &Path) -> Result<Option<InstanceFacts>, Error> {
    let facts = folder::read_whole::<InstanceFacts>(dir, FACTS)?;
    if facts.is_none() {
        ward_tree::remove(dir).map_err(file("remove", dir))?;
    }
    Ok(facts)
}

fn sentence(error: &Error) -> String {
    let mut text = match error {
        Error::Refused { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
