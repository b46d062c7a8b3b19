//! epoll, with names for what is waited for.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Events taken at a time.
const BATCH: usize = 32;

/// What became ready. The number says which of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The keeper's own socket: somebody wants to ask.
    Listener,
    /// The sandbox is over.
    Ended,
    /// SIGTERM came.
    Termination,
    /// Standard output (0) or error (1).
    Output(u32),
    /// The connection of somebody who asks.
    Peer(u32),
    /// A connection to the application that a peer asked for.
    Connecting(u32),
    /// A program that a peer runs beside the instance.
    Program(u32),
    /// The health check's connection.
    Health,
    /// A link's listener.
    LinkListener(u32),
    /// Either end of a connection through a link.
    Link(u32),
    /// The application wants to listen.
    Bind,
}

impl Source {
    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Source::Listener => (0, 0),
            Source::Ended => (1, 0),
            Source::Termination => (2, 0),
            Source::Output(number) => (3, number),
            Source::Peer(number) => (4, number),
            Source::Connecting(number) => (5, number),
            Source::Program(number) => (6, number),
            Source::Health => (7, 0),
            Source::LinkListener(number) => (8, number),
            Source::Link(number) => (9, number),
            Source::Bind => (10, 0),
        };
        kind << 32 | u64::from(number)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let number = (packed & 0xffff_ffff) as u32;
        Some(match packed >> 32 {
            0 => Source::Listener,
            1 => Source::Ended,
            2 => Source::Termination,
            3 => Source::Output(number),
            4 => Source::Peer(number),
            5 => Source::Connecting(number),
            6 => Source::Program(number),
            7 => Source::Health,
            8 => Source::LinkListener(number),
            9 => Source::Link(number),
            10 => Source::Bind,
            _ => return None,
        })
    }
}

/// What is waited for.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Waits for `flags` on a descriptor. Closing the descriptor ends that, as nobody else has a copy of it.
    pub(super) fn add(&self, fd: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(source.pack()),
            flags,
        )?)
    }

    /// Waits for other flags from now on.
    pub(super) fn change(
        &self,
        fd: impl AsFd,
        source: Source,
        flags: EventFlags,
    ) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(source.pack()),
            flags,
        )?)
    }

    /// Waits no more. Needed where the descriptor lives on.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // Not there: nothing to wait for, which is what was asked.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// What is ready now, or at the deadline at the latest.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> io::Result<Vec<(Source, EventFlags)>> {
        let timeout = deadline.map(|deadline| {
            let span = deadline.saturating_duration_since(Instant::now());
            rustix::time::Timespec::try_from(span.min(Duration::from_secs(3600)))
                .unwrap_or_default()
        });
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(u64::MAX),
        };
        let mut events = [nothing; BATCH];
        let count = match epoll::wait(&self.epoll, &mut events[..], timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let ready = events[..count].iter();
        Ok(ready
            .filter_map(|event| Some((Source::unpack(event.data.u64())?, event.flags)))
            .collect())
    }
}
