//! The application behind the proxies that are compared: as cheap as one can be, so that what is measured is the
//! proxy. A thread per connection, one read and one write per request, the standard library only.
//!
//! `GET /bytes/N` is answered with N bytes, `POST` with the number of bytes that came, anything else with a word.
//! `PORT` (0 takes a free one, which the first line of output names).
//!
//! - `GET /wait/MS` is answered after so many milliseconds, and after ten times as many by a process that is slow: one
//!   with `SLOW=yes`, or of an instance whose number can be divided by `SLOW_OF`. `GET /pace` says `slow` or `steady`.
//! - `GET /busy/MS` takes so long, of `CAPACITY` at once; more wait in a line that has no end.
//! - `GET /echo` switches to websockets, and says what it is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a request's head, or a piece of a body, may have.
const BUFFER: usize = 256 * 1024;

fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok();
    let port: u16 = port.and_then(|text| text.parse().ok()).unwrap_or(0);
    let application = Arc::new(Application::new());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    for stream in listener.incoming().flatten() {
        let _ = stream.set_nodelay(true);
        let application = Arc::clone(&application);
        // One that breaks off is the client's business.
        std::thread::spawn(move || serve(stream, &application));
    }
    Ok(())
}

/// A piece of work: how long it takes, and who waits for it.
type Work = (Duration, Sender<()>);

/// What all connections share.
struct Application {
    is_slow: bool,
    line: Mutex<Sender<Work>>,
}

impl Application {
    fn new() -> Self {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let (line, works) = channel();
        let works = Arc::new(Mutex::new(works));
        for _ in 0..number("CAPACITY").unwrap_or(1) {
            let works = Arc::clone(&works);
            std::thread::spawn(move || work(&works));
        }
        let slow_of = number("SLOW_OF").filter(|of| *of > 0);
        let is_slow = slow_of
            .zip(ordinal())
            .is_some_and(|(of, own)| own.is_multiple_of(of));
        Self {
            is_slow: is_slow || std::env::var("SLOW").is_ok_and(|word| word == "yes"),
            line: Mutex::new(line),
        }
    }

    fn wait(&self, millis: &str) {
        let pace = if self.is_slow { 10 } else { 1 };
        let millis: u64 = millis.parse().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(millis * pace));
    }

    fn work(&self, millis: &str) {
        let (done, end) = channel();
        let takes = Duration::from_millis(millis.parse().unwrap_or(0));
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = line.send((takes, done));
        drop(line);
        let _ = end.recv();
    }
}

/// One of those that work at once: first come, first served.
fn work(line: &Mutex<Receiver<Work>>) {
    loop {
        let next = line.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((takes, done)) = next else { return };
        std::thread::sleep(takes);
        let _ = done.send(());
    }
}

/// The number of the instance that this process is, which its host name ends with.
fn ordinal() -> Option<u32> {
    let name = std::fs::read_to_string("/etc/hostname").ok()?;
    name.trim().rsplit('-').next()?.parse().ok()
}

/// Answers one request after the other until the client leaves.
fn serve(mut stream: TcpStream, application: &Application) -> std::io::Result<()> {
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
        let path = head.split(' ').nth(1).unwrap_or_default();
        let parts = path.trim_start_matches('/').split_once('/');
        match parts.unwrap_or((path.trim_start_matches('/'), "")) {
            ("bytes", bytes) => answers.write_bytes(&mut stream, bytes.parse().unwrap_or(0))?,
            ("wait", millis) => {
                application.wait(millis);
                answers.write(&mut stream, "waited")?;
            }
            ("busy", millis) => {
                application.work(millis);
                answers.write(&mut stream, "worked")?;
            }
            ("pace", _) if application.is_slow => answers.write(&mut stream, "slow")?,
            ("pace", _) => answers.write(&mut stream, "steady")?,
            ("echo", _) => return echo(stream, buffer, filled),
            _ => answers.write(&mut stream, "here")?,
        }
    }
}

/// The answer to the key of RFC 6455's example (section 1.3), which is the one that the bench sends.
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Answers each frame with its like, unmasked: one of less than 126 bytes, as all are here.
fn echo(mut stream: TcpStream, mut buffer: Vec<u8>, mut filled: usize) -> std::io::Result<()> {
    stream.write_all(SWITCH.as_bytes())?;
    loop {
        while let [first, length, ..] = buffer[..filled]
            && let whole = 6 + usize::from(length & 127)
            && filled >= whole
        {
            let mut frame = vec![first, length & 127];
            let (mask, body) = buffer[2..whole].split_at(4);
            frame.extend(body.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
            stream.write_all(&frame)?;
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
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
