//! Starting a gateway and handing it its listening sockets.

use std::fs::OpenOptions;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ward_sandbox::keeper_socket;

/// How glibc's allocator is tuned (its manual, "Memory Allocation Tunables"); others do not read it.
const ALLOCATION: &str = "GLIBC_TUNABLES";
/// What a request over HTTP/2 is put away in is a little larger than what each thread keeps at hand by default (1032
/// bytes): a twentieth of its processor time went into finding room for that.
const PIECES: &str = "glibc.malloc.tcache_max=4096:glibc.malloc.tcache_count=128";

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// Its log file cannot be opened.
    #[error("cannot open {path} for the gateway's log; check that the state folder is writable")]
    Log {
        /// The file.
        path: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The listening sockets could not be passed.
    #[error("cannot pass the listening sockets to the gateway")]
    Pass(#[source] io::Error),
    /// The process could not be started.
    #[error("cannot start {program} gateway")]
    Start {
        /// The program.
        program: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
}

/// The listening sockets that a gateway is given duplicates of.
#[derive(Debug, Clone, Copy)]
pub struct Sockets<'a> {
    /// Plain HTTP.
    pub http: &'a TcpListener,
    /// HTTP over TLS.
    pub https: &'a TcpListener,
    /// The operators' address, where metrics are had; `None`: nowhere.
    pub metrics: Option<&'a TcpListener>,
}

/// Starts `exe gateway ARGUMENTS` for the state folder `home` (told as `WARD_HOME`), with duplicates of the
/// listening sockets; its messages go to `gateway.log`. It serves as soon as it has read its table; poll
/// [`crate::control::Control::observe`] to know.
///
/// The gateway makes a session of its own and outlives its parent. The caller should wait for the child
/// at some time, or it stays a zombie when it ends before the caller does.
///
/// # Errors
/// [`SpawnError`], by step.
pub fn spawn(
    exe: &Path,
    home: &Path,
    arguments: &[String],
    sockets: Sockets<'_>,
) -> Result<Child, SpawnError> {
    let mut command = Command::new(exe);
    command
        .arg("gateway")
        .args(arguments)
        .env("WARD_HOME", home);
    // What somebody has set holds.
    if std::env::var_os(ALLOCATION).is_none() {
        command.env(ALLOCATION, PIECES);
    }
    command.stdout(log(home)?).stderr(log(home)?);
    start(command, sockets)
}

/// As [`spawn`], with a command of the caller's own that ends in [`crate::run`].
///
/// # Errors
/// [`SpawnError`], by step.
pub fn start(mut command: Command, sockets: Sockets<'_>) -> Result<Child, SpawnError> {
    let (ours, theirs) = UnixStream::pair().map_err(SpawnError::Pass)?;
    let both = [sockets.http, sockets.https].into_iter();
    let descriptors: Vec<_> = both.chain(sockets.metrics).map(AsFd::as_fd).collect();
    keeper_socket::send_packet(ours.as_fd(), b"listeners\n", &descriptors)
        .map_err(SpawnError::Pass)?;
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    command.spawn().map_err(|source| SpawnError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

fn log(home: &Path) -> Result<Stdio, SpawnError> {
    let path = home.join("gateway.log");
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path);
    file.map(Stdio::from).map_err(|source| SpawnError::Log {
        path: path.display().to_string(),
        source,
    })
}
