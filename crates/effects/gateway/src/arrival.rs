//! Clients' connections: how they are accepted, dealt out and begun.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;
use ward_types::table::Refusal;

use crate::admission::Seat;
use crate::client;
use crate::connection;
use crate::crew::{Handed, Place};
use crate::mutual::Holder;
use crate::origin;
use crate::tally::Handshake;
use crate::worker::{Phase, Shared, Worker};

/// How long to wait when the process or the machine is out of descriptors.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);

/// How many connections are accepted before others have their turn.
const IN_A_ROW: usize = 16;

/// What is spoken at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speak {
    /// HTTP.
    Plain,
    /// HTTP over TLS.
    Tls,
}

/// A client's connection that was accepted, on its way to the worker that serves it.
pub(crate) struct Arrival {
    stream: StdStream,
    accepted: Accepted,
}

/// What is known of a connection beside itself.
struct Accepted {
    peer: SocketAddr,
    speak: Speak,
    claim: Claim,
}

/// What a connection has of the places for all.
enum Claim {
    /// Its own.
    Seat(Seat),
    /// One for whoever a balancer says that it is of.
    Open(OwnedSemaphorePermit, Place),
}

impl Arrival {
    /// Serves it to its end.
    pub(crate) async fn serve(self, worker: Rc<Worker>) {
        match TcpStream::from_std(self.stream) {
            Ok(stream) => begin(worker, stream, self.accepted).await,
            Err(error) => tracing::error!(%error, "an accepted connection is lost"),
        }
    }
}

/// Accepts what comes at a socket until the process quits.
pub(crate) fn listen(worker: &Rc<Worker>, listener: StdListener, speak: Speak) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    prepare(&listener, worker.limits.stalled);
    let listener = TcpListener::from_std(listener)?;
    worker.shared.accepting.send_modify(|count| *count += 1);
    tokio::task::spawn_local(accept(Rc::clone(worker), listener, speak));
    Ok(())
}

async fn accept(worker: Rc<Worker>, listener: TcpListener, speak: Speak) {
    tokio::select! {
        () = worker.reached(Phase::Quitting) => {}
        () = accept_all(&worker, &listener, speak) => {}
    }
    drop(listener);
    worker.shared.accepting.send_modify(|count| *count -= 1);
}

async fn accept_all(worker: &Rc<Worker>, listener: &TcpListener, speak: Speak) {
    let shared = &worker.shared;
    for count in 1_usize.. {
        // A crowd that comes lets those go between who are there.
        if count.is_multiple_of(IN_A_ROW) {
            tokio::task::yield_now().await;
        }
        // Above the limit nobody is accepted: connections wait in the kernel's queue.
        let Ok(permit) = shared.admission.next().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                continue;
            }
        };
        if shared.memory.is_tight() {
            shared.refusals.count(Refusal::Memory);
            continue;
        }
        let open = shared.admission.open();
        shared.peak.fetch_max(open, Ordering::Relaxed);
        let (number, place) = shared.crew.place(Some(worker.number));
        let claim = match shared.balancers.has(peer.ip()) {
            // Whose it is comes with it.
            true => Claim::Open(permit, place),
            // Closed without a word: one would cost more than the connection did.
            false => match seat_of(shared, permit, peer.ip()) {
                Some(seat) => Claim::Seat(seat.with(place)),
                None => continue,
            },
        };
        let accepted = Accepted { peer, speak, claim };
        if number == worker.number {
            tokio::task::spawn_local(begin(Rc::clone(worker), stream, accepted));
        } else {
            hand_over(worker, number, stream, accepted);
        }
    }
}

/// Hands a connection to another worker; where that has ended it stays here.
fn hand_over(worker: &Rc<Worker>, number: usize, stream: TcpStream, accepted: Accepted) {
    let stream = match stream.into_std() {
        Ok(stream) => stream,
        Err(error) => return tracing::error!(%error, "an accepted connection is lost"),
    };
    let arrival = Handed::Arrival(Arrival { stream, accepted });
    if let Some(Handed::Arrival(arrival)) = worker.shared.crew.hand(number, arrival) {
        tokio::task::spawn_local(arrival.serve(Rc::clone(worker)));
    }
}

/// Serves a connection from what its client says first to its end.
async fn begin(worker: Rc<Worker>, mut stream: TcpStream, accepted: Accepted) {
    let Accepted {
        mut peer,
        speak,
        claim,
    } = accepted;
    let seat = match claim {
        Claim::Seat(seat) => seat,
        Claim::Open(permit, place) => {
            let told = client_of(&worker, &mut stream, peer).await;
            let Some(address) = told else { return };
            peer.set_ip(address);
            let seated = seat_of(&worker.shared, permit, address);
            let Some(seat) = seated else { return };
            seat.with(place)
        }
    };
    match speak {
        Speak::Plain => connection::serve_plain(worker, stream, peer, seat).await,
        Speak::Tls => {
            if let Some((stream, holder)) = handshake(&worker, stream, (&seat, peer)).await {
                connection::serve_tls(worker, stream, (peer, holder), seat).await;
            }
        }
    }
}

fn seat_of(shared: &Shared, permit: OwnedSemaphorePermit, address: IpAddr) -> Option<Seat> {
    shared.admission.seat(permit, address, &shared.refusals)
}

/// Whose connection it is that a balancer passes on.
async fn client_of(worker: &Worker, stream: &mut TcpStream, peer: SocketAddr) -> Option<IpAddr> {
    let told = origin::read(stream, peer.ip(), worker.limits.header_timeout).await;
    told.inspect_err(
        |error| tracing::info!(%peer, %error, "a balancer does not say whose connection it is"),
    )
    .ok()
}

/// Who goes away meanwhile, as one that only looks whether somebody listens, is not worth a line. Of the others not all
/// are: anybody can make them.
fn say(shared: &Shared, peer: SocketAddr, error: &io::Error) {
    let refused = matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::Other
    );
    if refused && shared.failed_handshakes.may_say() {
        tracing::info!(client = %peer, %error, "a TLS handshake failed");
    }
}

async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    (seat, peer): (&Seat, SocketAddr),
) -> Option<(client::Shared<TlsStream<TcpStream>>, Option<Box<Holder>>)> {
    let shared = &worker.shared;
    // Its room is given back when it is over; the connection stays.
    let accepted = Box::pin(shared.tls.accept(stream));
    let within = worker.limits.header_timeout;
    let accepted = shared
        .admission
        .handshake(seat, within, &shared.refusals, accepted)
        .await;
    worker.journal.doorkeeper.shook(match &accepted {
        Some(Ok(_)) => Handshake::Done,
        Some(Err(_)) => Handshake::Failed,
        None => Handshake::Late,
    });
    match accepted? {
        // Put away at once: whatever a task holds it has room for in each of its layers.
        Ok(Some((stream, holder))) => Some((client::Shared::new(stream), holder)),
        Ok(None) => None,
        Err(error) => {
            say(shared, peer, &error);
            None
        }
    }
}

/// A client that vanished without a word is found out, and so is one that takes nothing of what it is sent;
/// small writes are not held back. What is accepted has from its listener what is set here (tcp(7)).
fn prepare(listener: &StdListener, stalled: Duration) {
    use rustix::net::sockopt;
    let _ = sockopt::set_tcp_nodelay(listener, true);
    let _ = sockopt::set_socket_keepalive(listener, true);
    let _ = sockopt::set_tcp_keepidle(listener, Duration::from_secs(60));
    let _ = sockopt::set_tcp_keepintvl(listener, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(listener, 4);
    takes_within(listener, stalled);
}

/// A client that takes nothing for so long is cut. The kernel knows what it has taken; here it is only known what the kernel
/// has.
pub(crate) fn takes_within(socket: impl AsFd, stalled: Duration) {
    let stalled = u32::try_from(stalled.as_millis()).unwrap_or(u32::MAX);
    // One that fails is of a socket that is not there any more.
    let _ = rustix::net::sockopt::set_tcp_user_timeout(socket, stalled);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;
    use std::net::TcpStream as StdStream;

    #[test]
    fn what_is_accepted_has_its_listeners_options() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        prepare(&listener, Duration::from_secs(7));
        let _client = StdStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        assert!(sockopt::tcp_nodelay(&stream).unwrap());
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let seconds = Duration::from_secs;
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), seconds(60));
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), seconds(15));
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), 4);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 7_000);
    }
}
