//! The gateway's side of the control socket.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use ward_types::table::{GatewayReply, GatewayRequest, Table};
use ward_types::time::Millis;

use crate::control::LONGEST_LINE;
use crate::lines::Lines;
use crate::metrics;
use crate::socket;
use crate::table_file;
use crate::worker::{Listeners, Phase, Shared};

/// Answers on the control socket.
pub(crate) struct Desk {
    /// What all workers share.
    pub(crate) shared: Arc<Shared>,
    /// The gateway's folder.
    pub(crate) folder: PathBuf,
    /// The listening sockets, to be handed out.
    pub(crate) listeners: Listeners,
    /// Told when to quit, and within what time.
    pub(crate) quit: mpsc::UnboundedSender<Millis>,
    /// Tables are applied one after the other.
    pub(crate) applying: Mutex<()>,
}

/// Accepts until the process has come as far as `end`: the control socket is the successor's once this one
/// quits, the one of a gateway that leaves is its own to the last.
pub(crate) async fn accept(desk: Rc<Desk>, listener: UnixListener, end: Phase) {
    while let Some(stream) = socket::accept_own(&listener, &desk.shared.phase, end).await {
        let desk = Rc::clone(&desk);
        tokio::task::spawn_local(async move {
            if let Err(error) = desk.converse(stream, end).await {
                tracing::warn!(%error, "a control connection ended badly");
            }
        });
    }
}

impl Desk {
    async fn converse(&self, stream: UnixStream, end: Phase) -> io::Result<()> {
        let mut lines = Lines::new(stream, LONGEST_LINE);
        loop {
            let received = tokio::select! {
                biased;
                received = lines.receive::<GatewayRequest>() => received?,
                // Whoever asks from now on should ask the successor.
                () = socket::reached(&self.shared.phase, end) => None,
            };
            let Some((request, _)) = received else {
                return Ok(());
            };
            let both = [self.listeners.http.as_fd(), self.listeners.https.as_fd()];
            let metrics: Vec<_> = self.listeners.metrics.iter().map(AsFd::as_fd).collect();
            let descriptors = match &request {
                GatewayRequest::Listeners => &both[..],
                GatewayRequest::MetricsListener => &metrics,
                _ => &[],
            };
            let reply = match request {
                GatewayRequest::Tally => GatewayReply::Tallied {
                    tally: metrics::tally(&self.shared),
                },
                GatewayRequest::Handover => GatewayReply::Handover {
                    handover: self.shared.tls.handover(),
                },
                request => match self.handle(request).await {
                    Ok(()) => GatewayReply::Observed {
                        observed: self.shared.observe(),
                    },
                    Err(message) => GatewayReply::Refused { message },
                },
            };
            lines.send(&reply, descriptors).await?;
        }
    }

    async fn handle(&self, request: GatewayRequest) -> Result<(), String> {
        match request {
            GatewayRequest::Apply { table } => self.apply(table).await,
            GatewayRequest::Observe
            | GatewayRequest::Listeners
            | GatewayRequest::MetricsListener
            | GatewayRequest::Tally
            | GatewayRequest::Handover => Ok(()),
            GatewayRequest::Challenges { challenges } => self.shared.tls.challenges.set(challenges),
            GatewayRequest::Cut { env, instance } => self.shared.routing.cut(&env, &instance),
            GatewayRequest::Quit { grace } => {
                let _ = self.quit.send(grace);
                let mut accepting = self.shared.accepting.subscribe();
                let _ = accepting.wait_for(|count| *count == 0).await;
                Ok(())
            }
        }
    }

    /// On disk first: an acknowledged table must be the one that a restarted gateway begins with.
    async fn apply(&self, table: Table) -> Result<(), String> {
        let _turn = self.applying.lock().await;
        if *self.shared.phase.borrow() >= Phase::Quitting {
            // The file belongs to the successor.
            return Err("this gateway is quitting; ask its successor".to_owned());
        }
        let changed = self.shared.routing.check(&table);
        if !changed.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let (folder, stored) = (self.folder.clone(), table.clone());
        let shared = Arc::clone(&self.shared);
        let storing = tokio::task::spawn_blocking(move || {
            table_file::store(&folder, &stored)?;
            // A new host's first handshake must find its certificate.
            shared.tls.prepare(&stored);
            Ok::<_, io::Error>(())
        });
        match storing.await {
            Ok(Ok(())) => self.shared.routing.swap(table),
            Ok(Err(error)) => return Err(format!("the table cannot be stored: {error}")),
            Err(error) => return Err(format!("the table cannot be stored: {error}")),
        }
        Ok(())
    }
}
