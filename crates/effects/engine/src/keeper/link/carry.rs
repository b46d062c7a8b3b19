//! Carries bytes between two sockets through two pipes, without ever seeing them.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::super::poll::{Poller, Source};

/// The most that is moved at a time, a pipe's usual size.
const PIECE: usize = 64 * 1024;

/// How many pieces one connection may move before the others, and the health check, have their turn.
const TURN: usize = 64;

/// Both ends are watched for every change (edge-triggered), because each turn goes on until nothing moves; one that
/// is cut short asks to be told again.
const CHANGES: EventFlags = EventFlags::IN
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

/// Whether bytes can still flow.
#[derive(PartialEq, Eq)]
pub(super) enum Progress {
    Open,
    Over,
}

/// What a turn left.
#[derive(PartialEq, Eq)]
enum Rest {
    Nothing,
    More,
}

/// A connection whose two sides are joined.
pub(super) struct Carried {
    client: OwnedFd,
    server: OwnedFd,
    there: Way,
    back: Way,
}

/// One direction.
struct Way {
    read: OwnedFd,
    write: OwnedFd,
    inside: usize,
    state: WayState,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum WayState {
    /// Its source may send more.
    Flowing,
    /// Its source has ended; what is in the pipe is still to be delivered.
    Ending,
    /// Its sink was told of the end.
    Ended,
}

impl Carried {
    pub(super) fn begin(
        client: OwnedFd,
        server: OwnedFd,
        number: u32,
        poll: &Poller,
    ) -> io::Result<Self> {
        let carried = Self {
            there: Way::new()?,
            back: Way::new()?,
            client,
            server,
        };
        // Adding reports what is ready already, so that nothing sent before is missed.
        poll.add(&carried.client, Source::Link(number), CHANGES)?;
        poll.add(&carried.server, Source::Link(number | 1), CHANGES)?;
        Ok(carried)
    }

    /// Moves what can be moved, both ways, within one turn.
    pub(super) fn pump(&mut self, number: u32, poll: &Poller) -> Progress {
        let there = self.there.pump(&self.client, &self.server);
        let back = self.back.pump(&self.server, &self.client);
        let ended = self.there.state == WayState::Ended && self.back.state == WayState::Ended;
        // Dropping the descriptors closes both sides.
        let (Ok(there), Ok(back), false) = (there, back, ended) else {
            return Progress::Over;
        };
        if there == Rest::More || back == Rest::More {
            // Setting the same flags anew reports what is ready now.
            return match poll.change(&self.client, Source::Link(number), CHANGES) {
                Ok(()) => Progress::Open,
                Err(_) => Progress::Over,
            };
        }
        Progress::Open
    }
}

impl Way {
    fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            read,
            write,
            inside: 0,
            state: WayState::Flowing,
        })
    }

    fn pump(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<Rest, Errno> {
        for _ in 0..TURN {
            let taken = self.take(from)?;
            let given = self.give(to)?;
            if self.state == WayState::Ending && self.inside == 0 {
                // The sink may be gone already, which is an end as good as any.
                let _ = rustix::net::shutdown(to, Shutdown::Write);
                self.state = WayState::Ended;
            }
            if taken == 0 && given == 0 {
                return Ok(Rest::Nothing);
            }
        }
        Ok(Rest::More)
    }

    fn take(&mut self, from: &OwnedFd) -> Result<usize, Errno> {
        if self.state != WayState::Flowing {
            return Ok(0);
        }
        match splice(from, &self.write, PIECE) {
            Ok(0) => {
                self.state = WayState::Ending;
                Ok(0)
            }
            Ok(count) => {
                self.inside += count;
                Ok(count)
            }
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn give(&mut self, to: &OwnedFd) -> Result<usize, Errno> {
        if self.inside == 0 {
            return Ok(0);
        }
        match splice(&self.read, to, self.inside) {
            Ok(count) => {
                self.inside -= count;
                Ok(count)
            }
            Err(Errno::AGAIN) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

fn splice(from: &OwnedFd, to: &OwnedFd, most: usize) -> Result<usize, Errno> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    rustix::io::retry_on_intr(|| rustix::pipe::splice(from, None, to, None, most, flags))
}
