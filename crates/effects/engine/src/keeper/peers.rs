//! Those who ask: the engine, the gateway's workers, other keepers. One request at a time on each connection, and
//! as many connections as come.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use ward_sandbox::{ExecSpec, Executed, Joined, keeper_socket};
use ward_types::keeper::{Disclosure, Reply, Request};

use super::connect::{self, Attempt};
use super::instance::Instance;
use super::poll::{Poller, Source};

/// Waiting for a request, or for the peer to leave.
const LISTENING: EventFlags = EventFlags::IN.union(EventFlags::RDHUP);
/// Busy for it: only its leaving is of interest.
const BUSY: EventFlags = EventFlags::RDHUP;
/// How long the farewell waits for somebody who does not read.
const FAREWELL: Duration = Duration::from_secs(1);

/// All who are connected.
#[derive(Default)]
pub(super) struct Peers {
    next: u32,
    all: BTreeMap<u32, Peer>,
}

struct Peer {
    socket: OwnedFd,
    doing: Doing,
}

/// What is being done for a peer.
enum Doing {
    /// Nothing: it may ask.
    Nothing,
    /// A connection is being made.
    Connecting {
        socket: OwnedFd,
        port: u16,
        deadline: Instant,
        again: Again,
    },
    /// It is told of every change; whether it has yet to be told of the last.
    Watching(Told),
    /// A program runs for it.
    Running(Joined),
    /// The health check of that number is waited for.
    Checking(u64),
}

/// When a connection is begun again that the application has no room for. Its queue of connections was full, so the kernel
/// has dropped the first packet and sends it again after a second, then after two more, however soon there is room: a whole
/// service would stand still for one crowd.
struct Again {
    at: Instant,
    pause: Duration,
}

impl Again {
    fn first(now: Instant) -> Self {
        let pause = Duration::from_millis(5);
        Self {
            at: now + pause,
            pause,
        }
    }

    /// An application that takes nothing is not asked all the time.
    fn later(&self, now: Instant) -> Self {
        let pause = (2 * self.pause).min(Duration::from_millis(80));
        Self {
            at: now + pause,
            pause,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Told {
    All,
    NotTheLast,
}

impl Peers {
    /// Takes all that wait at the door.
    pub(super) fn accept(&mut self, listener: BorrowedFd<'_>, poll: &Poller) -> io::Result<()> {
        while let Some(socket) = keeper_socket::accept(listener)? {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            poll.add(&socket, Source::Peer(number), LISTENING)?;
            let doing = Doing::Nothing;
            self.all.insert(number, Peer { socket, doing });
        }
        Ok(())
    }

    /// When the next connection attempt is begun again, or given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let attempts = self.all.values().filter_map(|peer| match &peer.doing {
            Doing::Connecting {
                deadline, again, ..
            } => Some(again.at.min(*deadline)),
            _ => None,
        });
        attempts.min()
    }

    fn set(&mut self, number: u32, doing: Doing, poll: &Poller, flags: EventFlags) {
        let Some(peer) = self.all.get_mut(&number) else {
            return;
        };
        peer.doing = doing;
        if poll
            .change(&peer.socket, Source::Peer(number), flags)
            .is_err()
        {
            self.drop(number);
        }
    }

    /// Lets a peer go, and with it what was done for it.
    fn drop(&mut self, number: u32) {
        if let Some(Peer {
            doing: Doing::Running(program),
            ..
        }) = self.all.remove(&number)
        {
            program.kill();
            let _ = program.finish();
        }
    }
}

impl Instance {
    /// Something happened on a peer's connection.
    pub(super) fn peer_is_ready(&mut self, number: u32, flags: EventFlags) {
        let Some(peer) = self.peers.all.get_mut(&number) else {
            return;
        };
        match &peer.doing {
            Doing::Nothing => self.hear(number),
            Doing::Watching(_) if flags.contains(EventFlags::OUT) => self.tell(number),
            // Busy for it, and it left; or a watcher said something, which it has no right to.
            _ => self.peers.drop(number),
        }
    }

    /// Hears one request. What others have asked meanwhile, and all else that is ready, comes before the next one of this
    /// peer: one that asks again as soon as it is answered would have everybody wait.
    fn hear(&mut self, number: u32) {
        let Some(peer) = self.peers.all.get(&number) else {
            return;
        };
        match keeper_socket::recv::<Request>(peer.socket.as_fd()) {
            Ok(Some((request, descriptors))) => self.answer(number, request, descriptors),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.refuse(number, error.to_string());
            }
            Ok(None) | Err(_) => self.peers.drop(number),
        }
    }

    fn answer(&mut self, number: u32, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Connect { port } => self.connect(number, port),
            Request::Status => {
                let status = self.status();
                self.reply(number, &Reply::Status { status }, &[]);
            }
            Request::Watch => self.watch(number),
            Request::Check => self.check(number),
            Request::Stop { grace } => {
                self.stop(grace);
                self.reply(number, &Reply::Done, &[]);
            }
            Request::Signal { signal } => match self.sandbox.signal(signal) {
                Ok(()) => self.reply(number, &Reply::Done, &[]),
                Err(error) => {
                    self.refuse(number, format!("signal {signal} cannot be sent: {error}"))
                }
            },
            Request::Exec { argv, env, secrets } => match <[OwnedFd; 3]>::try_from(descriptors) {
                Ok(stdio) => {
                    let without = match secrets {
                        Disclosure::Given => BTreeSet::new(),
                        Disclosure::Withheld => self.spec.secrets.variables.clone(),
                    };
                    let program = ExecSpec {
                        argv,
                        env,
                        without,
                        stdio,
                    };
                    self.exec(number, program);
                }
                Err(others) => {
                    let count = others.len();
                    self.refuse(number, format!("exec needs three descriptors, not {count}"));
                }
            },
        }
    }

    fn reply(&mut self, number: u32, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
        let Some(peer) = self.peers.all.get(&number) else {
            return;
        };
        // One reply per request: a peer whose queue is full has broken that, or is gone.
        if keeper_socket::send(peer.socket.as_fd(), reply, descriptors).is_err() {
            self.peers.drop(number);
        }
    }

    fn refuse(&mut self, number: u32, message: String) {
        self.reply(number, &Reply::Refused { message }, &[]);
    }

    fn connect(&mut self, number: u32, port: u16) {
        match connect::begin(port) {
            Ok(Attempt::Connected(socket)) => {
                self.reply(number, &Reply::Connected, &[socket.as_fd()])
            }
            Ok(Attempt::Waiting(socket)) => {
                if let Err(error) =
                    self.poll
                        .add(&socket, Source::Connecting(number), EventFlags::OUT)
                {
                    return self.refuse(number, error.to_string());
                }
                let now = Instant::now();
                let doing = Doing::Connecting {
                    socket,
                    port,
                    deadline: now + connect::TIMEOUT,
                    again: Again::first(now),
                };
                self.peers.set(number, doing, &self.poll, BUSY);
            }
            Err(error) => self.refuse(number, connect::refusal(port, error)),
        }
    }

    /// A connection that had to wait stands, or does not.
    pub(super) fn connection_is_decided(&mut self, number: u32) {
        let Some(peer) = self.peers.all.get_mut(&number) else {
            return;
        };
        let Doing::Connecting { socket, port, .. } =
            std::mem::replace(&mut peer.doing, Doing::Nothing)
        else {
            return;
        };
        self.poll.remove(&socket);
        match connect::finish(socket) {
            Ok(socket) => self.reply(number, &Reply::Connected, &[socket.as_fd()]),
            Err(error) => self.refuse(number, connect::refusal(port, error)),
        }
        self.peers
            .set(number, Doing::Nothing, &self.poll, LISTENING);
    }

    /// Refuses those who have waited too long for the application to accept.
    pub(super) fn give_up_connections(&mut self, now: Instant) {
        let late: Vec<(u32, u16)> = self
            .peers
            .all
            .iter()
            .filter_map(|(number, peer)| match peer.doing {
                Doing::Connecting { port, deadline, .. } if deadline <= now => {
                    Some((*number, port))
                }
                _ => None,
            })
            .collect();
        for (number, port) in late {
            self.peers
                .set(number, Doing::Nothing, &self.poll, LISTENING);
            self.refuse(number, connect::refusal(port, Errno::TIMEDOUT));
        }
    }

    /// Begins connections again whose turn it is: see [`Again`].
    pub(super) fn connect_again(&mut self, now: Instant) {
        let due = self.peers.all.iter().filter(|(_, peer)| match &peer.doing {
            Doing::Connecting { again, .. } => again.at <= now,
            _ => false,
        });
        let due: Vec<u32> = due.map(|(number, _)| *number).collect();
        for number in due {
            let Some(peer) = self.peers.all.get_mut(&number) else {
                continue;
            };
            let Doing::Connecting {
                socket,
                port,
                again,
                ..
            } = &mut peer.doing
            else {
                continue;
            };
            *again = again.later(now);
            match connect::begin(*port) {
                Ok(Attempt::Waiting(_)) => {}
                Ok(Attempt::Connected(connected)) => {
                    self.poll.remove(&*socket);
                    *socket = connected;
                    self.connection_is_decided(number);
                }
                // What the first attempt comes to is the answer.
                Err(_) => {}
            }
        }
    }

    fn check(&mut self, number: u32) {
        match self.check_now() {
            Some(which) => self
                .peers
                .set(number, Doing::Checking(which), &self.poll, BUSY),
            None => {
                let status = self.status();
                self.reply(number, &Reply::Status { status }, &[]);
            }
        }
    }

    /// Tells those how it is whose check is over, or never will be.
    pub(super) fn answer_checked(&mut self) {
        let over = self.checked();
        let all = self.peers.all.iter();
        let due = all.filter(|(_, peer)| match peer.doing {
            Doing::Checking(which) => over.is_none_or(|over| which <= over),
            _ => false,
        });
        let due: Vec<u32> = due.map(|(number, _)| *number).collect();
        for number in due {
            let status = self.status();
            self.peers
                .set(number, Doing::Nothing, &self.poll, LISTENING);
            self.reply(number, &Reply::Status { status }, &[]);
        }
    }

    fn watch(&mut self, number: u32) {
        self.peers.set(
            number,
            Doing::Watching(Told::NotTheLast),
            &self.poll,
            LISTENING,
        );
        self.tell(number);
    }

    /// Tells everybody who watches how it is.
    pub(super) fn tell_watchers(&mut self) {
        let watchers = self.peers.all.iter();
        let watchers = watchers.filter(|(_, peer)| matches!(peer.doing, Doing::Watching(_)));
        let watchers: Vec<u32> = watchers.map(|(number, _)| *number).collect();
        for number in watchers {
            self.tell(number);
        }
    }

    /// Tells one watcher. One that does not read is told the last state when it does, and not all between.
    fn tell(&mut self, number: u32) {
        let status = self.status();
        let Some(peer) = self.peers.all.get(&number) else {
            return;
        };
        match keeper_socket::send(peer.socket.as_fd(), &Reply::Status { status }, &[]) {
            Ok(()) => self.told(number, Told::All),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.told(number, Told::NotTheLast)
            }
            Err(_) => self.peers.drop(number),
        }
    }

    fn told(&mut self, number: u32, told: Told) {
        let flags = match told {
            Told::All => LISTENING,
            Told::NotTheLast => LISTENING | EventFlags::OUT,
        };
        self.peers
            .set(number, Doing::Watching(told), &self.poll, flags);
    }

    fn exec(&mut self, number: u32, exec: ExecSpec) {
        let program = match self.sandbox.exec(&self.spec, exec) {
            Ok(program) => program,
            Err(error) => return self.refuse(number, super::sentence(&error)),
        };
        if let Err(error) = self
            .poll
            .add(program.ended(), Source::Program(number), EventFlags::IN)
        {
            program.kill();
            let _ = program.finish();
            return self.refuse(number, error.to_string());
        }
        self.peers
            .set(number, Doing::Running(program), &self.poll, BUSY);
    }

    /// A program that ran for a peer is over.
    pub(super) fn program_ended(&mut self, number: u32) {
        let Some(peer) = self.peers.all.get_mut(&number) else {
            return;
        };
        let Doing::Running(program) = std::mem::replace(&mut peer.doing, Doing::Nothing) else {
            return;
        };
        self.poll.remove(program.ended());
        match program.finish() {
            Executed::Ended(exit) => self.reply(number, &Reply::ExecDone { exit }, &[]),
            Executed::NotRun { message, status } => {
                self.reply(number, &Reply::NotRun { message, status }, &[]);
            }
            Executed::Failed(message) => self.refuse(number, message),
        }
        self.peers
            .set(number, Doing::Nothing, &self.poll, LISTENING);
    }

    /// The last word to all who wait for one.
    pub(super) fn farewell(&mut self) {
        let running = self.peers.all.iter();
        let running = running.filter(|(_, peer)| matches!(peer.doing, Doing::Running(_)));
        let running: Vec<u32> = running.map(|(number, _)| *number).collect();
        for number in running {
            // What ran in the sandbox died with it.
            self.program_ended(number);
        }
        self.tell_watchers();
        let deadline = Instant::now() + FAREWELL;
        let behind: Vec<u32> = self.behind();
        for number in behind {
            if let Some(peer) = self.peers.all.get(&number) {
                wait_for_room(peer.socket.as_fd(), deadline);
            }
            self.tell(number);
        }
    }

    fn behind(&self) -> Vec<u32> {
        let peers = self.peers.all.iter();
        peers
            .filter(|(_, peer)| matches!(&peer.doing, Doing::Watching(told) if *told == Told::NotTheLast))
            .map(|(number, _)| *number)
            .collect()
    }
}

fn wait_for_room(socket: BorrowedFd<'_>, deadline: Instant) {
    let span = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(span).unwrap_or_default();
    let mut polled = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
    let _ = rustix::event::poll(&mut polled, Some(&timeout));
}
