//! New connections over TLS, connections that do nothing, and large bodies.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::proxies::HOST;
use crate::error::{Error, doing};

/// How many threads connect at once.
const CLIENTS: u32 = 8;
/// Size of the large bodies, in bytes.
pub(super) const LARGE: u64 = 1_000_000_000;

/// Whether a client remembers its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sessions {
    Forgotten,
    Resumed,
}

/// Connects so many times over TLS 1.3, and asks once on each connection.
pub(super) fn connect(address: SocketAddr, sessions: Sessions, times: u32) -> Result<(), Error> {
    let work = || -> std::io::Result<()> {
        let config = configuration(sessions)?;
        let mut resumed = 0;
        for turn in 0..times / CLIENTS {
            let stream = ask(open(address, &config)?)?;
            let kind = stream.conn.handshake_kind();
            if turn > 0 && kind == Some(rustls::HandshakeKind::Resumed) {
                resumed += 1;
            }
        }
        let most = match sessions {
            Sessions::Forgotten => resumed == 0,
            Sessions::Resumed => resumed + 2 >= times / CLIENTS,
        };
        let wrong = || std::io::Error::other(format!("{resumed} sessions were resumed"));
        most.then_some(()).ok_or_else(wrong)
    };
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        let mut all = all.into_iter().map(std::thread::ScopedJoinHandle::join);
        all.try_for_each(|ended| {
            doing(
                "connect over TLS",
                ended.unwrap_or_else(|_| Err(std::io::Error::other("a client panicked"))),
            )
        })
    })
}

/// Connections that have asked once and then do nothing.
pub(super) struct Idle(Vec<StreamOwned<ClientConnection, TcpStream>>);

impl Idle {
    pub(super) fn open(address: SocketAddr, count: u32) -> Result<Self, Error> {
        let all = (0..count).map(|_| {
            let config = configuration(Sessions::Forgotten)?;
            ask(open(address, &config)?)
        });
        let all: std::io::Result<Vec<_>> = all.collect();
        Ok(Self(doing("open idle connections", all)?))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn open(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(HOST).map_err(std::io::Error::other)?;
    let connection =
        ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(StreamOwned::new(connection, stream))
}

/// Asks for one byte and reads the answer, and the tickets that came before it.
fn ask(
    mut stream: StreamOwned<ClientConnection, TcpStream>,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    write!(stream, "GET /bytes/1 HTTP/1.1\r\nhost: {HOST}\r\n\r\n")?;
    let (mut buffer, mut filled) = ([0; 4096], 0);
    while !buffer[..filled].ends_with(b"\r\n\r\nx") {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(stream)
}

/// A client that trusts anybody: what is measured is the other side.
fn configuration(sessions: Sessions) -> std::io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let anybody = Anybody(Arc::clone(&provider));
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(std::io::Error::other)?;
    let verified = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(anybody));
    let mut config = verified.with_no_client_auth();
    if sessions == Sessions::Forgotten {
        config.resumption = Resumption::disabled();
    }
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Which way a large body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Download,
    Upload,
}

/// Carries a large body over plain HTTP/1.1; how many seconds it took.
pub(super) fn carry(address: SocketAddr, direction: Direction) -> Result<f64, Error> {
    let started = Instant::now();
    let carried = match direction {
        Direction::Download => download(address),
        Direction::Upload => upload(address),
    };
    doing("carry a large body", carried)?;
    Ok(started.elapsed().as_secs_f64())
}

fn download(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /bytes/{LARGE} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n"
    )?;
    let (mut piece, mut all) = (vec![0; 256 * 1024], 0);
    loop {
        match stream.read(&mut piece)? as u64 {
            0 if all >= LARGE => return Ok(()),
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => all += read,
        }
    }
}

fn upload(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /upload HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: {LARGE}\r\nconnection: close\r\n\r\n"
    )?;
    let (piece, mut left) = (vec![b'x'; 256 * 1024], LARGE as usize);
    while left > 0 {
        let now = left.min(piece.len());
        stream.write_all(&piece[..now])?;
        left -= now;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") && answer.ends_with(&LARGE.to_string()) {
        true => Ok(()),
        false => Err(std::io::Error::other(format!("it answered {answer:?}"))),
    }
}
