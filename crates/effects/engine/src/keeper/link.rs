//! Links: listeners inside the instance's network, and where their connections lead.
//!
//! A connection to a database is carried here, byte for byte (`splice`, which copies nothing through this
//! process), so that a gateway's death cuts no database connection. Every other connection is handed to the
//! gateway as a descriptor. Either way a connection whose other side is away for the moment waits for it.

mod carry;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use ward_sandbox::keeper_socket;
use ward_types::id::{EnvId, InstanceId};
use ward_types::keeper::{InstanceSpec, LinkHello, LinkSpec, LinkTarget, Reply, Request};

use super::Error;
use super::instance::REST;
use super::poll::{Poller, Source};
use carry::{Carried, Progress};

/// How long a connection waits for a gateway, or for a database that is being restarted.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one attempt to the next.
const RETRY: Duration = Duration::from_millis(50);
/// How long the other side may take over one attempt.
const ANSWER: Duration = Duration::from_secs(5);
/// How many connections may wait in a listener.
const BACKLOG: i32 = 128;

/// The links of one instance.
pub(super) struct Links {
    from: InstanceId,
    env: EnvId,
    gateway: std::path::PathBuf,
    listeners: Vec<(OwnedFd, LinkSpec)>,
    next: u32,
    open: BTreeMap<u32, Open>,
    /// While there are no descriptors left for new connections.
    closed_until: Option<Instant>,
}

/// A connection through a link.
struct Open {
    link: usize,
    since: Instant,
    stage: Stage,
}

enum Stage {
    /// The other side is away; asked again at that moment.
    Waiting { client: OwnedFd, again: Instant },
    /// The database's keeper was asked for a connection, or the gateway to take this one over.
    Asked {
        client: OwnedFd,
        socket: OwnedFd,
        until: Instant,
    },
    /// Bytes flow.
    Carried(Box<Carried>),
}

impl Links {
    /// Makes the listeners, in the instance's network namespace.
    pub(super) fn listen(spec: &InstanceSpec) -> Result<Self, Error> {
        let mut listeners = Vec::with_capacity(spec.links.len());
        for link in &spec.links {
            let address = SocketAddr::from((link.address, link.port));
            let listener = own(link, &listeners)
                .and_then(|()| listen(address))
                .map_err(|source| Error::Link {
                    host: link.host.clone(),
                    address: address.to_string(),
                    source,
                })?;
            listeners.push((listener, link.clone()));
        }
        Ok(Self {
            from: spec.facts.id.clone(),
            env: spec.facts.env.clone(),
            gateway: spec.gateway_links.clone(),
            listeners,
            next: 0,
            open: BTreeMap::new(),
            closed_until: None,
        })
    }

    /// Waits for connections.
    pub(super) fn watch(&self, poll: &Poller) -> io::Result<()> {
        for (number, (listener, _)) in (0..).zip(&self.listeners) {
            poll.add(listener, Source::LinkListener(number), EventFlags::IN)?;
        }
        Ok(())
    }

    /// When something must be tried again or given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let moments = self.open.values().filter_map(|open| match &open.stage {
            Stage::Waiting { again, .. } => Some(*again),
            Stage::Asked { until, .. } => Some(*until),
            Stage::Carried(_) => None,
        });
        moments.chain(self.closed_until).min()
    }

    /// Takes the connections that wait at a listener.
    pub(super) fn accept(&mut self, number: u32, poll: &Poller) {
        let link = number as usize;
        while let Some((listener, _)) = self.listeners.get(link) {
            match accept(listener) {
                Ok(client) => {
                    let number = self.free_number();
                    self.ask(number, link, client, Instant::now(), poll);
                }
                Err(Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return,
                // No descriptors left. Those who wait stay in the queue; without a rest the loop would spin on them.
                Err(_) => {
                    self.wait_for_connections(poll, EventFlags::empty());
                    self.closed_until = Some(Instant::now() + REST);
                    return;
                }
            }
        }
    }

    fn wait_for_connections(&self, poll: &Poller, flags: EventFlags) {
        for (number, (listener, _)) in (0..).zip(&self.listeners) {
            // It was added when the instance began, so that there is nothing that could fail.
            let _ = poll.change(listener, Source::LinkListener(number), flags);
        }
    }

    /// Each connection has two ends, and each end a number.
    fn free_number(&mut self) -> u32 {
        loop {
            let number = self.next;
            self.next = self.next.wrapping_add(2);
            if !self.open.contains_key(&number) {
                return number;
            }
        }
    }

    /// Asks the other side. An error puts it off, until patience ends.
    fn ask(&mut self, number: u32, link: usize, client: OwnedFd, since: Instant, poll: &Poller) {
        let now = Instant::now();
        let asked = self.asking(link, &client).and_then(|socket| {
            poll.add(&socket, Source::Link(number), EventFlags::IN)?;
            Ok(socket)
        });
        let stage = match asked {
            Ok(socket) => Stage::Asked {
                client,
                socket,
                until: now + ANSWER,
            },
            Err(_away) => Stage::Waiting {
                client,
                again: now + RETRY,
            },
        };
        self.open.insert(number, Open { link, since, stage });
    }

    fn asking(&self, link: usize, client: &OwnedFd) -> io::Result<OwnedFd> {
        let target = self.listeners.get(link).map(|(_, spec)| &spec.target);
        match target.ok_or(io::ErrorKind::NotFound)? {
            LinkTarget::Keeper { dir, port } => {
                let socket = keeper_socket::connect_nonblocking(dir)?;
                keeper_socket::send(socket.as_fd(), &Request::Connect { port: *port }, &[])?;
                Ok(socket)
            }
            target @ (LinkTarget::Service { .. } | LinkTarget::Egress { .. }) => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = keeper_socket::connect_stream(&self.gateway, flags)?;
                let mut line = serde_json::to_vec(&LinkHello {
                    from: self.from.clone(),
                    env: self.env.clone(),
                    target: target.clone(),
                })?;
                line.push(b'\n');
                keeper_socket::send_packet(socket.as_fd(), &line, &[client.as_fd()])?;
                Ok(socket)
            }
        }
    }

    /// Something happened at an end of a connection.
    pub(super) fn is_ready(&mut self, end: u32, poll: &Poller) {
        let number = end & !1;
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        match open.stage {
            Stage::Asked { client, socket, .. } => {
                poll.remove(&socket);
                let again = self.answered(number, open.link, open.since, &client, &socket, poll);
                if again == Outcome::Again {
                    self.put_off(number, open.link, open.since, client);
                }
            }
            Stage::Carried(mut carried) => {
                if carried.pump(number, poll) == Progress::Open {
                    let stage = Stage::Carried(carried);
                    self.open.insert(number, Open { stage, ..open });
                }
            }
            waiting @ Stage::Waiting { .. } => {
                let stage = waiting;
                self.open.insert(number, Open { stage, ..open });
            }
        }
    }

    fn answered(
        &mut self,
        number: u32,
        link: usize,
        since: Instant,
        client: &OwnedFd,
        socket: &OwnedFd,
        poll: &Poller,
    ) -> Outcome {
        let to_keeper = matches!(
            self.listeners.get(link).map(|(_, spec)| &spec.target),
            Some(LinkTarget::Keeper { .. })
        );
        if !to_keeper {
            let mut taken = [0; 1];
            // `+`: the gateway has the connection now, and this process lets it go.
            return match rustix::io::read(socket, &mut taken) {
                Ok(1) if taken == *b"+" => Outcome::Settled,
                _ => Outcome::Again,
            };
        }
        let Ok(Some((Reply::Connected, mut descriptors))) =
            keeper_socket::recv::<Reply>(socket.as_fd())
        else {
            return Outcome::Again;
        };
        let (Some(server), Ok(client)) = (descriptors.pop(), client.try_clone()) else {
            return Outcome::Again;
        };
        match Carried::begin(client, server, number, poll) {
            Ok(carried) => {
                let stage = Stage::Carried(Box::new(carried));
                self.open.insert(number, Open { link, since, stage });
                Outcome::Settled
            }
            Err(_) => Outcome::Settled, // No descriptors left: the connection closes, which the client sees.
        }
    }

    fn put_off(&mut self, number: u32, link: usize, since: Instant, client: OwnedFd) {
        let again = Instant::now() + RETRY;
        let stage = Stage::Waiting { client, again };
        self.open.insert(number, Open { link, since, stage });
    }

    /// Asks again where the other side was away, and lets go where that lasted too long.
    pub(super) fn on_time(&mut self, poll: &Poller, now: Instant) {
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            self.wait_for_connections(poll, EventFlags::IN);
        }
        let due: Vec<u32> = self
            .open
            .iter()
            .filter(|(_, open)| match &open.stage {
                Stage::Waiting { again, .. } => *again <= now,
                Stage::Asked { until, .. } => *until <= now,
                Stage::Carried(_) => false,
            })
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            let Some(open) = self.open.remove(&number) else {
                continue;
            };
            let client = match open.stage {
                Stage::Waiting { client, .. } => client,
                Stage::Asked { client, socket, .. } => {
                    poll.remove(&socket);
                    client
                }
                Stage::Carried(_) => continue,
            };
            if now.duration_since(open.since) < PATIENCE {
                self.ask(number, open.link, client, open.since, poll);
            }
        }
    }
}

/// Whether a connection needs its other side to be asked again.
#[derive(PartialEq, Eq)]
enum Outcome {
    Settled,
    Again,
}

/// Makes the link's address the instance's own, unless it is one of loopback's or was made before.
fn own(link: &LinkSpec, before: &[(OwnedFd, LinkSpec)]) -> io::Result<()> {
    let known = before
        .iter()
        .any(|(_, other)| other.address == link.address);
    if link.address.is_loopback() || known {
        return Ok(());
    }
    ward_sandbox::add_address(
        u32::try_from(before.len()).unwrap_or(u32::MAX),
        link.address,
    )
}

fn listen(address: SocketAddr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn accept(listener: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = rustix::io::retry_on_intr(|| rustix::net::accept_with(listener, flags))?;
    let _ = rustix::net::sockopt::set_tcp_nodelay(&client, true);
    Ok(client)
}
