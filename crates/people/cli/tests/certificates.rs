//! Certificates from files, and clients that show one: from the stack file to a client that is nobody of ours.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::authority::{Answers, Ca, Pebble, curl};
use support::{Ward, eventually};

/// The lines of a stack file for a route; `@` is the folder of the files.
fn route(ca: &Ca, host: &str, tls: &str) -> String {
    let tls = tls.replace(
        '@',
        &format!("{}/", ca.path("").display()).replace("//", "/"),
    );
    format!("[[service.web.route]]\nhost = \"{host}\"\ntls = {{ {tls} }}\n")
}

/// Writes a stack with these routes.
fn stack(ward: &Ward, routes: &[String]) {
    let text = format!(
        "[stack]\nname = \"shop\"\nversion = \"1.0\"\n[service.web]\n\
         build = {{ files = [\"app.py\"], run = [\"python3\", \"-u\", \"app.py\"], base = \"host\" }}\n\
         port = 8000\nhealth = {{ path = \"/healthz\", interval = \"50ms\" }}\n{}",
        routes.concat()
    );
    ward.write("ward.toml", &text);
}

fn https(ward: &Ward) -> String {
    ward.status()["server"]["https"]
        .as_str()
        .unwrap()
        .to_owned()
}

const SHOP: &str = "shop.example.org";

#[test]
fn a_certificate_from_files_is_checked_deployed_and_read_again() {
    let ward = Ward::new();
    let ca = Ca::new(ward.home());
    let dir = ward.dir().to_str().unwrap().to_owned();
    let route = route(&ca, SHOP, r#"certificate = "@shop.pem", key = "@shop.key""#);
    stack(&ward, &[route]);
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
    let (address, root) = (https(&ward), ca.path("authority.pem"));
    let get = |at, more: &[&str]| curl(&address, &root, at, more);
    assert_eq!(get((SHOP, "/"), &[]).unwrap(), "hello 200");
    let first = std::fs::read_to_string(ca.path("shop.key")).unwrap();

    std::fs::write(ca.path("shop.pem"), "nonsense").unwrap();
    eventually("status says that the file is broken", || {
        let status = ward.ok(&["status"]);
        status.contains("certificate of shop.example.org") && status.contains("stays in use")
    });
    assert_eq!(get((SHOP, "/"), &[]).unwrap(), "hello 200");
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
    let stored = ["table.json", "table.changes"].map(|name| {
        let file = ward.home().join("gateway").join(name);
        std::fs::read_to_string(file).unwrap()
    });
    let table = stored.concat();
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
    let ca = Ca::new(ward.home());
    ca.issue("shop", SHOP);
    ca.issue("lab", "lab.example.org");
    ca.issue("partner", "partner.example.com");
    stack(
        &ward,
        &[
            route(&ca, SHOP, r#"certificate = "@shop.pem", key = "@shop.key""#),
            route(
                &ca,
                "lab.example.org",
                r#"certificate = "@lab.pem", key = "@lab.key", client_ca = "@authority.pem""#,
            ),
        ],
    );
    ward.up();
    let (address, root) = (https(&ward), ca.path("authority.pem"));
    let get = |at, more: &[&str]| curl(&address, &root, at, more);
    let file = |name| ca.path(name).to_str().unwrap().to_owned();
    let (certificate, key) = (file("partner.pem"), file("partner.key"));
    let partner = ["--cert", &certificate, "--key", &key];
    for version in [&["--tls-max", "1.2"][..], &["--http1.1"], &["--http2"]] {
        let forged = ["-H", "ward-client-subject: CN=root"];
        let more = [version, &partner, &forged].concat();
        let seen = get(("lab.example.org", "/client"), &more).unwrap();
        assert_eq!(seen, "['CN=partner'] 200", "{version:?}");
        let more = [version, &forged].concat();
        assert!(get(("lab.example.org", "/client"), &more).is_err());
        assert_eq!(get((SHOP, "/client"), &more).unwrap(), "None 200");
        let host = ["-H", "host: lab.example.org"];
        let seen = get((SHOP, "/client"), &[version, &partner, &host].concat());
        assert!(
            seen.as_ref().is_ok_and(|seen| seen.ends_with(" 421")),
            "{seen:?}"
        );
    }
    ward.ok(&["down"]);
}

/// A Ward that runs and knows Pebble, and Pebble, which does not run yet.
fn with_an_authority() -> (Ward, Pebble) {
    let (ward, pebble) = (Ward::new(), Pebble::new());
    stack(&ward, &[]);
    let dir = ward.dir().to_str().unwrap().to_owned();
    let up = ward
        .command(&["up", &dir])
        .env("WARD_ACME_DIRECTORY", pebble.directory())
        .env("WARD_ACME_CONTACT", "ops@example.org")
        .env("WARD_ACME_ROOT", pebble.root())
        .output()
        .unwrap();
    assert!(up.status.success(), "{up:?}");
    (ward, pebble)
}

fn by_acme() -> String {
    format!(
        "[[service.web.route]]\nhost = \"{SHOP}\"\nhttps = \"redirect\"\ntls = {{ acme = true }}\n"
    )
}

fn server_log(ward: &Ward) -> String {
    std::fs::read_to_string(ward.home().join("server.log")).unwrap()
}

fn mode(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_certificate_is_had_by_acme_and_renewed_ahead() {
    let (ward, mut pebble) = with_an_authority();
    let (http, https) = (ward.http(), https(&ward));
    pebble.start(
        &Answers {
            http: &http,
            https: &https,
        },
        60,
    );
    let root = pebble.issuing_root().unwrap();
    stack(&ward, &[by_acme()]);
    ward.up();
    eventually("a certificate is served", || {
        curl(&https, &root, (SHOP, "/"), &[]).is_ok_and(|seen| seen == "hello 200")
    });
    assert!(server_log(&ward).contains("way=Http"));
    let file = ward.home().join(format!("acme/certificates/{SHOP}.pem"));
    let first = std::fs::read_to_string(&file).unwrap();
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(&ward.home().join("acme/account.json")), 0o600);
    assert_eq!(mode(&ward.home().join("acme")), 0o700);
    let challenge = support::load::get(&http, SHOP, "/.well-known/acme-challenge/x").unwrap();
    assert!(!challenge.headers.contains("octet-stream"), "{challenge:?}");

    // Two thirds of a minute later.
    assert!(
        support::poll(std::time::Duration::from_secs(60), || {
            std::fs::read_to_string(&file).unwrap() != first
        }),
        "it was not renewed"
    );
    let second = std::fs::read_to_string(&file).unwrap();
    assert!(second.contains("PRIVATE KEY") && second.contains("BEGIN CERTIFICATE"));
    assert_eq!(curl(&https, &root, (SHOP, "/"), &[]).unwrap(), "hello 200");
    assert!(!ward.ok(&["status"]).contains("certificate of"));
}

#[test]
fn where_port_80_is_closed_the_handshake_answers_and_until_then_status_says_why() {
    let (ward, mut pebble) = with_an_authority();
    let https = https(&ward);
    // Nobody listens at port 1.
    let answers = Answers {
        http: "127.0.0.1:1",
        https: &https,
    };
    pebble.start(&answers, 3600);
    let root = pebble.issuing_root().unwrap();
    stack(&ward, &[by_acme()]);
    ward.up();
    eventually("status says why there is none", || {
        let status = ward.ok(&["status"]);
        status.contains("by ACME: the authority could not see that shop.example.org is served here")
    });
    assert!(curl(&https, &root, (SHOP, "/"), &[]).is_err());
    assert!(
        support::poll(std::time::Duration::from_secs(60), || {
            curl(&https, &root, (SHOP, "/"), &[]).is_ok_and(|seen| seen == "hello 200")
        }),
        "{}",
        pebble.log()
    );
    assert!(server_log(&ward).contains("way=TlsAlpn"));
}

#[test]
fn without_an_authority_nothing_is_deployed_that_needs_one() {
    let ward = Ward::new();
    stack(&ward, &[by_acme()]);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&["up", &dir])
        .fails(1, &["is to be had by ACME", "--acme-directory"]);
}
