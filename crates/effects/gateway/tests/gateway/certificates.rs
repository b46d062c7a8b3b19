//! Certificates from files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use ward_types::route::Route;
use ward_types::tls::{CertificateFiles, CertificateObserved, HostTls};

use crate::app::App;
use crate::clients::{body, get, http1_over};
use crate::tls::connect;
use crate::world::{World, eventually};

/// An authority of a test's own.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self {
            certificate: made.der().clone(),
            pem: made.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate in PEM, and its key.
    pub(crate) fn signs(&self, params: &CertificateParams) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        (made.pem(), key)
    }

    /// Puts a certificate for `names` and its key into a folder, in the place of what is there.
    fn issue(&self, folder: &Path, names: &[&str]) -> CertificateFiles {
        let params = named(names);
        let (certificate, key) = self.signs(&params);
        put(&folder.join("key.pem"), &key.serialize_pem());
        put(&folder.join("cert.pem"), &certificate);
        files(folder)
    }

    pub(crate) fn trusting(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(roots).with_no_client_auth()
    }
}

/// A certificate for these hosts.
fn named(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// Puts a file in the place of another, as people should.
pub(crate) fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

pub(crate) fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

/// A folder below the world's own.
pub(crate) fn folder(world: &World, name: &str) -> PathBuf {
    let folder = world.home.path().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn at(host: &str, certificate: Option<CertificateFiles>) -> Route {
    let tls = certificate.map(|files| HostTls {
        certificate: Some(files),
        client_ca: None,
        acme: false,
    });
    Route {
        tls,
        ..Route::plain(host)
    }
}

async fn serve(world: &mut World, routes: Vec<Route>) {
    let mut table = world.table(&["web-r1-1"]);
    Arc::make_mut(&mut table.pools[0]).routes = routes;
    world.control.apply(table).await.unwrap();
}

/// The certificate that a name is served with.
async fn shown(config: &Arc<ClientConfig>, world: &World, name: &str) -> Option<Vec<u8>> {
    let stream = connect(config, world.https, name).await.ok()?;
    let chain = stream.get_ref().1.peer_certificates()?;
    Some(chain.first()?.as_ref().to_vec())
}

fn der(files: &CertificateFiles) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    let own = CertificateDer::from_pem_file(&files.certificate).unwrap();
    own.as_ref().to_vec()
}

async fn observed(world: &World, host: &str) -> CertificateObserved {
    let all = world.control.observe().await.unwrap().certificates;
    all.into_iter().find(|one| one.host == host).unwrap()
}

async fn problem(world: &World, host: &str) -> String {
    observed(world, host).await.problem.unwrap_or_default()
}

async fn world() -> (World, App) {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    (world, app)
}

#[tokio::test]
async fn a_name_in_full_goes_before_a_wildcard_and_both_before_the_local_authority() {
    let (mut world, _app) = world().await;
    let ca = Ca::new("files");
    let config = Arc::new(ca.trusting());
    let one = ca.issue(&folder(&world, "one"), &["shop.example.org"]);
    let any = ca.issue(&folder(&world, "any"), &["*.example.org"]);
    let local = ca.issue(&folder(&world, "local"), &["shop.localhost"]);
    let routes = vec![
        at("shop.example.org", Some(one.clone())),
        at("*.example.org", Some(any.clone())),
        at("bare.example.org", None),
        at("shop.localhost", Some(local.clone())),
        at("other.localhost", None),
    ];
    serve(&mut world, routes).await;
    for (name, expected) in [
        ("shop.example.org", Some(&one)),
        ("SHOP.example.org", Some(&one)),
        ("lab.example.org", Some(&any)),
        ("bare.example.org", Some(&any)),
        ("a.lab.example.org", None),
        ("example.org", None),
        ("shop.localhost", Some(&local)),
        ("other.localhost", None),
    ] {
        let served = shown(&config, &world, name).await;
        assert_eq!(served, expected.map(der), "{name}");
    }
    let own = Arc::new(crate::tls::trusting(&world, rustls::ALL_VERSIONS));
    assert!(shown(&own, &world, "other.localhost").await.is_some());
    let stream = connect(&config, world.https, "shop.localhost")
        .await
        .unwrap();
    let answer = http1_over(stream).await.send_request(get("/")).await;
    assert_eq!(body(answer.unwrap()).await, "one");
}

#[tokio::test]
async fn files_are_read_again_and_what_does_not_fit_takes_nobodys_place() {
    let (mut world, _app) = world().await;
    let ca = Ca::new("files");
    let config = Arc::new(ca.trusting());
    let place = folder(&world, "one");
    let host = "shop.example.org";
    let files = ca.issue(&place, &[host]);
    serve(&mut world, vec![at(host, Some(files.clone()))]).await;
    let first = der(&files);
    assert_eq!(shown(&config, &world, host).await, Some(first.clone()));

    ca.issue(&place, &[host]);
    let second = der(&files);
    assert_ne!(first, second);
    eventually("the new certificate is served", async || {
        shown(&config, &world, host).await.as_ref() == Some(&second)
    })
    .await;
    assert_eq!(problem(&world, host).await, "");

    let key = std::fs::read_to_string(&files.key).unwrap();
    let (mut over, other_key) = (named(&[host]), KeyPair::generate().unwrap());
    over.not_before = (SystemTime::now() - Duration::from_secs(90_000)).into();
    over.not_after = (SystemTime::now() - Duration::from_secs(3600)).into();
    let (over, over_key) = ca.signs(&over);
    let (other, other_host_key) = ca.signs(&named(&["b.example.org"]));
    let good = std::fs::read_to_string(&files.certificate).unwrap();
    for (certificate, key, why) in [
        (
            &good,
            other_key.serialize_pem(),
            "does not belong to the first certificate",
        ),
        (&over, over_key.serialize_pem(), "was good until"),
        (
            &other,
            other_host_key.serialize_pem(),
            "is not for shop.example.org, but for b.example.org",
        ),
        (&"nonsense".to_owned(), key.clone(), "holds no certificate"),
        (&good, "nonsense".to_owned(), "holds no private key"),
    ] {
        put(&files.key, &key);
        put(&files.certificate, certificate);
        eventually("it is said what is wrong", async || {
            problem(&world, host).await.contains(why)
        })
        .await;
        let said = observed(&world, host).await;
        assert!(
            said.problem
                .unwrap()
                .ends_with("what was read before stays in use")
        );
        assert!(said.until.is_some());
        assert_eq!(
            shown(&config, &world, host).await,
            Some(second.clone()),
            "{why}"
        );
    }
    let metrics = crate::clients::raw(
        world.metrics.local_addr().unwrap(),
        b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    let line = "ward_certificate_problem{env=\"shop/dev\",host=\"shop.example.org\",of=\"host\"} 1";
    assert!(metrics.contains(line), "{metrics}");

    put(&files.key, &key);
    put(&files.certificate, &good);
    eventually("nothing is wrong any more", async || {
        problem(&world, host).await.is_empty()
    })
    .await;
    let stored = ["table.json", "table.changes"]
        .map(|name| std::fs::read_to_string(world.home.path().join("gateway").join(name)).unwrap());
    let table = stored.concat();
    let secret = key.lines().nth(1).unwrap();
    assert!(table.contains("key.pem") && !table.contains(secret));
}

#[tokio::test]
async fn a_gateway_that_takes_over_uses_what_was_in_use_and_one_after_a_crash_what_it_finds() {
    let (mut world, _app) = world().await;
    let ca = Ca::new("files");
    let config = Arc::new(ca.trusting());
    let host = "shop.example.org";
    let place = folder(&world, "one");
    let files = ca.issue(&place, &[host]);
    let fine = ca.issue(&folder(&world, "two"), &["b.example.org"]);
    let routes = vec![
        at(host, Some(files.clone())),
        at("b.example.org", Some(fine.clone())),
    ];
    serve(&mut world, routes).await;
    let served = der(&files);
    put(&files.key, &KeyPair::generate().unwrap().serialize_pem());
    eventually("it is said what is wrong", async || {
        problem(&world, host).await.contains("does not belong")
    })
    .await;
    // One that takes over is handed what is in use; one that comes after a crash has nobody to ask.
    let mut before = world.succeed().await;
    crate::world::exit_status(&mut before).await;
    assert_eq!(shown(&config, &world, host).await, Some(served.clone()));
    eventually("the successor says so, too", async || {
        problem(&world, host).await.contains("stays in use")
    })
    .await;
    assert_eq!(shown(&config, &world, host).await, Some(served));
    world.child.kill().unwrap();
    world.child.wait().unwrap();
    world.succeed().await;
    assert!(shown(&config, &world, host).await.is_none());
    assert!(problem(&world, host).await.contains("does not belong"));
    assert_eq!(observed(&world, host).await.until, None);
    assert_eq!(
        shown(&config, &world, "b.example.org").await,
        Some(der(&fine))
    );
    ca.issue(&place, &[host]);
    eventually("it is served", async || {
        shown(&config, &world, host).await == Some(der(&files))
    })
    .await;
}

#[test]
fn what_cannot_be_used_is_refused_before_it_is_deployed() {
    use ward_types::time::Timestamp;
    let ca = Ca::new("files");
    let place = tempfile::tempdir().unwrap();
    let files = ca.issue(place.path(), &["*.example.org"]);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let now = Timestamp(now.as_millis() as u64);
    let check = |host: &str, now| {
        let tls = HostTls {
            certificate: Some(files.clone()),
            client_ca: Some(files.certificate.clone()),
            acme: false,
        };
        ward_gateway::certificates::check(host, &tls, now).map_err(|error| error.to_string())
    };
    check("*.example.org", now).unwrap();
    check("a.example.org", now).unwrap();
    for (host, now, why) in [
        (
            "example.org",
            now,
            "not for example.org, but for *.example.org",
        ),
        ("*.a.example.org", now, "not for *.a.example.org"),
        ("a.example.org", Timestamp(0), "from"),
        (
            "a.example.org",
            Timestamp(99_999_999_999_999),
            "was good until",
        ),
    ] {
        let error = check(host, now).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    std::fs::remove_file(&files.certificate).unwrap();
    assert!(
        check("a.example.org", now)
            .unwrap_err()
            .contains("cannot read")
    );
    std::fs::create_dir(&files.certificate).unwrap();
    assert!(check("a.example.org", now).is_err());
}

/// A certificate of a client.
pub(crate) fn of_client(name: &str, organization: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let kind = DnType::OrganizationName;
    params.distinguished_name.push(kind, organization);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}
