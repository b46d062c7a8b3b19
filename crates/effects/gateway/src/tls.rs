//! TLS to clients: 1.2 and 1.3, HTTP/2 offered by ALPN, a certificate per name made when it is asked for.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};
use ward_types::table::TicketKey;

use crate::ca::{Authority, CaError};
use crate::tickets::Tickets;

/// Names whose certificates are kept. Clients choose the names, so the number is bounded.
const KEPT: usize = 256;
/// Sessions of TLS 1.2 that are kept for clients that take no tickets.
const SESSIONS: usize = 1024;
/// Certificates are good for longer; a new one is made after this.
const RENEWED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The certificate for a client that names nobody, as one that connects to an address.
const NAMELESS: &str = "localhost";

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// There is no authority.
    #[error("the local certificate authority cannot be used")]
    Authority(#[source] CaError),
    /// There are no keys for session tickets.
    #[error("no keys for session tickets could be made: the system gives no random bytes")]
    Randomness,
    /// The library refuses the configuration.
    #[error("TLS cannot be configured")]
    Configuration(#[source] rustls::Error),
}

/// How TLS is spoken.
pub(crate) struct Tls {
    /// Without a certificate of the client's.
    usual: Arc<ServerConfig>,
    tickets: Arc<Tickets>,
}

impl Tls {
    /// With certificates of the authority in the state folder `home`, and the ticket keys of the gateway that
    /// runs there, if one does.
    pub(crate) async fn new(home: &Path) -> Result<Self, TlsError> {
        let authority = Authority::open(home).map_err(TlsError::Authority)?;
        let resolver = Resolver {
            authority,
            kept: Mutex::default(),
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(TlsError::Configuration)?;
        let tickets = Tickets::new(home).await.map_err(|_| TlsError::Randomness)?;
        let tickets = Arc::new(tickets);
        let mut usual = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        usual.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        usual.ticketer = Arc::clone(&tickets) as _;
        usual.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self {
            usual: Arc::new(usual),
            tickets,
        })
    }

    /// The keys of session tickets, for the gateway that takes over.
    pub(crate) fn tickets(&self) -> Vec<TicketKey> {
        self.tickets.handed()
    }

    /// Shakes hands with a client.
    pub(crate) fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(Arc::clone(&self.usual)).accept(stream)
    }
}

struct Resolver {
    authority: Authority,
    kept: Mutex<HashMap<String, (SystemTime, Arc<CertifiedKey>)>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(NAMELESS);
        let name = name.to_ascii_lowercase();
        let local = name == NAMELESS || name.ends_with(".localhost");
        // A name that the authority may not speak for gets no certificate: the handshake says so.
        local.then(|| self.certificate(name))?
    }
}

impl Resolver {
    fn certificate(&self, name: String) -> Option<Arc<CertifiedKey>> {
        let now = SystemTime::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, key)) = kept.get(&name)
            && now
                .duration_since(*made)
                .is_ok_and(|age| age < RENEWED_AFTER)
        {
            return Some(Arc::clone(key));
        }
        let key = match self.authority.certify(&name, now) {
            Ok(key) => Arc::new(key),
            Err(error) => {
                tracing::warn!(%error, name, "no certificate could be made");
                return None;
            }
        };
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(name, (now, Arc::clone(&key)));
        Some(key)
    }
}
