//! The health check: a connection to the application, a question, and a judgement of the first bytes of the answer.
//!
//! Until the first good answer it asks often, because somebody waits for it; then at its interval.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SendFlags;
use ward_types::keeper::{HealthCheck, InstanceState, Probe};

use super::connect::{self, Attempt};
use super::poll::{Poller, Source};

/// From one check to the next before the first good answer, growing to the last.
const EAGER: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
];
/// What is read of an answer.
const MAX_ANSWER: usize = 4096;
/// Longer texts from the application are cut in messages.
const MAX_QUOTE: usize = 200;

/// The outcome of one check.
pub(super) enum Verdict {
    /// It answered well.
    Good,
    /// It did not, and why.
    Bad(String),
}

/// The checks of one instance.
pub(super) struct Health {
    check: HealthCheck,
    phase: Phase,
    deadline: Instant,
    good: u32,
    bad: u32,
    tried: usize,
    /// How many checks have begun.
    begun: u64,
    /// Whether the next one begins as soon as this one is over.
    hurried: bool,
    state: InstanceState,
}

/// What the deadline means.
enum Phase {
    /// The next check begins.
    Resting,
    /// The check has taken too long.
    Connecting(OwnedFd),
    /// As before; what came so far.
    Reading(OwnedFd, Vec<u8>),
}

impl Health {
    /// Checks from now on.
    pub(super) fn new(check: HealthCheck) -> Self {
        Self {
            check,
            phase: Phase::Resting,
            deadline: Instant::now() + EAGER[0],
            good: 0,
            bad: 0,
            tried: 0,
            begun: 0,
            hurried: false,
            state: InstanceState::Starting,
        }
    }

    /// Has the next check begin as soon as it can; which one that is, counted from the first.
    pub(super) fn hurry(&mut self) -> u64 {
        match self.phase {
            Phase::Resting => self.deadline = Instant::now(),
            Phase::Connecting(_) | Phase::Reading(..) => self.hurried = true,
        }
        self.begun + 1
    }

    /// How many checks are over.
    pub(super) fn over(&self) -> u64 {
        match self.phase {
            Phase::Resting => self.begun,
            Phase::Connecting(_) | Phase::Reading(..) => self.begun - 1,
        }
    }

    /// What the checks say: starting, healthy or unhealthy.
    pub(super) fn state(&self) -> InstanceState {
        self.state.clone()
    }

    /// When to call [`Health::on_time`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        Some(self.deadline)
    }

    /// Begins a check, or ends one that takes too long.
    pub(super) fn on_time(&mut self, poll: &Poller, now: Instant) -> Option<Verdict> {
        if self.deadline > now {
            return None;
        }
        let port = self.check.port;
        let millis = self.check.timeout.0;
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Resting => self.begin(poll, now),
            Phase::Connecting(_) => {
                let why = format!("no connection was accepted on port {port} within {millis} ms");
                Some(self.judge(Verdict::Bad(why)))
            }
            Phase::Reading(_, answer) if answer.is_empty() => {
                let why = format!("{} was not answered within {millis} ms", self.question());
                Some(self.judge(Verdict::Bad(why)))
            }
            Phase::Reading(..) => {
                let why = format!(
                    "the answer to {} did not arrive within {millis} ms",
                    self.question()
                );
                Some(self.judge(Verdict::Bad(why)))
            }
        }
    }

    fn begin(&mut self, poll: &Poller, now: Instant) -> Option<Verdict> {
        self.begun += 1;
        self.deadline = now + self.check.timeout.duration();
        match connect::begin(self.check.port) {
            Ok(Attempt::Connected(socket)) => self.ask(poll, socket, Watched::NotYet),
            Ok(Attempt::Waiting(socket)) => {
                if let Err(error) = poll.add(&socket, Source::Health, EventFlags::OUT) {
                    return Some(self.judge(Verdict::Bad(error.to_string())));
                }
                self.phase = Phase::Connecting(socket);
                None
            }
            Err(error) => Some(self.refused(error)),
        }
    }

    /// Something happened on the check's connection.
    pub(super) fn is_ready(&mut self, poll: &Poller) -> Option<Verdict> {
        match std::mem::replace(&mut self.phase, Phase::Resting) {
            Phase::Resting => None,
            Phase::Connecting(socket) => match connect::finish(socket) {
                Ok(socket) => self.ask(poll, socket, Watched::Already),
                Err(error) => Some(self.refused(error)),
            },
            Phase::Reading(socket, answer) => self.read(socket, answer),
        }
    }

    fn ask(&mut self, poll: &Poller, socket: OwnedFd, watched: Watched) -> Option<Verdict> {
        let question = match &self.check.probe {
            Probe::Http { path } => http_question(path),
            Probe::Postgres => postgres_question(),
        };
        let watching = match watched {
            Watched::Already => poll.change(&socket, Source::Health, EventFlags::IN),
            Watched::NotYet => poll.add(&socket, Source::Health, EventFlags::IN),
        };
        // A new connection takes a short question whole.
        let sent = rustix::net::send(&socket, &question, SendFlags::NOSIGNAL);
        match (watching, sent) {
            (Ok(()), Ok(length)) if length == question.len() => {
                self.phase = Phase::Reading(socket, Vec::new());
                None
            }
            _ => {
                let why = format!("the connection broke while {} was sent", self.question());
                Some(self.judge(Verdict::Bad(why)))
            }
        }
    }

    fn read(&mut self, socket: OwnedFd, mut answer: Vec<u8>) -> Option<Verdict> {
        let mut chunk = [0; 1024];
        loop {
            let verdict = match rustix::io::read(socket.as_fd(), &mut chunk) {
                Ok(0) => self.judged(&answer).unwrap_or_else(|| {
                    let why = format!(
                        "the connection was closed before {} was answered",
                        self.question()
                    );
                    Verdict::Bad(why)
                }),
                Ok(length) => {
                    answer.extend_from_slice(&chunk[..length]);
                    // Read on a little: closing on unread bytes resets the connection, which applications log.
                    if answer.len() < MAX_ANSWER {
                        continue;
                    }
                    self.judged(&answer)
                        .unwrap_or_else(|| Verdict::Bad(self.gibberish(&answer)))
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => match self.judged(&answer) {
                    Some(verdict) => verdict,
                    None => {
                        self.phase = Phase::Reading(socket, answer);
                        return None;
                    }
                },
                // A whole answer counts, also from a server that resets the connection behind it.
                Err(error) => self.judged(&answer).unwrap_or_else(|| {
                    Verdict::Bad(format!(
                        "the connection broke before {} was answered: {error}",
                        self.question()
                    ))
                }),
            };
            return Some(self.judge(verdict));
        }
    }

    /// What an answer so far means; `None` when it could mean either.
    fn judged(&self, answer: &[u8]) -> Option<Verdict> {
        match &self.check.probe {
            Probe::Http { .. } => self.http_judged(answer),
            Probe::Postgres => postgres_judged(answer),
        }
    }

    /// RFC 9112, section 4: `HTTP/1.1 200 …`.
    fn http_judged(&self, answer: &[u8]) -> Option<Verdict> {
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or(answer);
        if line.len() == answer.len() {
            return None;
        }
        let line = String::from_utf8_lossy(line);
        let mut words = line.trim_end().splitn(3, ' ');
        let (version, code) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if !version.starts_with("HTTP/1.") || code.len() != 3 {
            return Some(Verdict::Bad(self.gibberish(answer)));
        }
        if code.starts_with('2') {
            return Some(Verdict::Good);
        }
        Some(Verdict::Bad(format!("{} answered {code}", self.question())))
    }

    fn gibberish(&self, answer: &[u8]) -> String {
        format!(
            "{} was answered by something else: {}",
            self.question(),
            quote(answer)
        )
    }

    fn question(&self) -> String {
        let port = self.check.port;
        match &self.check.probe {
            Probe::Http { path } => format!("GET {path} on port {port}"),
            Probe::Postgres => format!("the PostgreSQL handshake on port {port}"),
        }
    }

    fn refused(&mut self, error: Errno) -> Verdict {
        let why = connect::refusal(self.check.port, error);
        self.judge(Verdict::Bad(why))
    }

    /// Counts a verdict, and sets the time of the next check.
    fn judge(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Good => (self.good, self.bad) = (self.good.saturating_add(1), 0),
            Verdict::Bad(_) => (self.good, self.bad) = (0, self.bad.saturating_add(1)),
        }
        if self.good >= self.check.healthy.max(1) {
            self.state = InstanceState::Healthy;
        } else if self.state == InstanceState::Healthy && self.bad >= self.check.unhealthy.max(1) {
            self.state = InstanceState::Unhealthy;
        }
        self.phase = Phase::Resting;
        let pause = self.pause();
        self.deadline = Instant::now()
            + match std::mem::take(&mut self.hurried) {
                true => Duration::ZERO,
                false => pause,
            };
        verdict
    }

    fn pause(&mut self) -> Duration {
        let interval = self.check.interval.duration();
        if self.good > 0 || self.state != InstanceState::Starting {
            return interval;
        }
        self.tried += 1;
        interval.min(EAGER[self.tried.min(EAGER.len() - 1)])
    }
}

/// Whether epoll knows a socket.
enum Watched {
    Already,
    NotYet,
}

fn http_question(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ward-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// PostgreSQL's frontend/backend protocol 3.0, StartupMessage: length, version, pairs, a zero.
fn postgres_question() -> Vec<u8> {
    let pairs = b"user\0postgres\0database\0postgres\0application_name\0ward-health\0\0";
    let length = (8 + pairs.len()) as u32;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(196_608u32.to_be_bytes());
    message.extend_from_slice(pairs);
    message
}

/// `R`: authentication is asked for, so that it takes connections. `E`: an error, such as 57P03, still starting.
fn postgres_judged(answer: &[u8]) -> Option<Verdict> {
    match answer {
        [] => None,
        [b'R', ..] => Some(Verdict::Good),
        [b'E', rest @ ..] => {
            let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
            let fields = rest.get(4..length)?;
            let fields = fields.split(|byte| *byte == 0);
            let message = fields.filter_map(|field| field.strip_prefix(b"M")).next();
            Some(Verdict::Bad(format!(
                "PostgreSQL says: {}",
                quote(message.unwrap_or(b"an error"))
            )))
        }
        other => Some(Verdict::Bad(format!(
            "something else than PostgreSQL answers: {}",
            quote(other)
        ))),
    }
}

fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_QUOTE)]);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
