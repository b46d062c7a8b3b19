//! Running a program beside an instance, in its namespaces and with its restrictions.
//!
//! An image made from a cargo package holds no `/bin/ls`. Where the program is not in the image, it gets a mount
//! namespace of its own, in which the host's tools lie below the image; processes, network, scratch space and
//! restrictions are the instance's all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use ward_types::keeper::{Exit, InstanceSpec};

use crate::error::{Doing, Failed, SandboxError, outside};
use crate::mounts::{self, Extent};
use crate::process::{self, Side};
use crate::program::{NotRun, Program};
use crate::root::{self, Scratch};
use crate::sandbox::{Sandbox, exit_from_raw};
use crate::{capabilities, identity, init, limits, signals};

/// First bytes on the pipe from a joining process.
mod word {
    /// The program ended; its wait status follows.
    pub(super) const ENDED: u8 = b'X';
    /// The program could not be run; the status that a shell would give and the reason follow.
    pub(super) const NOT_RUN: u8 = b'N';
    /// Nothing could be run; the reason follows.
    pub(super) const FAILED: u8 = b'F';
}

/// A program to run beside an instance.
pub struct ExecSpec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables beside the instance's own.
    pub env: BTreeMap<String, String>,
    /// Variables of the instance that it does not get.
    pub without: BTreeSet<String>,
    /// Standard input, output and error. A terminal becomes the program's controlling terminal where it is nobody
    /// else's.
    pub stdio: [OwnedFd; 3],
}

/// A program that runs beside an instance.
pub struct Joined {
    helper: OwnedFd,
    report: OwnedFd,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Executed {
    /// It ran and ended.
    Ended(Exit),
    /// There is no such program, or it is none.
    NotRun {
        /// Why, in a sentence.
        message: String,
        /// 127 or 126, as a shell has it.
        status: u8,
    },
    /// Nothing could be run in the sandbox, and why.
    Failed(String),
}

impl Joined {
    /// A descriptor that becomes readable when it is over.
    #[must_use]
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.helper.as_fd()
    }

    /// Kills it.
    pub fn kill(&self) {
        // The program dies with the process that joined it in. The only failure is that it is over already.
        let _ = rustix::process::pidfd_send_signal(&self.helper, Signal::KILL);
    }

    /// What became of it; waits until it is over.
    #[must_use]
    pub fn finish(self) -> Executed {
        let options = WaitIdOptions::EXITED;
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitid(WaitId::PidFd(self.helper.as_fd()), options)
        });
        let mut report = [0; 1024];
        let length = rustix::io::read(&self.report, &mut report).unwrap_or(0);
        match report[..length].split_first() {
            Some((&word::ENDED, [a, b, c, d])) => {
                Executed::Ended(exit_from_raw(i32::from_ne_bytes([*a, *b, *c, *d])))
            }
            Some((&word::NOT_RUN, [status, text @ ..])) => Executed::NotRun {
                message: String::from_utf8_lossy(text).into_owned(),
                status: *status,
            },
            Some((_, text)) => Executed::Failed(String::from_utf8_lossy(text).into_owned()),
            None => Executed::Ended(Exit::Signal(libc::SIGKILL)),
        }
    }
}

/// All that a joining process needs.
struct Joining<'a> {
    sandbox: &'a Sandbox,
    spec: InstanceSpec,
    program: Program,
    stdio: [OwnedFd; 3],
    report: OwnedFd,
}

impl Sandbox {
    /// Runs a program beside the instance.
    ///
    /// # Errors
    /// [`SandboxError`] when it cannot be begun; what fails later, [`Joined::finish`] tells.
    pub fn exec(&self, spec: &InstanceSpec, exec: ExecSpec) -> Result<Joined, SandboxError> {
        let mut env: BTreeMap<&str, &str> = spec
            .env
            .iter()
            .filter(|(name, _)| !exec.without.contains(*name))
            .map(|(name, value)| (name.as_str(), value.expose()))
            .collect();
        env.extend(
            exec.env
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        let program = Program::new(
            &exec.argv,
            env.iter().map(|(name, value)| (*name, *value)),
            &spec.cwd,
        )?;
        let (report, report_inside) =
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT)
                .map_err(outside("making a pipe"))?;
        rustix::io::ioctl_fionbio(&report, true).map_err(outside("making a pipe"))?;
        let mut with_tools = spec.clone();
        with_tools.root.host_usr = true;
        let joining = Joining {
            sandbox: self,
            spec: with_tools,
            program,
            stdio: exec.stdio,
            report: report_inside,
        };
        match process::clone_into(0).map_err(outside("starting a process"))? {
            Side::Child => joining.join(),
            Side::Parent { pidfd, .. } => Ok(Joined {
                helper: pidfd,
                report,
            }),
        }
    }
}

impl Joining<'_> {
    /// The helper: enters the namespaces, lets a child run the program, tells how that ended.
    fn join(&self) -> ! {
        let _ends = process::EndsHere;
        let child = self
            .enter()
            .and_then(|()| process::fork().doing("starting a process"));
        match child {
            Ok(None) => self.run(),
            Ok(Some(child)) => self.wait(child),
            Err(failed) => self.fail(&failed.to_string()),
        }
    }

    fn enter(&self) -> Result<(), Failed> {
        // 1. Not to outlive the keeper.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing("tying to the keeper")?;
        // 2. Into the limits, while we may still write to the control group.
        let own = rustix::process::getpid();
        self.sandbox
            .cgroup
            .add(own)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .doing("entering the instance's limits")?;
        // 3. The user namespace first: it gives the right to the others. The process namespace holds for our
        //    children only. The mount namespace is joined later, by whom it concerns.
        for (name, namespace) in init::NAMESPACES.iter().zip(&self.sandbox.namespaces) {
            if *name != "mnt" {
                join_namespace(name, namespace)?;
            }
        }
        Ok(())
    }

    fn run(&self) -> ! {
        if let Err(failed) = self.set_up() {
            self.fail(&failed.to_string());
        }
        let mut failure = self.program.exec();
        if failure.status == NotRun::NOT_FOUND {
            failure.message = format!(
                "there is no program {}, neither in the image nor on this machine",
                self.program.name()
            );
        }
        self.tell(&[word::NOT_RUN, failure.status], &failure.message);
        process::leave(failure.status.into())
    }

    /// The set-up, as an instance's own (see `init`), except that the namespaces are there already.
    fn set_up(&self) -> Result<(), Failed> {
        let user = &self.spec.user;
        // 1. A mount namespace of our own, as the host sees files, in case the host's tools are needed.
        crate::process::unshare(UnshareFlags::NEWNS).doing("making a mount namespace")?;
        root::detach_from_host()?;
        let sources = root::Sources::open(&self.spec)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let own = rustix::fs::open("/proc/self/ns/mnt", flags, Mode::empty())
            .doing("opening a namespace")?;
        identity::become_user(user, self.sandbox.groups).doing("becoming the instance's user")?;
        // 2. Look for the program where the instance would find it.
        if let Some(instance) = self.sandbox.namespaces.get(init::NAMESPACES.len() - 1) {
            join_namespace("mnt", instance)?;
        }
        if !self.program.is_found() {
            self.add_host_tools(&own, &sources)?;
        }
        drop((own, sources));
        // 3. Streams, and a terminal where one is given, before the filter.
        init::streams(&self.stdio)?;
        let _ = rustix::process::setsid();
        if rustix::termios::isatty(rustix::stdio::stdin()) {
            // Another session's terminal stays its own; then there is no job control, and all else works.
            let _ = rustix::process::ioctl_tiocsctty(rustix::stdio::stdin());
        }
        process::keep_only(&[self.report.as_fd()]);
        // 4. The restrictions, in the instance's order.
        limits::set(self.sandbox.processes, self.spec.limits.file)
            .doing("setting resource limits")?;
        capabilities::drop_all().doing("dropping capabilities")?;
        self.sandbox
            .filters
            .install()
            .doing("installing the system call filter")?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing("tying to the keeper")?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        signals::reset();
        Ok(())
    }

    /// Takes the instance's scratch space along into a tree with the host's tools.
    fn add_host_tools(&self, own: &OwnedFd, sources: &root::Sources) -> Result<(), Failed> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mut shared = Vec::new();
        for (path, _) in root::SCRATCH {
            let step = format!("opening the instance's /{path}");
            let place = rustix::fs::open(format!("/{path}"), flags, Mode::empty()).doing(&step)?;
            shared
                .push(mounts::copy(place.as_fd(), Extent::Tree, mounts::READ_WRITE).doing(&step)?);
        }
        join_namespace("mnt", own)?;
        let mut missing = Vec::new();
        root::enter(&self.spec, sources, &Scratch::Shared(shared), &mut missing)?;
        if !self.program.is_found() {
            return Ok(()); // The last word will be that it is not there.
        }
        let note = b"ward: the image has no such program; this is the host's, with the image's files on top\n";
        let _ = rustix::io::write(&self.stdio[2], note);
        Ok(())
    }

    fn wait(&self, child: Pid) -> ! {
        signals::block_all();
        // The keeper's connections must not stay open here when the keeper closes them.
        process::keep_only(&[self.report.as_fd()]);
        init::close_streams();
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(Some(child), WaitOptions::empty())
        });
        // After a failure that the child has told, this is a second packet, which nobody reads.
        if let Ok(Some((_, status))) = status {
            let raw = [&[word::ENDED][..], &status.as_raw().to_ne_bytes()].concat();
            let _ = rustix::io::write(&self.report, &raw);
        }
        process::leave(0)
    }

    fn fail(&self, text: &str) -> ! {
        self.tell(&[word::FAILED], text);
        process::leave(127)
    }

    fn tell(&self, head: &[u8], text: &str) {
        let report = [head, text.as_bytes()].concat();
        let _ = rustix::io::write(&self.report, &report);
    }
}

fn join_namespace(name: &str, namespace: &OwnedFd) -> Result<(), Failed> {
    let kind = match name {
        "user" => LinkNameSpaceType::User,
        "ipc" => LinkNameSpaceType::InterProcessCommunication,
        "uts" => LinkNameSpaceType::HostNameAndNISDomainName,
        "cgroup" => LinkNameSpaceType::ControlGroup,
        "pid" => LinkNameSpaceType::ProcessID,
        _ => LinkNameSpaceType::Mount,
    };
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))
        .doing(&format!("joining the instance's {name} namespace"))
}
