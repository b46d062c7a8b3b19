//! Websocket messages to and fro: one after the other on each of some connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::proxies::HOST;
use crate::error::{Error, doing};

const CONNECTIONS: usize = 64;
/// Of a message, in bytes.
const LENGTH: usize = 100;
const MASK: [u8; 4] = [0x17, 0x2a, 0x5c, 0x81];

/// What came back.
pub(super) struct Echoed {
    pub(super) messages: f64,
    pub(super) seconds: f64,
}

/// Sends messages for so long, on one thread, and waits for each one's echo.
pub(super) fn run(address: SocketAddr, time: Duration) -> Result<Echoed, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran = doing("start a client's runtime", runtime)?.block_on(all(address, time));
    doing("exchange websocket messages", ran)
}

async fn all(address: SocketAddr, time: Duration) -> std::io::Result<Echoed> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(switch(address).await?);
    }
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for stream in streams {
        clients.spawn(converse(stream, started + time));
    }
    let mut messages = 0;
    while let Some(ended) = clients.join_next().await {
        messages += ended.map_err(std::io::Error::other)??;
    }
    Ok(Echoed {
        messages: f64::from(messages),
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// The opening handshake, with the key of RFC 6455's example (section 1.3).
async fn switch(address: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "GET /echo HTTP/1.1\r\nhost: {HOST}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    // The other side says nothing before it is told something, so nothing of a frame is read here.
    let (mut answer, mut filled) = ([0; 4096], 0);
    while !answer[..filled].ends_with(b"\r\n\r\n") {
        match stream.read(&mut answer[filled..]).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    let answer = String::from_utf8_lossy(&answer[..filled]);
    match answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        true => Ok(stream),
        false => Err(std::io::Error::other(format!("it answered {answer:?}"))),
    }
}

/// How many messages came back until then.
async fn converse(mut stream: TcpStream, until: Instant) -> std::io::Result<u32> {
    let length = LENGTH as u8;
    let mut sent = vec![0x81, 0x80 | length];
    sent.extend(MASK);
    sent.extend(
        std::iter::repeat_n(b'x', LENGTH)
            .zip(MASK.into_iter().cycle())
            .map(|(b, m)| b ^ m),
    );
    let mut due = vec![0x81, length];
    due.extend([b'x'; LENGTH]);
    let (mut came, mut messages) = (vec![0; due.len()], 0);
    while Instant::now() < until {
        stream.write_all(&sent).await?;
        stream.read_exact(&mut came).await?;
        if came != due {
            let text = String::from_utf8_lossy(&came).into_owned();
            return Err(std::io::Error::other(format!("the echo is {text:?}")));
        }
        messages += 1;
    }
    Ok(messages)
}
