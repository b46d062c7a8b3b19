//! TLS with certificates of the local authority.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::App;
use crate::clients::{body, get, get2, http1_over, http2_over};
use crate::world::World;

pub(crate) fn trusting(
    world: &World,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    trusting_with(world, provider, versions)
}

fn trusting_with(
    world: &World,
    provider: rustls::crypto::CryptoProvider,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let pem = ward_gateway::ca::certificate_pem(world.home.path()).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

pub(crate) async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    connect_over(config, TcpStream::connect(address).await.unwrap(), name).await
}

pub(crate) async fn connect_over(
    config: &Arc<ClientConfig>,
    stream: TcpStream,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config))
        .connect(name, stream)
        .await
}

async fn world() -> (World, App) {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    (world, app)
}

#[tokio::test]
async fn both_versions_of_tls_and_of_http() {
    let (world, _app) = world().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = trusting(&world, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let both = Arc::new(config.clone());
        let stream = connect(&both, world.https, "shop.localhost").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
        let mut client = http2_over(stream).await;
        let mut request = get2("/head");
        *request.uri_mut() = "https://shop.localhost/head".parse().unwrap();
        let seen = body(client.send_request(request).await.unwrap()).await;
        assert!(seen.contains("x-forwarded-proto: https"), "{seen}");

        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let one = Arc::new(config);
        let stream = connect(&one, world.https, "shop.localhost").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut client = http1_over(stream).await;
        assert_eq!(
            body(client.send_request(get("/")).await.unwrap()).await,
            "one"
        );
    }
}

#[tokio::test]
async fn the_order_of_the_suites_is_the_gateways() {
    use rustls::CipherSuite;
    let (world, _app) = world().await;
    for (version, expected) in [
        (
            &rustls::version::TLS12,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            &rustls::version::TLS13,
            CipherSuite::TLS13_AES_128_GCM_SHA256,
        ),
    ] {
        for reversed in [false, true] {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            if reversed {
                provider.cipher_suites.reverse();
            }
            let config = trusting_with(&world, provider, &[version]);
            let stream = connect(&Arc::new(config), world.https, "shop.localhost").await;
            let suite = stream.unwrap().get_ref().1.negotiated_cipher_suite();
            assert_eq!(suite.unwrap().suite(), expected);
        }
    }
}

#[tokio::test]
async fn names_that_the_authority_may_speak_for() {
    let (world, _app) = world().await;
    let config = Arc::new(trusting(&world, rustls::ALL_VERSIONS));
    for name in [
        "localhost",
        "shop.localhost",
        "a.b.c.localhost",
        "127.0.0.1",
    ] {
        connect(&config, world.https, name).await.unwrap();
    }
    for name in ["example.com", "localhost.example.com", "notlocalhost"] {
        assert!(
            connect(&config, world.https, name).await.is_err(),
            "{name} was served"
        );
    }
    // A certificate is for its name and no other.
    let mut client = http1_over(
        connect(&config, world.https, "other.localhost")
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(client.send_request(get("/")).await.unwrap().status(), 200);
}

/// Asks on a connection of its own, and says how its handshake went.
async fn asked(config: &Arc<ClientConfig>, world: &World) -> HandshakeKind {
    let stream = connect(config, world.https, "shop.localhost")
        .await
        .unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    // Tickets come with the first answer in TLS 1.3.
    let mut client = http1_over(stream).await;
    let answer = client.send_request(get("/")).await.unwrap();
    assert_eq!(body(answer).await, "one");
    kind
}

#[tokio::test]
async fn sessions_are_resumed_whichever_worker_has_the_connection() {
    let (world, _app) = world().await;
    let ways = [
        (&rustls::version::TLS12, Tls12Resumption::SessionIdOnly),
        (&rustls::version::TLS12, Tls12Resumption::SessionIdOrTickets),
        (&rustls::version::TLS13, Tls12Resumption::Disabled),
    ];
    for (version, way) in ways {
        let mut config = trusting(&world, &[version]);
        config.resumption = Resumption::in_memory_sessions(8).tls12_resumption(way);
        let config = Arc::new(config);
        assert_eq!(asked(&config, &world).await, HandshakeKind::Full);
        for _ in 0..12 {
            let kind = asked(&config, &world).await;
            assert_eq!(kind, HandshakeKind::Resumed, "{:?}", version.version);
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_the_gateway_that_takes_over() {
    let (mut world, _app) = world().await;
    let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
    let configs = versions.map(|version| Arc::new(trusting(&world, &[version])));
    for config in &configs {
        assert_eq!(asked(config, &world).await, HandshakeKind::Full);
    }
    let mut before = world.succeed().await;
    crate::world::exit_status(&mut before).await;
    for config in &configs {
        assert_eq!(asked(config, &world).await, HandshakeKind::Resumed);
    }
    // One that was killed had nobody to give its keys to.
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    world.succeed().await;
    for config in &configs {
        assert_eq!(asked(config, &world).await, HandshakeKind::Full);
        assert_eq!(asked(config, &world).await, HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn the_authority_survives_the_gateway() {
    let (mut world, _app) = world().await;
    let config = Arc::new(trusting(&world, rustls::ALL_VERSIONS));
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    world.succeed().await;
    connect(&config, world.https, "shop.localhost")
        .await
        .unwrap();
}

#[tokio::test]
async fn plain_http_on_the_tls_port_is_closed() {
    let (world, app) = world().await;
    crate::clients::raw(
        world.https,
        b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    )
    .await;
    assert_eq!(app.seen.requests(), 0);
}
