//! Bytes in both directions: upgraded connections and egress.
//!
//! Each direction ends by itself, and its end is passed on as the end of writing, so that half-closed
//! connections work. A websocket that is told to go away, or has to be cut, gets a close frame 1012 "service
//! restart" (RFC 6455 section 7.4, IANA's registry of close codes), between two frames of the instance's;
//! what the client sends until its answer still reaches the instance. Of any other protocol nothing is known
//! but its end.

use std::cell::Cell;
use std::io::{self, Cursor};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::account::Account;
use crate::connection::Switched;
use crate::failure::Fault;
use crate::instance::Place;
use crate::memory::Held;
use crate::websocket::{Borders, CLOSE_TO_CLIENT, CLOSE_TO_INSTANCE};

const BUFFER: usize = 16 * 1024;
/// How long a cut may wait for the end of the frame that is under way, and then for the client's answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// The end of a frame that has begun is near if it comes within this time; else the connection ends in it.
const NEAR: Duration = Duration::from_secs(5);
/// How long the other direction may stay silent after one has ended.
const HALF_CLOSED: Duration = Duration::from_secs(300);
/// The same for websockets, where neither side has anything to say after the other's end.
const WEBSOCKET_CLOSED: Duration = Duration::from_secs(2);

/// What is spoken after a switch of protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// RFC 6455 frames.
    Websocket,
    /// Something that the gateway does not understand.
    Other,
}

impl Speech {
    /// What an `Upgrade` header names.
    pub(crate) fn of(protocol: &http::HeaderValue) -> Self {
        match protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
            true => Speech::Websocket,
            false => Speech::Other,
        }
    }
}

/// Carries a switched connection, or stream of HTTP/2, until it ends or is cut. On that to the instance these bytes have
/// come already.
pub(crate) async fn switched(
    (client, stream, held): (OnUpgrade, Option<Switched>, Arc<Held>),
    (upstream, ahead): (TcpStream, Bytes),
    speech: Speech,
    place: Rc<Place>,
    account: Account,
) {
    let client = match client.await {
        Ok(client) => TokioIo::new(client),
        Err(error) => {
            account.blame(Fault::Client, "The switch of protocols was not completed.");
            return tracing::info!(%error, "a switch of protocols was not completed");
        }
    };
    let (reader, writer) = upstream.into_split();
    // What has come already is read first.
    let upstream = tokio::io::join(Cursor::new(ahead).chain(reader), writer);
    let mut told = Told {
        tunnel: Tunnel::new(client, upstream),
        account,
    };
    let tunnel = &mut told.tunnel;
    tunnel.inward.stream = stream;
    tunnel.outward.held = Some(held);
    if speech == Speech::Websocket {
        tunnel.half_closed = WEBSOCKET_CLOSED;
    }
    let (cut, farewell) = (&place.instance().cut, place.lengthen());
    tokio::select! {
        _ = tunnel.carry() => return,
        () = farewell.cancelled() => {}
        () = cut.cancelled() => {}
    }
    if speech == Speech::Other {
        return;
    }
    // Who is told has the time that the end of a frame takes; who is cut has not.
    let cut = async {
        cut.cancelled().await;
        tokio::time::sleep(FAREWELL * 2).await;
    };
    tokio::select! {
        _ = tunnel.say_goodbye() => {}
        () = cut => {}
    }
}

/// A tunnel whose account is told what it carried, however it ends.
struct Told<A, B>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    tunnel: Tunnel<A, B>,
    account: Account,
}

impl<A, B> Drop for Told<A, B>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    fn drop(&mut self) {
        self.account.carried(self.tunnel.carried());
    }
}

/// Two connections whose bytes are carried to each other.
pub(crate) struct Tunnel<A, B> {
    near: (tokio::io::ReadHalf<A>, tokio::io::WriteHalf<A>),
    far: (tokio::io::ReadHalf<B>, tokio::io::WriteHalf<B>),
    outward: Direction,
    inward: Direction,
    half_closed: Duration,
}

impl<A, B> Tunnel<A, B>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    /// Nothing is carried yet.
    pub(crate) fn new(near: A, far: B) -> Self {
        Self {
            near: split(near),
            far: split(far),
            outward: Direction::default(),
            inward: Direction::default(),
            half_closed: HALF_CLOSED,
        }
    }

    /// Bytes carried so far, from the first side to the second and back.
    pub(crate) fn carried(&self) -> (u64, u64) {
        (self.outward.carried, self.inward.carried)
    }

    /// Carries until both directions have ended, one has broken, or one has ended and the other is silent.
    /// What broke it, if anything did.
    pub(crate) async fn carry(&mut self) -> Option<io::Error> {
        let pulse = Pulse::default();
        let outward = self.outward.run(&mut self.near.0, &mut self.far.1, &pulse);
        let inward = self.inward.run(&mut self.far.0, &mut self.near.1, &pulse);
        let both = async { tokio::try_join!(outward, inward).map(|_| ()) };
        tokio::select! {
            result = both => result.err(),
            () = pulse.silence(self.half_closed) => None,
        }
    }

    /// Ends a websocket whose near side is the client: the rest of the frame that is under way, then a
    /// close frame to both, then a moment for each to answer it.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        let finished = tokio::time::timeout(NEAR, self.finish_frame()).await;
        finished.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if !self.inward.borders.is_closed() {
            self.near.1.write_all(&CLOSE_TO_CLIENT).await?;
            self.near.1.flush().await?;
        }
        let mut ignored = [0; 1024];
        let near = async {
            let outward = &mut self.outward;
            let heard = outward.carry_to_close(&mut self.near.0, &mut self.far.1);
            let _ = tokio::time::timeout(FAREWELL, heard).await;
            if outward.borders.at_border() && !outward.borders.is_closed() {
                self.far.1.write_all(&CLOSE_TO_INSTANCE).await?;
                self.far.1.flush().await?;
            }
            // The client waits for the end of the connection (RFC 6455 section 7.1.1).
            self.near.1.shutdown().await
        };
        let far = async {
            while matches!(self.far.0.read(&mut ignored).await, Ok(count) if count > 0) {}
        };
        let both = async { tokio::join!(near, far).0 };
        let ended = tokio::time::timeout(FAREWELL * 2, both).await;
        ended.unwrap_or(Ok(()))
    }

    /// To the end of the frame that the instance has begun. The client is still heard: that end may depend
    /// on what it says.
    async fn finish_frame(&mut self) -> io::Result<()> {
        let pulse = Pulse::default();
        let outward = self.outward.run(&mut self.near.0, &mut self.far.1, &pulse);
        let heard = async {
            match outward.await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        let frame = self.inward.finish_frame(&mut self.far.0, &mut self.near.1);
        tokio::select! {
            biased;
            finished = frame => finished,
            error = heard => Err(error),
        }
    }
}

/// Whether anything moves.
#[derive(Default)]
struct Pulse {
    half_closed: Notify,
    beats: Cell<u64>,
}

impl Pulse {
    /// Ends when one direction has ended and the other was silent for this long.
    async fn silence(&self, patience: Duration) {
        self.half_closed.notified().await;
        loop {
            let before = self.beats.get();
            tokio::time::sleep(patience).await;
            if self.beats.get() == before {
                return;
            }
        }
    }
}

/// One direction. What has been read and not written yet is kept here and not in a future, so that a cut
/// between two steps loses nothing.
struct Direction {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    carried: u64,
    borders: Borders,
    /// Where it leads, if that is one of many on a connection.
    stream: Option<Switched>,
    /// Where what it reads is counted.
    held: Option<Arc<Held>>,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            carried: 0,
            borders: Borders::default(),
            stream: None,
            held: None,
        }
    }
}

impl Direction {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    async fn run(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        pulse: &Pulse,
    ) -> io::Result<()> {
        while self.fill(from).await? {
            while !self.is_empty() {
                self.write_some(to, self.end).await?;
                pulse.beats.set(pulse.beats.get() + 1);
            }
            to.flush().await?;
        }
        pulse.half_closed.notify_one();
        to.shutdown().await
    }

    async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        if self.is_empty() {
            (self.start, self.end) = (0, from.read(&mut self.buffer).await?);
        }
        Ok(!self.is_empty())
    }

    async fn write_some(
        &mut self,
        to: &mut (impl AsyncWrite + Unpin),
        end: usize,
    ) -> io::Result<()> {
        let count = to.write(&self.buffer[self.start..end]).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let written = &self.buffer[self.start..self.start + count];
        self.borders.pass(written);
        if let Some(stream) = &self.stream {
            stream.sent(count);
        }
        if let Some(held) = &self.held {
            held.passed_on(count);
        }
        self.carried += count as u64;
        self.start += count;
        Ok(())
    }

    /// Carries on to the end of the frame that has begun on the far side of `to`, and no byte further.
    async fn finish_frame(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while !self.borders.at_border() {
            if !self.fill(from).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let rest = self
                .borders
                .rest_of_frame(&self.buffer[self.start..self.end]);
            self.write_some(to, self.start + rest).await?;
        }
        to.flush().await
    }

    /// Carries whole frames on until a close frame or the end.
    async fn carry_to_close(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        while !self.borders.is_closed() && self.fill(from).await? {
            let held = &self.buffer[self.start..self.end];
            let rest = self.borders.rest_of_frame(held);
            self.write_some(to, self.start + rest).await?;
            to.flush().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_passed_on_is_not_held() {
        let (client, mut near) = tokio::io::duplex(64);
        let (instance, mut far) = tokio::io::duplex(64);
        let mut tunnel = Tunnel::new(client, instance);
        let held = Arc::new(Held::default());
        let nothing = held.bytes();
        tunnel.outward.held = Some(Arc::clone(&held));
        held.came(5000);
        assert_eq!(held.bytes(), nothing + 5000);
        let ends = async {
            near.write_all(&[7; 5000]).await?;
            near.shutdown().await
        };
        let reads = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await?;
            far.shutdown().await?;
            io::Result::Ok(got.len())
        };
        let (broken, ended, read) = tokio::join!(tunnel.carry(), ends, reads);
        assert!(broken.is_none() && ended.is_ok());
        assert_eq!(read.unwrap(), 5000);
        assert_eq!((held.bytes(), tunnel.carried()), (nothing, (5000, 0)));
    }
}
