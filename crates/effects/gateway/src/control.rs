//! The server's side of the control socket.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as BlockingMutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use ward_types::id::{EnvId, InstanceId};
use ward_types::table::{
    Answer, Applied, Call, Challenge, GatewayObserved, GatewayReply, GatewayRequest, Handover,
    Table, TableChange, Version,
};
use ward_types::tally::GatewayTally;
use ward_types::time::Millis;

use crate::lines::Lines;

/// The longest line on the control socket, in bytes: room for a table of a hundred thousand instances.
pub(crate) const LONGEST_LINE: usize = 32 << 20;

/// How long a gateway may take to answer. It answers from memory; only tables are written to files.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const TIMED_OUT: io::ErrorKind = io::ErrorKind::TimedOut;

/// Why the gateway did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nothing listens on the control socket: no gateway runs.
    #[error("no gateway answers on {path}")]
    Absent {
        /// The control socket.
        path: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the answer was not understood.
    #[error("the gateway did not answer on {path}; gateway.log in the state folder may say why")]
    Broken {
        /// The control socket.
        path: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The gateway says no.
    #[error("the gateway refused: {0}")]
    Refused(String),
}

/// A client of the gateway's control socket. Cheap to clone; it connects when needed, one request at a
/// time, and any call may be dropped halfway.
#[derive(Clone)]
pub struct Control {
    path: PathBuf,
    /// Taken out while a request is under way, so that a dropped call leaves no half-read answer behind.
    connection: Arc<Mutex<Option<Lines>>>,
    heard: Arc<BlockingMutex<Heard>>,
}

/// What was heard of the gateway last.
#[derive(Default)]
struct Heard {
    /// The table that was in force: it need not be sent again.
    table: Option<Arc<Table>>,
    pid: u32,
    /// The process that took a table, and had not understood what changes in it.
    knows_no_changes: Option<u32>,
}

impl Control {
    /// The gateway of the state folder `home`, whether it runs or not.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self {
            path: crate::control_socket(home),
            connection: Arc::default(),
            heard: Arc::default(),
        }
    }

    /// Another connection to the same gateway: what was heard on one is known on the other.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self {
            path: self.path.clone(),
            connection: Arc::default(),
            heard: Arc::clone(&self.heard),
        }
    }

    /// The gateways of the state folder `home` that were replaced and finish what they have begun: each can
    /// be observed, asked to cut, and to quit sooner.
    #[must_use]
    pub fn leaving(home: &Path) -> Vec<Self> {
        let items = std::fs::read_dir(crate::folder(home)).into_iter().flatten();
        let paths = items.flatten().map(|item| item.path());
        let of_one = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(crate::is_leaving_socket)
        };
        let controls = paths.filter(of_one).map(|path| Self {
            path,
            connection: Arc::default(),
            heard: Arc::default(),
        });
        controls.collect()
    }

    /// Where its socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket of a gateway that leaves and is gone: one that was killed could not.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Puts a table in force. When this returns, no new request goes to an instance that it does not name,
    /// and a restarted gateway begins with it. The same table again changes nothing.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when a newer table is in force (its generation is in the message), when
    /// another table of the same generation is, or when two pools claim one host.
    pub async fn apply(&self, table: Table) -> Result<Applied, ControlError> {
        let version = table.version();
        let request = GatewayRequest::Apply {
            answer: Answer::Brief,
            table,
        };
        let applied = match self.answer(&request).await?.0 {
            GatewayReply::Applied { applied } => applied,
            // One that knows no brief answers.
            GatewayReply::Observed { observed } => Applied {
                pid: observed.pid,
                table: observed.table.version(),
            },
            _ => return Err(self.broken(io::ErrorKind::InvalidData.into())),
        };
        if let GatewayRequest::Apply { table, .. } = request
            && applied.table == version
        {
            self.remember(table, applied.pid);
        }
        Ok(applied)
    }

    /// The same with a table that is the one before with one change: where the gateway has that one, the change is all
    /// that it is sent.
    ///
    /// # Errors
    /// As [`Control::apply`].
    pub async fn change(&self, change: TableChange, table: Table) -> Result<Applied, ControlError> {
        if !self.takes_change_of(change.from) {
            return self.apply(table).await;
        }
        let (answer, asked) = (Answer::Brief, self.heard().pid);
        let request = GatewayRequest::Change { answer, change };
        match self.answer(&request).await {
            Ok((GatewayReply::Applied { applied }, _)) if applied.table == table.version() => {
                self.remember(table, applied.pid);
                Ok(applied)
            }
            // Whoever does not answer would not answer this either.
            Err(ControlError::Broken { path, source }) if source.kind() == TIMED_OUT => {
                Err(ControlError::Broken { path, source })
            }
            // One of a version that does not understand.
            Err(ControlError::Broken { .. }) => {
                let applied = self.apply(table).await?;
                if applied.pid == asked {
                    self.heard().knows_no_changes = Some(asked);
                }
                Ok(applied)
            }
            // It has another table, or one that nobody has checked.
            _ => self.apply(table).await,
        }
    }

    fn takes_change_of(&self, version: Version) -> bool {
        let heard = self.heard();
        let table = heard.table.as_ref();
        table.is_some_and(|table| table.version() == version)
            && heard.knows_no_changes != Some(heard.pid)
    }

    /// What the gateway sees.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn observe(&self) -> Result<GatewayObserved, ControlError> {
        let known = self.remembered();
        let request = GatewayRequest::Observe {
            known: known.as_ref().map(|table| table.version()),
        };
        match (self.answer(&request).await?.0, known) {
            (GatewayReply::Observed { observed }, _) => {
                self.remember(observed.table.clone(), observed.pid);
                Ok(observed)
            }
            (GatewayReply::Unchanged { observed }, Some(known)) => Ok(GatewayObserved {
                table: Table::clone(&known),
                ..observed
            }),
            _ => Err(self.broken(io::ErrorKind::InvalidData.into())),
        }
    }

    fn remembered(&self) -> Option<Arc<Table>> {
        self.heard().table.clone()
    }

    fn remember(&self, table: Table, pid: u32) {
        let table = Some(Arc::new(table));
        let mut heard = self.heard();
        (heard.table, heard.pid) = (table, pid);
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what still runs on an instance that is out of rotation.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when the table in force names the instance.
    pub async fn cut(
        &self,
        env: EnvId,
        instance: InstanceId,
    ) -> Result<GatewayObserved, ControlError> {
        self.ask(GatewayRequest::Cut { env, instance }).await
    }

    /// Duplicates of the listening sockets, HTTP and HTTPS.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn listeners(&self) -> Result<(TcpListener, TcpListener), ControlError> {
        let (_, descriptors) = self.exchange(GatewayRequest::Listeners).await?;
        let sockets = <[OwnedFd; 2]>::try_from(descriptors);
        let [http, https] = sockets.map_err(|got| {
            let message = format!("{} descriptors came instead of two", got.len());
            self.broken(io::Error::new(io::ErrorKind::InvalidData, message))
        })?;
        Ok((http.into(), https.into()))
    }

    /// A duplicate of the operators' listening socket; `None` where the gateway was given none.
    ///
    /// # Errors
    /// [`ControlError`]; a gateway of an older version does not understand the question.
    pub async fn metrics_listener(&self) -> Result<Option<TcpListener>, ControlError> {
        let (_, descriptors) = self.exchange(GatewayRequest::MetricsListener).await?;
        Ok(descriptors.into_iter().next().map(TcpListener::from))
    }

    /// The environments that sleep and for which requests are held: as soon as there is one beside `known`, or after a
    /// few seconds. What is held for those that are `unable` to wake is refused at once, and who asks after that is
    /// told anew, although they are known. For a connection of its own, because nothing else is asked meanwhile.
    ///
    /// # Errors
    /// [`ControlError`]; a gateway of an older version does not understand the question.
    pub async fn calls(
        &self,
        known: Vec<Call>,
        unable: Vec<Call>,
    ) -> Result<Vec<Call>, ControlError> {
        let request = GatewayRequest::Calls { known, unable };
        match self.answer(&request).await?.0 {
            GatewayReply::Called { calls } => Ok(calls),
            _ => Err(self.broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// What the gateway has counted since it began.
    ///
    /// # Errors
    /// [`ControlError`]; a gateway of an older version does not understand the question.
    pub async fn tally(&self) -> Result<GatewayTally, ControlError> {
        match self.answer(&GatewayRequest::Tally).await?.0 {
            GatewayReply::Tallied { tally } => Ok(tally),
            _ => Err(self.broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Lets it answer these challenges of ACME and no others.
    ///
    /// # Errors
    /// [`ControlError`]; a gateway of an older version does not understand the question.
    pub async fn challenge(
        &self,
        challenges: Vec<Challenge>,
    ) -> Result<GatewayObserved, ControlError> {
        self.ask(GatewayRequest::Challenges { challenges }).await
    }

    /// What it has in memory alone, for the gateway that takes over.
    ///
    /// # Errors
    /// [`ControlError`]; a gateway of an older version does not understand the question.
    pub(crate) async fn handover(&self) -> Result<Handover, ControlError> {
        match self.answer(&GatewayRequest::Handover).await?.0 {
            GatewayReply::Handover { handover } => Ok(handover),
            _ => Err(self.broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Asks the gateway to stop accepting, finish what is under way within `grace`, and exit. This returns
    /// when it has stopped accepting; the process ends later, and follows the tables that its successor
    /// stores until then.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn quit(&self, grace: Millis) -> Result<GatewayObserved, ControlError> {
        let observed = self.ask(GatewayRequest::Quit { grace }).await;
        // The next call is for the successor.
        self.connection.lock().await.take();
        observed
    }

    /// The process that listens on the control socket, whether it answers or not; `None` when none does.
    #[must_use]
    pub fn listener(&self) -> Option<u32> {
        use rustix::net::{SocketFlags, sockopt::socket_peercred};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = ward_sandbox::keeper_socket::connect_stream(&self.path, flags).ok()?;
        let pid = socket_peercred(&socket).ok()?.pid;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    async fn ask(&self, request: GatewayRequest) -> Result<GatewayObserved, ControlError> {
        Ok(self.exchange(request).await?.0)
    }

    async fn exchange(
        &self,
        request: GatewayRequest,
    ) -> Result<(GatewayObserved, Vec<OwnedFd>), ControlError> {
        match self.answer(&request).await? {
            (GatewayReply::Observed { observed }, descriptors) => Ok((observed, descriptors)),
            _ => Err(self.broken(io::ErrorKind::InvalidData.into())),
        }
    }

    async fn answer(
        &self,
        request: &GatewayRequest,
    ) -> Result<(GatewayReply, Vec<OwnedFd>), ControlError> {
        let mut slot = self.connection.lock().await;
        // A kept connection may belong to a gateway that is gone. Every request may be repeated, so the
        // second try goes to whoever listens now.
        if let Some(lines) = slot.take()
            && let Ok((lines, reply, descriptors)) = converse(lines, request).await
        {
            *slot = Some(lines);
            return understood(reply, descriptors);
        }
        let fresh = Lines::connect(&self.path, LONGEST_LINE);
        let fresh = fresh.map_err(|source| self.unreached(source))?;
        let answer = converse(fresh, request).await;
        let (lines, reply, descriptors) = answer.map_err(|source| self.broken(source))?;
        *slot = Some(lines);
        understood(reply, descriptors)
    }

    fn unreached(&self, source: io::Error) -> ControlError {
        // Somebody listens whose queue is full.
        if source.kind() == io::ErrorKind::WouldBlock {
            return self.broken(source);
        }
        ControlError::Absent {
            path: self.path.display().to_string(),
            source,
        }
    }

    fn broken(&self, source: io::Error) -> ControlError {
        ControlError::Broken {
            path: self.path.display().to_string(),
            source,
        }
    }
}

async fn converse(
    mut lines: Lines,
    request: &GatewayRequest,
) -> io::Result<(Lines, GatewayReply, Vec<OwnedFd>)> {
    let exchange = async {
        lines.send(request, &[]).await?;
        let reply = lines.receive::<GatewayReply>().await?;
        reply.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, exchange).await;
    let late = |_| Err(io::Error::from(TIMED_OUT));
    let (reply, descriptors) = answer.unwrap_or_else(late)?;
    Ok((lines, reply, descriptors))
}

fn understood(
    reply: GatewayReply,
    descriptors: Vec<OwnedFd>,
) -> Result<(GatewayReply, Vec<OwnedFd>), ControlError> {
    match reply {
        GatewayReply::Refused { message } => Err(ControlError::Refused(message)),
        answer => Ok((answer, descriptors)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::Generation;

    #[tokio::test]
    async fn one_whose_queue_is_full_is_there() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
        let home = tempfile::tempdir().unwrap();
        let control = Control::new(home.path());
        assert_eq!(control.listener(), None);
        assert!(matches!(
            control.observe().await,
            Err(ControlError::Absent { .. })
        ));
        std::fs::create_dir(crate::folder(home.path())).unwrap();
        let address = SocketAddrUnix::new(&control.path).unwrap();
        let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 0).unwrap();
        assert_eq!(control.listener(), Some(std::process::id()));
        // That connection waits there for ever, and there is room for no other.
        assert!(matches!(
            control.observe().await,
            Err(ControlError::Broken { .. })
        ));
        assert_eq!(control.listener(), None);
    }

    /// A gateway of a version that knows no changes: it closes the connection on which it was told one. Which tables it
    /// took, and how often it did not understand.
    async fn older(listener: tokio::net::UnixListener) -> (Vec<u64>, usize) {
        let (mut applied, mut nonsense) = (Vec::new(), 0);
        while let Ok((stream, _)) = listener.accept().await {
            let mut lines = Lines::new(stream, LONGEST_LINE);
            while let Ok(Some((line, _))) = lines.receive_line().await {
                let Ok(GatewayRequest::Apply { table, .. }) = crate::lines::understand(&line)
                else {
                    nonsense += 1;
                    break;
                };
                applied.push(table.generation.0);
                let applied = Applied {
                    pid: 1,
                    table: table.version(),
                };
                lines
                    .send(&GatewayReply::Applied { applied }, &[])
                    .await
                    .unwrap();
            }
            if applied.len() == 4 {
                break;
            }
        }
        (applied, nonsense)
    }

    #[tokio::test]
    async fn one_that_knows_no_changes_has_its_tables_whole() {
        let home = tempfile::tempdir().unwrap();
        let control = Control::new(home.path());
        std::fs::create_dir(crate::folder(home.path())).unwrap();
        let listener = tokio::net::UnixListener::bind(&control.path).unwrap();
        let gateway = tokio::spawn(older(listener));
        let mut table = Table::default();
        for generation in 1..=4 {
            let change = TableChange {
                from: table.version(),
                to: Version {
                    generation: Generation(generation),
                    ..table.version()
                },
                env: EnvId::parse("shop/dev").unwrap(),
                pools: Vec::new(),
                down: None,
            };
            table = table.followed_by(&change);
            let applied = control.change(change, table.clone()).await.unwrap();
            assert_eq!(applied.table, table.version());
        }
        drop(control);
        // On the connection that was kept, and on another one; and never again.
        assert_eq!(gateway.await.unwrap(), (vec![1, 2, 3, 4], 2));
    }
}
