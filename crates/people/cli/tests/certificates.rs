//! Certificates from files, and clients that show one: from the stack file to a client that is nobody of ours.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::path::PathBuf;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use support::{Ward, eventually};

/// An authority, whose certificates lie in the state folder.
struct Ca<'a> {
    ward: &'a Ward,
    issuer: Issuer<'static, KeyPair>,
}

impl<'a> Ca<'a> {
    fn new(ward: &'a Ward) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        std::fs::write(ward.home().join("authority.pem"), pem).unwrap();
        let issuer = Issuer::new(params, key);
        Self { ward, issuer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.ward.home().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, host: &str) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(self.path(&format!("{name}.pem")), pem).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// The line of a stack file for a route with these files.
    fn route(&self, host: &str, tls: &str) -> String {
        let home = self.ward.home().display();
        let tls = tls.replace('@', &format!("{home}/"));
        format!("[[service.web.route]]\nhost = \"{host}\"\ntls = {{ {tls} }}\n")
    }

    /// Writes a stack with these routes.
    fn stack(&self, routes: &[String]) {
        let text = format!(
            "[stack]\nname = \"shop\"\nversion = \"1.0\"\n[service.web]\n\
             build = {{ files = [\"app.py\"], run = [\"python3\", \"-u\", \"app.py\"], base = \"host\" }}\n\
             port = 8000\nhealth = {{ path = \"/healthz\", interval = \"50ms\" }}\n{}",
            routes.concat()
        );
        self.ward.write("ward.toml", &text);
    }

    /// What curl gets, which trusts this authority alone: what it wrote, or why it failed.
    fn curl(&self, host: &str, path: &str, more: &[&str]) -> Result<String, String> {
        let https = self.ward.status()["server"]["https"]
            .as_str()
            .unwrap()
            .to_owned();
        let (address, port) = https.rsplit_once(':').unwrap();
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--write-out", " %{http_code}"])
            .arg("--cacert")
            .arg(self.path("authority.pem"))
            .args(["--resolve", &format!("{host}:{port}:{address}")])
            .args(more)
            .arg(format!("https://{host}:{port}{path}"))
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

const SHOP: &str = "shop.example.org";

#[test]
fn a_certificate_from_files_is_checked_deployed_and_read_again() {
    let ward = Ward::new();
    let ca = Ca::new(&ward);
    let dir = ward.dir().to_str().unwrap().to_owned();
    let route = ca.route(SHOP, r#"certificate = "@shop.pem", key = "@shop.key""#);
    ca.stack(&[route]);
    ward.run(&["up", &dir])
        .fails(1, &["TLS for shop.example.org", "cannot read", "shop.pem"]);
    ca.issue("shop", "other.example.org");
    ward.run(&["up", &dir]).fails(
        1,
        &["is not for shop.example.org, but for other.example.org"],
    );
    let status = ward.ok(&["status"]);
    assert!(
        status.contains("no release yet") || !status.contains("shop/dev"),
        "{status}"
    );

    ca.issue("shop", SHOP);
    ward.up();
    assert_eq!(ca.curl(SHOP, "/", &[]).unwrap(), "hello 200");
    let first = std::fs::read_to_string(ca.path("shop.key")).unwrap();

    std::fs::write(ca.path("shop.pem"), "nonsense").unwrap();
    eventually("status says that the file is broken", || {
        let status = ward.ok(&["status"]);
        status.contains("certificate of shop.example.org") && status.contains("stays in use")
    });
    assert_eq!(ca.curl(SHOP, "/", &[]).unwrap(), "hello 200");
    ca.issue("shop", SHOP);
    eventually("nothing is wrong any more", || {
        !ward.ok(&["status"]).contains("certificate of")
    });
    let shown = &ward.status()["environments"][0]["certificates"][0];
    assert_eq!(shown["host"], SHOP);

    // Paths are told, keys never.
    let events = ward.ok(&["events", "--output", "json"]);
    let log = std::fs::read_to_string(ward.home().join("gateway.log")).unwrap();
    assert!(
        log.contains("holds no certificate in PEM; what was read before stays in use"),
        "{log}"
    );
    let table = std::fs::read_to_string(ward.home().join("gateway/table.json")).unwrap();
    for (what, text) in [("events", events), ("log", log), ("table", table)] {
        assert!(text.contains("shop.pem"), "{what}");
        for line in first.lines().filter(|line| line.len() > 40) {
            assert!(!text.contains(line), "a key is in the {what}");
        }
    }
}

#[test]
fn clients_show_certificates_where_a_host_asks_for_them() {
    let ward = Ward::new();
    let ca = Ca::new(&ward);
    ca.issue("shop", SHOP);
    ca.issue("lab", "lab.example.org");
    ca.issue("partner", "partner.example.com");
    ca.stack(&[
        ca.route(SHOP, r#"certificate = "@shop.pem", key = "@shop.key""#),
        ca.route(
            "lab.example.org",
            r#"certificate = "@lab.pem", key = "@lab.key", client_ca = "@authority.pem""#,
        ),
    ]);
    ward.up();
    let file = |name| ca.path(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("partner.pem"), file("partner.key"));
    let partner = ["--cert", &certificate, "--key", &key];
    for version in [&["--tls-max", "1.2"][..], &["--http1.1"], &["--http2"]] {
        let forged = ["-H", "ward-client-subject: CN=root"];
        let more = [version, &partner, &forged].concat();
        let seen = ca.curl("lab.example.org", "/client", &more).unwrap();
        assert_eq!(seen, "['CN=partner'] 200", "{version:?}");
        let more = [version, &forged].concat();
        assert!(ca.curl("lab.example.org", "/client", &more).is_err());
        assert_eq!(ca.curl(SHOP, "/client", &more).unwrap(), "None 200");
        let host = ["-H", "host: lab.example.org"];
        let seen = ca.curl(SHOP, "/client", &[version, &partner, &host].concat());
        assert!(
            seen.as_ref().is_ok_and(|seen| seen.ends_with(" 421")),
            "{seen:?}"
        );
    }
    ward.ok(&["down"]);
}
