//! The application behind the proxies that are compared: as cheap as one can be, so that what is measured is the
//! proxy. A thread per connection, one read and one write per request, the standard library only.
//!
//! `GET /bytes/N` is answered with N bytes, `POST` with the number of bytes that came, anything else with a word.
//! `PORT` (0 takes a free one, which the first line of output names).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// What a request's head, or a piece of a body, may have.
const BUFFER: usize = 256 * 1024;

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok();
    let port: u16 = port.and_then(|text| text.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    for stream in listener.incoming().flatten() {
        let _ = stream.set_nodelay(true);
        // One that breaks off is the client's business.
        std::thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Answers one request after the other until the client leaves.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (mut buffer, mut filled) = (vec![0; BUFFER], 0);
    let mut answers = Answers::default();
    loop {
        let end = loop {
            if let Some(end) = end_of_head(&buffer[..filled]) {
                break end;
            }
            let read = stream.read(&mut buffer[filled..])?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let body = length(&head);
        let there = body.min(filled - end);
        buffer.copy_within(end + there..filled, 0);
        filled -= end + there;
        if body > 0 {
            let mut left = body - there;
            let mut piece = vec![0; BUFFER];
            while left > 0 {
                let most = left.min(BUFFER);
                let read = stream.read(&mut piece[..most])?;
                if read == 0 {
                    return Ok(());
                }
                left -= read;
            }
            answers.write(&mut stream, &body.to_string())?;
            continue;
        }
        match head
            .split(' ')
            .nth(1)
            .and_then(|path| path.strip_prefix("/bytes/"))
        {
            Some(bytes) => answers.write_bytes(&mut stream, bytes.parse().unwrap_or(0))?,
            None => answers.write(&mut stream, "here")?,
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let found = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    found.map(|at| at + 4)
}

fn length(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// The answer that was given last, ready to be given again.
#[derive(Default)]
struct Answers {
    bytes: usize,
    whole: Vec<u8>,
}

impl Answers {
    fn write(&mut self, stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
        let head = head(text.len());
        stream.write_all(format!("{head}{text}").as_bytes())
    }

    /// Small ones in one write, head and all; large ones a piece at a time.
    fn write_bytes(&mut self, stream: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
        if bytes > BUFFER {
            stream.write_all(head(bytes).as_bytes())?;
            let piece = vec![b'x'; BUFFER];
            let mut left = bytes;
            while left > 0 {
                let now = left.min(BUFFER);
                stream.write_all(&piece[..now])?;
                left -= now;
            }
            return Ok(());
        }
        if self.bytes != bytes || self.whole.is_empty() {
            self.bytes = bytes;
            self.whole = head(bytes).into_bytes();
            self.whole.resize(self.whole.len() + bytes, b'x');
        }
        stream.write_all(&self.whole)
    }
}

fn head(bytes: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\ncontent-type: application/octet-stream\r\n\r\n"
    )
}
