//! Clients that show certificates.

use std::path::PathBuf;
use std::sync::Arc;

use http::{Request, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use ward_types::route::{Https, Route};
use ward_types::tls::HostTls;

use crate::app::App;
use crate::certificates::{Ca, of_client, put};
use crate::clients::{body, empty, fetch, get2, http1_over, http2_over};
use crate::tls::{connect, trusting};
use crate::world::{World, eventually};

const LAB: &str = "lab.localhost";

/// `shop.localhost` is for everybody, `lab.localhost` and what is below it for clients of the partners' authority.
struct Lab {
    world: World,
    partners: Ca,
    bundle: PathBuf,
    _app: App,
}

fn asking(host: &str, bundle: Option<&PathBuf>) -> Route {
    let tls = HostTls {
        certificate: None,
        client_ca: bundle.cloned(),
        acme: false,
    };
    Route {
        tls: Some(tls),
        ..Route::plain(host)
    }
}

impl Lab {
    async fn new() -> Self {
        let app = App::http("one").await;
        let mut world = World::new().await;
        world.instance("web-r1-1", app.address);
        let partners = Ca::new("partners");
        let bundle = world.home.path().join("partners.pem");
        put(&bundle, &partners.pem);
        let mut lab = Self {
            world,
            partners,
            bundle,
            _app: app,
        };
        lab.serve(Ask::Yes).await;
        lab
    }

    async fn serve(&mut self, ask: Ask) {
        let bundle = (ask == Ask::Yes).then_some(&self.bundle);
        let mut table = self.world.table(&["web-r1-1"]);
        Arc::make_mut(&mut table.pools[0]).routes = vec![
            Route::plain("shop.localhost"),
            asking(LAB, bundle),
            Route {
                path: "/api".to_owned(),
                ..Route::plain(LAB)
            },
            asking("*.lab.localhost", bundle),
            Route::plain("open.lab.localhost"),
        ];
        self.world.control.apply(table).await.unwrap();
    }

    fn client(&self, of: &Ca, name: &str) -> ClientConfig {
        let (certificate, key) = of.signs(&of_client(name, "Acme"));
        let pem = ward_gateway::ca::certificate_pem(self.world.home.path()).unwrap();
        let mut roots = RootCertStore::empty();
        let local = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(local).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let own = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let builder = builder.with_root_certificates(roots);
        builder.with_client_auth_cert(vec![own], key).unwrap()
    }

    fn nobody(&self) -> ClientConfig {
        trusting(&self.world, rustls::ALL_VERSIONS)
    }

    async fn to(&self, config: &Arc<ClientConfig>, name: &str) -> TlsStream<TcpStream> {
        connect(config, self.world.https, name).await.unwrap()
    }

    /// Whether a client is let in at all: with TLS 1.3 it learns that with the first answer.
    async fn lets_in(&self, config: &Arc<ClientConfig>, name: &str) -> bool {
        let Ok(stream) = connect(config, self.world.https, name).await else {
            return false;
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender.send_request(asked(name, "/")).await.is_ok()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Yes,
    No,
}

fn asked(host: &str, path: &str) -> Request<crate::app::Payload> {
    let request = Request::builder().uri(path).header("host", host);
    request.body(empty()).unwrap()
}

#[tokio::test]
async fn a_client_shows_a_certificate_and_the_application_hears_whose() {
    let lab = Lab::new().await;
    let member = Arc::new(lab.client(&lab.partners, "lab 7, Basel"));
    for (name, path) in [
        (LAB, "/head"),
        (LAB, "/api/head"),
        ("a.lab.localhost", "/head"),
    ] {
        let mut client = http1_over(lab.to(&member, name).await).await;
        let mut request = asked(name, "/head");
        *request.uri_mut() = path.parse().unwrap();
        let headers = request.headers_mut();
        for forged in [
            "ward-client-subject",
            "ward_client_subject",
            "ward-client-fingerprint",
        ] {
            headers.append(forged, "CN=root".parse().unwrap());
        }
        let seen = body(client.send_request(request).await.unwrap()).await;
        if path == "/head" {
            let subject = "ward-client-subject: O=Acme,CN=lab 7\\, Basel";
            assert!(seen.contains(subject), "{seen}");
            assert!(seen.contains("ward-client-fingerprint: "), "{seen}");
        }
        assert!(!seen.contains("CN=root"), "{seen}");
    }
    let stranger = Ca::new("partners");
    for config in [lab.nobody(), lab.client(&stranger, "lab 7")] {
        let config = Arc::new(config);
        for name in [LAB, "a.lab.localhost"] {
            assert!(!lab.lets_in(&config, name).await, "{name}");
        }
        for name in ["shop.localhost", "open.lab.localhost"] {
            assert!(lab.lets_in(&config, name).await, "{name}");
        }
    }
}

#[tokio::test]
async fn nobody_says_whose_certificate_it_is_where_none_was_shown() {
    let lab = Lab::new().await;
    let member = Arc::new(lab.client(&lab.partners, "lab 7"));
    let mut client = http1_over(lab.to(&member, "shop.localhost").await).await;
    let mut request = asked("shop.localhost", "/head");
    let forged = "CN=root".parse().unwrap();
    request.headers_mut().insert("ward-client-subject", forged);
    let seen = body(client.send_request(request).await.unwrap()).await;
    assert!(!seen.contains("ward-client"), "{seen}");
}

#[tokio::test]
async fn a_host_is_not_reached_on_a_connection_to_another() {
    let lab = Lab::new().await;
    let member = Arc::new(lab.client(&lab.partners, "lab 7"));
    for (name, host, status) in [
        ("shop.localhost", LAB, 421),
        ("shop.localhost", "lab.localhost.:8443", 421),
        ("shop.localhost", "open.lab.localhost", 200),
        ("open.lab.localhost", "a.lab.localhost", 421),
        ("unrouted.localhost", LAB, 421),
        (LAB, "shop.localhost", 421),
        (LAB, "open.lab.localhost", 421),
        // One authority, one class of clients.
        (LAB, "a.lab.localhost", 200),
    ] {
        let mut client = http1_over(lab.to(&member, name).await).await;
        let answer = client.send_request(asked(host, "/")).await.unwrap();
        assert_eq!(answer.status(), status, "{host} on a connection to {name}");
        assert_eq!(answer.headers().contains_key("connection"), status == 421);
    }
    let plain = fetch(lab.world.http, asked(LAB, "/")).await;
    assert_eq!(plain.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(plain.headers()["ward-fault"], "client");

    let mut config = (*member).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = http2_over(lab.to(&Arc::new(config), LAB).await).await;
    for (host, status) in [(LAB, 200), ("shop.localhost", 421), (LAB, 200)] {
        let mut request = get2("/");
        *request.uri_mut() = format!("https://{host}/").parse().unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
}

#[tokio::test]
async fn without_tls_they_are_led_to_https_where_the_route_says_so_and_to_no_instance() {
    let mut lab = Lab::new().await;
    let mut table = lab.world.table(&["web-r1-1"]);
    let mut route = asking(LAB, Some(&lab.bundle));
    route.settings.https = Https::Redirect;
    Arc::make_mut(&mut table.pools[0]).routes = vec![route];
    lab.world.control.apply(table).await.unwrap();
    for path in ["/", "/.well-known/acme-challenge/token"] {
        let led = fetch(lab.world.http, asked(LAB, path)).await;
        assert_eq!(led.status(), StatusCode::PERMANENT_REDIRECT, "{path}");
        let place = led.headers()["location"].to_str().unwrap();
        assert!(place.starts_with("https://lab.localhost") && place.ends_with(path));
    }
}

#[tokio::test]
async fn sessions_and_connections_of_before_open_nothing() {
    let mut lab = Lab::new().await;
    let member = Arc::new(lab.client(&lab.partners, "lab 7"));
    for _ in 0..3 {
        let stream = lab.to(&member, LAB).await;
        assert_eq!(
            stream.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Full)
        );
        let mut client = http1_over(stream).await;
        assert_eq!(
            client.send_request(asked(LAB, "/")).await.unwrap().status(),
            200
        );
    }
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        lab.serve(Ask::No).await;
        let nobody = Arc::new(trusting(&lab.world, &[version]));
        let mut kept = http1_over(lab.to(&nobody, LAB).await).await;
        assert_eq!(
            kept.send_request(asked(LAB, "/")).await.unwrap().status(),
            200
        );
        let again = lab.to(&nobody, LAB).await;
        assert_eq!(
            again.get_ref().1.handshake_kind(),
            Some(HandshakeKind::Resumed)
        );
        lab.serve(Ask::Yes).await;
        assert!(!lab.lets_in(&nobody, LAB).await, "a session was resumed");
        assert_eq!(
            kept.send_request(asked(LAB, "/")).await.unwrap().status(),
            421
        );
    }
}

#[tokio::test]
async fn other_authorities_count_at_once_also_for_connections_that_are_open() {
    let mut lab = Lab::new().await;
    let member = Arc::new(lab.client(&lab.partners, "lab 7"));
    let mut kept = http2_kept(&lab, &member).await;
    assert_eq!(ask2(&mut kept).await, 200);
    let others = Ca::new("others");
    put(&lab.bundle, "nonsense");
    eventually("it is said that the file is broken", bad_now(&lab)).await;
    assert_eq!(ask2(&mut kept).await, 200);
    put(&lab.bundle, &others.pem);
    eventually("the connection counts no more", async || {
        ask2(&mut kept).await == 421
    })
    .await;
    assert!(!lab.lets_in(&member, LAB).await);
    let other = Arc::new(lab.client(&others, "lab 8"));
    assert!(lab.lets_in(&other, LAB).await);

    // One that takes over is handed them; one that starts without them lets nobody in, and serves the rest.
    std::fs::remove_file(&lab.bundle).unwrap();
    eventually("it is said that the file is gone", bad_now(&lab)).await;
    drop(kept);
    let mut before = lab.world.succeed().await;
    crate::world::exit_status(&mut before).await;
    assert!(lab.lets_in(&other, LAB).await && !lab.lets_in(&member, LAB).await);
    lab.world.child.kill().unwrap();
    lab.world.child.wait().unwrap();
    lab.world.succeed().await;
    assert!(!lab.lets_in(&other, LAB).await && !lab.lets_in(&Arc::new(lab.nobody()), LAB).await);
    assert!(lab.lets_in(&other, "shop.localhost").await);
}

fn bad_now(lab: &Lab) -> impl AsyncFnMut() -> bool {
    async || {
        let seen = lab.world.control.observe().await.unwrap().certificates;
        seen.iter().all(|one| one.problem.is_some())
    }
}

type Sender = hyper::client::conn::http2::SendRequest<crate::app::Payload>;

async fn http2_kept(lab: &Lab, config: &ClientConfig) -> Sender {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    http2_over(lab.to(&Arc::new(config), LAB).await).await
}

async fn ask2(client: &mut Sender) -> u16 {
    let mut request = get2("/");
    *request.uri_mut() = format!("https://{LAB}/").parse().unwrap();
    client
        .send_request(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}
