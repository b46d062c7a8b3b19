//! A sandbox from start to first answer, against `crun run` of the same image, in turn.
//!
//! The image is one folder that holds one file, the tiny server, linked statically. Both get new user, mount, pid,
//! ipc, uts, cgroup and network namespaces, a read-only root, no capabilities and no_new_privs.
//! What differs, differs in crun's favour: it has no seccomp filter, mounts the folder itself where Ward makes an
//! overlay of layers, copies no output, and is asked over a Unix socket in a folder that is mounted into it (its
//! network namespace has no other way in), where Ward's keeper is asked for a connection (`Connect`), which is what
//! the gateway does.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use ward_sandbox::keeper_socket;
use ward_types::id::{EnvId, InstanceId, Name, ReleaseId};
use ward_types::keeper::{
    InstanceFacts, InstanceSpec, Limits, LogSpec, Reply, Request, Role, RootSpec, UserSpec,
};
use ward_types::secret::Secret;
use ward_types::time::{Millis, Timestamp};

use super::{Measured, blocking};
use crate::error::{Error, doing};
use crate::report::{Bar, informs};
use crate::sample::Sample;
use crate::tiny::{self, Killed, first_answer};
use crate::workshop::Workshop;

const RATIO: Bar = Bar {
    name: "sandbox: start to first answer, Ward's keeper / crun run, medians",
    unit: "ratio",
    most: 1.0,
};
pub(super) const BARS: &[Bar] = &[RATIO];

const PORT: u16 = 8000;
/// Between two tries to reach a server that starts.
const RETRY: Duration = Duration::from_micros(200);
const LIMIT: Duration = Duration::from_secs(20);
/// Who the server is on the host when root runs this.
const HOST_ID: u32 = 1_000_777_000;

pub(super) async fn measure(workshop: &Workshop, samples: u32) -> Measured {
    let crun = which("crun").ok_or(Error::Missing {
        program: "crun",
        package: "crun",
    })?;
    let folder = workshop.scratch("sandbox-")?;
    let bench = Sandboxes::prepare(workshop.exe(), &crun, folder.path())?;
    // The threads below cannot be interrupted; they notice when the folder is gone.
    let (ward, crun) = blocking(move || bench.take_turns(samples.max(30))).await?;
    drop(folder);
    let ratio = ward
        .median()
        .zip(crun.median())
        .map(|(ward, crun)| ward / crun);
    let rows = vec![
        RATIO.row(ratio),
        informs("sandbox: Ward's keeper, median", ward.median(), "ms"),
        informs("sandbox: crun run, median", crun.median(), "ms"),
        informs("sandbox: Ward's keeper, p99", ward.quantile(0.99), "ms"),
        informs("sandbox: crun run, p99", crun.quantile(0.99), "ms"),
    ];
    let note = format!(
        "{} starts of each, in turn. crun has the same namespaces and, in its favour, no seccomp filter, no overlay, no \
         copied output, no cgroup (--cgroup-manager=disabled), and is asked over a Unix socket; Ward's is asked \
         through Connect.",
        ward.len()
    );
    Ok((rows, vec![note]))
}

fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

struct Sandboxes {
    exe: PathBuf,
    crun: PathBuf,
    folder: PathBuf,
}

impl Sandboxes {
    fn prepare(exe: &Path, crun: &Path, folder: &Path) -> Result<Self, Error> {
        let image = folder.join("image");
        doing("make the image", fs::create_dir_all(&image))?;
        // Where crun puts its mounts: the image is shown read-only.
        for place in ["proc", "dev", "socket"] {
            doing("make the image", fs::create_dir_all(image.join(place)))?;
        }
        tiny::compile(&image.join("tiny-server"))?;
        for dir in [folder, &image] {
            doing(
                "open the image to the servers' user",
                fs::set_permissions(dir, fs::Permissions::from_mode(0o755)),
            )?;
        }
        Ok(Self {
            exe: exe.to_owned(),
            crun: crun.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// One of each in turn, so that whatever else happens on the machine happens to both.
    fn take_turns(&self, samples: u32) -> Result<(Sample, Sample), Error> {
        let (mut ward, mut crun) = (Sample::default(), Sample::default());
        for turn in 0..=samples {
            let (one, other) = (self.keeper(turn)?, self.run(turn)?);
            // The first of each fills caches.
            if turn > 0 {
                ward.add_millis(one);
                crun.add_millis(other);
            }
        }
        Ok((ward, crun))
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
        };
        Ok(InstanceSpec {
            facts,
            dir: dir.to_owned(),
            root: RootSpec {
                layers: vec![self.folder.join("image")],
                host_usr: false,
                mounts: Vec::new(),
            },
            argv: vec!["/tiny-server".to_owned()],
            cwd: "/".to_owned(),
            env: [("PORT".to_owned(), Secret::new(PORT.to_string()))].into(),
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
            root: &self.folder.join("crun"),
            id: &id,
        };

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
            // Relative to an open folder, because a path of a socket may have 108 bytes at most.
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

        crun.delete()?;
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
            "root": { "path": self.folder.join("image"), "readonly": true },
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

    fn delete(&self) -> Result<(), Error> {
        let output = doing(
            "run crun",
            self.command(&["delete", "--force", self.id]).output(),
        )?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(Error::Command {
            line: "crun delete".to_owned(),
            how: output.status.to_string(),
            output: said,
        })
    }
}

impl Drop for Crun<'_> {
    fn drop(&mut self) {
        // After a failure it may still run; after `delete` there is nothing, which it says and nobody hears.
        let _ = self.command(&["delete", "--force", self.id]).output();
    }
}
