//! The engine over HTTP: what it computes, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test may")]

use plans_model::compare::{Comparison, Goal, Request};
use plans_model::cost::Assumptions;
use plans_model::synthetic;
use testbed::Program;

fn request() -> Request {
    let made_up = synthetic::employers().swap_remove(0);
    Request {
        plans: made_up.plans,
        employees: made_up.employees,
        assumptions: Assumptions::default(),
        goal: Goal::Together,
    }
}

#[test]
fn it_computes_what_the_model_says_and_refuses_what_cannot_be() {
    let (mut program, client) = Program::service("plans-engine", &[]);
    client.get("/healthz").expect(200);
    let request = request();
    let send = |body: String| client.send("POST", "/compare", &[], body.as_bytes());
    let text = |request: &Request| serde_json::to_string(request).unwrap();

    let answer = send(text(&request)).expect(200);
    let comparison: Comparison = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(comparison, request.compare().unwrap());

    send("{".into()).expect(400);
    send(format!("\"{}\"", "x".repeat(5 << 20))).expect(413);
    let without = Request {
        plans: Vec::new(),
        ..request.clone()
    };
    let refused = send(text(&without)).expect(422);
    assert!(refused.body.starts_with("0 plans"), "{}", refused.body);
    let mut broken = request;
    broken.plans[1].coinsurance_percent = 250;
    let refused = send(text(&broken)).expect(422);
    assert!(
        refused
            .body
            .contains("“HDHP-1800”: coinsurance_percent is 250"),
        "{}",
        refused.body
    );

    program.terminate();
    assert!(program.ended().success());
}
