//! The way of a comparison, with the real programs: asked on a page, computed by the engine, told by the
//! report, stored by a worker; and what happens when one of them is not there.

#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::Value;
use testbed::{Client, Postgres, Program, until};

/// Two employers compare at the same time; `seed` gives all three a comparison.
fn seeded() -> (Postgres, Program, Client) {
    let postgres = Postgres::start();
    Program::run(
        "plans-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    Program::run("plans-web", &["seed"], &[("DATABASE_URL", &postgres.url())]);
    let (web, client) = Program::service("plans-web", &[("DATABASE_URL", &postgres.url())]);
    (postgres, web, client)
}

fn ended(client: &Client, id: i64) -> Value {
    until("the comparison ends", || {
        let comparison = client
            .get(&format!("/api/comparisons/{id}"))
            .expect(200)
            .json();
        let over = comparison["state"] == "done" || comparison["state"] == "failed";
        over.then_some(comparison)
    })
}

/// A worker that asks an engine and a report.
fn asking(postgres: &Postgres, engine: &Client, report: &Client) -> Program {
    let [engine, report] = [engine, report].map(|client| format!("http://{}", client.host()));
    let variables = [
        ("DATABASE_URL", &*postgres.url()),
        ("ENGINE_URL", &engine),
        ("REPORT_URL", &report),
    ];
    Program::start("plans-worker", &[], &variables)
}

#[test]
fn comparisons_are_computed_told_and_shown() {
    let (postgres, _web, client) = seeded();
    assert!(
        Program::run("plans-web", &["seed"], &[("DATABASE_URL", &postgres.url())])
            .iter()
            .any(|line| line.contains("employers_added=0"))
    );
    assert!(
        client
            .get("/comparisons/1")
            .expect(200)
            .body
            .contains("http-equiv=\"refresh\"")
    );
    let (_engine, engine) = Program::service("plans-engine", &[]);
    let (_report, report) = Program::service("plans-report", &[]);
    let _workers = [(); 2].map(|()| asking(&postgres, &engine, &report));

    let comparisons: Vec<Value> = (1..=3).map(|id| ended(&client, id)).collect();
    assert!(
        comparisons.iter().all(|one| one["state"] == "done"),
        "{comparisons:#?}"
    );
    assert_eq!(
        postgres.ask("select max(attempts) from comparison"),
        "1",
        "each was taken once"
    );

    let first = &comparisons[0];
    let code = first["recommended"].as_str().unwrap();
    let page = client.get("/comparisons/1").expect(200).body;
    assert!(
        page.contains(code) && page.contains("It costs employer and employees together the least")
    );
    assert!(!page.contains("http-equiv"));
    let report = client.get("/comparisons/1/report").expect(200);
    assert!(report.body.contains("Alder Creek Components") && report.body.contains(code));
    assert!(
        report
            .header("content-security-policy")
            .contains("style-src 'sha256-")
    );
    let saved = client.get("/comparisons/1/report?download=1").expect(200);
    assert!(
        saved
            .header("content-disposition")
            .starts_with("attachment")
    );

    let asked = client
        .form(
            "/employers/1/comparisons",
            &[("goal", "employer"), ("high", "90,000")],
        )
        .expect(303);
    let id = asked
        .header("location")
        .rsplit('/')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let other = ended(&client, id);
    assert_eq!(other["result"]["goal"], "employer");
    assert_eq!(other["result"]["assumptions"]["high"], 9_000_000);
    assert!(
        client
            .get("/")
            .expect(200)
            .body
            .contains(other["recommended"].as_str().unwrap())
    );
}

#[test]
fn a_comparison_waits_for_an_engine_that_is_away_and_a_killed_worker_loses_none() {
    let (postgres, _web, client) = seeded();
    let (_report, report) = Program::service("plans-report", &[]);
    let (mut first, engine) = Program::service("plans-engine", &[]);
    first.kill();
    let mut worker = asking(&postgres, &engine, &report);
    worker.line("not compared");
    let problem = until("the page says why", || {
        let page = client.get("/comparisons/1").expect(200).body;
        page.contains("cannot be reached").then_some(page)
    });
    assert!(problem.contains("It is being computed"));
    worker.kill();
    // As a worker leaves it that is killed while it holds one: the lease is over some time.
    postgres.ask(
        "update comparison set state = 'running', attempts = 1, lease_until = now() where id = 1",
    );

    let (_engine, engine) = Program::service("plans-engine", &[]);
    let mut worker = asking(&postgres, &engine, &report);
    assert_eq!(ended(&client, 1)["state"], "done");
    assert_eq!(ended(&client, 3)["state"], "done");
    worker.terminate();
    assert!(worker.ended().success());
}

#[test]
fn what_the_engine_refuses_fails_and_says_why() {
    let (postgres, _web, client) = seeded();
    let (_report, report) = Program::service("plans-report", &[]);
    let (_engine, engine) = Program::service("plans-engine", &[]);
    postgres.ask("update comparison set request = replace(request, '\"employer_percent\":85', '\"employer_percent\":185')");
    let _worker = asking(&postgres, &engine, &report);
    let failed = ended(&client, 2);
    assert_eq!(failed["state"], "failed");
    assert!(
        failed["problem"]
            .as_str()
            .unwrap()
            .contains("is 185; it goes from 0 to 100"),
        "{failed}"
    );
    assert!(
        client
            .get("/comparisons/2")
            .expect(200)
            .body
            .contains("It could not be computed")
    );
    client.get("/comparisons/2/report").expect(404);
}
