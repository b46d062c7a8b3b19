//! What an authority says about renewal (RFC 9773) decides when a certificate is renewed. The authority here is one
//! that says only that: orders are tried against a real one, from the command line.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair, SerialNumber,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use ward_acme::{Acme, Due, Settings};
use ward_types::time::Timestamp;

const HOST: &str = "shop.example.org";

struct Authority {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What it answers about renewal: the window, or nothing.
type Window = Option<(&'static str, &'static str)>;

fn ca() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![0x69, 0x88, 0x5b, 0x6b]);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

fn issue(issuer: &Issuer<'static, KeyPair>, host: &str) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65, 0x43, 0x21]));
    params.not_before = (SystemTime::now() - Duration::from_secs(24 * 3600)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(89 * 24 * 3600)).into();
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, issuer).unwrap(), key)
}

fn answer(base: &str, path: &str, window: Window) -> Response<Full<Bytes>> {
    let mut answer = Response::builder().header("replay-nonce", "bm9uY2U");
    let text = match path {
        "/dir" => {
            let renewal = match window {
                Some(_) => format!(r#","renewalInfo":"{base}/renewal""#),
                None => String::new(),
            };
            format!(
                r#"{{"newNonce":"{base}/nonce","newAccount":"{base}/account","newOrder":"{base}/order"{renewal}}}"#
            )
        }
        "/account" => {
            answer = answer
                .status(201)
                .header("location", format!("{base}/account/1"));
            r#"{"status":"valid"}"#.to_owned()
        }
        path if path.starts_with("/renewal/") => {
            let (start, end) = window.unwrap();
            answer = answer.header("retry-after", "21600");
            format!(r#"{{"suggestedWindow":{{"start":"{start}","end":"{end}"}}}}"#)
        }
        _ => String::new(),
    };
    answer.body(Full::from(text)).unwrap()
}

impl Authority {
    async fn start(issuer: &Issuer<'static, KeyPair>, window: Window) -> Self {
        let (own, key) = issue(issuer, "127.0.0.1");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let path = request.uri().path().to_owned();
                    let answer = answer(&format!("https://{address}"), &path, window);
                    seen.lock().unwrap().push(path);
                    async { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, asked }
    }

    fn acme(&self, home: &Path) -> Acme {
        let settings = Settings {
            directory: format!("https://{}/dir", self.address),
            contact: None,
            root: Some(home.join("root.pem")),
        };
        Acme::new(home.to_owned(), settings)
    }
}

async fn due(window: Window) -> (Due, Vec<String>, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let (issuer, pem) = ca();
    std::fs::write(home.path().join("root.pem"), pem).unwrap();
    let authority = Authority::start(&issuer, window).await;
    let acme = authority.acme(home.path());
    assert_eq!(acme.due(HOST).await, Due::Missing);
    let (own, key) = issue(&issuer, HOST);
    let file = acme.file(HOST);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, format!("{}{}", key.serialize_pem(), own.pem())).unwrap();
    let due = acme.due(HOST).await;
    let asked = authority.asked.lock().unwrap().clone();
    (due, asked, home)
}

#[tokio::test]
async fn the_moment_lies_in_the_window_that_the_authority_suggests() {
    let window = ("2030-01-02T04:00:00Z", "2030-01-03T04:00:00Z");
    let (due, asked, home) = due(Some(window)).await;
    let Due::At(moment) = due else {
        panic!("{due:?}")
    };
    let start = Timestamp(1_893_556_800_000);
    assert!(
        start <= moment && moment.since(start).0 < 24 * 3_600_000,
        "{moment}"
    );
    // RFC 9773 section 4.1: key identifier and serial number, each in base64url. A serial number whose first bit is set
    // has a zero before it.
    assert!(
        asked.contains(&"/renewal/aYhbaw.AIdlQyE".to_owned()),
        "{asked:?}"
    );
    let account = home.path().join("acme/account.json");
    use std::os::unix::fs::PermissionsExt;
    let mode = account.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_authority_that_says_nothing_is_asked_when_two_thirds_are_over() {
    let (due, asked, _home) = due(None).await;
    let Due::At(moment) = due else {
        panic!("{due:?}")
    };
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let days = moment.since(Timestamp(now.as_millis() as u64)).0 / (24 * 3_600_000);
    assert!((58..=64).contains(&days), "in {days} days");
    assert!(
        !asked.iter().any(|path| path.starts_with("/renewal")),
        "{asked:?}"
    );
}
