//! The database: its schema, its absence, its return.

use std::time::{Duration, Instant};

use serde_json::json;
use testbed::{Postgres, Program, until};

#[test]
fn migrations_run_once_however_often_they_are_asked_for() {
    let postgres = Postgres::start();
    let said = Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    assert_eq!(
        said.iter()
            .filter(|line| line.contains("applying migration"))
            .count(),
        3,
        "{said:#?}"
    );
    let again = Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    assert!(
        again
            .iter()
            .any(|line| line.ends_with("version=3 applied=0")),
        "{again:#?}"
    );
    assert_eq!(
        postgres.ask("select string_agg(name, ',' order by number) from schema_migration"),
        "returns,prices,attachments"
    );
}

#[test]
fn two_migrators_at_once_do_the_work_once() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let mut migrators: Vec<Program> = (0..4)
        .map(|_| Program::start("returns-web", &["migrate"], &[("DATABASE_URL", &url)]))
        .collect();
    for migrator in &mut migrators {
        assert!(migrator.ended().success(), "{:?}", migrator.output());
    }
    let applied: usize = migrators
        .iter()
        .map(|m| m.output().iter().filter(|l| l.contains("applying")).count())
        .sum();
    assert_eq!(applied, 3);
    assert_eq!(postgres.ask("select count(*) from price"), "36");
}

#[test]
fn a_migration_that_fails_or_was_edited_changes_nothing() {
    let postgres = Postgres::start();
    let url = postgres.url();
    // In the way of the third migration.
    postgres.ask("create table attachment (x integer)");
    let mut migrator = Program::start("returns-web", &["migrate"], &[("DATABASE_URL", &url)]);
    assert_eq!(migrator.ended().code(), Some(1));
    let said = migrator.output().join("\n");
    assert!(
        said.contains("migration 0003 attachments failed and was rolled back"),
        "{said}"
    );
    assert!(said.contains("already exists"), "the cause is told: {said}");
    assert_eq!(
        postgres.ask("select count(*) from schema_migration"),
        "2",
        "what came before stays"
    );
    let (_web, client) = Program::service("returns-web", &[("DATABASE_URL", &url)]);
    let ill = until("it sees the schema", || {
        Some(client.get("/healthz")).filter(|answer| answer.body.contains("schema is at 2"))
    });
    assert_eq!(ill.status, 503);
    postgres.ask("drop table attachment");
    Program::run("returns-web", &["migrate"], &[("DATABASE_URL", &url)]);
    until("healthy", || {
        (client.get("/healthz").status == 200).then_some(())
    });
    postgres.ask("update schema_migration set sha256 = 'x' where number = 1");
    let mut migrator = Program::start("returns-web", &["migrate"], &[("DATABASE_URL", &url)]);
    assert_eq!(migrator.ended().code(), Some(1));
    assert!(
        migrator
            .output()
            .join("\n")
            .contains("0001 returns was edited")
    );
}

#[test]
fn a_restarted_database_makes_requests_wait_and_never_fail() {
    let mut postgres = Postgres::start();
    Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    let (web, client) = Program::service("returns-web", &[("DATABASE_URL", &postgres.url())]);
    until("healthy", || {
        (client.get("/healthz").status == 200).then_some(())
    });
    // Fill the pool, so that there are connections that can die.
    let fill = || {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| client.get("/api/returns").expect(200));
            }
        })
    };
    fill();
    postgres.stop();
    let ill = until("it knows", || {
        Some(client.get("/healthz")).filter(|answer| answer.status == 503)
    });
    assert_eq!(ill.header("retry-after"), "1");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn(move || {
                    client.post("/api/returns", &json!({"pharmacy": format!("Waiting {n}")}))
                })
            })
            .collect();
        postgres.resume();
        for request in waiting {
            request.join().expect("no panic").expect(201);
        }
    });
    fill();
    until("healthy again", || {
        (client.get("/healthz").status == 200).then_some(())
    });
    for _ in 0..5 {
        postgres.ask("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'returns-web'");
        fill();
    }
    assert_eq!(postgres.ask("select count(*) from product_return"), "4");
    assert!(
        !web.output()
            .iter()
            .any(|line| line.contains("request failed")),
        "{:#?}",
        web.output()
    );
    // Events flow again, over a listening connection that was cut as well.
    until("healthy once more", || {
        (client.get("/healthz").status == 200).then_some(())
    });
    let mut events = client.events(&[]);
    assert!(events.any(|line| line == "event: heartbeat"));
    client
        .post("/api/returns", &json!({"pharmacy": "After"}))
        .expect(201);
    assert!(events.any(|line| line.contains("return_id")));
}

#[test]
fn without_a_database_it_listens_at_once_and_says_that_it_is_not_ready() {
    let mut postgres = Postgres::start();
    Program::run(
        "returns-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    postgres.stop();
    let (mut web, client) = Program::service("returns-web", &[("DATABASE_URL", &postgres.url())]);
    assert_eq!(client.get("/healthz").status, 503);
    assert_eq!(
        client.get("/version").status,
        200,
        "what needs no database works"
    );
    postgres.resume();
    until("healthy", || {
        (client.get("/healthz").status == 200).then_some(())
    });
    client.get("/").expect(200);
    postgres.stop();
    let asked = Instant::now();
    let page = client.get("/").expect(503);
    assert!(page.body.contains("not reachable") && page.header("retry-after") == "1");
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "patience has an end"
    );
    web.terminate();
    assert_eq!(
        web.ended().code(),
        Some(0),
        "it ends in order without a database too"
    );
}

#[test]
fn settings_that_cannot_be_used_are_named_and_secrets_are_not() {
    let run = |variables: &[(&str, &str)]| {
        let mut program = Program::start("returns-web", &[], variables);
        (program.ended().code(), program.output().join("\n"))
    };
    let (code, said) = run(&[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("DATABASE_URL is not set"), "{said}");
    let (code, said) = run(&[("DATABASE_URL", "postgres://u:hunter2@db:port/x")]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("is no PostgreSQL address") && !said.contains("hunter2"),
        "{said}"
    );
    let (_, said) = run(&[
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"),
        ("PORT", "http"),
    ]);
    assert!(
        said.contains("PORT is “http”") && !said.contains("hunter2"),
        "{said}"
    );
    let mut wrong = Program::start("returns-web", &["serv"], &[]);
    assert_eq!(wrong.ended().code(), Some(2));
    assert!(wrong.output().join("\n").contains("Usage: returns-web"));
}
