//! HTTP/1.1 as far as the tests need it: one request per connection, bodies read whole, or a stream read
//! line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use serde_json::Value;

use crate::PATIENCE;

/// Speaks to one server on this machine.
#[derive(Clone, Copy)]
pub struct Client {
    port: u16,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: String,
}

impl Answer {
    /// The value of a header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Panics unless the status is the one expected.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
}

impl Client {
    /// For a port on this machine.
    pub fn new(port: u16) -> Self {
        Self { port }
    }

    /// The `Host` that requests carry.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    /// POST of a JSON document.
    pub fn post(&self, path: &str, document: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            document.to_string().as_bytes(),
        )
    }

    /// POST of a form, as a page of the service itself would send it.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", percent(value)))
            .collect();
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send(
            "POST",
            path,
            &[kind, ("sec-fetch-site", "same-origin")],
            body.join("&").as_bytes(),
        )
    }

    /// POST of one file, as a page of the service itself would send it.
    pub fn upload(&self, path: &str, content: &[u8]) -> Answer {
        let head = "--edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"list.csv\"\r\n\
                    content-type: text/csv\r\n\r\n";
        let body = [head.as_bytes(), content, b"\r\n--edge--\r\n"].concat();
        let kind = ("content-type", "multipart/form-data; boundary=edge");
        self.send(
            "POST",
            path,
            &[kind, ("sec-fetch-site", "same-origin")],
            &body,
        )
    }

    /// Any request; panics where no answer comes.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut stream = self.start(method, path, headers, body.len())?;
        // A server that refuses early may close before it read everything; its answer still counts.
        let _ = stream.write_all(body);
        read(stream)
    }

    /// Sends a head that promises `length` bytes, and leaves the body to the caller.
    pub fn start(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n",
            self.host()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method != "GET" {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        Ok(stream)
    }

    /// An open stream of events, line by line; it ends when [`PATIENCE`] does, heartbeats or not.
    pub fn events(&self, headers: &[(&str, &str)]) -> impl Iterator<Item = String> + use<> {
        let stream = self
            .start("GET", "/events", headers, 0)
            .expect("the service accepts");
        let deadline = Instant::now() + PATIENCE;
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .take_while(move |_| Instant::now() < deadline)
    }
}

/// Reads an answer to its end.
pub fn read(stream: TcpStream) -> std::io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let broken = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer broke off");
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(broken)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: String::new(),
    };
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == "chunked" {
        chunks(&mut reader, &mut body)?;
    } else if let Ok(length) = answer.header("content-length").parse() {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    }
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

fn chunks(reader: &mut impl BufRead, body: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let broken =
            |_| std::io::Error::new(std::io::ErrorKind::InvalidData, "a chunk without a size");
        let size = usize::from_str_radix(size.trim(), 16).map_err(broken)?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk)?;
        if size == 0 {
            return Ok(());
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}
