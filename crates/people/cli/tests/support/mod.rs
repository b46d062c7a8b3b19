//! A Ward of a test's own: the real binary, a state folder and ports of its own, and nothing left behind.
#![allow(unreachable_pub, reason = "a module of a test file has no outside")]
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod authority;
pub mod backups;
pub mod load;
pub mod pipelines;
pub mod schema;
pub mod secrets;
pub mod sharing;
pub mod sources;
pub mod terminal;
pub mod work;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The application of most tests: an HTTP server in Python on the host's own `/usr`. What it answers and
/// how it misbehaves is decided by the stack file's `env`.
pub const APP: &str = include_str!("app.py");

/// What other applications in Python are made of; it is `answering.py` beside them.
pub const ANSWERING: &str = include_str!("answering.py");

/// A worker beside the service of [`Ward::stack`], and a database of which the worker knows nothing.
pub const WORKER_AND_DATABASE: &str = r#"
links = ["db"]
[service.worker]
build = { files = ["app.py"], run = ["python3", "-c", "import time; time.sleep(3600)"], base = "host" }
[database.db]
engine = "postgres"
"#;

/// The head of a stack file: the stack `shop`, and its service `web`, which is built so. Lines that go on about the service
/// may follow.
pub fn head(keep_warm: &str, build: &str) -> String {
    format!(
        r#"
[stack]
name = "shop"
version = "1.0"
keep_warm = "{keep_warm}"

[service.web]
build = {{ {build}, base = "host" }}
port = 8000
health = {{ path = "/healthz", interval = "50ms", healthy = 2 }}
"#
    )
}

/// The build of an application in Python: its first file is run.
pub fn python(files: &[&str]) -> String {
    let all: Vec<String> = files.iter().map(|file| format!("{file:?}")).collect();
    let (first, all) = (files[0], all.join(", "));
    format!(r#"files = [{all}], run = ["python3", "-u", "{first}"]"#)
}

/// A platform with its state folder; dropping it stops everything, and fails when something is left.
pub struct Ward {
    home: TempDir,
    stack: TempDir,
    user: Option<u32>,
}

impl Ward {
    /// A platform that does not run yet, for the user that runs the test.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// The same for an ordinary user; needs root.
    pub fn of_user(uid: u32) -> Self {
        Self::of(Some(uid))
    }

    fn of(user: Option<u32>) -> Self {
        let ward = Self {
            home: TempDir::new().unwrap(),
            stack: TempDir::new().unwrap(),
            user,
        };
        if let Some(uid) = user {
            for dir in [ward.home.path(), ward.stack.path()] {
                std::os::unix::fs::chown(dir, Some(uid), Some(uid)).unwrap();
            }
        }
        fs::write(ward.stack.path().join("app.py"), APP).unwrap();
        ward
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn dir(&self) -> &Path {
        self.stack.path()
    }

    /// Writes the stack file: a service `web` that runs the test application, and more lines.
    pub fn stack(&self, env: &str, more: &str) {
        let head = head("30s", &python(&["app.py"]));
        let text = format!(
            r#"{head}instances = 2
route = {{ host = "shop.localhost" }}
start_timeout = "10s"
env = {{ {env} }}
{more}
"#
        );
        self.write("ward.toml", &text);
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.stack.path().join(name), text).unwrap();
    }

    /// A command of the binary, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_ward"), arguments)
    }

    /// A command of a program that finds this Ward.
    pub fn command_of(&self, exe: &str, arguments: &[&str]) -> Command {
        let mut command = match self.user {
            None => Command::new(exe),
            Some(uid) => {
                let mut command = Command::new("setpriv");
                let id = uid.to_string();
                command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--", exe]);
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.stack.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("WARD_HOME", self.home.path())
            .env("WARD_HTTP_ADDR", "127.0.0.1:0")
            .env("WARD_HTTPS_ADDR", "127.0.0.1:0")
            .env("WARD_REGISTRY_ADDR", "127.0.0.1:0")
            .env("WARD_METRICS_ADDR", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran {
            what: arguments.join(" "),
            output: self.command(arguments).output().unwrap(),
        }
    }

    /// Runs a command that must succeed; what it printed on standard output.
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).success()
    }

    pub fn up(&self) -> String {
        let dir = self.dir().to_str().unwrap().to_owned();
        self.ok(&["up", &dir])
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--output", "json"])).unwrap()
    }

    /// Where the gateway takes plain HTTP.
    pub fn http(&self) -> String {
        self.status()["server"]["http"].as_str().unwrap().to_owned()
    }

    pub fn server_pid(&self) -> i32 {
        pid(&self.status()["server"]["pid"])
    }

    pub fn gateway_pid(&self) -> i32 {
        pid(&self.status()["server"]["gateway_pid"])
    }

    /// The instances of a component, as `ward status` shows them.
    pub fn instances(&self, component: &str) -> Vec<Value> {
        let status = self.status();
        let components = status["environments"][0]["components"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = components.into_iter().find(|c| c["name"] == component);
        found
            .and_then(|c| c["instances"].as_array().cloned())
            .unwrap_or_default()
    }

    pub fn healthy(&self, component: &str) -> Vec<Value> {
        let mut all = self.instances(component);
        all.retain(|instance| {
            instance["state"]["state"] == "healthy" && instance["in_rotation"] == true
        });
        all
    }

    pub fn processes(&self) -> Vec<String> {
        processes_of(self.home.path())
    }
}

fn pid(value: &Value) -> i32 {
    i32::try_from(value.as_i64().expect("a process id")).unwrap()
}

/// Every process that has the state folder in its arguments or its environment, and what runs below one.
pub fn processes_of(home: &Path) -> Vec<String> {
    let home = home.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let dir = entry.path();
        let Some(pid) = dir
            .file_name()
            .and_then(|n| n.to_str())
            .filter(|n| n.parse::<u32>().is_ok())
        else {
            continue;
        };
        let read = |file: &str| {
            String::from_utf8_lossy(&fs::read(dir.join(file)).unwrap_or_default())
                .replace('\0', " ")
        };
        let (line, env) = (read("cmdline"), read("environ"));
        if (line.contains(home) || env.contains(home)) && pid != std::process::id().to_string() {
            found.push(format!("{pid}: {line}"));
        }
    }
    found
}

impl Drop for Ward {
    fn drop(&mut self) {
        let down = self.run(&["down", "--purge", "--yes", "--why", "the test is over"]);
        let left = || {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let mut left = processes_of(self.home.path());
            left.extend(
                mounts
                    .lines()
                    .filter(|line| line.contains(self.home.path().to_str().unwrap()))
                    .map(str::to_owned),
            );
            left
        };
        let clean = poll(Duration::from_secs(10), || left().is_empty());
        if std::thread::panicking() {
            let log = |name| fs::read_to_string(self.home.path().join(name)).unwrap_or_default();
            println!(
                "--- down: {down:?}\n--- server.log\n{}\n--- gateway.log\n{}",
                log("server.log"),
                log("gateway.log")
            );
            return;
        }
        assert!(clean, "left behind: {:#?}\ndown: {down:?}", left());
    }
}

/// What a command did.
pub struct Ran {
    what: String,
    output: Output,
}

impl std::fmt::Debug for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ward {} -> {:?}\n{}\n{}",
            self.what,
            self.output.status.code(),
            self.stdout(),
            self.stderr()
        )
    }
}

impl Ran {
    pub fn of(arguments: &[&str], output: Output) -> Self {
        let what = arguments.join(" ");
        Self { what, output }
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap_or(-1)
    }

    pub fn success(&self) -> String {
        assert!(self.output.status.success(), "{self:?}");
        self.stdout()
    }

    /// It must have failed with this code and said each of these.
    pub fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code(), code, "{self:?}");
        for text in says {
            assert!(
                self.stderr().contains(text),
                "it does not say {text:?}: {self:?}"
            );
        }
    }
}

/// Waits until something is so, and looks every few milliseconds.
pub fn poll(limit: Duration, mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if so() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[track_caller]
pub fn eventually(what: &str, so: impl FnMut() -> bool) {
    assert!(
        poll(Duration::from_secs(20), so),
        "it never came to be that {what}"
    );
}

pub fn kill9(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Stops a process until [`go_on`].
pub fn pause(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
}

pub fn go_on(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
}

pub fn alive(pid: i32) -> bool {
    PathBuf::from(format!("/proc/{pid}/exe")).exists()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a command to its end, with this on its standard input.
pub fn piped(ward: &Ward, arguments: &[&str], input: &str) -> Ran {
    let mut command = ward.command(arguments);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Ran::of(arguments, child.wait_with_output().unwrap())
}

/// How strictly a rule holds in `prod`.
pub fn level(ward: &Ward, rule: &str) -> String {
    let shown = ward.ok(&["policy", "show", "--env", "prod", "--output", "json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rules = shown["rules"].as_array().unwrap().iter();
    let mut found = rules.filter(|one| one["rule"] == rule);
    found.next().unwrap()["level"].as_str().unwrap().to_owned()
}

/// What is answered at the host of an environment's own.
pub fn answers(ward: &Ward, env: &str) -> Option<String> {
    let answer = load::get(&ward.http(), &format!("{env}.localhost"), "/").ok()?;
    (answer.status == 200).then_some(answer.body)
}

/// What the database `db` says to a statement, which must not fail.
pub fn sql(ward: &Ward, env: Option<&str>, statement: &str) -> String {
    let mut arguments = vec!["db", "psql", "db"];
    arguments.extend(env.iter().flat_map(|env| ["--env", *env]));
    arguments.extend(["--", "-qAt", "-c", statement]);
    ward.ok(&arguments).trim().to_owned()
}
