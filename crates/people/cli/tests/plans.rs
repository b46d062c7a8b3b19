//! The benefits-plan advisor of the examples, deployed as a person would: four services and PostgreSQL. Lists
//! are imported, a bad one is refused, and what the worker hears over its links comes back as a recommendation.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Ward, is_root, poll};

/// The services, compiled as the example's own tests do it: in the example's target folder, without optimisation.
/// How Ward itself builds with cargo is tried elsewhere, and takes minutes.
fn compiled() -> PathBuf {
    let example = example();
    let target = example.join("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(&example)
        .args(["build", "--locked", "--quiet", "--bins", "--target-dir"]);
    assert!(cargo.arg(&target).status().unwrap().success());
    target.join("debug")
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/plans")
}

/// The example's own stack file, but for where its programs come from.
fn declared() -> Ward {
    let ward = Ward::new();
    let programs = compiled();
    let mut stack = fs::read_to_string(example().join("ward.toml")).unwrap();
    for name in ["plans-web", "plans-worker", "plans-engine", "plans-report"] {
        fs::copy(programs.join(name), ward.dir().join(name)).unwrap();
        let by_cargo = format!(r#"build = {{ cargo = "{name}" }}"#);
        assert!(stack.contains(&by_cargo), "{name} is built by cargo");
        let as_it_is =
            format!(r#"build = {{ files = ["{name}"], run = ["./{name}"], base = "host" }}"#);
        stack = stack.replace(&by_cargo, &as_it_is);
    }
    for command in ["migrate", "seed"] {
        let named = format!(r#"["plans-web", "{command}"]"#);
        assert!(stack.contains(&named), "{command} is declared");
        stack = stack.replace(&named, &format!(r#"["./plans-web", "{command}"]"#));
    }
    ward.write("ward.toml", &stack);
    fs::copy(example().join("smoke.sh"), ward.dir().join("smoke.sh")).unwrap();
    ward
}

struct Site {
    address: String,
    host: &'static str,
}

impl Site {
    /// Status and body; the connection is used once.
    fn send(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.host,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    fn json(&self, method: &str, path: &str, body: &[u8], status: u16) -> Value {
        let (answered, text) = self.send(method, path, body);
        assert_eq!(answered, status, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

const PLANS: &str = "\
code,name,premium_single,premium_family,employer_percent,deductible_single,deductible_family,\
coinsurance_percent,out_of_pocket_single,out_of_pocket_family
THIN,Thin,300,800,80,3000,6000,20,6000,12000
RICH,Rich,900,2400,80,0,0,10,2000,4000
";
const PEOPLE: &str = "number,name,usage\n1,Ada,low\n2,Bo,low\n3,Cy,low\n";

#[test]
fn a_team_of_services_recommends_a_plan() {
    let ward = declared();
    ward.up();
    let site = Site {
        address: ward.http(),
        host: "dev.plans.localhost",
    };
    let employer = site.json("POST", "/api/employers", br#"{"name": "Acme"}"#, 201);
    let of = |path: &str| format!("/api/employers/{}/{path}", employer["id"]);
    site.json("PUT", &of("plans"), PLANS.as_bytes(), 200);
    let bad = PEOPLE.replace("Bo,low", "Bo,often");
    let refused = site.json("PUT", &of("employees"), bad.as_bytes(), 422);
    assert_eq!(refused["error"]["rows"][0]["line"], 3, "{refused}");
    site.json("POST", &of("comparisons"), b"", 409);
    let imported = site.json("PUT", &of("employees"), PEOPLE.as_bytes(), 200);
    assert_eq!(imported, json!({ "imported": 3 }));

    let asked = site.json("POST", &of("comparisons"), br#"{"goal": "together"}"#, 201);
    let path = format!("/api/comparisons/{}", asked["id"]);
    let mut seen = Value::Null;
    let done = poll(Duration::from_secs(60), || {
        seen = site.json("GET", &path, b"", 200);
        seen["state"] == "done"
    });
    assert!(done, "{seen:#}");
    assert_eq!(
        seen["recommended"], "THIN",
        "nobody is ill enough for the rich one: {seen:#}"
    );
    let (status, report) = site.send("GET", &format!("/comparisons/{}/report", asked["id"]), b"");
    assert!(
        status == 200 && report.contains("Acme") && report.contains("Ada"),
        "{report}"
    );
}

/// The stages, the gates and the role as the example declares them: a smoke test, some seconds, a word of root's.
#[test]
fn a_pipeline_brings_the_team_to_production_past_its_gates() {
    if !is_root() {
        println!("skipped: the role is root's");
        return;
    }
    let ward = declared();
    let dir = ward.dir().to_str().unwrap().to_owned();
    let waits = ward.run(&["pipeline", "run", "delivery", &dir]);
    waits.success();
    assert!(
        waits
            .stderr()
            .contains("plans/qa waits for the word of a qa-lead"),
        "{waits:?}"
    );
    let of = |host| Site {
        address: ward.http(),
        host,
    };
    let compared = of("test.plans.localhost").json("GET", "/api/employers", b"", 200);
    let smoke = &compared["employers"][0];
    assert!(
        smoke["recommended"].is_string(),
        "the check was run there: {compared}"
    );
    let untouched = of("qa.plans.localhost").json("GET", "/api/employers", b"", 200);
    assert_eq!(
        untouched["employers"],
        json!([]),
        "each stage has data of its own"
    );

    ward.ok(&["pipeline", "approve", "--why", "seen"]);
    let serves = poll(Duration::from_secs(60), || {
        of("plans.localhost").send("GET", "/healthz", b"").0 == 200
    });
    assert!(serves, "{}", ward.ok(&["pipeline", "show", "p1"]));
    let releases = ward.ok(&["releases", "--env", "prod"]);
    assert!(releases.contains("1.0.1 from plans/qa r1"), "{releases}");
}

/// The made-up employers of an environment, each with what is recommended to it.
fn employers(site: &Site) -> Vec<Value> {
    let shown = site.json("GET", "/api/employers", b"", 200);
    shown["employers"].as_array().unwrap().clone()
}

/// All six by one command, the demonstrations and a copy with made-up employers that the worker compares.
#[test]
fn six_environments_come_up_by_one_command_and_demonstrations_have_something_to_show() {
    let ward = declared();
    let of = |host| Site {
        address: ward.http(),
        host,
    };
    ward.ok(&["deploy", "--envs", "dev,test,qa,prod,demo-north,demo-south"]);
    let hosts = [
        "dev.plans.localhost",
        "test.plans.localhost",
        "qa.plans.localhost",
        "plans.localhost",
        "north.plans.localhost",
        "south.plans.localhost",
    ];
    let counts = hosts.map(|host| employers(&of(host)).len());
    assert_eq!(
        counts,
        [0, 0, 0, 0, 3, 3],
        "only demonstrations begin with data"
    );
    ward.ok(&[
        "env",
        "create",
        "demo-acme",
        "--from",
        "prod",
        "--ttl",
        "1h",
    ]);
    for host in ["north.plans.localhost", "web.demo-acme.localhost"] {
        let site = of(host);
        let mut seen = Vec::new();
        let compared = poll(Duration::from_secs(60), || {
            seen = employers(&site);
            seen.len() == 3 && seen.iter().all(|one| one["recommended"].is_string())
        });
        assert!(compared, "{host}: {seen:#?}");
    }
    assert_eq!(employers(&of("plans.localhost")), Vec::<Value>::new());
}
