//! What sends a case: one connection, the case on its first stream, and on its second a request that must get its own answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::corpus::Case;
use super::frames::{
    self, ACK, DATA, END_STREAM, Frame, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, first,
    frame, section,
};
use crate::client::connect_from;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The streams of the case and of the request behind it.
const CASE: u32 = 1;
const CANARY: u32 = 3;

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Outcome {
    /// Nothing was heard any more: the connection had ended.
    #[default]
    Nothing,
    /// It was answered to the end, with this body.
    Answered(String),
    /// It was reset, with this code.
    Reset(u32),
}

/// What became of a case.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub case: Outcome,
    pub canary: Outcome,
    /// The code with which the connection was ended.
    pub gone: Option<u32>,
    /// Whether it was not over after all that time.
    pub hangs: bool,
}

/// Sends a case, and the request behind it along with it or once it is answered.
pub fn send(case: &Case, from: Ipv4Addr, to: SocketAddr) -> io::Result<Sent> {
    let mut talk = Talk {
        stream: connect_from(from, to)?,
        input: Vec::new(),
        bodies: [Vec::new(), Vec::new()],
        sent: Sent::default(),
        ended: false,
    };
    let canary = section(CANARY, &case.canary(), true);
    let mut output = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    output.extend(stream_of(case));
    if case.along {
        output.extend(&canary);
        talk.write(&output);
    } else {
        talk.write(&output);
        talk.read_until(|sent| sent.case != Outcome::Nothing);
        talk.write(&canary);
    }
    talk.read_until(|sent| sent.case != Outcome::Nothing && sent.canary != Outcome::Nothing);
    Ok(talk.sent)
}

fn stream_of(case: &Case) -> Vec<u8> {
    let trailers = !case.trailers.is_empty();
    let mut frames = section(CASE, &case.fields, case.data.is_empty() && !trailers);
    for (at, data) in case.data.iter().enumerate() {
        let ends = at + 1 == case.data.len() && !trailers;
        frames.extend(frame(DATA, u8::from(ends), CASE, data));
    }
    if trailers {
        frames.extend(section(CASE, &case.trailers, true));
    }
    frames
}

struct Talk {
    stream: TcpStream,
    input: Vec<u8>,
    bodies: [Vec<u8>; 2],
    sent: Sent,
    ended: bool,
}

impl Talk {
    /// What cannot be written any more is answered by the end of the connection.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn read_until(&mut self, done: impl Fn(&Sent) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 16 * 1024];
        while !self.ended && !done(&self.sent) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.sent.hangs = true;
                self.ended = true;
                return;
            }
            let _ = self.stream.set_read_timeout(Some(left));
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
            self.take_frames();
        }
    }

    fn take_frames(&mut self) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((frame, behind)) = first(rest) {
            rest = behind;
            let Frame {
                kind,
                flags,
                stream,
                payload,
            } = frame;
            let code = |at: usize| {
                let bytes = payload
                    .get(at..at + 4)
                    .and_then(|four| four.try_into().ok());
                bytes.map_or(u32::MAX, u32::from_be_bytes)
            };
            match kind {
                SETTINGS if flags & ACK == 0 => self.write(&frames::frame(SETTINGS, ACK, 0, &[])),
                GOAWAY => self.sent.gone = Some(code(4)),
                RST_STREAM => self.end(stream, Some(code(0))),
                DATA => {
                    if let Some(body) = self.bodies.get_mut((stream / 2) as usize) {
                        body.extend(payload);
                    }
                    if flags & END_STREAM != 0 {
                        self.end(stream, None);
                    }
                }
                // An answer without a body ends with its header section.
                HEADERS if flags & END_STREAM != 0 => {
                    self.end(stream, None);
                }
                _ => {}
            }
        }
        self.input = rest.to_vec();
    }

    fn end(&mut self, stream: u32, code: Option<u32>) {
        let body = self.bodies.get((stream / 2) as usize);
        let body = body.map(|body| String::from_utf8_lossy(body).into_owned());
        let outcome = match code {
            Some(code) => Outcome::Reset(code),
            None => Outcome::Answered(body.unwrap_or_default()),
        };
        let of = match stream {
            CASE => &mut self.sent.case,
            CANARY => &mut self.sent.canary,
            _ => return,
        };
        // One that is answered early is reset then, which changes nothing.
        if *of == Outcome::Nothing {
            *of = outcome;
        }
    }
}
