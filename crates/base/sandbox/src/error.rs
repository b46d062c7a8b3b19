//! What can fail while a sandbox is made.

use std::fmt;

use rustix::io::Errno;

/// What to do when the kernel gives no user namespace.
pub(crate) const USER_NAMESPACE_REMEDY: &str = "an ordinary user needs user namespaces: as root set \
`sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1` and, where AppArmor restricts \
them (Ubuntu 24.04 and later), `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`; or run Ward as root";

/// What to do when the kernel gives no network namespace.
pub(crate) const NETWORK_NAMESPACE_REMEDY: &str = "sudo sysctl -w user.max_net_namespaces=10000; without one of its own an instance could reach every network \
of the machine, so that none is started";

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The caller has more than one thread.
    #[error("a sandbox can only be made by a process with one thread; this one has {threads}")]
    Threads {
        /// How many it has.
        threads: usize,
    },
    /// The instance's user cannot be had.
    #[error("the instance cannot run as id {wanted}: {reason}")]
    HostId {
        /// The id outside.
        wanted: u32,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// The kernel refused a step outside the sandbox.
    #[error("{doing} failed: {because}{}{advice}", if advice.is_empty() { "" } else { "; " })]
    Outside {
        /// The step.
        doing: &'static str,
        /// What to do, or empty.
        advice: &'static str,
        /// What the kernel said. Part of the sentence, so that the advice comes last.
        because: std::io::Error,
    },
    /// A step inside the sandbox failed. The text crossed a process border, so that its cause is in it.
    #[error("{message}")]
    Inside {
        /// What failed, why, and what to do.
        message: String,
    },
    /// The instance's filter could not be compiled.
    #[error("the system call filter could not be compiled")]
    Filter {
        /// Why.
        #[source]
        source: seccompiler::BackendError,
    },
}

/// A step inside a sandbox that failed: there is no error chain across processes, only text.
#[derive(Debug)]
pub(crate) struct Failed {
    doing: String,
    source: Errno,
    advice: &'static str,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.doing, self.source)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// Adds what was being done to what the kernel said.
pub(crate) trait Doing<T> {
    /// Says the step.
    fn doing(self, what: &str) -> Result<T, Failed>;
    /// Says the step and what to do about a failure.
    fn doing_with(self, what: &str, advice: &'static str) -> Result<T, Failed>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, what: &str) -> Result<T, Failed> {
        self.doing_with(what, "")
    }

    fn doing_with(self, what: &str, advice: &'static str) -> Result<T, Failed> {
        self.map_err(|source| Failed {
            doing: what.to_owned(),
            source,
            advice,
        })
    }
}

/// Says which step outside a sandbox failed.
pub(crate) fn outside(doing: &'static str) -> impl Fn(Errno) -> SandboxError {
    move |source| SandboxError::Outside {
        doing,
        advice: "",
        because: source.into(),
    }
}
