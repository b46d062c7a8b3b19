//! The clients beside the cases, which must not notice any of them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::connect_from;

/// For how long a connection beside is kept; the gateway keeps it longer.
const UNUSED: Duration = Duration::from_secs(30);

/// A client with nothing odd about it, which keeps its connection.
pub struct Beside {
    from: Ipv4Addr,
    gateway: SocketAddr,
    stream: Option<(TcpStream, Instant)>,
}

impl Beside {
    pub fn new(origin: usize, client: usize, gateway: SocketAddr) -> Self {
        let [origin, client] = [origin + 1, client + 1].map(|part| u8::try_from(part).unwrap());
        let from = Ipv4Addr::new(127, 200, origin, client);
        Self {
            from,
            gateway,
            stream: None,
        }
    }

    /// Asks, and must get the answer to this very question.
    pub fn ask(&mut self, host: &str, case: usize) -> Result<(), String> {
        // One that was not used for long may be closed just now.
        let kept = self
            .stream
            .take()
            .filter(|(_, used)| used.elapsed() < UNUSED);
        let mut stream = match kept {
            Some((stream, _)) => stream,
            None => connect_from(self.from, self.gateway).map_err(|error| error.to_string())?,
        };
        let path = format!("/beside/{case:05}");
        let text = talk(&mut stream, host, &path).map_err(|error| error.to_string())?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        let (id, seen) = (value("x-request-id: "), value("x-seen: "));
        let own =
            text.starts_with("HTTP/1.1 200") && id.is_some() && id == seen && text.ends_with(&path);
        if text.starts_with("HTTP/1.1 200") && !text.contains("connection: close") {
            self.stream = Some((stream, Instant::now()));
        }
        if own {
            Ok(())
        } else {
            Err(format!("it got {text:?}"))
        }
    }
}

fn talk(stream: &mut TcpStream, host: &str, path: &str) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        let head = text.find("\r\n\r\n");
        let whole = head
            .zip(length)
            .is_some_and(|(head, length)| text.len() >= head + 4 + length);
        if whole || count == 0 {
            return Ok(text);
        }
    }
}
