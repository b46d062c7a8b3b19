//! Two stacks on one Ward: the one exports a service, the other links to it.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;

use support::eventually;
use support::load::Load;
use support::sharing::Both;

/// Both sides: what asks another one passes its answer on, as it is.
const APP: &str = include_str!("support/asking.py");

const EXPORTED: &str = "export = [\"returns\"]\nenv = { ANSWER = \"claims\" }";
const UNEXPORTED: &str = "env = { ANSWER = \"claims\" }";

#[test]
fn p5_a_service_is_reached_where_both_sides_say_so_and_nowhere_else() {
    let both = Both::of("asking.py", APP);
    both.returns("\"claims/api\"", "");
    both.claims(UNEXPORTED, "");
    let dir = both.ward.dir().to_str().unwrap().to_owned();
    both.ward.ok(&["up", &dir]);
    let refusal = "web of returns/dev links to claims/api, and claims/dev does not export api to returns/dev; nothing \
                   was changed";
    let hint = "`export = [\"returns\"]` in `[service.api]` of the stack file of claims";
    both.deploy_returns().fails(1, &[refusal, hint]);
    let (dir, out) = (both.returns.path(), both.ward.dir().join("refused.json"));
    let plan = ["plan", dir.to_str().unwrap(), "--env", "dev"];
    let written = [&plan[..], &["--out", out.to_str().unwrap()]].concat();
    let written = both.ward.run(&written);
    let refused = "a deploy is refused: web of returns/dev links to claims/api";
    written.fails(1, &[refused, "is refused, too"]);
    assert!(!written.stderr().contains("exactly this"), "{written:?}");
    let planned = both.ward.run(&[&plan[..], &["--output", "json"]].concat());
    let planned: serde_json::Value = serde_json::from_str(&planned.stdout()).unwrap();
    assert_eq!(planned["outcome"], "refused", "{planned}");
    both.claims("export = [\"plans\", \"returns/qa\"]", "");
    both.deploy_claims().success();
    both.deploy_returns().fails(1, &[refusal]);
    both.returns("\"claims/db\"", "");
    both.deploy_returns().fails(
        1,
        &[
            "claims/dev has no service db",
            "a database cannot be exported",
        ],
    );
    // Nothing of it was made.
    let status = both.ward.ok(&["status"]);
    assert!(!status.contains("returns/dev"), "{status}");
    both.returns("\"claims/api\"", "");
    both.claims(EXPORTED, "");
    both.deploy_claims().success();
    both.deploy_returns().success();
    both.answers("claims");
    let who = both.ask("/who");
    assert_eq!(who.body, "returns/dev");
    let shown = both.env("returns/dev");
    assert_eq!(
        shown["sharing"]["links"],
        serde_json::json!([{"service": "web", "env": "claims/dev", "to": "api", "state": "open"}])
    );
    let shown = both.ward.ok(&["env", "show", "claims/dev"]);
    for text in [
        "api is exported to returns",
        "web of returns/dev links to api",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    let status = both.ward.ok(&["status"]);
    assert!(
        status.contains("web links to api of claims/dev"),
        "{status}"
    );
    let log = both.ward.home().join("gateway/access.log");
    eventually("the access log says which environment asked", || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.contains("\"from_env\":\"returns/dev\"")
    });
}

#[test]
fn p5_an_export_that_is_taken_back_holds_from_the_next_request_on() {
    let both = Both::of("asking.py", APP);
    both.returns("\"claims/api\"", "");
    both.claims(EXPORTED, "");
    both.up();
    both.answers("claims");
    both.claims(UNEXPORTED, "");
    let dir = both.ward.dir().to_str().unwrap().to_owned();
    let plan = both.ward.run(&["plan", &dir]);
    let said =
        "web of returns/dev links to api of claims/dev, which is not exported to it any more";
    for text in ["! - export[returns]", said] {
        assert!(format!("{plan:?}").contains(text), "{plan:?}");
    }
    let denied = "[policy]\nexport_removed = \"deny\"\n";
    both.claims(UNEXPORTED, denied);
    both.deploy_claims()
        .fails(1, &["export_removed", "web of returns/dev"]);
    both.answers("claims");
    both.claims(UNEXPORTED, "");
    let deployed = both.deploy_claims();
    deployed.success();
    assert!(deployed.stderr().contains(said), "{deployed:?}");
    both.refuses(
        "returns.localhost",
        &[
            "The link of returns/dev leads to the service api of claims/dev.",
            "It is not exported to returns/dev",
            "of the stack file of claims",
        ],
    );
    let status = both.ward.ok(&["status"]);
    let closed = "web links to api of claims/dev: it is not exported to this environment";
    assert!(status.contains(closed), "{status}");
    // It is not held up by the other stack: what served with the link is deployed, and said.
    both.returns(
        "\"claims/api\"",
        "[environment.dev]\nservice.web.env.MORE = \"1\"",
    );
    let deployed = both.deploy_returns();
    deployed.success();
    let said = "does not export api to returns/dev; until that changes the link answers with 503";
    assert!(deployed.stderr().contains(said), "{deployed:?}");
    both.ward.ok(&["rollback", "--env", "claims/dev"]);
    both.answers("claims");
    // Whoever adds the link anew is refused again, and a rollback never is.
    let forward = both.ward.run(&["rollforward", "--env", "claims/dev"]);
    forward.success();
    assert!(
        forward.stderr().contains("not exported to it any more"),
        "{forward:?}"
    );
    let status = both.ward.ok(&["status", "--env", "claims/dev"]);
    assert!(
        status.contains("web of returns/dev links to api, and is not let in"),
        "{status}"
    );
    both.returns("", "");
    both.deploy_returns().success();
    both.returns("\"claims/api\"", "");
    both.deploy_returns().fails(1, &["does not export api"]);
    both.ward.ok(&["rollback", "--env", "returns/dev"]);
}

#[test]
fn p12_a_link_to_what_is_not_there_says_so_and_recovers_by_itself() {
    let both = Both::of("asking.py", APP);
    both.returns("\"claims/api\"", "");
    both.claims(EXPORTED, "");
    let returns = both.returns.path().to_str().unwrap().to_owned();
    let up = both.ward.run(&["up", &returns]);
    up.success();
    let said = "web of returns/dev links to claims/api, and claims/dev is not there";
    assert!(up.stderr().contains(said), "{up:?}");
    let says = ["api of claims/dev", "is not there or down", "`ward up`"];
    both.refuses("returns.localhost", &says);
    both.deploy_claims().success();
    both.answers("claims");
    let down = both.ward.run(&["down", "--env", "claims/dev"]);
    down.success();
    let said =
        "web of returns/dev links to api of claims/dev; from now on the link answers with 503";
    assert!(down.stderr().contains(said), "{down:?}");
    both.refuses("returns.localhost", &says);
    assert_eq!(
        both.env("returns/dev")["sharing"]["links"][0]["state"],
        "down"
    );
    let dir = both.ward.dir().to_str().unwrap().to_owned();
    both.ward.ok(&["up", &dir]);
    both.answers("claims");
    let deleted = both.ward.run(&["env", "delete", "claims/dev", "--yes"]);
    deleted.success();
    assert!(deleted.stderr().contains(said), "{deleted:?}");
    both.refuses("returns.localhost", &says);
}

#[test]
fn p1_what_is_linked_to_is_deployed_taken_back_and_sleeps_without_a_failed_request() {
    let both = Both::of("asking.py", APP);
    both.returns("\"claims/api\"", "");
    both.claims(EXPORTED, "");
    both.up();
    let load = Load::start(&both.ward.http(), "returns.localhost");
    let goes_on = |many: u64| {
        let before = load.asked();
        eventually("the load goes on", || load.asked() > before + many);
    };
    goes_on(50);
    for number in 0..3 {
        let answer = format!("export = [\"returns\"]\nenv = {{ ANSWER = \"{number}\" }}");
        both.claims(&answer, "");
        both.deploy_claims().success();
        goes_on(20);
    }
    both.answers("2");
    both.ward.ok(&["rollback", "--env", "claims/dev"]);
    goes_on(20);
    both.answers("1");
    // A release that does not come up changes nothing for others, and has other exports.
    both.claims("export = [\"plans\"]\nenv = { MODE = \"exit\" }", "");
    both.deploy_claims().fails(1, &[]);
    goes_on(20);
    let slept = both.ward.run(&["env", "sleep", "claims/dev"]);
    slept.success();
    // A load that goes on wakes it.
    goes_on(50);
    let both_ways = ["it sleeps", "it wakes: a request came"];
    let events = both
        .ward
        .ok(&["events", "--env", "claims/dev", "-n", "100"]);
    for text in both_ways {
        assert!(events.contains(text), "{events}");
    }
    let (asked, failures) = load.end();
    assert_eq!(failures, Vec::<String>::new(), "of {asked}");
    println!("{asked} requests over the link");
    // One that sleeps while nobody asks is woken by the first that does.
    both.ward.ok(&["env", "sleep", "claims/dev"]);
    eventually("it sleeps", || both.env("claims/dev")["state"] == "asleep");
    both.answers("1");
}

#[test]
fn p5_environments_of_two_stacks_meet_by_their_names_or_as_the_exporter_allows() {
    let both = Both::of("asking.py", APP);
    let all = "[environment.dev]\n[environment.prod]\nservice.api.env.ANSWER = \"prod\"\n";
    both.claims(EXPORTED, all);
    let hosts =
        "[environment.dev]\n[environment.prod]\nservice.web.route.host = \"prod.localhost\"\n";
    both.returns("\"claims/api\"", hosts);
    for dir in [both.ward.dir(), both.returns.path()] {
        for env in ["dev", "prod"] {
            both.deploy(dir, env).success();
        }
    }
    both.answers("claims");
    assert_eq!(both.ask_at("prod.localhost", "/").body, "prod");
    // Another environment's only where that says so.
    both.returns("\"claims@prod/api\"", hosts);
    both.deploy_returns().fails(
        1,
        &[
            "claims/prod does not export api to returns/dev",
            "`export = [\"returns/dev\"]`",
        ],
    );
    both.answers("claims");
    let exported = format!("{all}service.api.export = [\"returns\", \"returns/dev\"]\n");
    both.claims(EXPORTED, &exported);
    both.deploy(both.ward.dir(), "prod").success();
    both.deploy_returns().success();
    both.answers("prod");
    // A copy is let in by nobody who does not say so.
    let copy = ["env", "create", "demo", "--from", "returns/dev"];
    both.ward.run(&copy).fails(
        1,
        &[
            "claims/prod does not export api to returns/demo",
            "nothing was changed",
        ],
    );
    both.returns("\"claims/api\"", hosts);
    both.deploy_returns().success();
    let made = both.ward.run(&copy);
    made.success();
    let said = "web of returns/demo links to claims/api, and claims/demo is not there";
    assert!(made.stderr().contains(said), "{made:?}");
    both.refuses("web.demo.localhost", &["api of claims/demo"]);
    both.ward
        .ok(&["env", "create", "demo", "--from", "claims/dev"]);
    assert_eq!(both.ask_at("web.demo.localhost", "/").body, "claims");
    assert_eq!(
        both.ask_at("web.demo.localhost", "/who").body,
        "returns/demo"
    );
}
