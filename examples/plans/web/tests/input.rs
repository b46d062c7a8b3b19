//! What comes in from outside: files with mistakes, foreign forms, addresses that lead nowhere.

#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::json;
use testbed::{Client, Postgres, Program};

fn service() -> (Postgres, Program, Client) {
    let postgres = Postgres::start();
    Program::run(
        "plans-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    let (web, client) = Program::service("plans-web", &[("DATABASE_URL", &postgres.url())]);
    (postgres, web, client)
}

fn employer(client: &Client, name: &str) -> i64 {
    let added = client
        .post("/api/employers", &json!({ "name": name }))
        .expect(201);
    added.json()["id"].as_i64().unwrap()
}

const PEOPLE: &str = "number,name,usage,dependents\r\n1,Ada,low,0\r\n2,Bo,high,3\r\n";

#[test]
fn a_file_with_one_bad_row_changes_nothing() {
    let (postgres, _web, client) = service();
    let id = employer(&client, "Acme");
    let page = format!("/employers/{id}/employees");
    let api = format!("/api{page}");
    assert_eq!(
        client
            .upload(&page, PEOPLE.as_bytes())
            .expect(303)
            .header("location"),
        format!("/employers/{id}?imported=employees")
    );

    let bad = PEOPLE.replace("high,3", "often,30") + "3,<b>Cy</b>,low,1\r\n1,Di,low,1\r\n";
    let refused = client.upload(&page, bad.as_bytes()).expect(422).body;
    for told in [
        "Nothing was imported",
        "is neither low, medium nor high",
        "is no whole number from 0 to 9",
        "is on line 2 already",
    ] {
        assert!(refused.contains(told), "{told}: {refused}");
    }
    let refused = client
        .send("PUT", &api, &[("content-type", "text/csv")], bad.as_bytes())
        .expect(422)
        .json();
    assert_eq!(refused["error"]["rows"][0]["line"], 3);
    assert_eq!(refused["error"]["rows"].as_array().unwrap().len(), 3);
    assert_eq!(
        postgres.ask("select string_agg(name, ',' order by position) from employee"),
        "Ada,Bo"
    );

    let other = PEOPLE.replace("Ada", "Eve");
    client.send("PUT", &api, &[], other.as_bytes()).expect(200);
    assert_eq!(
        postgres.ask("select string_agg(name, ',' order by position) from employee"),
        "Eve,Bo"
    );
    client
        .send(
            "PUT",
            "/api/employers/999/employees",
            &[],
            PEOPLE.as_bytes(),
        )
        .expect(404);
}

#[test]
fn every_example_file_can_be_imported() {
    let (_postgres, _web, client) = service();
    let id = employer(&client, "Acme");
    for what in ["plans", "employees"] {
        let file = client
            .get(&format!("/examples/{what}.csv"))
            .expect(200)
            .body;
        client
            .upload(&format!("/employers/{id}/{what}"), file.as_bytes())
            .expect(303);
    }
    let page = client
        .get(&format!("/employers/{id}?imported=plans"))
        .expect(200)
        .body;
    assert!(page.contains("5 plans were imported") && page.contains("Neighbourhood care"));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let (_postgres, _web, client) = service();
    let id = employer(&client, "Acme");
    let of = |path: &str| format!("/employers/{id}{path}");
    client.form("/employers", &[("name", "Acme")]).expect(422);
    client.form("/employers", &[("name", "  ")]).expect(422);
    client
        .post("/api/employers", &json!({ "name": "x".repeat(81) }))
        .expect(422);
    client.post("/api/employers", &json!({})).expect(400);
    client.upload(&of("/plans"), b"").expect(422);
    client
        .upload(&of("/plans"), &vec![b'a'; 2 << 20])
        .expect(413);
    client
        .send(
            "PUT",
            &format!("/api{}", of("/plans")),
            &[],
            &vec![b'a'; 2 << 20],
        )
        .expect(413);
    client
        .form(&of("/comparisons"), &[("goal", "together")])
        .expect(409);
    client
        .form(&of("/comparisons"), &[("goal", "world")])
        .expect(422);
    client
        .form(&of("/comparisons"), &[("low", "9000"), ("medium", "10")])
        .expect(422);
    for path in [
        "/employers/7",
        "/employers/x",
        "/comparisons/1",
        "/comparisons/1/report",
        "/nowhere",
        "/assets/0/x",
    ] {
        client.get(path).expect(404);
    }
    client.get("/api/nowhere").expect(404).json();
    client
        .send("DELETE", "/api/employers", &[], b"")
        .expect(405)
        .json();
}

#[test]
fn forms_of_other_sites_are_refused_and_pages_carry_their_policy() {
    let (_postgres, _web, client) = service();
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    client
        .send("POST", "/employers", &foreign, b"name=Evil")
        .expect(403);
    client
        .form("/employers", &[("name", "<script>alert(1)</script>")])
        .expect(303);
    let page = client.get("/").expect(200);
    assert!(!page.body.contains("<script") && page.body.contains("&lt;script&gt;"));
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'; style-src 'self'")
    );
    let style = page
        .body
        .split("href=\"")
        .find(|rest| rest.starts_with("/assets/") && rest.contains("style.css"));
    let style = style.unwrap().split('"').next().unwrap();
    assert!(
        client
            .get(style)
            .expect(200)
            .header("cache-control")
            .contains("immutable")
    );
}

#[test]
fn health_follows_the_database_and_its_schema() {
    let mut postgres = Postgres::start();
    let (mut web, client) = Program::service("plans-web", &[("DATABASE_URL", &postgres.url())]);
    assert!(
        client
            .get("/healthz")
            .expect(503)
            .body
            .contains("run plans-web migrate")
    );
    Program::run(
        "plans-web",
        &["migrate"],
        &[("DATABASE_URL", &postgres.url())],
    );
    assert!(
        Program::run(
            "plans-web",
            &["migrate"],
            &[("DATABASE_URL", &postgres.url())]
        )
        .iter()
        .any(|line| line.contains("applied=0"))
    );
    client.get("/healthz").expect(200);
    postgres.stop();
    client.get("/healthz").expect(503);
    postgres.resume();
    client.get("/healthz").expect(200);
    assert_eq!(client.get("/version").expect(200).json()["release"], "r7");
    web.terminate();
    assert!(web.ended().success());
}
