//! What scanners find: testssl.sh in the gateway's TLS, with a certificate from files as a public authority would issue it,
//! and smugglex in how it reads requests.

use rcgen::{
    CertificateParams, CrlDistributionPoint, DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose,
    date_time_ymd,
};
use serde_json::Value;
use std::sync::Arc;

use crate::app::App;
use crate::certificates::{Ca, at, files, folder, put};
use crate::world::{Start, World};

const TESTSSL: &str = "/usr/bin/testssl";
const HOST: &str = "shop.example.org";

/// Good since yesterday and for three months, as the usual certificate is.
fn usual() -> CertificateParams {
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    let today = jiff::Zoned::now().date();
    let day = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        date_time_ymd(i32::from(date.year()), date.month() as u8, date.day() as u8)
    };
    (params.not_before, params.not_after) = (day(-1), day(89));
    params.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec!["http://crl.example.org/1.crl".to_owned()],
    }];
    params.distinguished_name.push(DnType::CommonName, HOST);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}

/// Its checks over plain HTTP/1.1, and those over TLS, where it downgrades HTTP/2. Its mutations of lines (`--fuzz`) are left
/// out: two of them announce a byte that they do not send, and it takes waiting for that for a finding.
const CHECKS: [(&str, &[&str]); 2] = [
    (
        "http",
        &[
            "cl-te",
            "te-cl",
            "te-te",
            "h2c",
            "h2",
            "cl-edge",
            "cl-0",
            "0-cl",
            "parser-discrepancy",
        ],
    ),
    (
        "https",
        &["te-te", "0-cl", "parser-discrepancy", "h2-downgrade"],
    ),
];

#[tokio::test]
#[ignore = "`cargo xtask test` installs smugglex and runs this with it"]
async fn smugglex_finds_nothing() {
    let program = std::env::var_os("WARD_TEST_SMUGGLEX").expect("its path is not told");
    let (world, _app) = World::serving(Start::Usual).await;
    for (scheme, checks) in CHECKS {
        let address = if scheme == "http" {
            world.http
        } else {
            world.https
        };
        let report = world.home.path().join(format!("{scheme}.json"));
        let mut smugglex = tokio::process::Command::new(&program);
        smugglex.arg(format!("{scheme}://{address}/"));
        smugglex.args(["--vhost", "shop.localhost", "--insecure", "--timeout", "3"]);
        smugglex.args(["--no-color", "--checks", &checks.join(","), "--output"]);
        let ended = smugglex.arg(&report).output().await.unwrap();
        let text = String::from_utf8_lossy(&ended.stdout);
        let report: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
        let found = report["checks"].as_array().unwrap();
        for check in checks {
            let one = found.iter().find(|one| one["check_type"] == *check);
            let one = one.unwrap_or_else(|| panic!("{scheme} {check} was not tried: {text}"));
            assert_eq!(one["vulnerable"], false, "{scheme} {check}: {one}\n{text}");
            let usual = one["normal_status"].as_str().unwrap_or_default();
            assert!(usual.contains("200"), "{scheme} {check}: {one}\n{text}");
        }
    }
}

#[tokio::test]
#[ignore = "it takes minutes; `cargo xtask test` installs testssl.sh and runs it"]
async fn testssl_finds_nothing_above_low() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    let (ca, folder) = (Ca::new("An authority"), folder(&world, "files"));
    let (certificate, key) = ca.signs(&usual());
    put(&folder.join("key.pem"), &key.serialize_pem());
    put(&folder.join("cert.pem"), &certificate);
    put(&folder.join("ca.pem"), &ca.pem);
    let mut table = world.table(&["web-r1-1"]);
    Arc::make_mut(&mut table.pools[0]).routes = vec![at(HOST, Some(files(&folder)))];
    world.control.apply(table).await.unwrap();
    let report = folder.join("report.json");
    let mut testssl = tokio::process::Command::new(TESTSSL);
    // It asks no name server, and nobody else.
    testssl.args(["--quiet", "--color", "0", "--warnings", "off", "-n", "none"]);
    testssl.args(["--ip", "127.0.0.1", "--add-ca"]);
    testssl
        .arg(folder.join("ca.pem"))
        .arg("--jsonfile")
        .arg(&report);
    testssl.arg(format!("{HOST}:{}", world.https.port()));
    let ended = testssl.output().await.expect("testssl.sh is not installed");
    let text = String::from_utf8_lossy(&ended.stdout);
    let report = std::fs::read(&report).unwrap();
    let findings: Vec<Value> = serde_json::from_slice(&report).unwrap();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    // It came to the end of its list.
    for last in [
        "cipherlist_NULL",
        "TLS1_3",
        "heartbleed",
        "RC4",
        "HSTS_time",
    ] {
        let there = findings.iter().any(|finding| word(finding, "id") == last);
        assert!(there, "{last} was not looked at: {text}");
    }
    // One is about this machine's own openssl. The other says that it could not look: its client goes at once, in one of
    // fifteen tries before TLS 1.3's tickets have come, and then has no session to come back with.
    let fine = |finding: &&Value| {
        let [severity, id] = ["severity", "id"].map(|key| word(finding, key));
        let not_ours = ["engine_problem", "sessionresumption_ticket"].contains(&&*id);
        ["OK", "INFO", "LOW", "DEBUG"].contains(&&*severity) || (severity == "WARN" && not_ours)
    };
    let worse: Vec<String> = findings
        .iter()
        .filter(|finding| !fine(finding))
        .map(|finding| {
            let [severity, id, what] = ["severity", "id", "finding"].map(|key| word(finding, key));
            format!("{severity} {id}: {what}")
        })
        .collect();
    assert!(worse.is_empty(), "{}\n{text}", worse.join("\n"));
}
