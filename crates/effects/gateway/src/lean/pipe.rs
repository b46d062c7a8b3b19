//! Long bodies between two sockets through a pipe: the kernel passes their pages on, and nobody copies them (splice(2)).
//!
//! A pipe is filled only while it is empty, and as much is taken out as is in it. So a call that would block says which
//! of the two sockets has to be waited for, and no body waits behind another's.
//!
//! There are few: each is two descriptors, which clients need more, and memory of the kernel's that nobody counts. Who finds
//! none copies.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The room of a pipe: each time that one is filled and emptied wakes who is at either end, which costs as much as the pages
/// themselves. One has less than it asks for where its user has very many of them: then it is not worth it.
const ROOM: usize = 1024 * 1024;

/// The most pipes of a process: half of what one user's may hold (`fs.pipe-user-pages-soft`).
const MOST: usize = 32;

static OPEN: AtomicUsize = AtomicUsize::new(0);

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// A pipe that nobody else knows.
pub(crate) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
    _place: Place,
}

/// One of [`MOST`].
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let more = |open: usize| (open < MOST).then_some(open + 1);
        let taken = OPEN.try_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pipe {
    /// An empty one; `None` where there are enough, or the kernel has none, or no room for it.
    pub(super) fn new() -> Option<Self> {
        let place = Place::take()?;
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        let room = fcntl_setpipe_size(&into, ROOM).ok()?;
        (room >= ROOM).then_some(Self {
            out,
            into,
            held: 0,
            _place: place,
        })
    }

    /// How many bytes are in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes at most so many bytes from a socket; 0 at its end.
    pub(crate) fn poll_fill(
        &mut self,
        from: &TcpStream,
        most: u64,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let most = usize::try_from(most).map_or(ROOM, |most| most.min(ROOM));
        loop {
            ready!(from.poll_read_ready(context))?;
            let moved = from.try_io(Interest::READABLE, || passed(from, &self.into, most));
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.held += moved.as_ref().copied().unwrap_or(0);
                    return Poll::Ready(moved);
                }
            }
        }
    }

    /// Gives what is in it to a socket.
    pub(crate) fn poll_drain(
        &mut self,
        to: &TcpStream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.held > 0 {
            ready!(to.poll_write_ready(context))?;
            let moved = to.try_io(Interest::WRITABLE, || passed(&self.out, to, self.held));
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => self.held = self.held.saturating_sub(moved),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn passed(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    loop {
        match splice(&from, None, &to, None, most, FLAGS) {
            Err(rustix::io::Errno::INTR) => {}
            passed => return Ok(passed?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_those_that_are_closed_make_room() {
        let mut all: Vec<Pipe> = std::iter::from_fn(Pipe::new).collect();
        assert!(all.len() <= MOST && Pipe::new().is_none());
        all.pop();
        assert!(Pipe::new().is_some());
    }
}
