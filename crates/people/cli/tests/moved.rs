//! What a plan says of images, values and secrets, and that it is refused when the world has moved since.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use serde_json::{Value, json};
use support::load::get;
use support::schema::Schema;
use support::secrets::set;
use support::{APP, Ward};

const HOST: &str = "shop.localhost";
const SECRET: &str = "secrets = { API_KEY = \"env\" }\n";

/// A plan as JSON, held against the published schema.
fn plan(ward: &Ward, more: &[&str]) -> Value {
    let ran = ward.run(&[&["plan", "--output", "json"], more].concat());
    assert_eq!(ran.code(), 2, "{ran:?}");
    let value: Value = serde_json::from_str(&ran.stdout()).unwrap();
    Schema::published("plan.schema.json").check("plan", &value);
    value
}

fn change(plan: &Value, path: &str) -> Value {
    let mut changes = plan["changes"].as_array().unwrap().iter();
    let change = changes.find(|change| change["path"] == path);
    change
        .unwrap_or_else(|| panic!("no {path}: {plan}"))
        .clone()
}

/// The digest of each version of the secret, as `ward secret history` has it.
fn digest(ward: &Ward, version: u64) -> String {
    let history = ward.ok(&["secret", "history", "--output", "json"]);
    let history: Value = serde_json::from_str(&history).unwrap();
    let versions = history["API_KEY"].as_array().unwrap().iter();
    let of = |one: &&Value| one["version"] == version;
    let found = versions.clone().find(of).unwrap()["digest"].as_str();
    found.unwrap().to_owned()
}

fn answers(ward: &Ward, answer: &str) {
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().body, answer);
}

/// The application with another answer in its text.
fn app(ward: &Ward, answer: &str) {
    let said = r#"os.environ.get("ANSWER", "hello")"#;
    assert!(APP.contains(said));
    ward.write("app.py", &APP.replace(said, &format!("{answer:?}")));
}

fn image(ward: &Ward) -> Value {
    let releases = ward.ok(&["releases", "--env", "shop/dev", "--output", "json"]);
    let releases: Vec<Value> = serde_json::from_str(&releases).unwrap();
    let newest = releases.iter().max_by_key(|one| one["id"].as_u64());
    newest.unwrap()["images"]["web"].clone()
}

#[test]
fn a_changed_source_is_another_image_and_the_plan_keeps_the_one_that_was_seen() {
    let ward = Ward::new();
    app(&ward, "one");
    ward.stack("", "");
    ward.ok(&["deploy"]);
    let first = image(&ward);
    app(&ward, "two");
    let planned = plan(&ward, &["--out", "two.json"]);
    let seen = change(&planned, "service.web.image");
    assert_eq!(seen["from"], first, "{seen}");
    assert_eq!(
        (&seen["kind"], &seen["means"]),
        (&json!("change"), &json!("new instances have it"))
    );
    let short = seen["to"].as_str().unwrap().trim_start_matches("sha256:");
    assert_eq!(seen["to_text"], short[..12]);
    assert_eq!(planned["changes"].as_array().unwrap().len(), 1, "{planned}");
    // The source moves on, and what was seen is carried out.
    app(&ward, "three");
    ward.ok(&["deploy", "--plan", "two.json"]);
    answers(&ward, "two");
    assert_eq!(image(&ward), seen["to"]);
}

#[test]
fn secrets_are_told_by_version_and_digest_and_values_by_both_texts() {
    let ward = Ward::new();
    ward.stack("", SECRET);
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "the-first-value");
    let new = change(&plan(&ward, &[]), "secret.API_KEY.version");
    assert_eq!(
        (&new["to"], &new["to_digest"]),
        (&json!(1), &json!(digest(&ward, 1)))
    );
    ward.up();
    ward.ok(&["config", "set", "web.LEVEL=calm", "--env", "dev"]);
    set(&ward, "API_KEY", "the-second-value");
    ward.ok(&["config", "set", "web.LEVEL=loud", "--env", "dev"]);
    ward.ok(&["rollback", "--to", "r2"]);
    // A deploy has what is newest.
    let planned = plan(&ward, &[]);
    let secret = change(&planned, "secret.API_KEY.version");
    assert_eq!((&secret["from"], &secret["to"]), (&json!(1), &json!(2)));
    let (one, two) = (digest(&ward, 1), digest(&ward, 2));
    assert_ne!(one, two);
    assert_eq!(
        (&secret["from_digest"], &secret["to_digest"]),
        (&json!(one), &json!(two))
    );
    let configuration = change(&planned, "configuration");
    assert_eq!(
        (&configuration["from"], &configuration["to"]),
        (&json!(1), &json!(2))
    );
    let level = change(&planned, "service.web.env.LEVEL");
    assert_eq!(
        (&level["from"], &level["to"]),
        (&json!("calm"), &json!("loud"))
    );
    let text = ward.run(&["plan"]).stdout();
    let line = format!("1 ({}) → 2 ({})", &one[..12], &two[..12]);
    assert!(text.contains(&line), "{line}: {text}");
    for value in ["the-first-value", "the-second-value"] {
        assert!(!text.contains(value) && !planned.to_string().contains(value));
    }
}

#[test]
fn values_and_secrets_that_were_set_since_are_another_world() {
    let ward = Ward::new();
    ward.stack("", SECRET);
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "the-first-value");
    plan(&ward, &["--out", "first.json"]);
    set(&ward, "API_KEY", "the-second-value");
    let moved = ward.run(&["deploy", "--plan", "first.json", "--output", "json"]);
    let last: Value = serde_json::from_str(moved.stdout().lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["progress"].as_str(), moved.code()),
        (Some("moved"), 1)
    );
    let says = "values or secrets were set in shop/dev since it was made";
    assert!(last["message"].as_str().unwrap().contains(says), "{last}");
    let secret = change(&last, "secret.API_KEY.version");
    assert_eq!((&secret["from"], &secret["to"]), (&json!(1), &json!(2)));
    assert_eq!(secret["to_digest"], digest(&ward, 2));
    plan(&ward, &["--out", "second.json"]);
    ward.ok(&["config", "set", "web.ANSWER=set", "--env", "shop/dev"]);
    ward.run(&["deploy", "--plan", "second.json"])
        .fails(1, &[says, "env.ANSWER"]);
    plan(&ward, &["--out", "third.json"]);
    ward.ok(&["deploy", "--plan", "third.json"]);
    answers(&ward, "set");
    // What the file says below a value that is set is told, too: a deploy makes a release of it.
    assert!(ward.ok(&["plan"]).contains("nothing to do"));
    ward.stack(r#"ANSWER = "below""#, SECRET);
    let below = change(
        &plan(&ward, &["--out", "fourth.json"]),
        "service.web.env.ANSWER",
    );
    assert_eq!(below["to"], "below", "{below:#}");
    assert!(
        below["means"].as_str().unwrap().contains("is unset"),
        "{below:#}"
    );
    ward.ok(&["deploy"]);
    assert!(ward.ok(&["plan"]).contains("nothing to do"));
    ward.ok(&["rollback"]);
    ward.run(&["deploy", "--plan", "fourth.json"])
        .fails(1, &["serves in shop/dev again since"]);
    answers(&ward, "set");
}

#[test]
fn an_environment_that_was_taken_down_is_another_world() {
    let ward = Ward::new();
    let database = "links = [\"db\"]\n[database.db]\nengine = \"postgres\"\n";
    ward.stack(r#"ANSWER = "one""#, database);
    ward.ok(&["deploy"]);
    ward.stack(r#"ANSWER = "two""#, database);
    plan(&ward, &["--out", "two.json"]);
    let emptied = "it starts from r1 (1.0.1) in shop/dev, and nothing serves now";
    for (down, since) in [
        (&["down", "--env", "dev"][..], "was asked to be down since"),
        (&["down", "--env", "dev", "--purge", "--yes"], emptied),
    ] {
        ward.ok(down);
        ward.run(&["deploy", "--plan", "two.json"])
            .fails(1, &["the plan was not carried out", since]);
    }
    let releases: Vec<Value> =
        serde_json::from_str(&ward.ok(&["releases", "--env", "shop/dev", "--output", "json"]))
            .unwrap();
    assert_eq!(releases.len(), 1, "nothing was changed");
    // The same release serves again, and other data is behind it.
    ward.stack(r#"ANSWER = "one""#, database);
    ward.ok(&["deploy"]);
    let since = "r1 (1.0.1) serves in shop/dev again since";
    ward.run(&["deploy", "--plan", "two.json"])
        .fails(1, &[since, "the plan was made before that"]);
    answers(&ward, "one");
}

#[test]
fn a_policy_that_is_stricter_since_forbids_what_was_planned() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    ward.ok(&["deploy"]);
    ward.stack(r#"ANSWER = "two""#, "");
    assert_eq!(plan(&ward, &["--out", "two.json"])["outcome"], "changes");
    let rules = ward.home().join("policy.toml");
    std::fs::write(&rules, "[policy]\nhost_base = \"deny\"\n").unwrap();
    ward.run(&["deploy", "--plan", "two.json"])
        .fails(1, &["host_base"]);
    answers(&ward, "one");
    std::fs::remove_file(&rules).unwrap();
    ward.ok(&["deploy", "--plan", "two.json"]);
    answers(&ward, "two");
}
