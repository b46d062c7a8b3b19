//! TLS to clients: 1.2 and 1.3, HTTP/2 offered by ALPN. The name that a client asks for chooses the certificate:
//! one from files where the table names them, a name in full before a wildcard; else one that the local authority
//! makes when it is asked for. It also decides whether the client has to show one itself ([`crate::mutual`]).
//!
//! Files are read when a table names them, before it is acknowledged, and then looked at every two seconds, on a
//! thread that no request waits for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ConfigBuilder, ServerConfig, SupportedCipherSuite, WantsVerifier};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use ward_types::id::EnvId;
use ward_types::secret::Secret;
use ward_types::table::{Handover, KeptFiles, Pool};
use ward_types::time::Timestamp;
use ward_types::tls::{CertificateFiles, CertificateObserved, CertificateOf, HostTls, acme_file};

use crate::ca::{Authority, CaError};
use crate::certificates::{Authorities, Pair};
use crate::challenges::Challenges;
use crate::control::Control;
use crate::mutual::{Clients, Demand, Holder};
use crate::process::chain;
use crate::renewed::{Look, Renewed};
use crate::routes::canonical;
use crate::settings::is_local;
use crate::tickets::Tickets;
use crate::worker::Shared;

/// Names whose certificates are kept. Clients choose the names, so the number is bounded.
const KEPT: usize = 256;
/// Sessions of TLS 1.2 that are kept for clients that take no tickets.
const SESSIONS: usize = 1024;
/// Certificates are good for longer; a new one is made after this.
const RENEWED_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a gateway that is replaced may take to hand over what it has.
const HANDED_WITHIN: Duration = Duration::from_millis(300);
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
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
    /// With clients that show no certificate.
    usual: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    tickets: Arc<Tickets>,
    /// What ACME asks.
    pub(crate) challenges: Challenges,
    kept: Mutex<Kept>,
}

impl Tls {
    /// With certificates of the authority in the state folder `home`, and what the gateway that runs there hands
    /// over, if one does.
    pub(crate) async fn new(home: &Path) -> Result<Self, TlsError> {
        let authority = Authority::open(home).map_err(TlsError::Authority)?;
        let resolver = Arc::new(Resolver {
            authority,
            kept: Mutex::default(),
            book: ArcSwap::default(),
        });
        let control = Control::new(home);
        let handover = tokio::time::timeout(HANDED_WITHIN, control.handover()).await;
        let handover = handover.ok().and_then(Result::ok).unwrap_or_default();
        let tickets = Tickets::new(&handover.tickets).map_err(|_| TlsError::Randomness)?;
        let tickets = Arc::new(tickets);
        let mut usual = configuration()
            .map_err(TlsError::Configuration)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&resolver) as _);
        usual.alpn_protocols = alpn();
        usual.ignore_client_order = true;
        usual.ticketer = Arc::clone(&tickets) as _;
        usual.session_storage = ServerSessionMemoryCache::new(SESSIONS);
        Ok(Self {
            usual: Arc::new(usual),
            resolver,
            tickets,
            challenges: Challenges::default(),
            kept: Mutex::new(Kept {
                home: home.to_owned(),
                inherited: handover.kept,
                ..Kept::default()
            }),
        })
    }

    /// What the gateway that takes over cannot know by itself.
    pub(crate) fn handover(&self) -> Handover {
        let book = self.resolver.book.load();
        let kept = book.shown.iter().filter(|one| one.problem.is_some());
        Handover {
            tickets: self.tickets.handed(),
            kept: kept.filter_map(|one| one.kept.files()).collect(),
        }
    }

    /// Shakes hands with a client, and says who it is where it had to show a certificate. `None`: it was an authority
    /// that speaks ACME, and has its answer.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<Option<(TlsStream<TcpStream>, Option<Box<Holder>>)>> {
        let usual = Arc::clone(&self.usual);
        let asked = self.challenges.is_asked();
        if !asked && !self.resolver.book.load().demands {
            let stream = TlsAcceptor::from(usual).accept(stream).await?;
            return Ok(Some((stream, None)));
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        if asked && let Some(config) = self.challenges.handshake(&start.client_hello()) {
            let mut stream = start.into_stream(config).await?;
            // RFC 8737 section 3: nothing is said on such a connection.
            let _ = stream.shutdown().await;
            return Ok(None);
        }
        let name = start.client_hello().server_name().map(canonical);
        let demand = name.as_ref();
        let demand = demand.and_then(|name| self.resolver.book.load().demand(name));
        let Some(demand) = demand else {
            return Ok(Some((start.into_stream(usual).await?, None)));
        };
        let nobody = || io::Error::other("the authorities of this host's clients cannot be read");
        let terms = demand.terms().ok_or_else(nobody)?;
        let name = name.unwrap_or_default();
        let of_host = |error: io::Error| io::Error::new(error.kind(), format!("{name}: {error}"));
        let stream = start.into_stream(Arc::clone(&terms.1)).await;
        let stream = stream.map_err(of_host)?;
        let shown = stream.get_ref().1.peer_certificates();
        let holder = shown
            .and_then(<[_]>::first)
            .and_then(|own| Holder::of(own, demand, terms.0));
        let unknown = || io::Error::other("the client's certificate cannot be read");
        let holder = holder.ok_or_else(unknown)?;
        Ok(Some((stream, Some(Box::new(holder)))))
    }

    /// Reads what a table names, before it comes into force. What it names no more is forgotten. Blocks.
    pub(crate) fn prepare<'a>(&self, pools: impl Iterator<Item = &'a Pool> + Clone) {
        let mut kept = self.kept();
        kept.want(pools, &self.resolver);
        kept.look(&self.resolver);
        self.resolver.book.store(Arc::new(kept.book()));
    }

    /// Reads again what has changed. Blocks.
    fn look(&self) {
        let mut kept = self.kept();
        if kept.look(&self.resolver) {
            self.resolver.book.store(Arc::new(kept.book()));
        }
    }

    /// Whether there are files to look at.
    fn has_files(&self) -> bool {
        !self.resolver.book.load().shown.is_empty()
    }

    /// What is known of the files.
    pub(crate) fn observe(&self) -> Vec<CertificateObserved> {
        let (book, now) = (self.resolver.book.load(), now());
        book.shown.iter().map(|one| one.observed(now)).collect()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the files for as long as the process lives.
pub(crate) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if shared.tls.has_files() {
            let shared = Arc::clone(&shared);
            // A file system may take its time.
            let _ = tokio::task::spawn_blocking(move || shared.tls.look()).await;
        }
    }
}

/// How a table wants TLS to be spoken at each of its hosts that says so. While two releases differ in that, what
/// asks for more holds.
pub(crate) fn hosts<'a>(
    pools: impl Iterator<Item = &'a Pool>,
) -> BTreeMap<String, (EnvId, HostTls)> {
    let mut hosts: BTreeMap<String, (EnvId, HostTls)> = BTreeMap::new();
    for pool in pools {
        for route in &pool.routes {
            let Some(tls) = &route.tls else { continue };
            let (_, host) = hosts
                .entry(canonical(&route.host))
                .or_insert_with(|| (pool.env.clone(), HostTls::default()));
            host.certificate = host.certificate.take().or_else(|| tls.certificate.clone());
            host.client_ca = host.client_ca.take().or_else(|| tls.client_ca.clone());
            host.acme |= tls.acme;
        }
    }
    hosts
}

/// Whose clients each host takes, for its requests.
pub(crate) fn clients<'a>(pools: impl Iterator<Item = &'a Pool>) -> HashMap<String, Clients> {
    let hosts = hosts(pools).into_iter();
    let asking = hosts.filter_map(|(host, (_, tls))| Some((host, tls.client_ca?)));
    asking
        .map(|(host, path)| (host, Some(Arc::new(path))))
        .collect()
}

/// All suites that the library has are strong, so the order is one of cost: AES-128 before AES-256 before ChaCha20. It
/// is the gateway's own and not the client's, as audits ask for.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    let is_cheapest = |suite: &SupportedCipherSuite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider
        .cipher_suites
        .sort_by_key(|suite| !is_cheapest(suite));
    Arc::new(provider)
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Timestamp(now.map_or(0, |now| now.as_millis() as u64))
}

/// What was read from files.
#[derive(Default)]
struct Kept {
    /// The state folder.
    home: PathBuf,
    hosts: BTreeMap<String, (EnvId, HostTls)>,
    /// Names in full that a wildcard would stand for, and that say nothing of TLS themselves.
    others: HashSet<String>,
    /// Each with the hosts that it is for.
    pairs: BTreeMap<CertificateFiles, (Renewed<Pair>, Vec<String>)>,
    authorities: BTreeMap<PathBuf, (Renewed<Authorities>, Arc<Demand>)>,
    /// Of the gateway before, until the first table.
    inherited: Vec<KeptFiles>,
}

impl Kept {
    fn want<'a>(
        &mut self,
        pools: impl Iterator<Item = &'a Pool> + Clone,
        resolver: &Arc<Resolver>,
    ) {
        self.hosts = hosts(pools.clone());
        for (host, (_, tls)) in &mut self.hosts {
            // Both are in one file.
            let issued = || acme_file(&self.home, host);
            let issued = tls.acme.then(|| CertificateFiles {
                certificate: issued(),
                key: issued(),
            });
            tls.certificate = tls.certificate.take().or(issued);
        }
        let inherited = std::mem::take(&mut self.inherited);
        let mut pairs = BTreeMap::new();
        let mut authorities = BTreeMap::new();
        for (host, (_, tls)) in &self.hosts {
            if let Some(files) = &tls.certificate {
                let (_, hosts) = pairs.entry(files.clone()).or_insert_with(|| {
                    let kept = self.pairs.remove(files).map(|(pair, _)| pair);
                    let new = || {
                        let both = vec![files.certificate.clone(), files.key.clone()];
                        let before = texts(&inherited, &both);
                        let before = before.and_then(|texts| Pair::of(files, texts).ok());
                        Renewed::new(both, before)
                    };
                    (kept.unwrap_or_else(new), Vec::new())
                });
                hosts.push(host.clone());
            }
            if let Some(path) = &tls.client_ca {
                authorities.entry(path.clone()).or_insert_with(|| {
                    let kept = self.authorities.remove(path);
                    kept.unwrap_or_else(|| {
                        let before = texts(&inherited, std::slice::from_ref(path));
                        let before = before.and_then(|texts| Authorities::of(path, texts).ok());
                        let demand = Demand::new(path);
                        demand.renew(before.as_ref().and_then(|all| asking(all, resolver)));
                        (Renewed::new(vec![path.clone()], before), Arc::new(demand))
                    })
                });
            }
        }
        for (_, demand) in self.authorities.values() {
            // Should a later table ask again, who was let in before has to show a certificate anew.
            demand.renew(None);
        }
        self.pairs = pairs;
        self.authorities = authorities;
        self.others = self.named_below_wildcards(pools);
    }

    fn named_below_wildcards<'a>(&self, pools: impl Iterator<Item = &'a Pool>) -> HashSet<String> {
        let wildcards = self.hosts.keys().any(|host| host.starts_with("*."));
        if !wildcards {
            return HashSet::new();
        }
        let routes = pools.flat_map(|pool| &pool.routes);
        let names = routes.map(|route| canonical(&route.host));
        names
            .filter(|name| !name.starts_with('*') && !self.hosts.contains_key(name))
            .collect()
    }

    /// Whether anything is other than before.
    fn look(&mut self, resolver: &Arc<Resolver>) -> bool {
        let now = now();
        let mut changed = false;
        for (files, (pair, hosts)) in &mut self.pairs {
            let fault = |pair: &Pair| {
                let mut faults = hosts.iter().map(|host| pair.suits(host, now));
                faults.find_map(Result::err).map(|fault| chain(&fault))
            };
            let read = || Pair::read(files).map_err(|error| chain(&error));
            let look = pair.look(read, fault);
            // Nobody has to be told of one that is yet to be issued.
            let expected = files.certificate == files.key && pair.value().is_none();
            if !expected {
                tell(look, &files.certificate, pair);
            }
            changed |= look != Look::Same;
        }
        for (path, (authorities, demand)) in &mut self.authorities {
            let fault = |all: &Authorities| all.suits(now).err().map(|fault| chain(&fault));
            let read = || Authorities::read(path).map_err(|error| chain(&error));
            let look = authorities.look(read, fault);
            if look == Look::Changed {
                let all = authorities.value();
                demand.renew(all.and_then(|all| asking(all, resolver)));
            }
            tell(look, path, authorities);
            changed |= look != Look::Same;
        }
        changed
    }

    fn book(&self) -> Book {
        let mut book = Book {
            others: self.others.clone(),
            ..Book::default()
        };
        let mut demands = false;
        for (host, (env, tls)) in &self.hosts {
            let mut entry = Entry::default();
            let mut shown = |of, file: &Path, kept: InUse, problem: Option<&str>| {
                book.shown.push(Shown {
                    env: env.clone(),
                    host: host.clone(),
                    of,
                    file: file.to_owned(),
                    kept,
                    problem: problem.map(str::to_owned),
                });
            };
            if let Some(files) = &tls.certificate
                && let Some((pair, _)) = self.pairs.get(files)
            {
                entry.certificate = pair.value().map(|pair| Arc::clone(&pair.key));
                let kept = pair.value().cloned().map_or(InUse::Nothing, InUse::Pair);
                let file = &files.certificate;
                shown(CertificateOf::Host, file, kept, pair.problem());
            }
            if let Some(path) = &tls.client_ca
                && let Some((all, demand)) = self.authorities.get(path)
            {
                entry.demand = Some(Arc::clone(demand));
                demands = true;
                let kept = all.value().cloned();
                let kept = kept.map_or(InUse::Nothing, InUse::Authorities);
                shown(CertificateOf::Clients, path, kept, all.problem());
            }
            match host.strip_prefix("*.") {
                Some(above) => book.wildcards.insert(above.to_owned(), entry),
                None => book.named.insert(host.clone(), entry),
            };
        }
        book.demands = demands;
        book
    }
}

/// What was in files.
fn texts<'a>(all: &'a [KeptFiles], files: &[PathBuf]) -> Option<&'a [Secret]> {
    let of_these = all.iter().find(|kept| kept.files == files)?;
    Some(&of_these.texts)
}

/// What all configurations begin with: TLS 1.2 and 1.3.
pub(crate) fn configuration() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()
}

/// How hands are shaken with clients of these authorities. Sessions are not resumed.
fn asking(authorities: &Authorities, resolver: &Arc<Resolver>) -> Option<ServerConfig> {
    let provider = provider();
    let roots = Arc::clone(&authorities.roots);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let verifier = verifier
        .build()
        .inspect_err(|error| tracing::error!(%error, "clients cannot be checked"))
        .ok()?;
    let builder = configuration()
        .inspect_err(|error| tracing::error!(%error, "TLS cannot be configured"))
        .ok()?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(resolver) as _);
    config.alpn_protocols = alpn();
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Some(config)
}

fn tell<T>(look: Look, file: &Path, of: &Renewed<T>) {
    let file = file.display();
    match (look, of.problem()) {
        (Look::Changed, None) => tracing::info!(%file, "certificates were read"),
        (Look::Changed, Some(problem)) => tracing::error!(%file, "{problem}"),
        (Look::Refused, Some(problem)) if of.value().is_some() => {
            tracing::error!(%file, "{problem}{USED_ON}");
        }
        (Look::Refused, Some(problem)) => tracing::error!(%file, "{problem}"),
        _ => {}
    }
}

/// What is said of a file whose content is not used, where there is something else.
const USED_ON: &str = "; what was read before stays in use";

/// What handshakes look up. Immutable.
#[derive(Default)]
struct Book {
    named: HashMap<String, Entry>,
    /// By what is behind `*.`.
    wildcards: HashMap<String, Entry>,
    others: HashSet<String>,
    /// Whether any host asks its clients for certificates.
    demands: bool,
    shown: Vec<Shown>,
}

/// What is known of one host.
#[derive(Default)]
struct Entry {
    certificate: Option<Arc<CertifiedKey>>,
    demand: Option<Arc<Demand>>,
}

/// A file, for whoever asks.
struct Shown {
    env: EnvId,
    host: String,
    of: CertificateOf,
    file: PathBuf,
    kept: InUse,
    problem: Option<String>,
}

enum InUse {
    Nothing,
    Pair(Arc<Pair>),
    Authorities(Arc<Authorities>),
}

impl InUse {
    /// The files as they were when this was read.
    fn files(&self) -> Option<KeptFiles> {
        match self {
            InUse::Nothing => None,
            InUse::Pair(pair) => Some(pair.files()),
            InUse::Authorities(all) => Some(all.files()),
        }
    }
}

impl Shown {
    fn observed(&self, now: Timestamp) -> CertificateObserved {
        let (term, fault) = match &self.kept {
            InUse::Nothing => (None, None),
            InUse::Pair(pair) => (Some(pair.term()), pair.suits(&self.host, now).err()),
            InUse::Authorities(all) => (Some(all.term()), all.suits(now).err()),
        };
        let fault = fault.map(|fault| chain(&fault));
        let refused = self.problem.as_ref().map(|problem| match (term, &fault) {
            (Some(_), None) => format!("{problem}{USED_ON}"),
            _ => problem.clone(),
        });
        CertificateObserved {
            env: self.env.clone(),
            host: self.host.clone(),
            of: self.of,
            file: self.file.clone(),
            from: term.map(|(from, _)| from),
            until: term.map(|(_, until)| until),
            problem: refused.or(fault),
        }
    }
}

impl Book {
    fn wildcard(&self, name: &str) -> Option<&Entry> {
        let (label, above) = name.split_once('.')?;
        self.wildcards.get(above).filter(|_| !label.is_empty())
    }

    /// A certificate is good for whatever it names, so a name that has none of its own takes the wildcard's.
    fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let own = self.named.get(name);
        let own = own.and_then(|entry| entry.certificate.as_ref());
        let found = own.or_else(|| self.wildcard(name)?.certificate.as_ref());
        found.map(Arc::clone)
    }

    /// What is asked for belongs to a host alone, as its routes do.
    fn demand(&self, name: &str) -> Option<Arc<Demand>> {
        let entry = match self.named.get(name) {
            Some(entry) => entry,
            None if self.others.contains(name) => return None,
            None => self.wildcard(name)?,
        };
        entry.demand.as_ref().map(Arc::clone)
    }
}

struct Resolver {
    authority: Authority,
    kept: Mutex<HashMap<String, (SystemTime, Arc<CertifiedKey>)>>,
    book: ArcSwap<Book>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = canonical(hello.server_name().unwrap_or(NAMELESS));
        let book = self.book.load();
        // A name that the authority may not speak for gets no certificate: the handshake says so.
        book.certificate(&name)
            .or_else(|| is_local(&name).then(|| self.made(name))?)
    }
}

impl Resolver {
    fn made(&self, name: String) -> Option<Arc<CertifiedKey>> {
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
