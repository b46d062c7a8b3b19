//! The process that owns one instance: its sandbox, its sockets, its output, its exit.
//!
//! One thread, one epoll loop, no runtime: there is one keeper per instance, so it must be small, and a sandbox
//! can only be made from a process that never had a second thread. It lives in its instance's network namespace,
//! so that every socket that it makes is inside: connections to the application, which it passes out, and the
//! listeners of links. Its own socket is a path, which no network namespace hides.
//!
//! It needs nobody: the server may die, the gateway may die, and the instance goes on. When the keeper dies,
//! everything in the sandbox dies with it.

mod connect;
mod health;
mod instance;
mod link;
mod mask;
mod output;
mod peers;
mod poll;
mod record;

pub use self::mask::Hiding;

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use ward_sandbox::{Prepared, SandboxError, keeper_socket, signals};
use ward_types::keeper::{InstanceSpec, Reply};

use instance::Instance;
use link::Links;

/// The largest spec, in bytes.
const MAX_SPEC: u64 = 32 << 20;

/// Why a keeper could not begin.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the instance's description could not be read from descriptor 0")]
    Read(#[source] std::io::Error),
    #[error("the instance's description is not understood")]
    Spec(#[source] serde_json::Error),
    #[error("the keeper's socket could not be made")]
    Socket(#[source] std::io::Error),
    #[error("the keeper's event loop could not be made")]
    Loop(#[source] std::io::Error),
    #[error("the log file {file} could not be opened")]
    Log {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the link {host} could not be made at {address}")]
    Link {
        host: String,
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the sandbox could not be made")]
    Sandbox(#[source] SandboxError),
}

/// Runs a keeper: reads an [`InstanceSpec`] from descriptor 0, says on descriptor 1 that it runs (or why not), and
/// returns when the instance is over.
///
/// Call it first thing in `main`, before any thread exists.
#[must_use]
pub fn main() -> ExitCode {
    // Not to be stopped with the terminal that the server was started from.
    let _ = rustix::process::setsid();
    raise_descriptor_limit();
    let begun = begin();
    let reply = match &begun {
        Ok(instance) => Reply::Status {
            status: instance.status(),
        },
        Err(error) => Reply::Refused {
            message: sentence(error),
        },
    };
    announce(&reply);
    match begun.map(Instance::run) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            // Standard error is the engine's keeper.log.
            let _ = writeln!(std::io::stderr(), "the keeper's event loop failed: {error}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Each connection through a link takes up to six descriptors.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it is refused, fewer connections fit at once; the rest waits in the listeners.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// The steps from nothing to a running instance.
fn begin() -> Result<Instance, Error> {
    // 1. Before anything is made: what is it about?
    let spec = read_spec()?;
    // 2. The socket first, because it tells whether the instance has a keeper already.
    let listener = keeper_socket::bind(&spec.dir).map_err(Error::Socket)?;
    match begin_with(&spec, listener) {
        Ok(instance) => Ok(instance),
        Err(error) => {
            record::remove_socket(&spec.dir);
            Err(error)
        }
    }
}

fn begin_with(spec: &InstanceSpec, listener: OwnedFd) -> Result<Instance, Error> {
    // 3. The log: an instance whose output would be lost does not start.
    let log = output::Log::open(&spec.log).map_err(|source| Error::Log {
        file: spec.log.file.display().to_string(),
        source,
    })?;
    // 4. SIGTERM becomes a descriptor before there is anything to stop.
    let termination = signals::termination().map_err(Error::Loop)?;
    // 5. Into the network namespace, and the links' listeners, before the application could try one.
    let prepared = Prepared::enter(spec).map_err(Error::Sandbox)?;
    let links = Links::listen(spec)?;
    // 6. The application.
    let sandbox = prepared.start(spec).map_err(Error::Sandbox)?;
    Instance::new(spec.clone(), sandbox, listener, termination, log, links).map_err(Error::Loop)
}

fn read_spec() -> Result<InstanceSpec, Error> {
    let mut text = Vec::new();
    let mut input = std::io::stdin().lock().take(MAX_SPEC);
    input.read_to_end(&mut text).map_err(Error::Read)?;
    let spec = serde_json::from_slice(&text).map_err(Error::Spec);
    zeroize::Zeroize::zeroize(&mut text);
    spec
}

/// One line on descriptor 1, which is closed then. An engine that is gone already is no reason to stop.
fn announce(reply: &Reply) {
    if let Ok(mut line) = serde_json::to_vec(reply) {
        line.push(b'\n');
        let _ = rustix::io::write(rustix::stdio::stdout(), &line);
    }
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    if let Ok(null) = rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// An error with all its causes, in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
