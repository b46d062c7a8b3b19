//! The report over HTTP: whole, safe, and refused where it cannot be.

#![allow(clippy::unwrap_used, reason = "a test may")]

use plans_model::compare::{Goal, Request};
use plans_model::cost::Assumptions;
use plans_model::synthetic;
use serde_json::json;
use testbed::Program;

#[test]
fn a_report_is_one_file_that_shows_everybody_and_runs_nothing() {
    let (mut program, client) = Program::service("plans-report", &[]);
    let made_up = synthetic::employers().swap_remove(1);
    let mut request = Request {
        plans: made_up.plans,
        employees: made_up.employees,
        assumptions: Assumptions::default(),
        goal: Goal::Employees,
    };
    request.employees[0].name = "<script>alert(1)</script>".into();
    let comparison = request.compare().unwrap();
    let mut subject = json!({
        "employer": "Bread & Butter", "asked_at": "2026-11-21T10:00:00Z", "comparison": comparison,
    });
    let html = client.post("/render", &subject).expect(200).body;
    assert!(html.contains("Bread &amp; Butter") && html.contains(&comparison.recommended().name));
    assert!(
        request
            .employees
            .iter()
            .all(|who| html.contains(&who.number))
    );
    assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("src="));

    subject["comparison"]["ranking"] = json!([99]);
    client.post("/render", &subject).expect(422);
    client.post("/render", &json!({})).expect(422);
    program.terminate();
    assert!(program.ended().success());
}
