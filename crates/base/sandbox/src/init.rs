//! What happens in a new sandbox between clone and exec, and pid 1 of the sandbox afterwards.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;
use ward_types::keeper::InstanceSpec;

use crate::error::{Doing, Failed};
use crate::filter::Filters;
use crate::identity::Groups;
use crate::program::Program;
use crate::{keeper_socket, process, root, signals};

/// The namespaces that are handed to the keeper, in the order in which they must be joined: the user namespace
/// first, because it gives the right to join the others.
pub(crate) const NAMESPACES: [&str; 6] = ["user", "ipc", "uts", "cgroup", "pid", "mnt"];

/// First bytes of the messages between a new sandbox and its keeper.
pub(crate) mod word {
    /// Keeper: ids are mapped, limits are set, go on.
    pub(crate) const GO: u8 = b'G';
    /// Sandbox: here are the namespaces' descriptors.
    pub(crate) const NAMESPACES: u8 = b'N';
    /// Sandbox: here is the descriptor that shows calls of bind.
    pub(crate) const BINDS: u8 = b'B';
    /// Sandbox: the kernel denied something; its text follows.
    pub(crate) const MISSING: u8 = b'M';
    /// Sandbox: it failed; its text follows.
    pub(crate) const FAILED: u8 = b'F';
    /// Application: it is about to become the program. Sent with its process id (SCM_CREDENTIALS).
    pub(crate) const STARTS: u8 = b'A';
}

/// All that a sandbox needs to set itself up.
pub(crate) struct Birth<'a> {
    pub(crate) spec: &'a InstanceSpec,
    pub(crate) program: &'a Program,
    pub(crate) filters: &'a Filters,
    pub(crate) groups: Groups,
    /// The limit of processes, where no cgroup counts them.
    pub(crate) processes: Option<u32>,
    /// Standard input, output and error.
    pub(crate) stdio: [OwnedFd; 3],
    /// To the keeper, until the program runs.
    pub(crate) sync: OwnedFd,
    /// Where pid 1 writes how the application ended.
    pub(crate) status: OwnedFd,
}

/// Runs in the new process; never returns.
pub(crate) fn run(birth: &Birth<'_>) -> ! {
    let _ends = process::EndsHere;
    if let Err(failed) = set_up(birth) {
        tell(birth.sync.as_fd(), word::FAILED, &failed.to_string());
        process::leave(125);
    }
    match process::fork() {
        Ok(Some(application)) => reap(birth, application),
        Ok(None) => become_application(birth),
        Err(error) => {
            tell(
                birth.sync.as_fd(),
                word::FAILED,
                &format!("starting the program failed: {error}"),
            );
            process::leave(125)
        }
    }
}

/// The set-up. The order is the point.
fn set_up(birth: &Birth<'_>) -> Result<(), Failed> {
    let sync = birth.sync.as_fd();
    // 1. Die with the keeper, from the first moment. Step 8 clears this, step 16 sets it again.
    die_with_parent()?;
    // 2. Until the keeper has mapped our ids we are nobody and own nothing here; and the limits must hold before
    //    anything is allocated.
    wait_for_keeper(sync)?;
    // 3. A cgroup namespace begins where we are when it is made: after the keeper has moved us.
    crate::process::unshare(UnshareFlags::NEWCGROUP).doing("making a cgroup namespace")?;
    // 4. `ward exec` joins by these descriptors. Later /proc/self is closed to us, and is another /proc.
    hand_over_namespaces(sync)?;
    // 5. Before the first mount, so that none travels to the host.
    root::detach_from_host()?;
    // 6. Before we become the user, who may not walk Ward's folders.
    let sources = root::Sources::open(birth.spec)?;
    // 7. While we have the capability.
    rustix::system::sethostname(birth.spec.facts.id.as_str().as_bytes())
        .doing("setting the host name")?;
    // 8. Before anything is made, so that what is made belongs to an id that exists inside.
    crate::identity::become_user(&birth.spec.user, birth.groups)
        .doing("becoming the instance's user")?;
    // 9. The file tree; needs the capabilities that step 12 drops.
    let mut missing = Vec::new();
    root::enter(birth.spec, &sources, &root::Scratch::New, &mut missing)?;
    for sentence in missing {
        tell(sync, word::MISSING, &sentence);
    }
    drop(sources);
    // 10. Standard streams, then nothing else open: the keeper's descriptors must not reach pid 1.
    streams(&birth.stdio)?;
    process::keep_only(&[sync, birth.status.as_fd()]);
    // 11. Limits that each process carries.
    crate::limits::set(birth.processes, birth.spec.limits.file).doing("setting resource limits")?;
    // 12. Privileges, after the last step that needs one.
    crate::capabilities::drop_all().doing("dropping capabilities")?;
    // 13. Needs no_new_privs. Only where there are links: everybody else's bind costs nothing.
    if !birth.spec.links.is_empty() {
        show_binds(sync)?;
    }
    // 14. The filter last of all protections: it denies the calls that made the others. No filter, no start.
    birth
        .filters
        .install()
        .doing("installing the system call filter")?;
    // 15. pid 1 holds the keeper's memory of a moment ago, the environment included: closed to its children, which
    //     have the same id.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing("closing pid 1")?;
    // 16. Changing ids cleared it. A keeper that died before this has closed its end, which the next message finds.
    die_with_parent()
}

fn die_with_parent() -> Result<(), Failed> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing("tying to the keeper")
}

fn wait_for_keeper(sync: BorrowedFd<'_>) -> Result<(), Failed> {
    let mut word = [0];
    match rustix::net::recv(sync, &mut word, RecvFlags::empty()) {
        Ok((1, _)) if word[0] == word::GO => Ok(()),
        _ => process::leave(125),
    }
}

fn hand_over_namespaces(sync: BorrowedFd<'_>) -> Result<(), Failed> {
    let open = |name: &&str| {
        let path = format!("/proc/self/ns/{name}");
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let opened: Result<Vec<OwnedFd>, Errno> = NAMESPACES.iter().map(open).collect();
    let opened = opened.doing("opening the namespaces")?;
    let borrowed: Vec<_> = opened.iter().map(AsFd::as_fd).collect();
    if keeper_socket::send_packet(sync, &[word::NAMESPACES], &borrowed).is_err() {
        process::leave(125);
    }
    Ok(())
}

/// Hands the keeper the descriptor that shows calls of bind, and keeps none: who holds it could answer itself.
fn show_binds(sync: BorrowedFd<'_>) -> Result<(), Failed> {
    let questions = crate::binds::ask_first().doing("having calls of bind shown")?;
    if keeper_socket::send_packet(sync, &[word::BINDS], &[questions.as_fd()]).is_err() {
        process::leave(125);
    }
    Ok(())
}

/// Makes three descriptors standard input, output and error.
pub(crate) fn streams(stdio: &[OwnedFd; 3]) -> Result<(), Failed> {
    // Copies above the standard numbers first: one of the three could be among them.
    let above = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
    let [input, output, error] = stdio;
    let copies = above(input).and_then(|i| Ok([i, above(output)?, above(error)?]));
    let [input, output, error] = copies.doing("copying the standard streams")?;
    rustix::stdio::dup2_stdin(input)
        .and_then(|()| rustix::stdio::dup2_stdout(output))
        .and_then(|()| rustix::stdio::dup2_stderr(error))
        .doing("setting the standard streams")
}

/// Tells the keeper; one that is gone takes us with it.
fn tell(sync: BorrowedFd<'_>, word: u8, text: &str) {
    let message = [&[word], text.as_bytes()].concat();
    if rustix::net::send(sync, &message, SendFlags::NOSIGNAL).is_err() {
        process::leave(125);
    }
}

fn become_application(birth: &Birth<'_>) -> ! {
    // A session of its own: the application's process group is its own to signal.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    signals::reset();
    tell(birth.sync.as_fd(), word::STARTS, "");
    process::cloexec_from(3);
    let failure = birth.program.exec();
    tell(birth.sync.as_fd(), word::FAILED, &failure.message);
    process::leave(failure.status.into())
}

/// pid 1: waits for its children, its own and those that nobody else waits for, until the application ends. Its end
/// ends all that is left in the sandbox.
fn reap(birth: &Birth<'_>, application: Pid) -> ! {
    signals::block_all();
    process::keep_only(&[birth.status.as_fd()]);
    close_streams();
    crate::memory::let_go_of_code();
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == application => {
                let raw = status.as_raw().to_ne_bytes();
                let _ = rustix::io::write(&birth.status, &raw);
                process::leave(status.exit_status().unwrap_or(128));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => process::leave(125),
        }
    }
}

/// Lets go of standard input, output and error: they belong to the program alone.
pub(crate) fn close_streams() {
    if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
        let _ = rustix::stdio::dup2_stdin(&null);
        let _ = rustix::stdio::dup2_stdout(&null);
        let _ = rustix::stdio::dup2_stderr(&null);
    }
}
