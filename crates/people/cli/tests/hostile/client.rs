//! What sends the cases: connections from an address of this machine each of its own, so that the access log says
//! of every line, whatever could be read of its request, which connection it was.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::corpus::{Canary, Case, canary};
use crate::strict::{End, Reading, read};

/// Between two pieces of a request, so that the gateway reads them one by one.
const PAUSE: Duration = Duration::from_millis(2);
/// How long the gateway may wait for more where a strict parser has refused; then it is told that nothing comes.
const UNDECIDED: Duration = Duration::from_millis(300);
/// How long an answer may take, and the end of a connection that nothing more comes from.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, as far as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub status: u16,
    /// `x-request-id`: which request the gateway answers.
    pub id: String,
    /// `x-seen`: which request the origin answers.
    pub seen: Option<String>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Closed,
    /// By a reset, which may have taken answers along.
    Reset,
    /// It did not, in all that time.
    Hangs,
}

/// What became of a case.
#[derive(Debug, Clone)]
pub struct Sent {
    pub bytes: Vec<u8>,
    pub reading: Reading,
    pub answers: Vec<Answer>,
    /// What came and is no answer.
    pub garbage: Vec<u8>,
    pub ended: Ended,
}

/// Connects from an address of this machine.
pub fn connect_from(address: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let SocketAddr::V4(to) = to else {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    };
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(address, 0))?;
    connect(&socket, &to)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a case and the request behind it, and reads until the connection ends.
pub fn send(case: &Case, host: &str, from: Ipv4Addr, to: SocketAddr) -> io::Result<Sent> {
    let mut parts = case.parts.clone();
    let canary = canary(host, case.id);
    let alone = read(&parts.concat());
    let bytes = [parts.concat(), canary.clone()].concat();
    let reading = read(&bytes);
    let methods = reading
        .requests
        .iter()
        .map(|request| request.method.clone());
    let mut conversation = Conversation {
        stream: connect_from(from, to)?,
        methods: methods.collect(),
        input: Vec::new(),
        answers: Vec::new(),
        ended: None,
    };
    if case.canary == Canary::Along
        && let Some(last) = parts.last_mut()
    {
        last.extend_from_slice(&canary);
    }
    conversation.write(&parts);
    if case.canary == Canary::After {
        let patience = match alone.end {
            End::Bad(_) => UNDECIDED,
            _ => PATIENCE,
        };
        conversation.read_answers(alone.requests.len(), patience);
        conversation.write(&[canary]);
    }
    conversation.read_answers(reading.requests.len(), PATIENCE);
    if let End::Bad(_) = reading.end {
        conversation.read_answers(usize::MAX, UNDECIDED);
    }
    let _ = conversation.stream.shutdown(Shutdown::Write);
    conversation.read_answers(usize::MAX, PATIENCE);
    Ok(Sent {
        bytes,
        reading,
        answers: conversation.answers,
        garbage: conversation.input,
        ended: conversation.ended.unwrap_or(Ended::Hangs),
    })
}

struct Conversation {
    stream: TcpStream,
    /// Of the requests, because an answer to HEAD has no body.
    methods: Vec<Vec<u8>>,
    input: Vec<u8>,
    answers: Vec<Answer>,
    ended: Option<Ended>,
}

impl Conversation {
    /// Who refuses may close while something still comes.
    fn write(&mut self, parts: &[Vec<u8>]) {
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                std::thread::sleep(PAUSE); // The pause is what is tried.
            }
            if self.stream.write_all(part).is_err() {
                return;
            }
        }
    }

    /// Reads until so many answers are there, nothing more can come, or for so long.
    fn read_answers(&mut self, number: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 16 * 1024];
        while self.answers.len() < number && self.ended.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let _ = self.stream.set_read_timeout(Some(left));
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = Some(Ended::Closed),
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = Some(Ended::Reset),
            }
            self.take_answers();
        }
    }

    fn take_answers(&mut self) {
        loop {
            let method = self.methods.get(self.answers.len());
            // The method of what could not be read is anyone's guess, and the gateway ends the connection there.
            let is_head = method.map_or(self.ended.is_some(), |method| method == b"HEAD");
            let Some((length, answer)) = parse(&self.input, is_head, self.ended.is_some()) else {
                return;
            };
            self.input.drain(..length);
            if answer.status >= 200 {
                self.answers.push(answer);
            }
        }
    }
}

/// The first answer of some bytes, and its length; none while something of it is missing.
fn parse(bytes: &[u8], is_head: bool, ended: bool) -> Option<(usize, Answer)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?;
    let mut answer = Answer {
        status: status.parse().ok()?,
        ..Answer::default()
    };
    let (mut length, mut chunked) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "transfer-encoding" => chunked = true,
            "x-request-id" => value.clone_into(&mut answer.id),
            "x-seen" => answer.seen = Some(value.to_owned()),
            _ => {}
        }
    }
    if is_head || answer.status < 200 || answer.status == 204 || answer.status == 304 {
        return Some((head, answer));
    }
    let body = &bytes[head..];
    let body = match (chunked, length) {
        (true, _) => body.windows(5).position(|five| five == b"0\r\n\r\n")? + 5,
        (_, Some(length)) => (length <= body.len()).then_some(length)?,
        _ => ended.then_some(body.len())?,
    };
    Some((head + body, answer))
}
