//! The life of an environment, with the real binary, real sandboxes and real clients.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;
use support::load::{Load, get};
use support::{Ward, eventually, is_root, kill9};

const HOST: &str = "shop.localhost";

fn answer(n: u32) -> String {
    format!(r#"ANSWER = "release {n}""#)
}

#[test]
fn an_environment_comes_up_serves_and_goes_down() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    let addresses = ward.up();
    assert!(addresses.contains("http://shop.localhost:"), "{addresses}");
    let first = get(&ward.http(), HOST, "/").unwrap();
    assert_eq!((first.status, first.body.as_str()), (200, "release 1"));
    assert!(
        first.headers.contains("ward-release: r1"),
        "{}",
        first.headers
    );
    assert_eq!(ward.healthy("web").len(), 2);

    // The same again changes nothing.
    let again = ward.run(&["up", ward.dir().to_str().unwrap()]);
    assert!(again.stderr().contains("nothing changed"), "{again:?}");

    // What there is, in words and as data.
    assert!(ward.ok(&["releases"]).contains("r1 (serves)"));
    assert!(ward.ok(&["events"]).contains("release r1 recorded"));
    assert!(ward.ok(&["audit", "verify"]).contains("none altered"));
    assert!(ward.ok(&["logs", "web"]).contains("listening, release 1"));
    let env = get(&ward.http(), HOST, "/env").unwrap().body;
    let env: Value = serde_json::from_str(&env).unwrap();
    assert_eq!(
        (env["WARD_ENV"].as_str(), env["WARD_RELEASE"].as_str()),
        (Some("dev"), Some("r1"))
    );

    let unknown = get(&ward.http(), "nobody.localhost", "/").unwrap();
    assert_eq!(unknown.status, 404);

    ward.ok(&["down"]);
    assert!(ward.processes().is_empty(), "{:?}", ward.processes());
}

#[test]
fn p1_deploys_and_rollbacks_lose_no_request() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    let http = ward.http();
    let load = Load::start(&http, HOST);
    for n in 2..=6 {
        ward.stack(&answer(n), "");
        ward.ok(&["deploy"]);
        assert_eq!(get(&http, HOST, "/").unwrap().body, format!("release {n}"));
        ward.ok(&["rollback"]);
        assert_eq!(
            get(&http, HOST, "/").unwrap().body,
            format!("release {}", n - 1)
        );
        ward.ok(&["rollforward"]);
    }
    let (asked, failures) = load.end();
    assert!(
        failures.is_empty(),
        "{} of {asked} failed: {:#?}",
        failures.len(),
        &failures[..failures.len().min(5)]
    );
    assert!(asked > 100, "only {asked} requests were made");
}

#[test]
fn p2_a_release_comes_back_after_down_and_up_by_digest() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    ward.stack(&answer(2), "");
    ward.ok(&["deploy"]);
    ward.ok(&["down"]);
    ward.up(); // The newest, unchanged.
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "release 2");
    std::fs::remove_file(ward.dir().join("app.py")).unwrap(); // The source is not needed any more.
    ward.ok(&["rollback"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "release 1");
    ward.ok(&["rollforward"]);
    ward.ok(&["rollback", "--to", "r1"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "release 1");
    let releases: Value =
        serde_json::from_str(&ward.ok(&["releases", "--output", "json"])).unwrap();
    assert_eq!(
        releases.as_array().unwrap().len(),
        2,
        "no release was lost or made: {releases}"
    );
}

/// What the registry says to whoever wants to delete an image.
fn deleted(ward: &Ward, digest: &str) -> String {
    let address = ward.status()["server"]["registry"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    let asked = format!("DELETE /v2/shop/web/manifests/{digest} HTTP/1.1");
    write!(
        stream,
        "{asked}\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Whoever reaches the registry's port takes no release away.
#[test]
fn p2_the_image_of_a_release_that_can_come_back_is_not_deleted() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    ward.write("app.py", &format!("{}\n# another image\n", support::APP));
    ward.stack(&answer(2), "");
    ward.ok(&["deploy"]);
    let images = |what: &str| -> Vec<String> {
        let listed: Value = serde_json::from_str(&ward.ok(&[what, "--output", "json"])).unwrap();
        let listed = listed.as_array().unwrap().iter();
        let image = |one: &Value| one["images"]["web"].as_str().unwrap().to_owned();
        listed.map(image).collect()
    };
    let images = images("releases");
    assert_eq!(images.len(), 2, "{images:?}");
    assert_ne!(images[0], images[1]);
    for image in &images {
        let said = deleted(&ward, image);
        for part in ["HTTP/1.1 403 ", "\"DENIED\"", "is needed by shop/dev r"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    ward.ok(&["down"]);
    ward.up();
    ward.ok(&["rollback"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "release 1");
    // What nothing needs any more goes, once the environment is gone and nobody collects.
    ward.ok(&["env", "delete", "shop/dev", "--yes"]);
    for image in &images {
        eventually("the image is deleted", || {
            deleted(&ward, image).starts_with("HTTP/1.1 202 ")
        });
    }
}

#[test]
fn a_warm_release_is_switched_to_and_not_started() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    let before: Vec<String> = ids(&ward);
    ward.stack(&answer(2), "");
    ward.ok(&["deploy"]);
    let back = ward.run(&["rollback"]);
    let said = "switching to the instances of r1, which are kept warm";
    assert!(back.stderr().contains(said), "{back:?}");
    assert_eq!(
        ids(&ward),
        before,
        "the instances that were warm serve again"
    );
}

fn ids(ward: &Ward) -> Vec<String> {
    ward.healthy("web")
        .iter()
        .map(|instance| instance["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_environments_of_one_stack_stand_side_by_side() {
    let ward = Ward::new();
    let prod = "[environment.dev]\n[environment.prod]\nservice.web.instances = 3\nservice.web.route.host = \"prod.localhost\"";
    ward.stack(&answer(1), prod);
    ward.up();
    ward.ok(&["deploy", "--env", "prod"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
    assert_eq!(
        get(&ward.http(), "prod.localhost", "/").unwrap().status,
        200
    );
    let several = ward.run(&["releases"]);
    // In the stack's folder `dev` is meant; elsewhere it has to be said.
    assert_eq!(several.code(), 0, "{several:?}");
    ward.ok(&["down", "--env", "prod"]);
    assert_eq!(
        get(&ward.http(), "prod.localhost", "/").unwrap().status,
        503
    );
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
}

#[test]
fn two_environments_cannot_have_one_host() {
    let ward = Ward::new();
    ward.stack(&answer(1), "[environment.dev]\n[environment.prod]");
    ward.up();
    ward.run(&["deploy", "--env", "prod"]).fails(
        1,
        &[
            "shop.localhost leads to shop/dev already",
            "[environment.prod]",
            "service.web.route.host = \"prod.shop.localhost\"",
        ],
    );
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
}

#[test]
fn a_host_whose_environment_is_down_says_so_and_no_more() {
    let ward = Ward::new();
    let own = "\n[service.inner]\nbuild = { files = [\"app.py\"], run = [\"python3\", \"-u\", \"app.py\"], base = \"host\" }\nport = 8000\nhealth = { path = \"/healthz\", interval = \"50ms\", healthy = 2 }\nroute = { host = \"inner.localhost\", allow = [\"10.0.0.0/8\"] }\n[environment.dev]\n[environment.qa]\n";
    ward.stack(&answer(1), own);
    ward.up();
    assert_eq!(
        get(&ward.http(), "inner.localhost", "/").unwrap().status,
        403
    );
    ward.ok(&["down", "--env", "dev"]);
    let down = get(&ward.http(), HOST, "/any/path").unwrap();
    assert_eq!(down.status, 503, "{}", down.body);
    assert!(down.headers.contains("retry-after: 60"), "{}", down.headers);
    assert!(
        down.body.contains("The application is down") && !down.body.contains("dev"),
        "{}",
        down.body
    );
    // Nobody learns of what he is not let in to, or of what was never there.
    for host in ["inner.localhost", "nobody.localhost"] {
        let unknown = get(&ward.http(), host, "/").unwrap();
        assert_eq!(unknown.status, 404, "{host}");
    }
    // A server that was killed meanwhile knows it still.
    kill9(ward.server_pid());
    ward.ok(&["up", "--platform"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 503);
    // Another environment may take the host, and gives it back.
    ward.ok(&["deploy", "--env", "qa"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
    ward.ok(&["down", "--env", "qa"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 503);
    ward.up();
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
    ward.ok(&["down", "--env", "dev"]);
    // Whose data is gone has never been.
    for env in ["dev", "qa"] {
        assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 503);
        ward.ok(&["down", "--env", env, "--purge", "--yes"]);
    }
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 404);
}

#[test]
fn exec_runs_a_program_beside_an_instance() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    let listed = ward.ok(&["exec", "web", "--", "/bin/ls", "/app"]);
    assert!(listed.contains("app.py"), "{listed}");
    let failed = ward.run(&["exec", "web", "--", "/bin/sh", "-c", "echo no >&2; exit 7"]);
    assert_eq!(
        (failed.code(), failed.stderr().contains("no")),
        (7, true),
        "{failed:?}"
    );
    assert!(ward.ok(&["events"]).contains("/bin/ls /app run in web-r1-"));
    ward.run(&["exec", "nothing", "--", "/bin/ls"])
        .fails(1, &["nothing", "web"]);
}

#[test]
fn exec_ends_as_a_shell_would_have_it() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    let absent = ward.run(&["exec", "web", "--", "no-such-program"]);
    absent.fails(127, &["there is no program no-such-program"]);
    assert_eq!(absent.stderr().lines().count(), 1, "{absent:?}");
    let text = ward.run(&["exec", "web", "--", "/app/app.py"]);
    text.fails(126, &["/app/app.py", "Permission denied"]);
    assert_eq!(text.stderr().lines().count(), 1, "{text:?}");
    for (script, code) in [
        ("exit 0", 0),
        ("exit 3", 3),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let ran = ward.run(&["exec", "web", "--", "/bin/sh", "-c", script]);
        assert_eq!(ran.code(), code, "{ran:?}");
    }
}

#[test]
fn an_ordinary_user_needs_no_rights() {
    if !is_root() {
        return; // Then every other test is this one.
    }
    let ward = Ward::of_user(54_321);
    ward.stack(&answer(1), "");
    ward.up();
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "release 1");
    ward.stack(&answer(2), "");
    ward.ok(&["deploy"]);
    ward.ok(&["rollback"]);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, "release 1");
    assert!(
        ward.ok(&["exec", "web", "--", "/bin/ls", "/app"])
            .contains("app.py")
    );
}

#[test]
fn a_purged_environment_is_gone_but_for_its_events() {
    let ward = Ward::new();
    ward.stack(
        &answer(1),
        "[environment.dev]\n[environment.prod]\nservice.web.route.host = \"prod.localhost\"",
    );
    ward.up();
    ward.ok(&["deploy", "--env", "prod"]);
    let down = ward.run(&["down", "--env", "prod", "--purge", "--yes"]);
    assert!(down.stderr().contains("shop/prod is stopped\n"), "{down:?}");
    let status = ward.ok(&["status"]);
    assert!(
        status.contains("shop/dev") && !status.contains("shop/prod"),
        "{status}"
    );
    let all = ward.ok(&["status", "--all"]);
    assert!(all.contains("shop/prod"), "{all}");
    assert!(
        ward.ok(&["events", "--env", "prod"])
            .contains("shop/prod goal purged")
    );
    ward.ok(&["down", "--env", "dev", "--purge", "--yes"]);
    ward.run(&["rollback"])
        .fails(1, &["there is no environment", "ward up DIR"]);
}

#[test]
fn mistakes_come_as_data_too() {
    let ward = Ward::new();
    ward.stack(&answer(1), "[service.web2]\nport = \"80\"");
    let checked: Value =
        serde_json::from_str(&ward.run(&["check", "--output", "json"]).stdout()).unwrap();
    let deployed = ward.run(&["deploy", "--output", "json"]);
    assert_eq!(deployed.code(), 2, "{deployed:?}");
    let last = deployed.stdout().lines().last().unwrap().to_owned();
    let told: Value = serde_json::from_str(&last).unwrap();
    let same = |mistakes: &Value| -> Vec<(Value, Value, Value)> {
        let all = mistakes.as_array().unwrap().iter();
        all.map(|m| (m["code"].clone(), m["line"].clone(), m["message"].clone()))
            .collect()
    };
    assert!(same(&checked).len() >= 2, "{checked}");
    assert_eq!(same(&told["mistakes"]), same(&checked));
    assert_eq!(told["count"], same(&checked).len());
}

#[test]
fn two_wards_run_side_by_side() {
    let (one, two) = (Ward::new(), Ward::new());
    one.stack(&answer(1), "");
    two.stack(&answer(2), "");
    one.up();
    two.up();
    assert_eq!(get(&one.http(), HOST, "/").unwrap().body, "release 1");
    assert_eq!(get(&two.http(), HOST, "/").unwrap().body, "release 2");
}

#[test]
fn deploys_at_once_wait_their_turn() {
    let ward = Ward::new();
    ward.stack(&answer(1), "");
    ward.up();
    let since = Instant::now();
    let second = std::thread::scope(|scope| {
        let first = scope.spawn(|| ward.run(&["deploy", "--force"]));
        let second = scope.spawn(|| ward.run(&["deploy", "--force"]));
        assert_eq!(first.join().unwrap().code(), 0);
        second.join().unwrap()
    });
    assert_eq!(second.code(), 0, "{second:?}");
    let mut lines: Vec<String> = second.stderr().lines().map(str::to_owned).collect();
    let said = lines.len();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), said, "nothing is said twice: {second:?}");
    let releases: Value =
        serde_json::from_str(&ward.ok(&["releases", "--output", "json"])).unwrap();
    let verdicts: Vec<&str> = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["succeeded"; 3], "after {:?}", since.elapsed());
}
