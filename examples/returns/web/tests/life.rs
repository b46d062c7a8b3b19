//! The whole life of a return, over HTTP, with the real programs and a real PostgreSQL.

use returns_testbed::{Client, Postgres, Program, until};
use serde_json::{Value, json};

fn open(client: &Client) -> i64 {
    let opened = client.post(
        "/api/returns",
        &json!({"pharmacy": "Harbor Street Pharmacy", "reference": "DM-1"}),
    );
    opened.expect(201).json()["id"].as_i64().unwrap()
}

#[test]
fn a_return_lives_from_draft_to_credit() {
    let postgres = Postgres::start();
    Program::migrate(&postgres.url());
    let (_web, client) = Program::web(&postgres.url());
    let _worker = Program::worker(&postgres.url());
    let id = open(&client);
    let item = json!({"ndc": "0093-3109-01", "lot": "a1", "expiry": "2030-01", "quantity": 3, "reason": "damaged"});
    client
        .post(&format!("/api/returns/{id}/items"), &item)
        .expect(201);
    client
        .post(&format!("/api/returns/{id}/submit"), &json!({}))
        .expect(200);
    client
        .post(&format!("/api/returns/{id}/receive"), &json!({}))
        .expect(200);
    client
        .post(&format!("/api/returns/{id}/verify"), &json!({}))
        .expect(200);
    let credited: Value = until("credited", || {
        let detail = client.get(&format!("/api/returns/{id}")).json();
        (detail["state"] == "credited").then_some(detail)
    });
    assert_eq!(credited["credit_cents"], 1422, "40 % of 3 × $11.85");
}
