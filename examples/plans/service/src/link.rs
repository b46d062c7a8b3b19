//! A link to another service: one POST over HTTP/1.1 on a connection of its own (RFC 9112).
//!
//! Nothing is sent twice: whether a request may be repeated is for the caller to know.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::settings::{self, SettingError};

/// The largest answer that is read, in bytes.
const MOST_ANSWER: u64 = 32 * 1024 * 1024;

/// Another service.
#[derive(Clone, Debug)]
pub struct Link {
    authority: String,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection, or it broke off.
    #[error("{service} cannot be reached")]
    Unreachable {
        /// The service's name and port.
        service: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No whole answer in time.
    #[error("{service} did not answer within {patience:?}")]
    Silent {
        /// The service's name and port.
        service: String,
        /// How long was waited.
        patience: Duration,
    },
    /// An answer that is none.
    #[error("{service} gave no answer of HTTP: {reason}")]
    Broken {
        /// The service's name and port.
        service: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An answer other than 200.
    #[error("{service} answered {status}: {message}")]
    Refused {
        /// The service's name and port.
        service: String,
        /// The status code.
        status: u16,
        /// The first line of its answer.
        message: String,
    },
}

impl LinkError {
    /// Whether the request itself was refused, so that asking again is of no use.
    pub fn is_final(&self) -> bool {
        let refused = |status: u16| (400..500).contains(&status) && !matches!(status, 408 | 429);
        matches!(self, Self::Refused { status, .. } if refused(*status))
    }
}

impl Link {
    /// From a variable that holds `http://name:port`.
    ///
    /// # Errors
    /// When the variable is not set, or holds something else.
    pub fn from_variable(name: &'static str) -> Result<Self, SettingError> {
        let value =
            settings::required(name, "the address of a service such as http://engine:8081")?;
        let authority = value
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/').to_owned())
            .filter(|rest| is_authority(rest));
        match authority {
            Some(authority) => Ok(Self { authority }),
            None => Err(SettingError::Address { name, value }),
        }
    }

    /// Sends JSON, and gives the body of the answer.
    ///
    /// # Errors
    /// When the whole of it takes longer than `patience`, or the answer is not 200.
    pub async fn post(
        &self,
        path: &str,
        body: &[u8],
        patience: Duration,
    ) -> Result<Vec<u8>, LinkError> {
        let service = || self.authority.clone();
        let answer = timeout(patience, self.exchange(path, body)).await;
        let answer = answer.map_err(|_| LinkError::Silent {
            service: service(),
            patience,
        })?;
        let answer = answer.map_err(|source| LinkError::Unreachable {
            service: service(),
            source,
        })?;
        let (status, body) = read(&answer).map_err(|reason| LinkError::Broken {
            service: service(),
            reason,
        })?;
        match status {
            200 => Ok(body),
            _ => Err(LinkError::Refused {
                service: service(),
                status,
                message: first_line(&body),
            }),
        }
    }

    async fn exchange(&self, path: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.authority,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // A service that refuses early may close before it read everything; its answer still counts.
        let sent = stream.write_all(body).await;
        let mut answer = Vec::new();
        let read = stream.take(MOST_ANSWER).read_to_end(&mut answer).await;
        match (answer.is_empty(), sent.and(read.map(drop))) {
            (true, Err(error)) => Err(error),
            _ => Ok(answer),
        }
    }
}

fn is_authority(text: &str) -> bool {
    let named = |name: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        !name.is_empty() && name.chars().all(fits)
    };
    text.rsplit_once(':')
        .is_some_and(|(name, port)| named(name) && port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Status and body of a whole answer.
fn read(answer: &[u8]) -> Result<(u16, Vec<u8>), &'static str> {
    let end = find(answer, b"\r\n\r\n").ok_or("its head has no end")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| "its head is no text")?;
    let rest = &answer[end + 4..];
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|line| line.get(..3)?.parse().ok())
        .ok_or("it has no status")?;
    let header = |name: &str| {
        let lines = head.split("\r\n").skip(1);
        let mut pairs = lines.filter_map(|line| line.split_once(':'));
        let found = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    let body = match (header("transfer-encoding"), header("content-length")) {
        (Some(coding), _) if coding == "chunked" => chunks(rest)?,
        (Some(_), _) => return Err("its body is coded in an unknown way"),
        (None, None) => rest.to_vec(),
        (None, Some(length)) => match length.parse::<usize>() {
            Ok(length) if rest.len() == length => rest.to_vec(),
            _ => return Err("its body is not as long as it says"),
        },
    };
    Ok((status, body))
}

fn chunks(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let broken = "its body breaks off";
    let mut body = Vec::new();
    loop {
        let end = find(rest, b"\r\n").ok_or(broken)?;
        let size = std::str::from_utf8(&rest[..end]).map_err(|_| broken)?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| broken)?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).ok_or(broken)?);
        rest = rest
            .get(size..)
            .and_then(|rest| rest.strip_prefix(b"\r\n"))
            .ok_or(broken)?;
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_by_length_by_chunks_and_by_their_end() {
        let body = |answer: &str| {
            read(answer.as_bytes()).map(|(_, body)| String::from_utf8(body).unwrap())
        };
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap(),
            "ok"
        );
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), "abcd");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nrest").unwrap(), "rest");
    }

    #[test]
    fn half_an_answer_is_none() {
        for half in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(read(half.as_bytes()).is_err(), "{half:?}");
        }
    }

    #[test]
    fn addresses_name_a_service_and_its_port() {
        assert!(is_authority("engine:8081") && is_authority("127.0.0.1:1"));
        for bad in [
            "engine",
            "engine:0",
            ":80",
            "a b:80",
            "engine:99999",
            "a\r\n:1",
        ] {
            assert!(!is_authority(bad), "{bad:?}");
        }
    }
}
