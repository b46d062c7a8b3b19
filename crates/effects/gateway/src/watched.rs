//! What is between a client's connection and who reads and writes it: floods are seen in what comes, and what goes out as
//! HTTP/2 is put together.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::admission::Seat;
use crate::client::{Shared, Socket};
use crate::clock;
use crate::connection::Activity;
use crate::corks::{Cork, Corks};
use crate::flood::Guard;
use crate::worker;

/// A client's stream that tells when bytes come. It holds the connection's place, because it goes on
/// living in the tunnel when the protocol is switched.
pub(crate) struct Watched<I> {
    /// The stream itself, and how it is written.
    pub(crate) out: Outgoing<I>,
    /// What was read from it before.
    pub(crate) ahead: Bytes,
    /// What ends floods.
    pub(crate) guard: Guard,
    /// Where those are counted.
    pub(crate) shared: Arc<worker::Shared>,
    /// The connection's place.
    pub(crate) _seat: Seat,
}

/// What a stream is sent.
pub(crate) struct Outgoing<I> {
    stream: Shared<I>,
    manner: Manner,
    activity: Arc<Activity>,
}

/// How a stream is written.
enum Manner {
    /// HTTP/1.1: what there is, at once.
    Messages,
    /// HTTP/2. A stream that takes several parts at once is given each answer for itself by h2; of one that does not,
    /// it puts small answers behind each other, up to 16 KB of them, and writes the heads of large frames apart from
    /// what is in them. So it is not told, and what is written in small parts is held until it is complete.
    Frames(Vec<u8>, Arc<Cork>),
}

impl<I: Socket> Outgoing<I> {
    /// A stream that begins with `ahead`, and what its connection is doing.
    pub(crate) fn new(
        stream: Shared<I>,
        ahead: &[u8],
        corks: &Arc<Corks>,
        activity: &Arc<Activity>,
    ) -> Self {
        // The connection preface (RFC 9113 section 3.4).
        let frames = stream.lock().is_http2() || ahead.starts_with(b"PRI ");
        Self {
            stream,
            manner: match frames {
                true => Manner::Frames(Vec::new(), Cork::new(corks)),
                false => Manner::Messages,
            },
            activity: Arc::clone(activity),
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = match this.ahead.is_empty() {
            true => Pin::new(&mut *this.out.stream.lock()).poll_read(context, buffer),
            false => {
                let fits = this.ahead.len().min(buffer.remaining());
                buffer.put_slice(&this.ahead.split_to(fits));
                Poll::Ready(Ok(()))
            }
        };
        if buffer.filled().len() > before {
            let activity = &this.out.activity;
            activity.saw_bytes();
            activity.held.came(buffer.filled().len() - before);
            let bytes = &buffer.filled()[before..];
            let flood = this.guard.pass(bytes, &activity.earned, clock::millis);
            if let Some(refusal) = flood {
                this.shared.refusals.count(refusal);
                let why = "the client sends frames that serve nothing";
                return Poll::Ready(Err(io::Error::other(why)));
            }
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().out).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().out).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().out).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().out).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.out.is_write_vectored()
    }
}

/// What is smaller is held until it is asked to go, and so much of it at the most.
const HELD: usize = 4 * 1024;

impl<I: AsyncWrite + Unpin> Outgoing<I> {
    fn holds(&self) -> bool {
        matches!(&self.manner, Manner::Frames(held, _) if !held.is_empty())
    }

    /// Writes what is held, and some of these parts behind it.
    fn poll_write_behind(
        &mut self,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut stream = self.stream.lock();
            let stream = Pin::new(&mut *stream);
            let held = match &mut self.manner {
                Manner::Frames(held, _) if !held.is_empty() => held,
                _ => {
                    let polled = match parts {
                        [one] => stream.poll_write(context, one),
                        _ => stream.poll_write_vectored(context, parts),
                    };
                    self.activity.note_written(&polled);
                    return polled;
                }
            };
            let first = parts.first().map_or(&[][..], |first| first);
            let both = [io::IoSlice::new(held), io::IoSlice::new(first)];
            let polled = stream.poll_write_vectored(context, &both);
            self.activity.note_written(&polled);
            let written = match polled {
                Poll::Ready(Ok(written)) if written > 0 => written,
                other => return other,
            };
            let of_held = written.min(held.len());
            held.drain(..of_held);
            if written > of_held || (held.is_empty() && first.is_empty()) {
                return Poll::Ready(Ok(written - of_held));
            }
        }
    }

    fn poll_write_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.holds() {
            let written = std::task::ready!(self.poll_write_behind(context, &[]))?;
            if written == 0 && self.holds() {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Outgoing<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Manner::Frames(held, _) = &mut this.manner
            && held.len() + bytes.len() <= HELD
        {
            held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        this.poll_write_behind(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Manner::Frames(held, cork) = &this.manner {
            if held.is_empty() {
                cork.rests();
            } else if this.activity.expects_more() {
                std::task::ready!(cork.poll_drawn(held.len(), context));
            }
        }
        std::task::ready!(this.poll_write_held(context))?;
        let polled = Pin::new(&mut *this.stream.lock()).poll_flush(context);
        if polled.is_ready() {
            this.activity.note_flushed();
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_write_held(context))?;
        Pin::new(&mut *this.stream.lock()).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_behind(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.manner, Manner::Messages) && self.stream.lock().is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::MANY;
    use crate::lean::Handed;
    use crate::memory::Held;
    use crate::tally::{Door, Open};

    /// Takes whatever is written, and how much each time.
    #[derive(Default)]
    struct Taken(Vec<usize>);

    impl AsyncWrite for Taken {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.get_mut().0.push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn outgoing(corks: &Arc<Corks>) -> Outgoing<Taken> {
        let open = Arc::new(Open::new(Arc::default(), Door::Http));
        let held: Arc<Held> = Arc::default();
        Outgoing {
            stream: Shared::new(Taken::default()),
            manner: Manner::Frames(Vec::new(), Cork::new(corks)),
            activity: Arc::new(Activity::new(open, &Handed::nothing(), &held)),
        }
    }

    fn write(outgoing: &mut Outgoing<Taken>, bytes: usize) -> Poll<()> {
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        let written = Pin::new(&mut *outgoing).poll_write(&mut nobody, &vec![0; bytes]);
        assert!(matches!(written, Poll::Ready(Ok(all)) if all == bytes));
        Pin::new(outgoing)
            .poll_flush(&mut nobody)
            .map(Result::unwrap)
    }

    #[tokio::test]
    async fn small_answers_wait_for_others_where_many_are_due() {
        let corks: Arc<Corks> = Arc::default();
        let mut outgoing = outgoing(&corks);
        (0..MANY).for_each(|_| outgoing.activity.asks());
        assert!(write(&mut outgoing, 100).is_pending());
        assert!(write(&mut outgoing, 200).is_pending());
        assert!(outgoing.stream.lock().0.is_empty());
        let drawing = tokio::spawn(Arc::clone(&corks).draw());
        let flushed = std::future::poll_fn(|context| Pin::new(&mut outgoing).poll_flush(context));
        flushed.await.unwrap();
        assert_eq!(outgoing.stream.lock().0, [300]);
        drawing.abort();
        // What lasts, as a stream of events does, has its answer.
        outgoing.activity.answers();
        assert!(write(&mut outgoing, 100).is_ready());
        assert!(write(&mut outgoing, 200).is_ready());
        assert_eq!(outgoing.stream.lock().0, [300, 100, 200]);
    }

    #[tokio::test]
    async fn what_is_enough_waits_for_nobody() {
        let corks: Arc<Corks> = Arc::default();
        let mut outgoing = outgoing(&corks);
        (0..MANY).for_each(|_| outgoing.activity.asks());
        assert!(write(&mut outgoing, HELD / 2).is_pending());
        assert!(write(&mut outgoing, HELD).is_ready());
        let taken: usize = outgoing.stream.lock().0.iter().sum();
        assert_eq!(taken, HELD / 2 + HELD);
    }
}
