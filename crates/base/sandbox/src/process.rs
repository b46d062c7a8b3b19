//! Making processes from a process that has one thread.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Which side of a clone this is.
pub(crate) enum Side {
    /// The new process. It must end in [`leave`] or exec.
    Child,
    /// The old one, with a descriptor of the new (close-on-exec).
    Parent {
        /// Its process id, as seen here.
        pid: Pid,
        /// A pidfd.
        pidfd: OwnedFd,
    },
}

/// `struct clone_args` of clone3(2), version 0.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// fork, into new namespaces. Only for a process with one thread.
pub(crate) fn clone_into(namespaces: i32) -> Result<Side, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: (namespaces | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: without CLONE_VM and with no stack given this is fork: the child runs on a copy of everything.
    // `args` has the size that is passed, and `pidfd` outlives the call. The callers have one thread
    // (`Sandbox::start` checks it), so that no lock is held for ever in the child.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            std::mem::size_of::<CloneArgs>(),
        )
    };
    if pid < 0 {
        return Err(last_error());
    }
    match Pid::from_raw(pid as i32) {
        None => Ok(Side::Child),
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        Some(pid) => Ok(Side::Parent {
            pid,
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: what is unsafe about unshare is CLONE_FILES, which gives a thread descriptors of its own; no caller
    // passes it.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// fork. Only for a process with one thread. `None` in the child.
pub(crate) fn fork() -> Result<Option<Pid>, Errno> {
    // SAFETY: the caller has one thread, so that the child's copy of every lock is free.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(last_error());
    }
    Ok(Pid::from_raw(pid))
}

/// Ends a clone that panics. Without it the panic would go on into what the original process was doing, and run its
/// destructors.
pub(crate) struct EndsHere;

impl Drop for EndsHere {
    fn drop(&mut self) {
        leave(125);
    }
}

/// Ends this process at once: no destructors, no exit handlers, which belong to the process it was cloned
/// from.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor but standard input, output, error and those named.
pub(crate) fn keep_only(descriptors: &[BorrowedFd<'_>]) {
    let mut kept: Vec<u32> = descriptors.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    kept.sort_unstable();
    let mut first = 3;
    for number in kept.into_iter().chain([u32::MAX]) {
        if number > first {
            // SAFETY: only called in a clone whose copies of the owners are never dropped (it ends by `leave` or
            // exec).
            unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
        }
        first = number.saturating_add(1);
    }
}

/// Makes every descriptor from `first` on close at exec.
pub(crate) fn cloexec_from(first: u32) {
    // SAFETY: sets a flag on descriptors; none is closed before exec.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// The error of the last system call made through libc.
pub(crate) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
