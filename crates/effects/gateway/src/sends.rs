//! Decision: what the connections of a worker have to send goes out together, at the end of a turn.
//!
//! A send wakes who waits for it, and who has slept often runs at once, in the place of who has sent: a request then costs
//! two changes of process there and back, which is more than all else that the gateway does for it. So the small pieces that
//! tasks write in one turn of their worker are put together, and given to the kernel by one call once each task had its
//! turn, or 61 of them (io_uring(7), [`ward_sandbox::ring`]): nobody else runs before all of them are sent. Nothing waits for
//! anything to come; a turn is what the kernel has said at once.
//!
//! Where the kernel has no rings, or does not allow them, each piece is written at once.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use ward_sandbox::ring::Ring;

use crate::client::Shared;

/// How many sends one call takes.
const AT_ONCE: u32 = 64;
/// What one connection puts in at the most; more is worth a call of its own.
const MOST: usize = 8 * 1024;
/// How many buffers are kept.
const KEPT: usize = 64;

/// What is to be sent at the end of this turn.
pub(crate) struct Sends {
    /// `None` where there are no rings.
    ring: RefCell<Option<Ring>>,
    due: RefCell<Vec<Due>>,
    begun: Notify,
    spare: RefCell<Vec<Vec<u8>>>,
}

struct Due {
    stream: Shared<TcpStream>,
    post: Rc<Post>,
}

/// What one connection has put in.
#[derive(Default)]
struct Post {
    bytes: RefCell<Vec<u8>>,
    state: Cell<State>,
    /// Who waits until it is sent.
    waits: RefCell<Option<Waker>>,
    /// What sends the rest.
    rest: RefCell<Option<AbortHandle>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is nothing.
    #[default]
    Empty,
    /// It goes out at the end of this turn.
    Due,
    /// The socket did not take all of it.
    HeldUp,
    /// The connection is broken.
    Broken,
}

/// What one connection has to send, among what others have.
pub(crate) struct Outlet {
    sends: Rc<Sends>,
    post: Rc<Post>,
}

/// Whether bytes were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All of them: as far as who writes is concerned they are sent.
    All,
    /// None: they are to be written to the socket itself, and may be.
    None,
}

impl Outlet {
    /// That of one connection of a worker.
    pub(crate) fn new(sends: &Rc<Sends>) -> Self {
        Self {
            sends: Rc::clone(sends),
            post: Rc::default(),
        }
    }

    /// Takes these bytes, to send them at the end of this turn, of a connection whose bytes before were all sent.
    pub(crate) fn take(&self, stream: &Shared<TcpStream>, bytes: &[u8]) -> Taken {
        match self.post.state.get() == State::Empty && self.has_room(bytes.len()) {
            true => {
                self.put(stream, &[IoSlice::new(bytes)]);
                Taken::All
            }
            false => Taken::None,
        }
    }

    /// The same, also behind bytes that were not sent yet. Pending while the socket takes no more.
    pub(crate) fn poll_take(
        &self,
        stream: &Shared<TcpStream>,
        parts: &[IoSlice<'_>],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Taken>> {
        let is_due = self.post.state.get() == State::Due;
        if !is_due {
            ready!(self.poll_flush(context))?;
        }
        if self.has_room(parts.iter().map(|part| part.len()).sum()) {
            self.put(stream, parts);
            return Poll::Ready(Ok(Taken::All));
        }
        if is_due {
            self.sends.withdraw(&self.post);
            self.sends.send_one(stream, &self.post);
            ready!(self.poll_flush(context))?;
        }
        Poll::Ready(Ok(Taken::None))
    }

    fn has_room(&self, more: usize) -> bool {
        self.post.bytes.borrow().len() + more <= MOST && self.sends.ring.borrow().is_some()
    }

    fn put(&self, stream: &Shared<TcpStream>, parts: &[IoSlice<'_>]) {
        let mut bytes = self.post.bytes.borrow_mut();
        if self.post.state.replace(State::Due) == State::Empty {
            *bytes = self.sends.spare.borrow_mut().pop().unwrap_or_default();
            let mut due = self.sends.due.borrow_mut();
            if due.is_empty() {
                self.sends.begun.notify_one();
            }
            due.push(Due {
                stream: stream.clone(),
                post: Rc::clone(&self.post),
            });
        }
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
    }

    /// Ready when all that was taken is sent.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.post.state.get() {
            State::Empty => Poll::Ready(Ok(())),
            State::Broken => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            State::Due | State::HeldUp => {
                *self.post.waits.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether the connection is broken, so that something that was taken is not sent.
    pub(crate) fn is_broken(&self) -> bool {
        self.post.state.get() == State::Broken
    }

    /// Whether the socket takes no more for now.
    pub(crate) fn is_held_up(&self) -> bool {
        self.post.state.get() == State::HeldUp
    }
}

impl Drop for Outlet {
    /// What is due still goes out, as what is written to a socket does that is closed then; what the socket did not take is
    /// lost.
    fn drop(&mut self) {
        if let Some(rest) = self.post.rest.take() {
            rest.abort();
        }
    }
}

impl Post {
    fn is(&self, state: State) {
        self.state.set(state);
        if let Some(waits) = self.waits.take() {
            waits.wake();
        }
    }
}

impl Sends {
    /// Those of this thread.
    pub(crate) fn new() -> Rc<Self> {
        let ring = Ring::new(AT_ONCE);
        if let Err(error) = &ring {
            tracing::info!(%error, "no ring of the kernel's: each connection is written to by itself");
        }
        Rc::new(Self {
            ring: RefCell::new(ring.ok()),
            due: RefCell::default(),
            begun: Notify::new(),
            spare: RefCell::default(),
        })
    }

    /// Sends from turn to turn, and does not end.
    pub(crate) async fn carry(self: Rc<Self>) {
        let mut results = Vec::new();
        loop {
            self.begun.notified().await;
            self.flush(&mut results);
        }
    }

    fn withdraw(&self, post: &Rc<Post>) {
        self.due
            .borrow_mut()
            .retain(|due| !Rc::ptr_eq(&due.post, post));
    }

    fn flush(self: &Rc<Self>, results: &mut Vec<io::Result<usize>>) {
        let due = std::mem::take(&mut *self.due.borrow_mut());
        if let [only] = &due[..] {
            self.send_one(&only.stream, &only.post);
            return;
        }
        let streams: Vec<_> = due.iter().map(|due| due.stream.lock()).collect();
        let bytes: Vec<_> = due.iter().map(|due| due.post.bytes.borrow()).collect();
        let pairs = streams.iter().zip(&bytes);
        let sends: Vec<_> = pairs
            .map(|(stream, bytes)| (stream.as_fd(), &bytes[..]))
            .collect();
        let mut ring = self.ring.borrow_mut();
        let sent = match &mut *ring {
            Some(ring) => ring.send_all(&sends, results),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        drop(sends);
        drop((streams, bytes));
        if let Err(error) = &sent {
            // What became of these is not known.
            tracing::error!(%error, "a ring of the kernel's failed: each connection is written to by itself from now on");
            *ring = None;
            // Whoever reads there learns of it too.
            for due in &due {
                let _ = rustix::net::shutdown(&*due.stream.lock(), rustix::net::Shutdown::Both);
            }
        }
        drop(ring);
        let results = results
            .drain(..)
            .map(Some)
            .chain(std::iter::repeat_with(|| None));
        for (due, result) in due.iter().zip(results) {
            let failed = || Err(io::ErrorKind::BrokenPipe.into());
            let result = result.filter(|_| sent.is_ok()).unwrap_or_else(failed);
            self.sent(&due.stream, &due.post, result);
        }
    }

    fn send_one(self: &Rc<Self>, stream: &Shared<TcpStream>, post: &Rc<Post>) {
        let sent = stream.lock().try_write(&post.bytes.borrow());
        self.sent(stream, post, sent);
    }

    /// A socket took so much of what there is for it.
    fn sent(
        self: &Rc<Self>,
        stream: &Shared<TcpStream>,
        post: &Rc<Post>,
        result: io::Result<usize>,
    ) {
        let sent = match result {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                // Whoever reads there learns of it too.
                let _ = rustix::net::shutdown(&*stream.lock(), rustix::net::Shutdown::Both);
                return post.is(State::Broken);
            }
        };
        if sent == post.bytes.borrow().len() {
            return self.all_sent(post);
        }
        let rest = Rc::clone(self).send_rest(stream.clone(), Rc::clone(post), sent);
        *post.rest.borrow_mut() = Some(tokio::task::spawn_local(rest).abort_handle());
        post.is(State::HeldUp);
    }

    async fn send_rest(self: Rc<Self>, stream: Shared<TcpStream>, post: Rc<Post>, sent: usize) {
        let mut from = sent;
        let over = poll_fn(|context| {
            let bytes = post.bytes.borrow();
            while from < bytes.len() {
                let mut stream = stream.lock();
                match ready!(Pin::new(&mut *stream).poll_write(context, &bytes[from..])) {
                    Ok(count) if count > 0 => from += count,
                    _ => return Poll::Ready(State::Broken),
                }
            }
            Poll::Ready(State::Empty)
        });
        match over.await {
            State::Empty => self.all_sent(&post),
            broken => post.is(broken),
        }
    }

    fn all_sent(&self, post: &Post) {
        let mut bytes = post.bytes.take();
        let mut spare = self.spare.borrow_mut();
        if spare.len() < KEPT {
            bytes.clear();
            spare.push(bytes);
        }
        post.is(State::Empty);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;

    async fn pair() -> (Shared<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap());
        let (theirs, ours) = tokio::join!(theirs, listener.accept());
        (Shared::new(ours.unwrap().0), theirs.unwrap())
    }

    /// Where the kernel has rings.
    async fn with_sends(test: impl AsyncFnOnce(&Rc<Sends>)) {
        let sends = Sends::new();
        if sends.ring.borrow().is_none() {
            return;
        }
        let local = LocalSet::new();
        local.spawn_local(Rc::clone(&sends).carry());
        local.run_until(test(&sends)).await;
    }

    async fn came(stream: &mut TcpStream, bytes: usize) -> String {
        let mut came = vec![0; bytes];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut came));
        read.await.expect("all of it comes").unwrap();
        String::from_utf8(came).unwrap()
    }

    async fn poll_take(outlet: &Outlet, stream: &Shared<TcpStream>, bytes: &[u8]) -> Taken {
        let taken =
            poll_fn(|context| outlet.poll_take(stream, &[IoSlice::new(bytes)], context)).await;
        taken.unwrap()
    }

    #[tokio::test]
    async fn what_several_have_to_send_goes_at_the_end_of_a_turn() {
        with_sends(async |sends| {
            let mut pairs = Vec::new();
            for _ in 0..100 {
                pairs.push((pair().await, Outlet::new(sends)));
            }
            for ((ours, _), outlet) in &pairs {
                assert_eq!(outlet.take(ours, b"one "), Taken::All);
                assert_eq!(poll_take(outlet, ours, b"two").await, Taken::All);
                assert_eq!(outlet.post.state.get(), State::Due, "the turn is not over");
            }
            for ((_, theirs), outlet) in &mut pairs {
                poll_fn(|context| outlet.poll_flush(context)).await.unwrap();
                assert_eq!(came(theirs, 7).await, "one two");
            }
            assert!(sends.due.borrow().is_empty() && sends.spare.borrow().len() == KEPT);
        })
        .await;
    }

    #[tokio::test]
    async fn what_a_socket_does_not_take_follows_in_its_order() {
        with_sends(async |sends| {
            let ((ours, mut theirs), (other, mut others)) = (pair().await, pair().await);
            let (outlet, outlet_of_other) = (Outlet::new(sends), Outlet::new(sends));
            let mut count = 0;
            while !outlet.is_held_up() {
                assert_eq!(outlet_of_other.take(&other, b"."), Taken::All);
                let line = format!("{count:7}\n").repeat(1000);
                assert_eq!(poll_take(&outlet, &ours, line.as_bytes()).await, Taken::All);
                count += 1;
                poll_fn(|context| outlet_of_other.poll_flush(context))
                    .await
                    .unwrap();
            }
            let waits = poll_fn(|context| Poll::Ready(outlet.poll_flush(context))).await;
            assert!(waits.is_pending());
            let read = async {
                for number in 0..count {
                    let line = format!("{number:7}\n").repeat(1000);
                    assert_eq!(came(&mut theirs, 8000).await, line);
                }
            };
            let (flushed, ()) = tokio::join!(poll_fn(|context| outlet.poll_flush(context)), read);
            flushed.unwrap();
            assert_eq!(came(&mut others, count).await, ".".repeat(count));
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_large_goes_behind_what_is_small() {
        with_sends(async |sends| {
            let (ours, mut theirs) = pair().await;
            let outlet = Outlet::new(sends);
            assert_eq!(poll_take(&outlet, &ours, b"small").await, Taken::All);
            let large = "l".repeat(MOST);
            assert_eq!(
                poll_take(&outlet, &ours, large.as_bytes()).await,
                Taken::None
            );
            assert!(outlet.post.state.get() == State::Empty && sends.due.borrow().is_empty());
            let written = poll_fn(|context| {
                Pin::new(&mut *ours.lock()).poll_write(context, large.as_bytes())
            });
            assert_eq!(written.await.unwrap(), MOST);
            assert_eq!(came(&mut theirs, 5).await, "small");
            assert_eq!(came(&mut theirs, MOST).await, large);
        })
        .await;
    }

    #[tokio::test]
    async fn without_a_ring_each_writes_by_itself_and_what_was_taken_before_it_failed_is_sent() {
        with_sends(async |sends| {
            let (ours, mut theirs) = pair().await;
            let outlet = Outlet::new(sends);
            assert_eq!(outlet.take(&ours, b"before"), Taken::All);
            *sends.ring.borrow_mut() = None;
            assert_eq!(outlet.take(&ours, b"at once"), Taken::None);
            assert_eq!(poll_take(&outlet, &ours, b"behind").await, Taken::None);
            assert_eq!(came(&mut theirs, 6).await, "before");
            assert_eq!(outlet.take(&ours, b"at once"), Taken::None);
            assert_eq!(outlet.post.state.get(), State::Empty);
        })
        .await;
    }

    #[tokio::test]
    async fn what_was_taken_is_sent_though_who_wrote_it_has_gone() {
        with_sends(async |sends| {
            let (ours, mut theirs) = pair().await;
            let outlet = Outlet::new(sends);
            assert_eq!(outlet.take(&ours, b"the end"), Taken::All);
            drop((outlet, ours));
            assert_eq!(came(&mut theirs, 7).await, "the end");
            assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
        })
        .await;
    }

    #[tokio::test]
    async fn who_waits_learns_that_a_connection_is_broken() {
        with_sends(async |sends| {
            let ((ours, theirs), (other, _others)) = (pair().await, pair().await);
            let (outlet, outlet_of_other) = (Outlet::new(sends), Outlet::new(sends));
            rustix::net::shutdown(&*ours.lock(), rustix::net::Shutdown::Both).unwrap();
            assert_eq!(outlet.take(&ours, b"lost"), Taken::All);
            assert_eq!(outlet_of_other.take(&other, b"sent"), Taken::All);
            let flushed = poll_fn(|context| outlet.poll_flush(context)).await;
            assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            let again =
                poll_fn(|context| outlet.poll_take(&ours, &[IoSlice::new(b"more")], context));
            assert!(again.await.is_err());
            poll_fn(|context| outlet_of_other.poll_flush(context))
                .await
                .unwrap();
            drop(theirs);
        })
        .await;
    }
}
