//! A Ward of the bench's own: the real binary, a state folder and ports of its own, and nothing left behind.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use ward_types::id::ReleaseId;
use ward_types::view::{EnvironmentView, StatusView};

use crate::error::{Error, doing};
use crate::process;

/// No command of the bench may take longer; only a build from nothing takes minutes.
const COMMAND: Duration = Duration::from_secs(1200);
/// How long the platform may take to stop before its processes are killed.
const STOP: Duration = Duration::from_secs(60);

/// A platform with its state folder. Dropping it stops and removes everything, what was built excepted.
#[derive(Debug)]
pub(crate) struct Ward {
    exe: PathBuf,
    home: PathBuf,
    stack: PathBuf,
}

impl Ward {
    /// A platform that does not run yet, for the stack in this folder.
    pub(crate) fn new(exe: &Path, home: PathBuf, stack: PathBuf) -> Self {
        Self {
            exe: exe.to_owned(),
            home,
            stack,
        }
    }

    /// A command, ready to run in the stack's folder. It has the user's own variables, because builds need them.
    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.exe);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WARD_"))
        {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(&self.stack)
            .stdin(Stdio::null())
            .env("WARD_HOME", &self.home);
        for name in [
            "WARD_HTTP_ADDR",
            "WARD_HTTPS_ADDR",
            "WARD_REGISTRY_ADDR",
            "WARD_METRICS_ADDR",
        ] {
            command.env(name, "127.0.0.1:0");
        }
        command
    }

    /// Runs a command to its end, which must be good; what it printed, and how long it took.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<(String, Duration), Error> {
        self.run_in(&self.stack, arguments).await
    }

    /// The same in another folder, whose stack file counts.
    pub(crate) async fn run_in(
        &self,
        dir: &Path,
        arguments: &[&str],
    ) -> Result<(String, Duration), Error> {
        self.ended_in(dir, arguments, 0).await
    }

    /// Runs a command to its end, which must be with this status.
    pub(crate) async fn ends(&self, arguments: &[&str], with: i32) -> Result<(), Error> {
        self.ended_in(&self.stack, arguments, with).await.map(drop)
    }

    async fn ended_in(
        &self,
        dir: &Path,
        arguments: &[&str],
        with: i32,
    ) -> Result<(String, Duration), Error> {
        let line = format!("ward {}", arguments.join(" "));
        let mut command = Command::from(self.command(arguments));
        command.current_dir(dir).kill_on_drop(true);
        let started = Instant::now();
        let output = tokio::time::timeout(COMMAND, command.output()).await;
        let took = started.elapsed();
        let late = |_| {
            Error::Unexpected(format!(
                "`{line}` did not end within {} s",
                COMMAND.as_secs()
            ))
        };
        let output = doing(format!("run `{line}`"), output.map_err(late)?)?;
        if output.status.code() != Some(with) {
            return Err(Error::Command {
                line,
                how: output.status.to_string(),
                output: self.words(&output),
            });
        }
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), took))
    }

    /// What a command said, and the end of the server's log.
    fn words(&self, output: &std::process::Output) -> String {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{}{}", said.trim_end(), self.log("server.log"))
    }

    /// The end of a log, under its name.
    pub(crate) fn log(&self, name: &str) -> String {
        let log = fs::read_to_string(self.home.join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("\n--- {name}\n{end}")
    }

    /// Brings the platform and the environment up; how long the command took.
    pub(crate) async fn up(&self) -> Result<Duration, Error> {
        Ok(self.run(&["up", &self.stack.to_string_lossy()]).await?.1)
    }

    /// Starts the platform alone: in a folder without a stack file, which `ward up` would bring up.
    pub(crate) async fn up_alone(&self) -> Result<Duration, Error> {
        Ok(self.run_in(Path::new("/"), &["up"]).await?.1)
    }

    pub(crate) async fn status(&self) -> Result<StatusView, Error> {
        let (text, _) = self.run(&["status", "--output", "json"]).await?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Unexpected(format!("`ward status` is not understood: {error}")))
    }

    /// The only environment.
    pub(crate) async fn environment(&self) -> Result<EnvironmentView, Error> {
        let first = self.status().await?.environments.into_iter().next();
        first.ok_or_else(|| Error::Unexpected("`ward status` shows no environment".to_owned()))
    }

    /// The release that serves.
    pub(crate) async fn current(&self) -> Result<ReleaseId, Error> {
        let current = self.environment().await?.current;
        current.ok_or_else(|| {
            Error::Unexpected("`ward status` shows no release that serves".to_owned())
        })
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn exe(&self) -> &Path {
        &self.exe
    }

    /// The folder of the stack file.
    pub(crate) fn stack(&self) -> &Path {
        &self.stack
    }

    /// Replaces a text in the stack file; it must be there exactly once.
    pub(crate) fn edit(&self, old: &str, new: &str) -> Result<(), Error> {
        replace(&self.stack.join("ward.toml"), old, new)
    }

    /// Stops everything in the platform's own way. What had to be killed is an error.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.run(&["down", "--purge", "--yes"]).await?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while !process::of_folder(&self.home).is_empty() {
            if Instant::now() > deadline {
                let left = process::of_folder(&self.home)
                    .into_iter()
                    .map(|pid| format!("{pid}: {:?}", process::arguments(pid)));
                let left = left.collect::<Vec<_>>().join(", ");
                return Err(Error::Unexpected(format!(
                    "`ward down --purge` left processes behind: {left}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        if !process::of_folder(&self.home).is_empty() {
            let mut down = self.command(&["down", "--purge", "--yes"]);
            down.stdout(Stdio::null()).stderr(Stdio::null());
            if let Ok(mut child) = down.spawn() {
                let deadline = Instant::now() + STOP;
                while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        process::kill_all(&process::of_folder(&self.home));
        clear(&self.home);
    }
}

/// Removes a state folder, except what was built in it.
fn clear(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|name| name == "builds") {
            continue;
        }
        let _ = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
    }
}

/// Replaces a text in a file; it must be there exactly once.
pub(crate) fn replace(path: &Path, old: &str, new: &str) -> Result<(), Error> {
    let shown = path.display();
    let text = doing(format!("read {shown}"), fs::read_to_string(path))?;
    if text.matches(old).count() != 1 {
        let why = format!("{shown} does not hold `{old}` once");
        return Err(Error::Unexpected(why));
    }
    doing(
        format!("write {shown}"),
        fs::write(path, text.replace(old, new)),
    )
}

/// An address that `ward status` shows.
pub(crate) fn address(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| {
        Error::Unexpected(format!(
            "`ward status` shows the address {text}, which is none"
        ))
    })
}
