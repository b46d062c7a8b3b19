//! How long a thread runs before another one that waits for the same processor may.
//!
//! A thread that has much to do and one that wakes for a moment get the same share of a processor. How soon the
//! second one begins depends on the turn that each has asked for: the kernel runs first whose turn is over first
//! (EEVDF; `sched_runtime` of an ordinary thread in sched_setattr(2), since Linux 6.12). Without that whoever wakes
//! waits for the end of a turn of the usual length, some milliseconds.

use std::io;
use std::time::Duration;

/// Has this thread run for turns of so long, 0.1 to 100 ms, from now on; threads and processes that it begins have the
/// usual ones again. Its share of the processor and its nice value stay as they are.
///
/// # Errors
/// Where the kernel does not let it, or its scheduler is no ordinary one. Kernels before 6.12 take it for granted.
pub fn take_turns_of(turn: Duration) -> io::Result<()> {
    let mut asked = own()?;
    if asked.sched_policy != libc::SCHED_OTHER as u32 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    asked.sched_flags |= libc::SCHED_FLAG_RESET_ON_FORK as u64;
    asked.sched_runtime = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: 0 is the calling thread; the pointer leads to a whole `sched_attr` whose `size` is its own, which the
    // kernel only reads (sched_setattr(2)).
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const asked, 0) };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How this thread is scheduled.
fn own() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: the structure is all numbers, of which any bits are one.
    let mut own: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread; the kernel writes at most `size` bytes, which is what there is (sched_getattr(2)).
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, size, 0) };
    match got {
        0 => Ok(own),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, whose turns are no other test's.
    #[test]
    fn a_thread_has_the_turns_that_it_asks_for_and_what_it_begins_has_not() {
        let asks = std::thread::spawn(|| {
            let before = own().unwrap();
            take_turns_of(Duration::from_micros(500)).unwrap();
            let after = own().unwrap();
            let begun = std::thread::spawn(|| own().unwrap()).join().unwrap();
            (before, after, begun)
        });
        let (before, after, begun) = asks.join().unwrap();
        assert_eq!(before.sched_nice, after.sched_nice);
        // A kernel that knows of turns tells them; one that does not says 0 throughout.
        if before.sched_runtime > 0 {
            assert_eq!(after.sched_runtime, 500_000);
            assert_eq!(begun.sched_runtime, before.sched_runtime);
        }
    }
}
