//! Connections that keepers hand over: an instance's links to services, and its egress.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixListener, UnixStream};
use ward_types::keeper::{LinkHello, LinkTarget};

use crate::admission::Seat;
use crate::arrival::takes_within;
use crate::client;
use crate::connection;
use crate::crew;
use crate::egress::{self, Errand};
use crate::lines::Lines;
use crate::proxy::Entry;
use crate::socket;
use crate::worker::{Phase, Shared, Worker};

const LONGEST_HELLO: usize = 16 * 1024;
/// How long a hand-over may wait while there are too many connections; keepers wait for longer.
const TURN_WITHIN: Duration = Duration::from_secs(2);

/// A connection that was handed over, on its way to the worker that serves it.
pub(crate) struct Handed {
    stream: StdStream,
    hello: LinkHello,
    seat: Seat,
}

impl Handed {
    /// Serves it to its end.
    pub(crate) async fn serve(self, worker: Rc<Worker>) {
        let stream = match TcpStream::from_std(self.stream) {
            Ok(stream) => stream,
            Err(error) => {
                if let Some(errand) = errand(&self.hello) {
                    let lost = format!("the connection was lost on the way: {error}");
                    egress::refused(&worker.shared, errand, &lost);
                }
                return tracing::error!(%error, "a handed-over connection is lost");
            }
        };
        if let Some(errand) = errand(&self.hello) {
            let shared = Arc::clone(&worker.shared);
            return egress::carry(shared, errand, stream, self.seat).await;
        }
        let LinkHello { from, env, target } = self.hello;
        match target {
            LinkTarget::Service { env: to, service } => {
                let entry = Entry::Link {
                    from,
                    guest: (env != to).then_some(env),
                    service: (to, service),
                };
                takes_within(&stream, worker.limits.stalled);
                connection::serve(worker, client::Shared::new(stream), entry, self.seat).await;
            }
            // Served above.
            LinkTarget::Egress { .. } => {}
            // Refused before it was handed over.
            LinkTarget::Keeper { .. } => {}
        }
    }
}

/// Where an instance wants to go, if it is to the outside.
fn errand(hello: &LinkHello) -> Option<Errand> {
    let LinkTarget::Egress { host, port } = &hello.target else {
        return None;
    };
    Some(Errand {
        from: hello.from.clone(),
        env: hello.env.clone(),
        host: host.clone(),
        port: *port,
    })
}

/// Takes connections over until the process quits, and deals them out to the workers.
pub(crate) async fn take_over(listener: UnixListener, shared: Arc<Shared>) {
    while let Some(stream) = socket::accept_own(&listener, &shared.phase, Phase::Quitting).await {
        let shared = Arc::clone(&shared);
        tokio::task::spawn_local(async move {
            if let Err(error) = converse(stream, &shared).await {
                tracing::warn!(%error, "a keeper's hand-over failed");
            }
        });
    }
}

async fn converse(stream: UnixStream, shared: &Arc<Shared>) -> io::Result<()> {
    let mut lines = Lines::new(stream, LONGEST_HELLO);
    loop {
        let received = tokio::select! {
            received = lines.receive::<LinkHello>() => received?,
            () = socket::reached(&shared.phase, Phase::Quitting) => None,
        };
        let Some((hello, descriptors)) = received else {
            return Ok(());
        };
        let (number, handed) = handed(shared, hello, descriptors).await?;
        // Without this byte the keeper asks again, perhaps at the successor. So it goes out before the
        // connection is used: a keeper that has given up must not find two who read from it.
        lines.send_bytes(b"+").await?;
        let back = shared.crew.hand(number, crew::Handed::Link(handed));
        if back.is_some() {
            tracing::error!(
                worker = number,
                "a handed-over connection is lost: its worker has ended"
            );
        }
    }
}

async fn handed(
    shared: &Arc<Shared>,
    hello: LinkHello,
    descriptors: Vec<OwnedFd>,
) -> io::Result<(usize, Handed)> {
    let invalid = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message.to_owned());
    if matches!(hello.target, LinkTarget::Keeper { .. }) {
        return Err(invalid(
            "a link to a keeper does not lead through the gateway",
        ));
    }
    let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors)
        .map_err(|_| invalid("a hand-over without exactly one descriptor"))?;
    let stream = StdStream::from(descriptor);
    stream.set_nonblocking(true)?;
    let _ = stream.set_nodelay(true);
    let seat = tokio::time::timeout(TURN_WITHIN, shared.admission.inner()).await;
    match seat {
        Ok(Some(seat)) => {
            let (number, place) = shared.crew.place(None);
            let handed = Handed {
                stream,
                hello,
                seat: seat.with(place),
            };
            Ok((number, handed))
        }
        _ => {
            let why = "there are too many connections already";
            if let Some(errand) = errand(&hello) {
                egress::refused(shared, errand, why);
            }
            Err(invalid(why))
        }
    }
}
