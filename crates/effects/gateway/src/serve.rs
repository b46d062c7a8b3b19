//! The gateway's side of the control socket.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc, watch};
use ward_types::table::{Answer, Applied, GatewayReply, GatewayRequest, Version};
use ward_types::time::Millis;

use crate::control::LONGEST_LINE;
use crate::lines::{self, Lines};
use crate::metrics;
use crate::offer::{ChangeError, Offer};
use crate::routes::{Routes, Routing};
use crate::socket;
use crate::table_file::{self, Stored};
use crate::worker::{Listeners, Phase, Shared};

/// How lines begin that ask for a table to be put in force, as every server writes them.
const APPLY: &[u8] = br#"{"ask":"apply","#;
const CHANGE: &[u8] = br#"{"ask":"change","#;
/// How often it is looked whether a table that is not in force any more is still used.
const RETIRED: Duration = Duration::from_millis(100);

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
    /// Tables are applied one after the other. What was stored, where it is known: it can be changed.
    pub(crate) applying: Mutex<Option<Stored>>,
    /// How many who asked it to quit have no answer yet.
    pub(crate) unanswered: watch::Sender<usize>,
}

/// Somebody who asked it to quit, until there is an answer.
struct Unanswered<'a>(&'a watch::Sender<usize>);

impl<'a> Unanswered<'a> {
    fn new(all: &'a watch::Sender<usize>) -> Self {
        all.send_modify(|count| *count += 1);
        Self(all)
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
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
                received = lines.receive_line() => received?,
                // Whoever asks from now on should ask the successor.
                () = socket::reached(&self.shared.phase, end) => None,
            };
            let Some((line, _)) = received else {
                return Ok(());
            };
            // A table can be large: it is read where nobody waits for it.
            let request = match line.starts_with(APPLY) || line.starts_with(CHANGE) {
                true => None,
                false => Some(lines::understand::<GatewayRequest>(&line)?),
            };
            match request {
                None | Some(GatewayRequest::Apply { .. } | GatewayRequest::Change { .. }) => {
                    let reply = self.apply(line).await?;
                    lines.send(&reply, &[]).await?;
                }
                Some(request) => self.answer(request, &mut lines).await?,
            }
        }
    }

    async fn answer(&self, request: GatewayRequest, lines: &mut Lines) -> io::Result<()> {
        if request == GatewayRequest::Listeners {
            self.store_whole().await;
        }
        let both = [self.listeners.http.as_fd(), self.listeners.https.as_fd()];
        let metrics: Vec<_> = self.listeners.metrics.iter().map(AsFd::as_fd).collect();
        let descriptors = match &request {
            GatewayRequest::Listeners => &both[..],
            GatewayRequest::MetricsListener => &metrics,
            _ => &[],
        };
        let quits = matches!(request, GatewayRequest::Quit { .. });
        let _unanswered = quits.then(|| Unanswered::new(&self.unanswered));
        let reply = self.handle(request).await;
        let reply = reply.unwrap_or_else(|message| GatewayReply::Refused { message });
        lines.send(&reply, descriptors).await
    }

    fn observe(&self) -> GatewayReply {
        GatewayReply::Observed {
            observed: self.shared.observe(),
        }
    }

    fn observe_beside(&self, known: Version) -> Option<GatewayReply> {
        let observed = self.shared.routing.observe_beside(known)?;
        Some(GatewayReply::Unchanged {
            observed: self.shared.complete(observed),
        })
    }

    async fn handle(&self, request: GatewayRequest) -> Result<GatewayReply, String> {
        match request {
            GatewayRequest::Observe { known: Some(known) } => {
                return Ok(self.observe_beside(known).unwrap_or_else(|| self.observe()));
            }
            GatewayRequest::Apply { .. }
            | GatewayRequest::Change { .. }
            | GatewayRequest::Observe { known: None }
            | GatewayRequest::Listeners
            | GatewayRequest::MetricsListener => {}
            GatewayRequest::Calls { known, unable } => {
                // Whoever asks should hear of the successor soon, and of what is still held here.
                let leaves = socket::reached(&self.shared.phase, Phase::Quitting);
                self.shared.calls.refuse(&unable);
                let calls = self.shared.calls.beside(&known, &unable, leaves).await;
                return Ok(GatewayReply::Called { calls });
            }
            GatewayRequest::Tally => {
                let tally = metrics::tally(&self.shared);
                return Ok(GatewayReply::Tallied { tally });
            }
            GatewayRequest::Handover => {
                return Ok(GatewayReply::Handover {
                    handover: self.shared.tls.handover(),
                });
            }
            GatewayRequest::Challenges { challenges } => {
                self.shared.tls.challenges.set(challenges)?;
            }
            GatewayRequest::Cut { env, instance } => self.shared.routing.cut(&env, &instance)?,
            GatewayRequest::Quit { grace } => {
                let _ = self.quit.send(grace);
                let mut accepting = self.shared.accepting.subscribe();
                let _ = accepting.wait_for(|count| *count == 0).await;
            }
        }
        Ok(self.observe())
    }

    /// Puts a table in force, on a thread of its own: whoever else asks here is answered meanwhile, and so are
    /// links.
    async fn apply(&self, line: Vec<u8>) -> io::Result<GatewayReply> {
        let mut turn = self.applying.lock().await;
        let (shared, folder, stored) = (Arc::clone(&self.shared), self.folder.clone(), turn.take());
        let applying = tokio::task::spawn_blocking(move || {
            let mut stored = stored;
            let applied = apply(&shared, &folder, &mut stored, &line);
            (stored, applied)
        });
        let (stored, applied) = applying.await.map_err(io::Error::other)?;
        *turn = stored;
        let (answer, before) = match applied {
            Ok(applied) => applied,
            Err(Refused::Unreadable(error)) => return Err(error),
            Err(Refused::Because(message)) => return Ok(GatewayReply::Refused { message }),
        };
        if let Some(before) = before {
            tokio::task::spawn_local(retire(before));
        }
        Ok(match answer {
            Answer::Whole => self.observe(),
            Answer::Brief => GatewayReply::Applied {
                applied: Applied {
                    pid: std::process::id(),
                    table: self.shared.routing.current().table,
                },
            },
        })
    }
}

impl Desk {
    /// Whoever asks for the sockets may start a gateway of a version that knows no changes, which begins with the table
    /// that it finds.
    async fn store_whole(&self) {
        let mut stored = self.applying.lock().await;
        // A successor may have stored another one; what follows is stored whole then.
        let is_successors = *self.shared.phase.borrow() >= Phase::Quitting;
        if is_successors || !stored.as_ref().is_some_and(Stored::is_changed) {
            return;
        }
        let (shared, folder) = (Arc::clone(&self.shared), self.folder.clone());
        let storing = tokio::task::spawn_blocking(move || {
            table_file::store(&folder, shared.routing.text().as_bytes())
        });
        match storing.await {
            Ok(Ok(whole)) => *stored = whole,
            Ok(Err(error)) => tracing::warn!(%error, "the routing table is not stored whole"),
            Err(error) => tracing::warn!(%error, "the routing table is not stored whole"),
        }
    }
}

/// A line that asks for a table to be put in force, or for a change of the one in force.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(default)]
    answer: Answer,
    #[serde(borrow, default)]
    table: Option<&'a RawValue>,
    #[serde(borrow, default)]
    change: Option<&'a RawValue>,
}

enum Refused {
    Unreadable(io::Error),
    Because(String),
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unreadable(error) => Self::Unreadable(error.into()),
            error => Self::Because(error.to_string()),
        }
    }
}

/// What came, as it is stored.
enum Text<'a> {
    /// A table.
    Whole(&'a str),
    /// What changes in the one in force.
    Change(&'a str),
}

impl<'a> Text<'a> {
    fn of(asked: &Asked<'a>) -> io::Result<Self> {
        match (asked.table, asked.change) {
            (Some(table), None) => Ok(Self::Whole(table.get())),
            (None, Some(change)) => Ok(Self::Change(change.get())),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn read(&self, routing: &Routing) -> Result<Offer, ChangeError> {
        match self {
            Self::Whole(text) => Ok(routing.read(text.as_bytes())?),
            Self::Change(text) => routing.read_change(text),
        }
    }

    /// Stores it, and with it what it makes of the table before where it cannot stand behind that.
    fn store(&self, folder: &Path, stored: &mut Option<Stored>, offer: &Offer) -> io::Result<()> {
        let change = |stored: &mut Stored, text: &str| stored.change(folder, text);
        *stored = match self {
            Self::Whole(text) => table_file::store(folder, text.as_bytes())?,
            Self::Change(text) => match stored.as_mut().map(|stored| change(stored, text)) {
                Some(Ok(true)) => return Ok(()),
                Some(Ok(false)) | None => table_file::store(folder, offer.text().as_bytes())?,
                Some(Err(error)) => return Err(error),
            },
        };
        Ok(())
    }
}

/// Reads, checks, stores and swaps; the table before, where there is another one now. On disk first: an
/// acknowledged table must be the one that a restarted gateway begins with.
fn apply(
    shared: &Shared,
    folder: &Path,
    stored: &mut Option<Stored>,
    line: &[u8],
) -> Result<(Answer, Option<Arc<Routes>>), Refused> {
    let asked: Asked<'_> = lines::understand(line).map_err(Refused::Unreadable)?;
    let text = Text::of(&asked).map_err(Refused::Unreadable)?;
    if *shared.phase.borrow() >= Phase::Quitting {
        // The file belongs to the successor.
        let message = "this gateway is quitting; ask its successor".to_owned();
        return Err(Refused::Because(message));
    }
    let routing = &shared.routing;
    let offer = text.read(routing)?;
    let changed = routing.check(&offer);
    if !changed.map_err(|error| Refused::Because(error.to_string()))? {
        return Ok((asked.answer, None));
    }
    let kept = text.store(folder, stored, &offer);
    kept.map_err(|error| Refused::Because(format!("the table cannot be stored: {error}")))?;
    if !routing.leads_as_before(&offer) {
        // A new host's first handshake must find its certificate.
        shared.tls.prepare(offer.pools());
    }
    match routing.swap(offer) {
        Some(before) => Ok((asked.answer, Some(before))),
        None => Err(Refused::Because(
            "a newer table came into force meanwhile".to_owned(),
        )),
    }
}

/// Keeps a table that is not in force any more until no worker looks at it, so that none of them frees it.
async fn retire(mut table: Arc<Routes>) {
    loop {
        tokio::time::sleep(RETIRED).await;
        match Arc::try_unwrap(table) {
            Ok(routes) => return drop(tokio::task::spawn_blocking(move || drop(routes)).await),
            Err(used) => table = used,
        }
    }
}
