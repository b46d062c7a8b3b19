//! Making a sandbox, from the keeper's side.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags,
    SocketType,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use ward_types::keeper::{Exit, InstanceSpec, Limits};

use crate::binds::Binds;
use crate::cgroup::Cgroup;
use crate::error::{SandboxError, outside};
use crate::filter::Filters;
use crate::identity::{self, Groups, IdMap};
use crate::init::{self, Birth, word};
use crate::network;
use crate::process::{self, Side};
use crate::program::Program;

/// How long a set-up may take before it is given up.
const SET_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// The namespaces that a sandbox's first process is cloned into. The network namespace is the keeper's own
/// already, and the cgroup namespace is made later.
const NEW_NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// A process that has entered its instance's network and has not started the instance yet: the time to make
/// listening sockets inside.
pub struct Prepared {
    ids: IdMap,
}

/// One instance, running.
pub struct Sandbox {
    init: OwnedFd,
    init_pid: Pid,
    application: Option<OwnedFd>,
    application_pid: Option<Pid>,
    status: OwnedFd,
    output: Option<(OwnedFd, OwnedFd)>,
    missing: Vec<String>,
    binds: Option<Binds>,
    link_ports: Vec<u16>,
    pub(crate) namespaces: Vec<OwnedFd>,
    pub(crate) cgroup: Cgroup,
    pub(crate) groups: Groups,
    pub(crate) processes: Option<u32>,
    pub(crate) filters: Filters,
}

impl Prepared {
    /// Enters a network namespace of the instance's own: the calling process makes its sockets inside from now on.
    /// As an ordinary user it also enters a user namespace, without which it may not.
    ///
    /// # Errors
    /// [`SandboxError`], with what to do where an administrator can do something.
    pub fn enter(spec: &InstanceSpec) -> Result<Self, SandboxError> {
        let threads = process::threads();
        if threads != 1 {
            return Err(SandboxError::Threads { threads });
        }
        let ids = identity::enter(&spec.user)?;
        network::enter()?;
        Ok(Self { ids })
    }

    /// Makes the sandbox and starts the program in it. Returns when the program runs.
    ///
    /// # Errors
    /// [`SandboxError`]; nothing of the sandbox is left then.
    pub fn start(self, spec: &InstanceSpec) -> Result<Sandbox, SandboxError> {
        // 1. All that can be wrong with the spec, before there is anything to take back.
        let env = spec
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose()));
        let program = Program::new(&spec.argv, env, &spec.cwd)?;
        let filters = Filters::compile()?;
        // 2. Limits before the process that they bind.
        let mut missing = Vec::new();
        let limits = Limits {
            // Our pid 1 is counted by the kernel, and is none of the instance's.
            processes: spec.limits.processes.map(|own| own.saturating_add(1)),
            ..spec.limits
        };
        let cgroup = Cgroup::prepare(&limits, spec.facts.id.as_str(), &mut missing);
        let processes = limits.processes.filter(|_| !cgroup.counts_processes());
        // 3. The channels.
        let channels = Channels::open().map_err(outside("making pipes"))?;
        let birth = Birth {
            spec,
            program: &program,
            filters: &filters,
            groups: self.ids.groups(),
            processes,
            stdio: channels.stdio,
            sync: channels.sync_inside,
            status: channels.status_inside,
        };
        // 4. The process.
        let side = process::clone_into(NEW_NAMESPACES).map_err(|source| {
            identity::user_namespace("making the sandbox's namespaces", source.into())
        })?;
        let (init_pid, init) = match side {
            Side::Child => init::run(&birth),
            Side::Parent { pid, pidfd } => (pid, pidfd),
        };
        let groups = self.ids.groups();
        // 5. Our copies of its ends must be closed, or we would never see it close them.
        drop(birth);
        let mut sandbox = Sandbox {
            init,
            init_pid,
            application: None,
            application_pid: None,
            status: channels.status,
            output: Some(channels.output),
            missing,
            binds: None,
            link_ports: spec.links.iter().map(|link| link.port).collect(),
            namespaces: Vec::new(),
            cgroup,
            groups,
            processes,
            filters,
        };
        // 6. From here on a failure must take the process back.
        match sandbox.bring_up(&self.ids, channels.sync.as_fd()) {
            Ok(()) => Ok(sandbox),
            Err(error) => {
                sandbox.kill();
                let _ = sandbox.wait(WaitIdOptions::EXITED);
                Err(error)
            }
        }
    }
}

/// The keeper's ends and the sandbox's ends.
struct Channels {
    stdio: [OwnedFd; 3],
    output: (OwnedFd, OwnedFd),
    sync: OwnedFd,
    sync_inside: OwnedFd,
    status: OwnedFd,
    status_inside: OwnedFd,
}

impl Channels {
    fn open() -> Result<Self, Errno> {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (output, output_inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (errors, errors_inside) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        for reader in [&output, &errors] {
            rustix::io::ioctl_fionbio(reader, true)?;
        }
        let (status, status_inside) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let (sync, sync_inside) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_passcred(&sync, true)?;
        set_socket_timeout(&sync, Timeout::Recv, Some(SET_UP_TIMEOUT))?;
        Ok(Self {
            stdio: [null, output_inside, errors_inside],
            output: (output, errors),
            sync,
            sync_inside,
            status,
            status_inside,
        })
    }
}

impl Sandbox {
    fn bring_up(&mut self, ids: &IdMap, sync: BorrowedFd<'_>) -> Result<(), SandboxError> {
        ids.write(self.init_pid)?;
        if let Err(error) = self.cgroup.add(self.init_pid) {
            self.missing.push(format!(
                "memory and process limits are not enforced, so that this instance can starve the machine: it cannot \
                 be moved into its control group ({})",
                error.kind()
            ));
        }
        rustix::net::send(sync, &[word::GO], SendFlags::NOSIGNAL)
            .map_err(outside("letting the sandbox go on"))?;
        while let Some(message) = Message::receive(sync)? {
            self.take(message)?;
        }
        if self.application.is_none() {
            return Err(SandboxError::Inside {
                message: "the sandbox was killed while it was set up; is the memory limit too low?"
                    .to_owned(),
            });
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), SandboxError> {
        match message.word {
            word::NAMESPACES => self.namespaces = message.descriptors,
            word::BINDS => {
                let ports = std::mem::take(&mut self.link_ports);
                let questions = message.descriptors.into_iter().next();
                self.binds = questions.map(|questions| Binds::new(questions, ports));
            }
            word::MISSING => self.missing.push(message.text),
            word::STARTS => {
                let opened = message
                    .sender
                    .map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
                self.application_pid = message.sender;
                // One that is gone already was reaped by pid 1, which tells how it ended.
                self.application = opened
                    .transpose()
                    .unwrap_or(None)
                    .or(self.application.take());
                if self.application.is_none() {
                    self.application = self.init.try_clone().ok();
                }
            }
            _ => {
                return Err(SandboxError::Inside {
                    message: message.text,
                });
            }
        }
        Ok(())
    }

    /// What the kernel denied, in sentences.
    #[must_use]
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The application's process id in the keeper's process namespace.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.application_pid
            .map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// Whether a signal stopped the application, so that it makes no progress. What a debugger holds is not meant.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.pid().is_some_and(crate::stopped::is_stopped)
    }

    /// The reading ends of standard output and error, non-blocking. Only the first call gets them.
    pub fn take_output(&mut self) -> Option<(OwnedFd, OwnedFd)> {
        self.output.take()
    }

    /// A descriptor that becomes readable when the whole sandbox is over.
    #[must_use]
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.init.as_fd()
    }

    /// A descriptor that becomes readable when the application wants to listen somewhere and the keeper must be asked
    /// ([`Sandbox::answer_bind`]). Only an instance with links has one.
    #[must_use]
    pub fn binds(&self) -> Option<BorrowedFd<'_>> {
        self.binds.as_ref().map(AsFd::as_fd)
    }

    /// Answers one such question. Until then the application waits.
    ///
    /// # Errors
    /// `NotFound` when who asked is gone.
    pub fn answer_bind(&self) -> std::io::Result<()> {
        match &self.binds {
            Some(binds) => Ok(binds.answer()?),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// Signals the application.
    ///
    /// # Errors
    /// `InvalidInput` for a number that is no signal (real-time signals cannot be sent), `NotFound` when it is over.
    pub fn signal(&self, number: i32) -> std::io::Result<()> {
        let signal = crate::signals::by_number(number)?;
        let application = self.application.as_ref().ok_or(Errno::SRCH)?;
        match rustix::process::pidfd_send_signal(application, signal) {
            Err(Errno::SRCH) => Err(std::io::ErrorKind::NotFound.into()),
            other => Ok(other?),
        }
    }

    /// Kills everything in the sandbox: with pid 1 goes the whole process namespace.
    pub fn kill(&self) {
        // The only failure is that it is over already.
        let _ = rustix::process::pidfd_send_signal(&self.init, Signal::KILL);
    }

    /// How the application ended, if the sandbox is over; nothing of it is left then.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        let killed = self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)?;
        let mut raw = [0; 4];
        match rustix::io::read(&self.status, &mut raw) {
            Ok(4) => Some(exit_from_raw(i32::from_ne_bytes(raw))),
            _ => Some(killed),
        }
    }

    /// Whether the kernel killed a process of it for want of memory, where that can be known.
    #[must_use]
    pub fn out_of_memory(&self) -> bool {
        self.cgroup.out_of_memory_kills() > 0
    }

    fn wait(&self, options: WaitIdOptions) -> Option<Exit> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.init.as_fd()), options)
        });
        match status {
            Ok(Some(status)) => Some(match status.terminating_signal() {
                Some(signal) => Exit::Signal(signal),
                None => Exit::Code(status.exit_status().unwrap_or(0)),
            }),
            Ok(None) => None,
            // Reaped already.
            Err(_) => Some(Exit::Signal(libc::SIGKILL)),
        }
    }
}

/// Reads a wait status as wait(2) gives it.
pub(crate) fn exit_from_raw(raw: i32) -> Exit {
    if libc::WIFSIGNALED(raw) {
        Exit::Signal(libc::WTERMSIG(raw))
    } else {
        Exit::Code(libc::WEXITSTATUS(raw))
    }
}

fn too_slow() -> SandboxError {
    let seconds = SET_UP_TIMEOUT.as_secs();
    SandboxError::Inside {
        message: format!(
            "the sandbox was not ready within {seconds} s; is the machine overloaded, or a disk hanging?"
        ),
    }
}

/// A message of a sandbox that is being set up.
struct Message {
    word: u8,
    text: String,
    descriptors: Vec<OwnedFd>,
    sender: Option<Pid>,
}

impl Message {
    /// The next message; `None` when the sandbox's end is closed, which exec does.
    fn receive(sync: BorrowedFd<'_>) -> Result<Option<Self>, SandboxError> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; 4096];
        let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(sync, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN) => return Err(too_slow()),
            Err(error) => return Err(outside("waiting for the sandbox")(error)),
        };
        let (mut descriptors, mut sender) = (Vec::new(), None);
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
                RecvAncillaryMessage::ScmCredentials(peer) => sender = Some(peer.pid),
                _ => {}
            }
        }
        let Some((word, text)) = buffer[..length].split_first() else {
            return Ok(None);
        };
        Ok(Some(Self {
            word: *word,
            text: String::from_utf8_lossy(text).into_owned(),
            descriptors,
            sender,
        }))
    }
}
