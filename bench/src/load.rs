//! Clients that ask on schedule, not when the last answer came (open loop): a platform that stalls is asked all
//! the same, and the stall shows in the latency of every request that it delayed, which counts from the moment
//! when the request was due.
//!
//! What fails is any request that does not get its whole, right answer: another status, a connection refused or
//! reset, a body that breaks off, silence. Nothing is asked twice, but for what nothing was done with and every
//! HTTP client asks again: a request on a kept connection that the other side had closed before the first byte
//! was written, and one on an HTTP/2 connection whose other side said GOAWAY and that it did not process it
//! (RFC 9113 section 6.8).

mod answer;
mod connection;
mod events;
mod http2;
mod keep_alive;
mod new_connection;
mod schedule;
mod tally;
#[cfg(test)]
mod tests;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{Error, doing};
use crate::ward::{Ward, address};
pub(crate) use keep_alive::KeepAlive;
pub(crate) use schedule::Client;
use schedule::open_loop;
pub(crate) use tally::Summary;
use tally::Tally;

/// Where the load goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) host: String,
    tls: Arc<rustls::ClientConfig>,
}

impl Target {
    /// The gateway of this platform; its certificate authority is the one that `ward trust` prints.
    pub(crate) async fn of(ward: &Ward, host: &str) -> Result<Self, Error> {
        let server = ward.status().await?.server;
        let (pem, _) = ward.run(&["trust"]).await?;
        Ok(Self {
            http: address(&server.http)?,
            https: address(&server.https)?,
            host: host.to_owned(),
            tls: Arc::new(client_config(&pem)?),
        })
    }

    /// The same gateway, asked for another host.
    pub(crate) fn with_host(&self, host: String) -> Self {
        let mut other = self.clone();
        other.host = host;
        other
    }
}

fn client_config(pem: &str) -> Result<rustls::ClientConfig, Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::Unexpected(format!(
            "`ward trust` does not print a certificate: {error}"
        ))
    };
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| wrong(&error))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).map_err(|error| wrong(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder =
        builder.map_err(|error| Error::Unexpected(format!("TLS cannot be set up: {error}")))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Load that runs until it is ended.
pub(crate) struct Load {
    /// The stack that it asks.
    stack: &'static str,
    tally: Arc<Tally>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// The load of examples/returns: its start page by each way to connect, uploads, and event streams.
    ///
    /// # Errors
    /// When the return that files are uploaded to cannot be opened.
    pub(crate) async fn returns(target: &Target) -> Result<Self, Error> {
        let path = upload::place(target).await.map_err(|why| {
            Error::Unexpected(format!("cannot open a return to upload to: {why}"))
        })?;
        let mut load = Self::idle("returns");
        load.add(Duration::from_millis(10), KeepAlive::new(target, "/"));
        load.add(
            Duration::from_millis(25),
            new_connection::NewConnection::new(target, "/"),
        );
        load.add(
            Duration::from_millis(20),
            doing("set HTTP/2 up", http2::Http2::new(target, "/"))?,
        );
        load.add(
            Duration::from_secs(2),
            upload::SlowUpload::new(target, &path),
        );
        load.add(
            Duration::from_secs(2),
            events::EventStream::new(target, "/events"),
        );
        Ok(load)
    }

    /// More of the same, for millions of requests.
    ///
    /// # Errors
    /// As [`Load::returns`].
    pub(crate) async fn returns_for_long(target: &Target) -> Result<Self, Error> {
        let mut load = Self::returns(target).await?;
        load.add(Duration::from_micros(1800), KeepAlive::new(target, "/"));
        load.add(
            Duration::from_millis(4),
            doing("set HTTP/2 up", http2::Http2::new(target, "/"))?,
        );
        Ok(load)
    }

    /// One page, on connections that are kept and on new ones.
    pub(crate) fn page(stack: &'static str, target: &Target) -> Self {
        let mut load = Self::idle(stack);
        load.add(Duration::from_millis(5), KeepAlive::new(target, "/"));
        load.add(
            Duration::from_millis(20),
            new_connection::NewConnection::new(target, "/"),
        );
        load
    }

    /// No client yet.
    fn idle(stack: &'static str) -> Self {
        Self {
            stack,
            tally: Arc::default(),
            stop: watch::channel(false).0,
            clients: Vec::new(),
        }
    }

    fn add(&mut self, period: Duration, client: impl Client) {
        let (tally, stop) = (Arc::clone(&self.tally), self.stop.subscribe());
        self.clients.push(tokio::spawn(open_loop(
            Arc::new(client),
            period,
            tally,
            stop,
        )));
    }

    /// For how long it has run, in seconds.
    pub(crate) fn age(&self) -> f64 {
        self.tally.age()
    }

    /// Failures so far.
    pub(crate) fn failed(&self) -> u64 {
        self.tally.failed()
    }

    /// Requests that were under way in what was killed, so far.
    pub(crate) fn lost(&self) -> u64 {
        self.tally.lost()
    }

    /// The stack that it asks.
    pub(crate) fn stack(&self) -> &'static str {
        self.stack
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.tally.asked_in_all()
    }

    /// An instance that takes these requests was killed just now: those under way in it are lost.
    pub(crate) fn something_was_killed(&self) {
        self.tally.something_was_killed();
    }

    /// Begins no request any more, waits for those under way, and counts.
    pub(crate) async fn end(mut self) -> Summary {
        self.stop.send_replace(true);
        for client in std::mem::take(&mut self.clients) {
            if let Err(panicked) = client.await {
                // A client that does not count any more must not look like one without failures.
                std::panic::resume_unwind(panicked.into_panic());
            }
        }
        self.tally.summary()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for client in &self.clients {
            client.abort();
        }
    }
}
