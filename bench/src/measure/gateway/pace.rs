//! Requests over HTTP/1.1 at a rate: each at its own moment, to some ten microseconds, whatever becomes of those before.
//!
//! What a request took is counted from the moment at which it was due: one that found no connection free, or whose moment
//! this process missed, has waited as well. One thread asks, and sleeps until something comes or the next request is due.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll, poll};
use rustix::time::Timespec;

use super::clients::{Answer, Way};
use crate::error::{Error, doing};

/// How long it is waited for answers once nothing more is asked.
const LINGER: Duration = Duration::from_secs(10);
const LINES: usize = 64;

/// Asks so many times a second, on so many connections, for so long.
pub(super) fn run(
    address: SocketAddr,
    way: Way,
    (rate, connections): (f64, u32),
    time: Duration,
) -> Result<Vec<Answer>, Error> {
    let run = Run::new(address, way, rate, connections);
    doing("ask at a rate", run.and_then(|run| run.run(time)))
}

struct Run {
    address: SocketAddr,
    request: Vec<u8>,
    period: Duration,
    began: Instant,
    poll: OwnedFd,
    connections: Vec<Connection>,
    /// Which connections carry nothing; the one that rested longest goes first.
    free: VecDeque<usize>,
    /// When requests were due that have no connection yet.
    late: VecDeque<Instant>,
    room: Vec<u8>,
    answers: Vec<Answer>,
}

#[derive(Default)]
struct Connection {
    stream: Option<TcpStream>,
    /// When the request that it carries was due.
    due: Option<Instant>,
    coming: Coming,
}

/// What has come of an answer.
#[derive(Default)]
struct Coming {
    head: Vec<u8>,
    /// Once its head is there.
    body: Option<Body>,
}

struct Body {
    left: usize,
    is_good: bool,
    closes: bool,
}

impl Run {
    fn new(address: SocketAddr, way: Way, rate: f64, connections: u32) -> io::Result<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut run = Self {
            address,
            request: format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", way.path, way.host)
                .into_bytes(),
            period: Duration::from_secs_f64(1.0 / rate),
            began: Instant::now(),
            poll,
            connections: Vec::new(),
            free: VecDeque::new(),
            late: VecDeque::new(),
            room: vec![0; 64 * 1024],
            answers: Vec::new(),
        };
        for at in 0..connections as usize {
            run.connections.push(Connection::default());
            run.connect(at)?;
            run.free.push_back(at);
        }
        Ok(run)
    }

    fn connect(&mut self, at: usize) -> io::Result<()> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let named = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.poll, &stream, named, epoll::EventFlags::IN)?;
        self.connections[at].stream = Some(stream);
        Ok(())
    }

    fn run(mut self, time: Duration) -> io::Result<Vec<Answer>> {
        self.began = Instant::now();
        let end = self.began + time;
        let mut due = self.began;
        let mut events = Vec::with_capacity(256);
        loop {
            let now = Instant::now();
            while due <= now && due < end {
                self.late.push_back(due);
                due += self.period;
            }
            self.ask();
            let under_way = self.free.len() < self.connections.len() || !self.late.is_empty();
            let wake = match due < end {
                true => due,
                false if under_way && now < end + LINGER => end + LINGER,
                false => break,
            };
            events.clear();
            self.wait(&mut events, wake)?;
            for event in &events {
                self.hears(event.data.u64() as usize);
            }
        }
        for at in 0..self.connections.len() {
            self.fails(at);
        }
        let late = std::mem::take(&mut self.late);
        late.into_iter().for_each(|due| self.note(due, false));
        Ok(self.answers)
    }

    /// Waits until something has come, or for so long. epoll(7) counts in milliseconds, poll(2) does not.
    fn wait(&self, events: &mut Vec<epoll::Event>, until: Instant) -> io::Result<()> {
        let now = Timespec::default();
        epoll::wait(&self.poll, spare_capacity(events), Some(&now))?;
        if events.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            poll(&mut [PollFd::new(&self.poll, PollFlags::IN)], Some(&left))?;
            epoll::wait(&self.poll, spare_capacity(events), Some(&now))?;
        }
        Ok(())
    }

    /// Gives requests that are due to connections that are free.
    fn ask(&mut self) {
        while let Some(due) = self.late.front().copied()
            && let Some(at) = self.free.pop_front()
        {
            self.late.pop_front();
            self.connections[at].due = Some(due);
            let connected = self.connections[at].stream.is_some() || self.connect(at).is_ok();
            let stream = self.connections[at].stream.as_mut();
            let sent = stream.map(|stream| stream.write_all(&self.request));
            if !connected || !matches!(sent, Some(Ok(()))) {
                self.fails(at);
            }
        }
    }

    /// Something came on a connection.
    fn hears(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let Some(stream) = &mut connection.stream else {
            return;
        };
        let read = match stream.read(&mut self.room) {
            Ok(read @ 1..) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => return self.fails(at),
        };
        let expected = connection.due.is_some();
        match connection.coming.takes(&self.room[..read]) {
            Ok(None) if expected => {}
            Ok(Some(body)) if expected => {
                let due = connection.due.take();
                if body.closes {
                    connection.stream = None;
                }
                due.into_iter().for_each(|due| self.note(due, body.is_good));
                self.free.push_back(at);
            }
            Ok(_) | Err(_) => self.fails(at),
        }
    }

    /// A connection ended; the next request on it makes another one.
    fn fails(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.stream = None;
        connection.coming = Coming::default();
        if let Some(due) = connection.due.take() {
            self.note(due, false);
            self.free.push_back(at);
        }
    }

    fn note(&mut self, due: Instant, is_good: bool) {
        self.answers.push(Answer {
            at: due.saturating_duration_since(self.began).as_secs_f64(),
            took: due.elapsed().as_secs_f64(),
            is_good,
        });
    }
}

impl Coming {
    /// More of an answer; what there is to know of it once it is whole.
    fn takes(&mut self, bytes: &[u8]) -> Result<Option<Body>, httparse::Error> {
        let come = match &self.body {
            Some(_) => bytes.len(),
            None => {
                self.head.extend_from_slice(bytes);
                let Some((length, body)) = read_head(&self.head)? else {
                    return Ok(None);
                };
                self.body = Some(body);
                let come = self.head.len() - length;
                self.head.clear();
                come
            }
        };
        let Some(mut body) = self.body.take() else {
            return Ok(None);
        };
        // More than there should be is of no answer.
        body.left = body.left.checked_sub(come).ok_or(httparse::Error::Status)?;
        match body.left {
            0 => Ok(Some(body)),
            _ => {
                self.body = Some(body);
                Ok(None)
            }
        }
    }
}

fn read_head(bytes: &[u8]) -> Result<Option<(usize, Body)>, httparse::Error> {
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut head = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(length) = head.parse(bytes)? else {
        return Ok(None);
    };
    let value = |name: &str| {
        let mut lines = head.headers.iter();
        let line = lines.find(|line| line.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(line.value).ok()
    };
    // All that is asked for here has a length.
    let left = value("content-length").and_then(|length| length.parse().ok());
    let body = Body {
        left: left.ok_or(httparse::Error::HeaderValue)?,
        is_good: head.code.is_some_and(|code| (200..300).contains(&code)),
        closes: value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    };
    Ok(Some((length, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_wherever_they_are_cut() {
        let answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy";
        for cut in 1..answer.len() {
            let mut coming = Coming::default();
            assert!(coming.takes(&answer[..cut]).unwrap().is_none(), "{cut}");
            let body = coming.takes(&answer[cut..]).unwrap().unwrap();
            assert!(!body.is_good && body.closes, "{cut}");
        }
        let two = [&answer[..], &answer[..]].concat();
        assert!(Coming::default().takes(&two).is_err());
        assert!(Coming::default().takes(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    /// A server that is away for a while costs all that were due meanwhile.
    #[test]
    fn who_is_late_is_late_for_each_that_was_due() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut room = [0; 4096];
            let mut count = 0;
            while let Ok(1..) = stream.read(&mut room) {
                count += 1;
                if count == 50 {
                    std::thread::sleep(Duration::from_millis(300)); // Being away is what is tried here.
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).unwrap();
            }
        });
        let way = Way {
            name: "",
            host: "a",
            path: "/",
            speaks: super::super::clients::Speaks::Http1,
        };
        let answers = run(address, way, (500.0, 1), Duration::from_secs(1)).unwrap();
        server.join().unwrap();
        assert_eq!(answers.len(), 500);
        assert!(answers.iter().all(|answer| answer.is_good));
        let late = answers.iter().filter(|answer| answer.took > 0.05).count();
        assert!(late >= 100, "{late}");
    }
}
