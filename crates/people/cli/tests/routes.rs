//! Routes from the stack file to the clients, and maintenance from the command line.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use support::load::{Answer, Load, get};
use support::secrets::set;
use support::{Ward, eventually, kill9};

const HOST: &str = "shop.localhost";

/// Beside `web` a service `api`, which answers "api".
const API: &str = r#"
[service.api]
build = { files = ["app.py"], run = ["python3", "-u", "app.py"], base = "host" }
port = 8000
health = { path = "/healthz", interval = "50ms", healthy = 2 }
env = { ANSWER = "api" }

[[service.api.route]]
host = "shop.localhost"
path = "/api"
body_limit = "1KiB"

[[service.api.route]]
host = "shop.localhost"
path = "/api/office"
allow = ["192.0.2.0/24"]

[[service.api.route]]
host = "shop.localhost"
path = "/env"
private = true

[[service.api.route]]
host = "*.shop.localhost"
https = "redirect"
standard_headers = false

[service.inner]
build = { files = ["app.py"], run = ["python3", "-u", "app.py"], base = "host" }
port = 8000
health = { path = "/healthz", interval = "50ms", healthy = 2 }
"#;

fn shop() -> Ward {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "web""#, API);
    ward.up();
    ward
}

fn ask(ward: &Ward, host: &str, path: &str) -> Answer {
    get(&ward.http(), host, path).unwrap()
}

#[test]
fn services_of_one_environment_share_a_host() {
    let ward = shop();
    for (host, path, status, body) in [
        (HOST, "/", 200, "web"),
        (HOST, "/apis", 200, "web"),
        (HOST, "/api/x", 200, "api"),
        (HOST, "/api/office/x", 403, "not open to the address"),
        (HOST, "/api/Office/x", 400, "more than one way"),
        (HOST, "/env", 404, "Nothing is served"),
        (HOST, "/x/../env", 400, "more than one way"),
        ("a.shop.localhost", "/", 308, "HTTPS"),
        ("a.b.shop.localhost", "/", 404, "not served here"),
    ] {
        let answer = ask(&ward, host, path);
        let right = answer.status == status && answer.body.contains(body);
        assert!(right, "{host}{path}: {answer:?}");
    }
    let answer = ask(&ward, HOST, "/");
    assert!(
        answer.headers.contains("x-content-type-options: nosniff"),
        "{answer:?}"
    );
    assert!(
        !answer.headers.contains("strict-transport-security"),
        "{answer:?}"
    );
    let status = ward.ok(&["status"]);
    for shown in [":", "/api\n", "https://*.shop.localhost:"] {
        assert!(status.contains(shown), "{shown} is not in {status}");
    }
    assert!(
        !status.contains("/env\n") && !status.contains("http://*."),
        "{status}"
    );
}

#[test]
fn maintenance_outlives_server_gateway_and_deployments_until_it_is_ended() {
    let ward = shop();
    set(&ward, "API_KEY", "planted-J7kq2vX9Lm4");
    let says_it = [
        "maintenance",
        "on",
        "--message",
        "not with planted-J7kq2vX9Lm4",
    ];
    ward.run(&says_it)
        .fails(1, &["the value of the secret API_KEY is in the message"]);
    assert!(!ward.ok(&["events"]).contains("planted"));
    let on = ward.ok(&[
        "maintenance",
        "on",
        "--message",
        "Back at noon",
        "--allow",
        "192.0.2.0/24",
        "--why",
        "ticket 7",
    ]);
    assert!(
        on.contains("in maintenance") && on.contains("open to 192.0.2.0/24"),
        "{on}"
    );
    let page = ask(&ward, HOST, "/");
    assert_eq!(page.status, 503);
    assert!(page.body.contains("Back at noon"), "{page:?}");
    assert!(page.headers.contains("retry-after: 300"), "{page:?}");
    assert_eq!(ask(&ward, HOST, "/api").status, 503);
    let status = ward.ok(&["status"]);
    assert!(
        status.contains("in maintenance since") && status.contains("“Back at noon”"),
        "{status}"
    );
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("maintenance begins: “Back at noon”  “ticket 7”"),
        "{events}"
    );

    let (server, gateway) = (ward.server_pid(), ward.gateway_pid());
    kill9(server);
    kill9(gateway);
    ward.ok(&["up", "--platform"]);
    eventually("the page is there again", || {
        get(&ward.http(), HOST, "/").is_ok_and(|page| page.status == 503)
    });
    ward.stack(r#"ANSWER = "new""#, API);
    ward.ok(&["deploy"]);
    assert_eq!(ask(&ward, HOST, "/").status, 503);

    let off = ward.ok(&["maintenance", "off"]);
    assert!(off.contains("not in maintenance any more"), "{off}");
    assert_eq!(ask(&ward, HOST, "/").body, "new");
    assert!(!ward.ok(&["status"]).contains("maintenance"));
    ward.run(&["maintenance", "off"])
        .fails(1, &["shop/dev is not in maintenance"]);
}

#[test]
fn one_service_is_in_maintenance_and_loses_no_other_a_request() {
    let ward = shop();
    let load = Load::start(&ward.http(), HOST);
    let on = ward.ok(&[
        "maintenance",
        "on",
        "api",
        "--message",
        "api is down",
        "--retry-after",
        "30s",
    ]);
    assert!(on.contains("api is in maintenance"), "{on}");
    let page = ask(&ward, HOST, "/api");
    assert_eq!(page.status, 503);
    assert!(page.headers.contains("retry-after: 30"), "{page:?}");
    assert_eq!(ask(&ward, HOST, "/").body, "web");
    ward.ok(&[
        "maintenance",
        "on",
        "api",
        "--message",
        "soon",
        "--allow",
        "127.0.0.0/8",
    ]);
    assert_eq!(ask(&ward, HOST, "/api").body, "api");
    ward.run(&["maintenance", "off", "web"])
        .fails(1, &["web of shop/dev is not in maintenance"]);
    ward.ok(&["maintenance", "off", "api"]);
    let (asked, failures) = load.end();
    assert!(asked > 20 && failures.is_empty(), "{asked}: {failures:?}");

    ward.run(&["maintenance", "on", "nothing", "--message", "x"])
        .fails(
            1,
            &[
                "shop/dev has no service nothing",
                "services with routes: api, web",
            ],
        );
    ward.run(&["maintenance", "on", "inner", "--message", "x"])
        .fails(1, &["shop/dev has no route to inner"]);
    ward.run(&["maintenance", "on", "--message", " "])
        .fails(1, &["the message must be one line"]);
    ward.run(&[
        "maintenance",
        "on",
        "--message",
        "x",
        "--allow",
        "10.0.0.1/8",
    ])
    .fails(2, &["10.0.0.0/8"]);
    ward.run(&["maintenance", "on"]).fails(2, &["--message"]);
}

#[test]
fn what_the_stack_file_says_of_instances_reaches_the_gateway() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "web""#, r#"affinity = { cookie = "at" }"#);
    ward.up();
    let answer = ask(&ward, HOST, "/");
    assert!(answer.headers.contains("set-cookie: at="), "{answer:?}");
    ward.stack(r#"ANSWER = "web""#, r#"hedge = "50ms""#);
    ward.up();
    // Each instance takes a second for it.
    let answer = ask(&ward, HOST, "/slow");
    assert!(
        answer.status == 200 && !answer.headers.contains("set-cookie"),
        "{answer:?}"
    );
    eventually("the access log says that two were asked", || {
        let lines = ward.ok(&["logs", "--access", "--output", "json"]);
        lines.contains(r#""hedge":"#) && lines.contains(r#""retries":1"#)
    });
    let both = r#"hedge = "50ms"
affinity = { cookie = "at" }"#;
    ward.stack(r#"ANSWER = "web""#, both);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&["up", &dir])
        .fails(2, &["has both `affinity` and `hedge`"]);
}
