//! Whether an instance speaks HTTP/2, found out before anything of a client's is sent to it that way.
//!
//! HTTP/2 with prior knowledge is a stream of frames that a client's bytes are in. An instance that speaks HTTP/1 alone may
//! skip what it does not understand, and take a client's bytes for a request of its own. So a connection that carries
//! nothing else asks first: it sends the preface, and a server that speaks HTTP/2 answers with SETTINGS (RFC 9113 section 3.4).

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The preface, and a SETTINGS frame without settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: u8 = 4;

/// Asks on a connection that is used for nothing else. What is no HTTP/2 is `InvalidData`.
pub(super) async fn ask(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(PREFACE).await?;
    let mut head = [0; 9];
    let read = stream.read_exact(&mut head).await;
    let [.., kind, flags, a, b, c, d] = head;
    let settings = (kind, flags) == (SETTINGS, 0) && [a, b, c, d] == [0; 4];
    match read.is_ok() && settings {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the instance does not speak HTTP/2",
        )),
    }
}
