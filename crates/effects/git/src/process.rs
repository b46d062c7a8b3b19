//! One run of the program: its environment, its deadline, and how much of what it says is read.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use ward_types::text::steers;

use crate::credentials::Lent;
use crate::{Error, Result};

/// The line that installs git.
pub const INSTALL: &str = "sudo apt-get install -y git";

/// What is quick: nothing goes over a network.
pub(crate) const QUICK: Duration = Duration::from_secs(30);
/// What may fetch or write a whole repository.
pub(crate) const LONG: Duration = Duration::from_secs(10 * 60);

/// How long git may take to end when it is told to.
const ENDING: Duration = Duration::from_secs(2);

/// So much of what git says is read.
const LIMIT: usize = 4 << 20;
/// So much of what it complains about is shown.
const SHOWN: usize = 600;

/// What git gets of Ward's environment: to be found, to find keys for ssh and the way to the network.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// What a hook is told of objects that were pushed and are not taken yet (git-receive-pack, "quarantine").
const QUARANTINE: &[&str] = &[
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
];

/// Whether the program is there.
#[must_use]
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join("git").is_file())
}

/// Whose objects are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Objects {
    /// Those that are taken.
    Taken,
    /// Also those that are just being pushed, by whoever is in a hook.
    Pushed,
}

/// A run of git.
pub(crate) struct Git {
    command: Command,
    doing: String,
    within: Duration,
    lent: Option<Lent>,
}

impl Git {
    /// A run that is to do something, said as an infinitive.
    pub(crate) fn to(doing: impl Into<String>, objects: Objects) -> Self {
        let mut command = Command::new("git");
        let quarantine = match objects {
            Objects::Taken => &[],
            Objects::Pushed => QUARANTINE,
        };
        let inherited = INHERITED.iter().chain(quarantine);
        let inherited = inherited.filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.env_clear().envs(inherited);
        command.envs([
            ("LC_ALL", "C"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", ""),
            ("SSH_ASKPASS", ""),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
            ("GIT_ALLOW_PROTOCOL", "file:https:ssh"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
        ]);
        for setting in [
            "core.hooksPath=/dev/null",
            "core.fsmonitor=false",
            "core.autocrlf=false",
            "submodule.recurse=false",
            "gc.autoDetach=false",
            "maintenance.autoDetach=false",
            "advice.detachedHead=false",
            "init.defaultBranch=main",
        ] {
            command.args(["-c", setting]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Self {
            command,
            doing: doing.into(),
            within: QUICK,
            lent: None,
        }
    }

    /// In the repository of this bare folder.
    pub(crate) fn of(mut self, repository: &Path) -> Self {
        self.command.arg("--git-dir").arg(repository);
        self
    }

    /// In a folder of the user's, which a build trusts with more than git does.
    pub(crate) fn inside(mut self, dir: &Path) -> Self {
        self.command.args(["-c", "safe.directory=*"]);
        self.command.arg("-C").arg(dir);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// With what it proves itself, until it has ended.
    pub(crate) fn with(mut self, lent: Option<Lent>) -> Self {
        if let Some(lent) = &lent {
            self.command.args(["-c", &lent.setting]);
        }
        self.lent = lent;
        self
    }

    pub(crate) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs it to its end; what it wrote to its standard output. Dropping the future ends it and what it started.
    pub(crate) async fn run(mut self) -> Result<Vec<u8>> {
        let child = self.command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotInstalled,
            _ => Error::Start(error),
        })?;
        let mut own = Running::new(child);
        let (out, err) = (own.child.stdout.take(), own.child.stderr.take());
        let running = async {
            let (out, err) = tokio::join!(read(out), read(err));
            let status = own.child.wait().await;
            (out, err, status)
        };
        let Ok((out, err, status)) = tokio::time::timeout(self.within, running).await else {
            return Err(Error::TookLong {
                doing: self.doing,
                within: self.within,
            });
        };
        match status.map_err(Error::Start)?.success() {
            true if out.len() > LIMIT => Err(Error::TooMuch {
                doing: self.doing,
                limit: LIMIT,
            }),
            true => Ok(out),
            false => Err(Error::Failed {
                doing: self.doing,
                said: said(&err),
            }),
        }
    }

    /// The same, as text.
    pub(crate) async fn text(self) -> Result<String> {
        let out = self.run().await?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}

/// Reads to the end, so that the program is never held up, and keeps a little more than the limit.
async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    let Some(mut pipe) = pipe else { return kept };
    while let Ok(length) = pipe.read(&mut chunk).await {
        if length == 0 {
            break;
        }
        if kept.len() <= LIMIT {
            kept.extend_from_slice(chunk.get(..length).unwrap_or_default());
        }
    }
    kept
}

/// The complaint without its advice, in one line.
fn said(err: &[u8]) -> String {
    let text = String::from_utf8_lossy(err);
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("hint:"));
    let line = lines.fold(String::new(), |said, next| match said.as_str() {
        "" => next.to_owned(),
        _ if goes_on(&said, next) => format!("{said} {next}"),
        _ => format!("{said}; {next}"),
    });
    let line = line.replace(steers, " ");
    match line.is_empty() {
        true => "it gave no reason".to_owned(),
        false => line.chars().take(SHOWN).collect(),
    }
}

/// Whether a line goes on with the sentence before it: git breaks long ones.
fn goes_on(said: &str, next: &str) -> bool {
    let first = next.split(' ').next().unwrap_or_default();
    let is_new = first.ends_with(':') || first.starts_with(char::is_uppercase);
    let is_over = said.ends_with(['.', ':', '!', '?']) && !said.ends_with("e.g.");
    !is_new && !is_over
}

/// A running git, alone in its process group; dropping it ends what is left of the group.
///
/// Decision: it is asked to end first, because git removes its locks then: one that is killed leaves them, and the
/// repository takes nothing any more. That is waited for, so that whoever comes next finds nobody at work. What does not
/// end by that is killed.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn new(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = id.and_then(Pid::from_raw);
        Self { child, group }
    }

    /// Whether nothing of it is left.
    fn is_gone(&mut self, group: Pid) -> bool {
        let ended = !matches!(self.child.try_wait(), Ok(None));
        ended && test_kill_process_group(group).is_err()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(group) = self.group else { return };
        // ESRCH: as after each run that went to its end.
        if kill_process_group(group, Signal::TERM).is_err() {
            return;
        }
        let until = Instant::now() + ENDING;
        while !self.is_gone(group) {
            if Instant::now() > until {
                let _ = kill_process_group(group, Signal::KILL);
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
