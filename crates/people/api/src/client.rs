//! A small client of the control API, for the CLI and for tests.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use ward_types::view::ErrorView;

use crate::socket::{SOCKET, short_path};

/// How often a question that was broken off is asked again.
const ATTEMPTS: u32 = 5;
/// From one attempt to the next.
const BETWEEN: Duration = Duration::from_millis(20);

/// A server that has given no sign of life for so long is not waited for; it gives one a second.
const SILENT: Duration = Duration::from_secs(10);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens: no server runs on this state folder.
    #[error("no Ward server runs on the state folder {home}")]
    NotRunning {
        /// The state folder.
        home: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The server went away, or does not speak the API.
    #[error("the Ward server broke off the call {call}")]
    Broken {
        /// Method and path.
        call: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took the call and is silent. Work that takes long is no silence: a server gives signs of life.
    #[error(
        "the Ward server{} of the state folder {} has given no sign of life for {} s",
        pid.as_deref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), home.display(), silent.as_secs()
    )]
    Silent {
        /// The state folder.
        home: PathBuf,
        /// Its process, as its lock says.
        pid: Option<String>,
        /// For how long.
        silent: Duration,
    },
    /// The server said no.
    #[error("{}", .0.message)]
    Refused(ErrorView),
}

/// A client of the server of one state folder. Each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    home: PathBuf,
}

impl Client {
    /// The client for the server of the state folder `home`.
    #[must_use]
    pub fn new(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
        }
    }

    /// Asks for a value. A server that is being killed may still take the connection and then break off: it
    /// is asked again, until it answers or nobody listens any more.
    ///
    /// # Errors
    /// [`ClientError`], as it says.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        for _ in 0..ATTEMPTS {
            match self.get_once(path).await {
                Err(ClientError::Broken { .. }) => tokio::time::sleep(BETWEEN).await,
                other => return other,
            }
        }
        self.get_once(path).await
    }

    async fn get_once<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.call(Method::GET, path, Bytes::new()).await?;
        let bytes = self.unless_silent(collect(path, body)).await?;
        parse(path, &bytes)
    }

    /// Sends a value and asks for one.
    ///
    /// # Errors
    /// [`ClientError`], as it says.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = self.call(Method::POST, path, encode(path, value)?).await?;
        let bytes = self.unless_silent(collect(path, body)).await?;
        parse(path, &bytes)
    }

    /// Sends a value and reads a stream of values, one a line.
    ///
    /// # Errors
    /// [`ClientError`], as it says.
    pub async fn post_lines(
        &self,
        path: &str,
        value: &impl Serialize,
    ) -> Result<Lines, ClientError> {
        let body = self.call(Method::POST, path, encode(path, value)?).await?;
        Ok(Lines::new(self, path, body))
    }

    /// Reads a stream of values, one a line.
    ///
    /// # Errors
    /// [`ClientError`], as it says.
    pub async fn get_lines(&self, path: &str) -> Result<Lines, ClientError> {
        let body = self.call(Method::GET, path, Bytes::new()).await?;
        Ok(Lines::new(self, path, body))
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Incoming, ClientError> {
        let stream = self.connect().await?;
        let broken = |source| broken(path, source);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.into()))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "ward")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| broken(error.into()))?;
        let answer = async {
            let response = sender.send_request(request).await;
            response.map_err(|error| broken(error.into()))
        };
        let response = self.unless_silent(answer).await?;
        let status = response.status();
        let body = response.into_body();
        if status == StatusCode::OK {
            return Ok(body);
        }
        let bytes = collect(path, body).await?;
        Err(ClientError::Refused(parse(path, &bytes)?))
    }

    /// Waits for an answer, for as long as the server gives signs of life.
    async fn unless_silent<T>(
        &self,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::select! {
            answer = answer => answer,
            silent = self.silence() => Err(silent),
        }
    }

    async fn silence(&self) -> ClientError {
        loop {
            tokio::time::sleep(ward_store::HEARTBEAT).await;
            // One of an older Ward, which gives none, is waited for.
            let Some(holder) = ward_store::Lease::holder(&self.home) else {
                continue;
            };
            if holder.silent > SILENT {
                let pid = std::fs::read_to_string(self.home.join("lock")).ok();
                return ClientError::Silent {
                    home: self.home.clone(),
                    pid: pid.map(|pid| pid.trim().to_owned()),
                    silent: holder.silent,
                };
            }
        }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let not_running = |source| ClientError::NotRunning {
            home: self.home.clone(),
            source,
        };
        let (_dir, path) = short_path(&self.home, SOCKET).map_err(not_running)?;
        UnixStream::connect(path).await.map_err(not_running)
    }
}

/// A stream of JSON values, one a line.
#[derive(Debug)]
pub struct Lines {
    client: Client,
    call: String,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    fn new(client: &Client, path: &str, body: Incoming) -> Self {
        Self {
            client: client.clone(),
            call: path.to_owned(),
            body,
            buffer: Vec::new(),
        }
    }

    /// The next value; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ClientError::Broken`] when the server went away in the middle or a line is no such value.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return parse(&self.call, &line).map(Some);
            }
            let (call, body) = (&self.call, &mut self.body);
            let frame = async {
                let frame = body.frame().await.transpose();
                frame.map_err(|error| broken(call, error.into()))
            };
            match self.client.unless_silent(frame).await? {
                None => return Ok(None),
                Some(frame) => self
                    .buffer
                    .extend_from_slice(frame.data_ref().map_or(&[][..], |d| d)),
            }
        }
    }
}

fn broken(path: &str, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
    ClientError::Broken {
        call: path.to_owned(),
        source,
    }
}

fn encode(path: &str, value: &impl Serialize) -> Result<Bytes, ClientError> {
    let bytes = serde_json::to_vec(value).map_err(|error| broken(path, error.into()))?;
    Ok(bytes.into())
}

async fn collect(path: &str, body: Incoming) -> Result<Bytes, ClientError> {
    let collected = body
        .collect()
        .await
        .map_err(|error| broken(path, error.into()))?;
    Ok(collected.to_bytes())
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|error| broken(path, error.into()))
}
