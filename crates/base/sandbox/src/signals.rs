//! Signals of a keeper and of what it starts.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::process::last_error;

/// Makes this process deaf to SIGHUP and SIGINT, which are meant for the terminal that the server was started
/// from, and returns a non-blocking descriptor that becomes readable when SIGTERM arrives.
///
/// # Errors
/// What signalfd(2) fails with.
pub fn termination() -> std::io::Result<OwnedFd> {
    // SAFETY: plain signal calls on a set that lives on this stack; ignoring a signal runs no handler.
    let number = unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if number < 0 {
        return Err(last_error().into());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Gives a program the signal dispositions that it expects: all default, none blocked.
pub(crate) fn reset() {
    // SAFETY: default dispositions run no code of ours. A number that cannot be set (SIGKILL, those of the C
    // library) gives an error that changes nothing.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Blocks every signal: pid 1 of a sandbox only waits for its children.
pub(crate) fn block_all() {
    // SAFETY: as above.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// A signal by its number.
pub(crate) fn by_number(number: i32) -> Result<rustix::process::Signal, Errno> {
    rustix::process::Signal::from_named_raw(number).ok_or(Errno::INVAL)
}
