//! Sandboxes of both kinds, one after the other, in a process of their own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use ward_sandbox::keeper_socket;
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    InstanceFacts, InstanceSpec, Limits, LogSpec, Reply, Request, Role, RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::time::{Millis, Timestamp};

use crate::error::{Error, doing};
use crate::tiny::{Killed, first_answer};

/// The image: a folder with one file.
pub(super) const IMAGE: &str = "image";
/// Where crun keeps what it runs.
pub(super) const CRUN_STATE: &str = "crun";
const PORT: u16 = 8000;
/// Between two tries to reach a server that starts.
const RETRY: Duration = Duration::from_micros(200);
/// Before each start: the kernel takes the namespaces of the one before down after its end.
const REST: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(20);
/// Who the server is on the host when root runs this.
const HOST_ID: u32 = 1_000_777_000;

/// What to start, and where: all that the process of the turns is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Turns {
    /// The binary `ward`.
    pub(super) exe: PathBuf,
    /// The binary `crun`.
    pub(super) crun: PathBuf,
    /// Holds `image`; instances, bundles and crun's state go here.
    pub(super) folder: PathBuf,
    /// How many of each are measured.
    pub(super) samples: u32,
}

/// Milliseconds from start to first answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(super) ward: Vec<f64>,
    pub(super) crun: Vec<f64>,
}

impl Turns {
    /// One of each in turn, so that whatever else happens on the machine happens to both.
    pub(crate) fn take(&self) -> Result<Times, Error> {
        let mut times = Times::default();
        for turn in 0..=self.samples {
            // Neither is always the one that comes after the other.
            let (ward, crun) = if turn % 2 == 0 {
                let ward = self.keeper(turn)?;
                (ward, self.run(turn)?)
            } else {
                let crun = self.run(turn)?;
                (self.keeper(turn)?, crun)
            };
            // The first of each fills caches.
            if turn > 0 {
                times.ward.push(ward.as_secs_f64() * 1000.0);
                times.crun.push(crun.as_secs_f64() * 1000.0);
            }
        }
        Ok(times)
    }

    fn keeper(&self, turn: u32) -> Result<Duration, Error> {
        let dir = self.folder.join(format!("keeper-{turn}"));
        doing(
            "make an instance's folder",
            fs::DirBuilder::new().mode(0o700).create(&dir),
        )?;
        let spec = self.spec(&dir, turn)?;
        let spec =
            serde_json::to_vec(&spec).map_err(|error| Error::Unexpected(error.to_string()))?;
        let mut command = Command::new(&self.exe);
        command
            .arg("keeper")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let log = doing("make a log", fs::File::create(dir.join("keeper.log")))?;

        std::thread::sleep(REST);
        let started = Instant::now();
        let mut keeper = Killed(doing("start a keeper", command.stderr(log).spawn())?);
        if let Some(mut stdin) = keeper.0.stdin.take() {
            doing("instruct a keeper", stdin.write_all(&spec))?;
        }
        let mut line = String::new();
        if let Some(stdout) = keeper.0.stdout.take() {
            doing("hear a keeper", BufReader::new(stdout).read_line(&mut line))?;
        }
        if !matches!(serde_json::from_str(&line), Ok(Reply::Status { .. })) {
            return Err(Error::Unexpected(format!(
                "the keeper did not start the server: {}",
                line.trim()
            )));
        }
        let stream = self.connection(&dir, started)?;
        doing("ask the server in a sandbox", first_answer(stream))?;
        let took = started.elapsed();

        let socket = doing("reach a keeper", keeper_socket::connect(&dir))?;
        let stop = Request::Stop { grace: Millis(0) };
        doing(
            "stop a keeper",
            keeper_socket::ask::<_, Reply>(socket.as_fd(), &stop, &[]),
        )?;
        doing("wait for a keeper", keeper.0.wait())?;
        Ok(took)
    }

    /// A connection to the server, as the gateway gets one. The keeper refuses while nothing listens yet.
    fn connection(&self, dir: &Path, started: Instant) -> Result<TcpStream, Error> {
        let socket = doing("reach a keeper", keeper_socket::connect(dir))?;
        loop {
            let request = Request::Connect { port: PORT };
            let (reply, mut descriptors) = doing(
                "ask a keeper",
                keeper_socket::ask(socket.as_fd(), &request, &[]),
            )?;
            match reply {
                Reply::Connected if descriptors.len() == 1 => {
                    let stream = TcpStream::from(descriptors.remove(0));
                    return doing(
                        "use a connection",
                        stream.set_nonblocking(false).map(|()| stream),
                    );
                }
                Reply::Refused { .. } if started.elapsed() < LIMIT => std::thread::sleep(RETRY),
                other => {
                    return Err(Error::Unexpected(format!(
                        "the keeper gives no connection: {other:?}"
                    )));
                }
            }
        }
    }

    fn spec(&self, dir: &Path, turn: u32) -> Result<InstanceSpec, Error> {
        let name =
            |text: &str| Name::parse(text).map_err(|error| Error::Unexpected(error.to_string()));
        let component = name("tiny")?;
        let uid = rustix::process::geteuid();
        let facts = InstanceFacts {
            id: InstanceId::new(&component, ReleaseId(1), turn.into()),
            env: EnvId::new(&name("bench")?, &name("dev")?),
            component,
            release: ReleaseId(1),
            role: Role::Service,
            port: Some(PORT),
            started: Timestamp(0),
            passwords: None,
        };
        Ok(InstanceSpec {
            facts,
            dir: dir.to_owned(),
            root: RootSpec {
                layers: vec![self.folder.join(IMAGE)],
                host_usr: false,
                mounts: Vec::new(),
            },
            argv: vec!["/tiny-server".to_owned()],
            cwd: "/".to_owned(),
            env: [("PORT".to_owned(), Secret::new(PORT.to_string()))].into(),
            secrets: Default::default(),
            user: UserSpec {
                uid: 1000,
                gid: 1000,
                host_id: if uid.is_root() { HOST_ID } else { uid.as_raw() },
            },
            limits: Limits::default(),
            health: None,
            links: Vec::new(),
            log: LogSpec {
                file: dir.join("output.log"),
                max_bytes: 1 << 20,
            },
            stop_timeout: Millis(1000),
            stop_signal: 15,
            gateway_links: dir.join("links.sock"),
        })
    }

    fn run(&self, turn: u32) -> Result<Duration, Error> {
        let bundle = self.folder.join(format!("bundle-{turn}"));
        let socket = bundle.join("socket");
        doing("make a bundle", fs::create_dir_all(&socket))?;
        if rustix::process::geteuid().is_root() {
            doing(
                "give the server its folder",
                chown(&socket, Some(HOST_ID), Some(HOST_ID)),
            )?;
        }
        let config = self.config(&socket).to_string();
        doing(
            "write a bundle",
            fs::write(bundle.join("config.json"), config),
        )?;
        let log = doing("make a log", fs::File::create(bundle.join("crun.log")))?;
        let id = format!("ward-bench-{}-{turn}", std::process::id());
        let crun = Crun {
            program: &self.crun,
            root: &self.folder.join(CRUN_STATE),
            id: &id,
        };

        std::thread::sleep(REST);
        let started = Instant::now();
        let mut command = crun.command(&["run", "--bundle"]);
        command
            .arg(&bundle)
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut container = Killed(doing("start crun", command.spawn())?);
        let stream = loop {
            match UnixStream::connect(socket.join("s")) {
                Ok(stream) => break stream,
                Err(_)
                    if started.elapsed() < LIMIT && matches!(container.0.try_wait(), Ok(None)) =>
                {
                    std::thread::sleep(RETRY)
                }
                Err(error) => {
                    let said = fs::read_to_string(bundle.join("crun.log")).unwrap_or_default();
                    return Err(Error::Unexpected(format!(
                        "crun does not run the server: {error}; it said: {said}"
                    )));
                }
            }
        };
        doing("ask the server that crun runs", first_answer(stream))?;
        let took = started.elapsed();

        crun.kill()?;
        doing("wait for crun", container.0.wait())?;
        Ok(took)
    }

    /// A runtime configuration (OCI runtime specification 1.0, config.md).
    fn config(&self, socket: &Path) -> serde_json::Value {
        let namespaces = ["user", "mount", "pid", "ipc", "uts", "cgroup", "network"]
            .map(|kind| json!({ "type": kind }));
        let outside = if rustix::process::geteuid().is_root() {
            HOST_ID
        } else {
            rustix::process::geteuid().as_raw()
        };
        let map = json!([{ "containerID": 0, "hostID": outside, "size": 1 }]);
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": ["/tiny-server"],
                "env": [format!("PORT={PORT}"), "SOCKET=/socket/s"],
                "cwd": "/",
                "capabilities": { "bounding": [], "effective": [], "permitted": [], "inheritable": [], "ambient": [] },
                "noNewPrivileges": true
            },
            "root": { "path": self.folder.join(IMAGE), "readonly": true },
            "hostname": "tiny",
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc" },
                { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
                { "destination": "/socket", "type": "bind", "source": socket, "options": ["bind", "rw"] }
            ],
            "linux": {
                "namespaces": namespaces,
                "uidMappings": map,
                "gidMappings": map,
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            }
        })
    }
}

/// One container of crun's.
struct Crun<'a> {
    program: &'a Path,
    /// Where crun keeps what it runs.
    root: &'a Path,
    id: &'a str,
}

impl Crun<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command
            .arg("--cgroup-manager=disabled")
            .arg("--root")
            .arg(self.root)
            .args(arguments);
        command
    }

    /// Kills it. `crun run` then removes what it keeps of it.
    fn kill(&self) -> Result<(), Error> {
        let killed = self.command(&["kill", self.id, "KILL"]).output();
        let output = doing("run crun", killed)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Command {
            line: "crun kill".to_owned(),
            how: output.status.to_string(),
            output: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Drop for Crun<'_> {
    fn drop(&mut self) {
        // After a failure it may still run; else there is nothing, which it says and nobody hears.
        let _ = self.command(&["delete", "--force", self.id]).output();
    }
}
