//! A client's connection as its requests see it.

use std::cell::{Cell, OnceCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::connection::{Activity, Switched};
use crate::journal;
use crate::memory::{Held, Holder, Memory};
use crate::proxy::Entry;

/// A stream over a socket.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// The socket.
    fn socket(&self) -> BorrowedFd<'_>;

    /// What TLS it speaks, such as `TLSv1.3`.
    fn tls_version(&self) -> Option<&'static str> {
        None
    }

    /// Whether TLS has settled on HTTP/2.
    fn is_http2(&self) -> bool {
        false
    }

    /// The socket, where bytes go to it as they are.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }

    /// The same, shared.
    fn shared_plain(_: &Shared<Self>) -> Option<&Shared<TcpStream>>
    where
        Self: Sized,
    {
        None
    }
}

impl Socket for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn shared_plain(stream: &Shared<Self>) -> Option<&Shared<TcpStream>> {
        Some(stream)
    }
}

impl Socket for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Socket for TlsStream<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }

    fn tls_version(&self) -> Option<&'static str> {
        self.get_ref().1.protocol_version()?.as_str()
    }

    fn is_http2(&self) -> bool {
        self.get_ref().1.alpn_protocol() == Some(b"h2")
    }
}

/// Whose request waits for a connection to an instance.
#[derive(Clone)]
pub(crate) struct Asker {
    number: usize,
    activity: Option<Arc<Activity>>,
}

impl Asker {
    /// The gateway itself.
    pub(crate) const NOBODY: Self = Self {
        number: 0,
        activity: None,
    };

    /// What tells its client from others that ask at the same time.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Whether its client has so much to take that nothing more should be asked for it.
    pub(crate) fn is_stuck(&self) -> bool {
        let activity = self.activity.as_ref();
        activity.is_some_and(|activity| activity.is_stuck())
    }

    #[cfg(test)]
    pub(crate) fn of(number: usize) -> Self {
        Self {
            number,
            activity: None,
        }
    }
}

/// Who asks.
pub(crate) struct Client {
    /// Where the connection comes from.
    pub(crate) entry: Entry,
    /// Cancelled when this connection should take no further request, because the process leaves.
    pub(crate) leave: CancellationToken,
    /// What the access log says of it: fields of a line, each with a comma behind it.
    pub(crate) stamp: Vec<u8>,
    /// What its connection is doing, once hyper serves it.
    activity: OnceCell<Arc<Activity>>,
    /// What the gateway holds for it.
    pub(crate) held: Arc<Held>,
    /// Of a client of the outside: it may be cut for what it holds.
    _holder: Option<Holder>,
    duplicate: Box<dyn Fn() -> io::Result<OwnedFd>>,
    /// Answers and switched protocols that go on, and that it need not take.
    pauses: Rc<Cell<usize>>,
    /// How long the kernel waits until it takes something (milliseconds), where that was put away for those.
    limit: Cell<Option<u32>>,
}

impl Client {
    /// The client at the other end of `stream`, which something else reads and writes.
    pub(crate) fn new<I: Socket + Send + 'static>(
        entry: Entry,
        stream: &Shared<I>,
        memory: &Arc<Memory>,
    ) -> Self {
        let stamp = stamp(&entry, stream.lock().tls_version());
        let stream = Arc::downgrade(&stream.0);
        let held = Arc::default();
        let holder = match entry {
            Entry::Front(_) => {
                let stream = Weak::clone(&stream);
                Some(memory.counts(&held, Box::new(move || cut(&stream))))
            }
            Entry::Link { .. } | Entry::Probe { .. } => None,
        };
        Self {
            entry,
            held,
            _holder: holder,
            leave: CancellationToken::new(),
            stamp,
            activity: OnceCell::new(),
            duplicate: Box::new(move || duplicate(&stream)),
            pauses: Rc::default(),
            limit: Cell::new(None),
        }
    }

    /// Its connection does this from now on.
    pub(crate) fn does(&self, activity: &Arc<Activity>) {
        let _ = self.activity.set(Arc::clone(activity));
    }

    /// One of its requests, on its way to an instance.
    pub(crate) fn asker(&self) -> Asker {
        Asker {
            number: std::ptr::from_ref(self).addr(),
            activity: self.activity.get().cloned(),
        }
    }

    /// The same of one that has waited for its client.
    pub(crate) fn patient_asker(&self) -> Asker {
        Asker {
            activity: None,
            ..self.asker()
        }
    }

    /// Whether its connection takes nothing for now, so that what it is sent waits here.
    pub(crate) fn is_full(&self) -> bool {
        let activity = self.activity.get();
        activity.is_some_and(|activity| activity.is_full())
    }

    /// Whether it has so much to take that nothing more should be asked for it.
    pub(crate) fn is_stuck(&self) -> bool {
        let activity = self.activity.get();
        activity.is_some_and(|activity| activity.is_stuck())
    }

    /// Ends when it is not stuck any more, or has taken so much that one more may be asked for.
    pub(crate) async fn takes_again(&self) {
        if let Some(activity) = self.activity.get() {
            activity.takes_again().await;
        }
    }

    /// One of the streams of its connection becomes something else than an answer.
    pub(crate) fn stream(&self) -> Option<Switched> {
        self.activity.get().map(Switched::new)
    }

    /// Whether it is the gateway itself.
    pub(crate) fn is_probe(&self) -> bool {
        matches!(self.entry, Entry::Probe { .. })
    }

    /// Ends when the client closes its end, or its half of it. Sees that also behind bytes that nobody has
    /// read, where whoever reads the connection does not look: a duplicate of the socket is watched.
    pub(crate) async fn hung_up(&self) {
        if let Ok(watched) = (self.duplicate)().and_then(watched) {
            while let Ok(ready) = watched.ready(Interest::READABLE).await {
                if ready.is_read_closed() {
                    return;
                }
                // Until the next change.
                let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                let _ = watched.try_io(Interest::READABLE, nothing);
            }
        }
        std::future::pending().await
    }

    /// A long answer or a switched protocol begins: until that ends the client may stop reading for as long as it likes.
    pub(crate) fn may_pause(&self) -> Pause {
        if self.limit.get().is_none()
            && let Ok(socket) = (self.duplicate)()
            && let Ok(limit) = sockopt::tcp_user_timeout(&socket)
            && sockopt::set_tcp_user_timeout(&socket, 0).is_ok()
        {
            self.limit.set(Some(limit));
        }
        Pause::new(&self.pauses)
    }

    /// An answer begins that the client must take, unless one goes on that it need not.
    pub(crate) fn must_take(&self) {
        if self.limit.get().is_some()
            && self.pauses.get() == 0
            && let Some(limit) = self.limit.take()
            && let Ok(socket) = (self.duplicate)()
        {
            // One that fails is of a socket that is not there any more.
            let _ = sockopt::set_tcp_user_timeout(&socket, limit);
        }
    }
}

/// Something that a client need not take, for as long as this is there.
pub(crate) struct Pause(Rc<Cell<usize>>);

impl Pause {
    fn new(all: &Rc<Cell<usize>>) -> Self {
        all.set(all.get() + 1);
        Self(Rc::clone(all))
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

fn stamp(entry: &Entry, tls: Option<&'static str>) -> Vec<u8> {
    let mut stamp = Vec::new();
    let mut say = |name, what: &str| journal::text(&mut stamp, name, what.as_bytes(), usize::MAX);
    match entry {
        Entry::Front(outside) => say("client", &outside.address.to_canonical().to_string()),
        Entry::Link { from, guest, .. } => {
            say("from", from.as_str());
            guest
                .iter()
                .for_each(|guest| say("from_env", guest.as_str()));
        }
        Entry::Probe { .. } => {}
    }
    say("entry", entry.door().name());
    if let Some(version) = tls {
        // rustls writes a protocol's name with an underscore, everybody else with a point.
        say("tls", &version.replace('_', "."));
    }
    stamp
}

fn duplicate<I: Socket>(stream: &Weak<Mutex<I>>) -> io::Result<OwnedFd> {
    let stream = stream.upgrade().ok_or(io::ErrorKind::NotConnected)?;
    let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(rustix::io::fcntl_dupfd_cloexec(stream.socket(), 0)?)
}

/// Ends a connection from any thread: whoever reads or writes it sees that it is over. What the kernel still has to
/// send is forgotten.
fn cut<I: Socket>(stream: &Weak<Mutex<I>>) {
    if let Ok(socket) = duplicate(stream) {
        let _ = sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO));
        let _ = rustix::net::shutdown(&socket, rustix::net::Shutdown::Both);
    }
}

fn watched(socket: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(socket.into())
}

/// A stream of which its requests know the socket. One thread uses it; the lock is for hyper, which wants
/// to be able to send it to another.
pub(crate) struct Shared<I>(Arc<Mutex<I>>);

impl<I> Clone for Shared<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<I> Shared<I> {
    /// Shares a stream.
    pub(crate) fn new(stream: I) -> Self {
        Self(Arc::new(Mutex::new(stream)))
    }

    /// The stream, when nobody else has it.
    pub(crate) fn into_inner(self) -> Option<I> {
        let stream = Arc::into_inner(self.0)?;
        Some(stream.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The stream itself.
    pub(crate) fn lock(&self) -> MutexGuard<'_, I> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
