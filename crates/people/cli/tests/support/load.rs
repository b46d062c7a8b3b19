//! Clients that never stop asking, and count what fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

/// A connection to the gateway that is kept.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Connection {
    pub fn open(address: &str, host: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            host: host.to_owned(),
        })
    }

    /// Waits for so long for an answer.
    pub fn patience(&mut self, limit: Duration) {
        let stream = self.stream.get_ref();
        stream.set_read_timeout(Some(limit)).unwrap();
    }

    pub fn get(&mut self, path: &str) -> std::io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read()
    }

    /// Sends a body slowly, in so many pieces.
    pub fn post_slowly(
        &mut self,
        path: &str,
        body: &[u8],
        pieces: usize,
    ) -> std::io::Result<Answer> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        for piece in body.chunks(body.len().div_ceil(pieces)) {
            self.stream.get_mut().write_all(piece)?;
            std::thread::sleep(Duration::from_millis(20)); // Slowness is what is tried here.
        }
        self.read()
    }

    fn read(&mut self) -> std::io::Result<Answer> {
        let mut headers = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line == "\r\n" {
                break;
            }
            headers.push_str(&line);
        }
        let lower = headers.to_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let status = headers
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or(0);
        Ok(Answer {
            status,
            headers: lower,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// One request on a connection of its own.
pub fn get(address: &str, host: &str, path: &str) -> std::io::Result<Answer> {
    Connection::open(address, host)?.get(path)
}

/// Clients in the background.
pub struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    /// What the slowest answer took, in milliseconds.
    longest: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Keep-alive clients, clients with a new connection each time, and a slow upload, until it is ended.
    pub fn start(address: &str, host: &str) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            asked: Arc::default(),
            longest: Arc::default(),
            failures: Arc::default(),
            clients: Vec::new(),
        };
        let (address, host) = (address.to_owned(), host.to_owned());
        for _ in 0..3 {
            let (address, host) = (address.clone(), host.clone());
            let mut kept: Option<Connection> = None;
            load.client("keep-alive", move || {
                if kept.is_none() {
                    kept = Some(Connection::open(&address, &host)?);
                }
                let answer = kept.as_mut().expect("it was opened just now").get("/");
                // The gateway may close a connection that is kept, when it says so.
                if answer
                    .as_ref()
                    .map_or(true, |answer| answer.headers.contains("connection: close"))
                {
                    kept = None;
                }
                answer
            });
        }
        for _ in 0..2 {
            let (address, host) = (address.clone(), host.clone());
            load.client("new connection", move || get(&address, &host, "/"));
        }
        load.client("slow upload", move || {
            Connection::open(&address, &host)?.post_slowly("/upload", &[7; 200_000], 20)
        });
        load
    }

    fn client(
        &mut self,
        name: &'static str,
        mut ask: impl FnMut() -> std::io::Result<Answer> + Send + 'static,
    ) {
        let (stop, asked, failures) =
            (self.stop.clone(), self.asked.clone(), self.failures.clone());
        let longest = self.longest.clone();
        self.clients.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                asked.fetch_add(1, Ordering::Relaxed);
                let begun = Instant::now();
                match ask() {
                    Ok(answer) if answer.status == 200 => {}
                    other => failures.lock().unwrap().push(format!("{name}: {other:?}")),
                }
                let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                longest.fetch_max(took, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2)); // The rate of the load.
            }
        }));
    }

    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// What the slowest answer took so far.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }

    pub fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap().clone()
    }

    /// Ends the clients; how often they asked, and what failed.
    pub fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().unwrap();
        }
        (
            self.asked.load(Ordering::Relaxed),
            self.failures.lock().unwrap().clone(),
        )
    }
}
