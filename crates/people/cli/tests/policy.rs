//! Rules that a plan must pass: they refuse, they warn, somebody answers for them.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;

use serde_json::Value;
use support::schema::Schema;
use support::{Ward, head, level, python};

/// Two instances of a service with a route, to which these belong.
fn write(ward: &Ward, route: &str, service: &str, more: &str) {
    let head = head("0s", &python(&["app.py"]));
    let text = format!(
        r#"{head}instances = 2
route = {{ host = "shop.localhost"{route} }}
{service}
{more}
"#
    );
    ward.write("ward.toml", &text);
}

/// What a protected environment needs, beside `more`.
fn sound(ward: &Ward, more: &str) {
    let route = ", https = \"redirect\"";
    let prod = "[environment.prod]\nprotected = true\npolicy.host_base = \"off\"";
    let limit = "limit = { rate = \"100/s\" }";
    write(ward, route, limit, &format!("{prod}\n{more}"));
}

fn plan(ward: &Ward, code: i32) -> Value {
    let ran = ward.run(&["plan", "--env", "prod", "--output", "json"]);
    assert_eq!(ran.code(), code, "{ran:?}");
    let value: Value = serde_json::from_str(&ran.stdout()).unwrap();
    Schema::published("plan.schema.json").check("plan", &value);
    value
}

fn rules(plan: &Value) -> Vec<&str> {
    let violations = plan["policy"]["violations"].as_array().unwrap().iter();
    violations
        .map(|one| one["rule"].as_str().unwrap())
        .collect()
}

fn deploy(ward: &Ward) -> support::Ran {
    ward.run(&["deploy", "--env", "prod"])
}

#[test]
fn a_protected_environment_refuses_what_is_unsound_with_rule_place_and_way_out() {
    let ward = Ward::new();
    ward.stack(
        r#"ANSWER = "one""#,
        "\n[service.foreign]\nimage = \"registry.example.org/some:1\"\n[environment.prod]\nprotected = true\nservice.web.instances = 1",
    );
    deploy(&ward).fails(
        1,
        &[
            "web would have 1 instance, and at least 2 are asked for (min_instances: the policy of prod",
            "service.web.instances = 1",
            "at shop.localhost would answer without TLS (tls",
            "the image of web would lie on the machine's own files (host_base",
            "would have no limit on requests (rate_limit",
            "the image of foreign, registry.example.org/some:1, would come from elsewhere",
            "instead: `service.web.instances = 2`",
            "ward.toml:",
            "the policy forbids it; nothing was changed",
            "`ward policy waive host_base --until DATE --why TEXT --env shop/prod`",
            "`ward policy waive min_instances --until DATE --why TEXT --env shop/prod`",
            "`ward policy waive tls --until",
            "`ward policy waive rate_limit --until",
            "`ward policy waive images --until",
        ],
    );
    assert_eq!(ward.status()["environments"], Value::Array(Vec::new()));
    ward.run(&["check"]).fails(
        1,
        &[
            "ward.toml: no mistakes",
            "min_instances",
            "prod breaks its policy 5 times; a deploy would be refused",
            "`ward policy waive tls --until DATE --why TEXT --env shop/prod`",
        ],
    );
    let check = ward.run(&["check", "--output", "json"]);
    let found: Vec<Value> = serde_json::from_str(&check.stdout()).unwrap();
    assert_eq!((check.code(), found.len()), (1, 5), "{check:?}");
    let json = ward.run(&["deploy", "--env", "prod", "--output", "json"]);
    let last: Value = serde_json::from_str(json.stdout().lines().last().unwrap()).unwrap();
    assert_eq!(last["progress"], "forbidden");
    let first = &last["violations"][0];
    assert_eq!(
        (&first["rule"], &first["path"]),
        (&"min_instances".into(), &"service.web.instances".into())
    );
    assert!(
        first["place"]["line"].as_u64().unwrap() > 15,
        "in the override: {first}"
    );

    // What is only warned of refuses nothing.
    sound(
        &ward,
        "service.web.instances = 1\npolicy.min_instances = \"warn\"",
    );
    let warned = ward.run(&["check"]);
    warned.success();
    assert!(
        warned.stderr().contains("prod breaks its policy once"),
        "{warned:?}"
    );
    sound(&ward, "");
    let clean = ward.run(&["check"]);
    clean.success();
    assert!(!clean.stderr().contains("breaks its policy"), "{clean:?}");
    deploy(&ward).success();
}

#[test]
fn all_that_stands_in_the_way_is_said_at_once_and_can_be_answered_for_before_the_first_release() {
    let ward = Ward::new();
    ward.ok(&["up", "--platform"]);
    sound(&ward, "service.web.instances = 1");
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let text = text.replace(", https = \"redirect\"", "");
    ward.write("ward.toml", &text);
    let refused = deploy(&ward);
    refused.fails(1, &["min_instances", "tls"]);
    let policy = ward.ok(&["policy", "show", "--env", "prod"]);
    let first = policy.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        "shop/prod   the rules of the stack file in this folder"
    );
    // Each command that is suggested works.
    let said = refused.stderr();
    let commands = said
        .split('`')
        .filter(|part| part.starts_with("ward policy waive"));
    let commands: Vec<String> = commands
        .map(|command| command.replace("DATE", "7d").replace("TEXT", "tomorrow"))
        .collect();
    assert_eq!(commands.len(), 2, "{said}");
    for command in &commands {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        ward.ok(&words);
    }
    let check = ward.run(&["check"]);
    assert!(
        check.stderr().contains("answers until") && !check.stderr().contains("breaks its policy"),
        "{check:?}"
    );
    check.success();
    deploy(&ward).success();
    // Values are changed by the same rules.
    for rule in ["tls", "min_instances"] {
        ward.ok(&["policy", "enforce", rule, "--env", "prod"]);
    }
    let set = ward.run(&["config", "set", "A=1", "--env", "prod"]);
    set.fails(
        1,
        &[
            "(min_instances); ",
            "(tls); nothing was changed",
            "`ward policy waive tls --env shop/prod",
            "`ward policy waive min_instances --env shop/prod",
        ],
    );
}

#[test]
fn a_waiver_lets_one_rule_be_broken_until_its_end_and_is_in_the_log() {
    let ward = Ward::new();
    sound(&ward, "");
    deploy(&ward).success();
    sound(&ward, "service.web.instances = 1");
    assert_eq!(
        (rules(&plan(&ward, 1)), deploy(&ward).code()),
        (vec!["min_instances"], 1)
    );
    // Of which release the rules are: not of the one that was refused.
    let policy = ward.ok(&["policy", "show", "--env", "prod"]);
    let first = policy.lines().next().unwrap_or_default();
    assert_eq!(first, "shop/prod   the rules of r1, which serves");
    let waive = |until: &str, why: &str| {
        ward.run(&[
            "policy",
            "waive",
            "min-instances",
            "--env",
            "prod",
            "--until",
            until,
            "--why",
            why,
        ])
    };
    waive("7d", " ").fails(1, &["needs a reason"]);
    waive("2020-01-01", "late").fails(1, &["is over"]);
    waive("900d", "long").fails(1, &["within a year"]);
    waive("soon", "when").fails(2, &["neither a day"]);
    ward.run(&[
        "policy",
        "waive",
        "min_instanses",
        "--until",
        "1d",
        "--why",
        "x",
    ])
    .fails(2, &["there are: database_removed"]);
    assert_eq!(
        rules(&plan(&ward, 1)),
        ["min_instances"],
        "nothing was waived"
    );
    let shown = waive("7d", "the second machine is late").success();
    assert!(
        shown.starts_with("shop/prod: min_instances waived until")
            && shown.ends_with("the second machine is late\n")
            && shown.lines().count() == 1,
        "{shown}"
    );
    let waived = plan(&ward, 2);
    assert_eq!(
        waived["policy"]["violations"][0]["waived"]["why"],
        "the second machine is late"
    );
    // Who answers is told, and in the log.
    let deployed = deploy(&ward);
    assert!(
        deployed.stderr().contains("the second machine is late"),
        "{deployed:?}"
    );
    deployed.success();
    let events = ward.ok(&["events", "-n", "100"]);
    assert!(
        events.contains("the rule min_instances is waived until"),
        "{events}"
    );
    let reason = events.matches("“the second machine is late”").count();
    assert_eq!(reason, 1, "the reason is said once: {events}");
    let enforced = ward.ok(&["policy", "enforce", "min_instances", "--env", "prod"]);
    assert_eq!(
        enforced,
        "shop/prod: min_instances holds again, and nobody answers for breaking it\n"
    );
    assert_eq!(plan(&ward, 0)["outcome"], "nothing", "what serves may stay");
    sound(
        &ward,
        "service.web.instances = 1\nservice.web.env = { A = \"1\" }",
    );
    deploy(&ward).fails(1, &["min_instances"]);
    ward.run(&["policy", "enforce", "tls", "--env", "prod"])
        .fails(1, &["tls is not waived"]);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn a_waiver_that_is_over_lets_nothing_through_by_itself() {
    let ward = Ward::new();
    sound(&ward, "");
    deploy(&ward).success();
    sound(&ward, "service.web.instances = 1");
    let waive = [
        "policy",
        "waive",
        "min-instances",
        "--env",
        "prod",
        "--until",
        "10s",
        "--why",
        "a try",
    ];
    ward.ok(&waive);
    assert_eq!(
        plan(&ward, 2)["policy"]["violations"][0]["waived"]["why"],
        "a try"
    );
    let over = support::poll(std::time::Duration::from_secs(60), || {
        ward.run(&["plan", "--env", "prod"]).code() == 1
    });
    assert!(over, "it goes on");
    assert_eq!(rules(&plan(&ward, 1)), ["min_instances"]);
    deploy(&ward).fails(1, &["min_instances"]);
    assert_eq!(ward.healthy("web").len(), 2, "nothing was changed");
}

#[test]
fn the_installation_asks_for_more_than_a_stack_file_can_take_away() {
    let ward = Ward::new();
    sound(&ward, "");
    deploy(&ward).success();
    let policy = ward.home().join("policy.toml");
    let always = "policy.freeze = [\"2000-01-01/2999-12-31\"]\npolicy.freeze_zone = \"UTC\"\n[environment.prod.policy]\nhost_base = \"warn\"\n";
    fs::write(&policy, always).unwrap();
    // Nothing changes: that is no deployment.
    deploy(&ward).success();
    sound(&ward, "service.web.env = { A = \"1\" }\npolicy.freeze = []");
    let frozen = plan(&ward, 1);
    assert_eq!(rules(&frozen), ["host_base", "freeze"]);
    assert_eq!(frozen["policy"]["violations"][1]["origin"], "installation");
    deploy(&ward).fails(
        1,
        &[
            "nothing is deployed from 2000-01-01 to 2999-12-31 (UTC)",
            "deploy after 2999-12-31",
        ],
    );
    ward.run(&["deploy", "--env", "prod", "--force"])
        .fails(1, &["nothing is deployed from"]);
    let shown = ward.ok(&["policy", "show", "--env", "prod"]);
    assert!(
        shown.contains("freeze") && shown.contains("installation"),
        "{shown}"
    );

    fs::write(&policy, "policy.tsl = \"deny\"\n").unwrap();
    deploy(&ward).fails(
        1,
        &[
            "the installation's policy has mistakes",
            "W0201",
            "until it is mended nothing is deployed",
        ],
    );
    let doctor = ward.run(&["doctor"]);
    assert!(
        doctor.code() == 1 && doctor.stdout().contains("has mistakes"),
        "{doctor:?}"
    );
    fs::write(&policy, "service.web.port = 1\n").unwrap();
    deploy(&ward).fails(1, &["W0603"]);
    fs::remove_file(&policy).unwrap();
    deploy(&ward).success();
    // Going back is never asked; going forward is, and so are other values.
    fs::write(&policy, always).unwrap();
    ward.ok(&["rollback", "--env", "prod"]);
    let frozen = ["the policy of shop/prod forbids it: nothing is deployed"];
    ward.run(&["rollforward", "--env", "prod"])
        .fails(1, &frozen);
    ward.run(&["config", "set", "A=2", "--env", "prod"])
        .fails(1, &frozen);
    // A copy is deployed, too, and has rules of its own in the installation's file.
    let copy = ["env", "create", "demo", "--from", "prod"];
    ward.run(&copy).fails(
        1,
        &[
            "the installation's policy forbids shop/demo",
            "[environment.demo]",
        ],
    );
    fs::write(
        &policy,
        format!("{always}[environment.demo]\npolicy.freeze = []\n"),
    )
    .unwrap();
    ward.ok(&copy);
    // Other values for what was rolled back to are no new wish.
    let waive = [
        "policy", "waive", "freeze", "--env", "prod", "--until", "1h", "--why", "urgent",
    ];
    ward.ok(&waive);
    ward.ok(&["config", "set", "B=2", "--env", "prod"]);
    let held = ward.run(&["up", ".", "--env", "prod"]);
    assert!(
        held.stderr().contains("rolled back to r1, and that holds"),
        "{held:?}"
    );
    held.success();
}

#[test]
fn a_database_is_neither_removed_nor_purged_unless_somebody_answers_for_it() {
    let ward = Ward::new();
    let stack = |more: &str| {
        ward.write(
            "ward.toml",
            &format!("[stack]\nname = \"shop\"\nversion = \"1.0\"\n[database.db]\nengine = \"postgres\"\n{more}\n[environment.prod]\nprotected = true\npolicy.backups = \"off\"\n"),
        );
    };
    stack("[database.old]\nengine = \"postgres\"");
    deploy(&ward).success();
    stack("");
    let removed = plan(&ward, 1);
    assert_eq!(rules(&removed), ["database_removed"]);
    assert_eq!(removed["changes"][0]["destructive"], true, "{removed}");
    deploy(&ward).fails(
        1,
        &["the database old would be removed", "keep `[database.old]`"],
    );
    // Whoever takes the rule away with it does not get past it.
    let unprotected = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    ward.write("ward.toml", &unprotected.replace("protected = true", ""));
    deploy(&ward).fails(1, &["the database old would be removed"]);
    stack("");
    let purge = ward.run(&["down", "--purge", "--yes", "--env", "prod"]);
    purge.fails(
        1,
        &[
            "the policy of shop/prod forbids to remove its data",
            "nothing was changed",
        ],
    );
    assert_eq!(ward.status()["environments"][0]["goal"], "up");
    ward.run(&["env", "delete", "prod", "--yes"])
        .fails(1, &["forbids to remove its data"]);
    // What protects the original is about the original.
    ward.ok(&["env", "create", "demo", "--from", "prod"]);
    ward.ok(&["env", "delete", "demo", "--yes"]);
    ward.ok(&[
        "policy",
        "waive",
        "database_removed",
        "--env",
        "prod",
        "--until",
        "1h",
        "--why",
        "the test is over",
    ]);
    deploy(&ward).success();
}

/// A database, whose environment is protected, and more.
fn with_database(ward: &Ward, stack: &str, database: &str) {
    ward.write(
        "ward.toml",
        &format!("[stack]\nname = \"shop\"\nversion = \"1.0\"\n{stack}\n[database.db]\nengine = \"postgres\"\n{database}\n[environment.prod]\nprotected = true\n"),
    );
}

#[test]
fn a_protected_database_has_backups_unless_somebody_answers_for_it() {
    let ward = Ward::new();
    with_database(&ward, "", "");
    ward.run(&["check"]).fails(1, &["backups"]);
    deploy(&ward).fails(
        1,
        &[
            "the database db would have no backups (backups: the policy of prod forbids it",
            "instead: `database.db.backups = { every = \"1d\", keep = 7 }`",
            "ward.toml:5:",
        ],
    );
    with_database(&ward, "", "backups = { every = \"1d\" }");
    deploy(&ward).success();
    with_database(&ward, "", "");
    let found = plan(&ward, 1);
    assert_eq!(rules(&found), ["backups"]);
    let waive = [
        "policy",
        "waive",
        "backups",
        "--env",
        "prod",
        "--until",
        "2027-06-01",
    ];
    ward.ok(&[&waive[..], &["--why", "they are made elsewhere"]].concat());
    deploy(&ward).success();
    ward.ok(&[
        "policy",
        "waive",
        "database-removed",
        "--env",
        "prod",
        "--until",
        "2027-06-01",
        "--why",
        "the test ends",
    ]);
}

#[test]
fn data_of_a_region_stays_there() {
    let ward = Ward::new();
    let up = |region: Option<&str>| {
        let mut command = ward.command(&["up", "--platform"]);
        if let Some(region) = region {
            command.env("WARD_REGION", region);
        }
        support::Ran::of(&["up"], command.output().unwrap()).success();
    };
    let eu = |data: &str| {
        ward.write(
            "ward.toml",
            &format!("[stack]\nname = \"shop\"\nversion = \"1.0\"\nregion = \"eu\"\n[database.db]\nengine = \"postgres\"\n[environment.dev]\ncopy_data = \"allowed\"\n[environment.qa]\n{data}\n"),
        );
    };
    eu("");
    let refused = |says: &[&str]| ward.run(&["deploy", "--env", "dev"]).fails(1, says);
    up(None);
    refused(&[
        "the data of shop/dev stays in eu, and this Ward does not say where it is (residency",
        "WARD_REGION=eu",
    ]);
    ward.ok(&["down"]);
    up(Some("us"));
    refused(&["the data of shop/dev stays in eu, and this Ward is in us (residency"]);
    ward.ok(&["down"]);
    up(Some("eu"));
    eu("stack.region = \"us\"");
    ward.ok(&["deploy", "--env", "dev"]);
    ward.ok(&["db", "backup", "--env", "dev"]);
    // Another environment of the stack is to be elsewhere.
    ward.run(&["promote", "--from", "dev", "--to", "qa"]).fails(
        1,
        &["the data of shop/qa stays in us, and this Ward is in eu"],
    );
    // It comes up somewhere else: what runs goes on, and its rows go nowhere.
    ward.ok(&["down"]);
    up(Some("us"));
    ward.ok(&["up", ward.dir().to_str().unwrap(), "--env", "dev"]);
    let rows = |arguments: &[&str]| {
        ward.run(arguments).fails(
            1,
            &[
                "the data of shop/dev stays in eu, and this Ward is in us",
                "nothing was changed",
            ],
        );
    };
    rows(&["env", "create", "copy", "--from", "dev", "--copy-data"]);
    rows(&[
        "db", "restore", "--backup", "b1", "--into", "then", "--env", "dev",
    ]);
    ward.run(&["env", "create", "empty", "--from", "dev"])
        .fails(
            1,
            &["the data of shop/empty stays in eu, and this Ward is in us"],
        );
    ward.ok(&[
        "policy",
        "waive",
        "residency",
        "--env",
        "dev",
        "--until",
        "2027-06-01",
        "--why",
        "the machine moves",
    ]);
    ward.ok(&["events", "--env", "dev"]);
}

/// A service that may or may not be limited and redirected, and is bound to a volume.
fn weak(ward: &Ward, route: &str, more: &str) {
    let volume = "[volume.files]\nsize = \"1MiB\"";
    let bound = "volumes = { files = \"/files\" }";
    write(ward, route, bound, &format!("{more}\n{volume}"));
}

#[test]
fn a_rollback_takes_no_rule_away_and_says_what_the_older_release_does_not_have() {
    let ward = Ward::new();
    let strict = "limit = { rate = \"100/s\" }\n[environment.prod]\nprotected = true\npolicy.host_base = \"off\"";
    weak(&ward, "", "[environment.prod]\n");
    deploy(&ward).success();
    weak(&ward, ", https = \"redirect\"", strict);
    deploy(&ward).success();
    let back = ward.run(&["rollback", "--env", "prod"]);
    back.success();
    for says in [
        "r1 does not have all that r2 has:",
        "limit",
        "https",
        "r1 asks for less than 1.0.2 did, whose rules hold on",
    ] {
        assert!(back.stderr().contains(says), "{says}: {back:?}");
    }
    for rule in ["tls", "rate_limit", "volume_removed"] {
        assert_eq!(level(&ward, rule), "deny", "{rule}");
    }
    // What removes everything is refused as before, and so it is after other values were set.
    let refused = ["forbids to remove its data (volume_removed)"];
    for _ in 0..2 {
        ward.run(&["env", "delete", "prod", "--yes"])
            .fails(1, &refused);
        ward.run(&["down", "--env", "prod", "--purge", "--yes"])
            .fails(1, &refused);
        ward.ok(&["config", "set", "--env", "prod", "A=1"]);
    }
    assert_eq!(level(&ward, "volume_removed"), "deny");
    let forward = [
        "rollforward",
        "--env",
        "prod",
        "--to",
        "r2",
        "--output",
        "json",
    ];
    ward.ok(&forward);
    let back = ward.ok(&[
        "rollback", "--env", "prod", "--to", "r1", "--output", "json",
    ]);
    let lines: Vec<Value> = back
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let drops = lines.iter().find(|line| line["progress"] == "drops");
    let drops = drops.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!((&drops["from"], &drops["to"]), (&2.into(), &1.into()));
    let paths: Vec<&str> = drops["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["path"].as_str().unwrap())
        .collect();
    assert!(paths.contains(&"service.web.limit"), "{paths:?}");
    assert!(
        paths.iter().all(|path| !path.starts_with("policy")),
        "{paths:?}"
    );
    // A newer build whose stack file asks for less takes the rules away.
    weak(&ward, "", "start_timeout = \"20s\"\n[environment.prod]\n");
    let plan = ward.run(&["plan", "--env", "prod"]);
    assert!(
        plan.stderr()
            .contains("the rules of 1.0.2 hold until this serves, which asks for less (")
            && plan.stderr().contains("volume_removed"),
        "{plan:?}"
    );
    deploy(&ward).success();
    assert_eq!(level(&ward, "volume_removed"), "off");
    ward.ok(&["env", "delete", "prod", "--yes"]);
    let gone = ward.run(&["releases", "--env", "shop/prod"]);
    assert!(
        gone.stderr().contains("was deleted on") && gone.stderr().contains("ward events --env"),
        "{gone:?}"
    );
}

#[test]
fn whoever_changes_an_environment_says_why_where_that_is_asked_for() {
    let ward = Ward::new();
    ward.stack(
        r#"ANSWER = "one""#,
        "[environment.dev]\nservice.web.route.host = \"dev.shop.localhost\"\n[environment.prod]\ncopy_data = \"allowed\"\npolicy.reason = \"deny\"",
    );
    let refused = [
        "the policy of shop/prod asks for a reason (reason), and none was given; nothing was changed",
        "--why",
    ];
    ward.run(&["deploy", "--env", "prod"]).fails(1, &refused);
    assert_eq!(ward.status()["environments"], Value::Array(Vec::new()));
    ward.ok(&["deploy", "--env", "prod", "--why", "the first"]);
    ward.ok(&["config", "set", "--env", "prod", "A=1", "--why", "CR-1"]);
    for words in [
        &["config", "unset", "--env", "prod", "A"][..],
        &["config", "unset", "--env", "prod", "A", "--why", " "],
        &["rollback", "--env", "prod"],
        &["env", "sleep", "prod"],
        &["env", "delete", "prod", "--yes"],
        &["down", "--env", "prod"],
        &["down", "--yes"],
        &["exec", "web", "--env", "prod", "--", "true"],
        &["run", "web", "--env", "prod", "--", "true"],
    ] {
        ward.run(words).fails(1, &refused);
    }
    let why: Vec<&str> = vec!["--why", "CR-2"];
    ward.ok(&[
        "exec", "web", "--why", "CR-3", "--env", "prod", "--", "true",
    ]);
    assert!(ward.ok(&["events", "-n", "1"]).contains("“CR-3”"));
    ward.ok(&[&["config", "unset", "--env", "prod", "A"][..], &why].concat());
    let listed = ward.ok(&["releases", "--env", "prod"]);
    assert!(
        listed.contains("“CR-2”") && listed.contains("with other values"),
        "{listed}"
    );
    // Nobody is let in without one, and nothing is woken for that.
    ward.ok(&[&["env", "sleep", "prod"][..], &why].concat());
    let enter = ["exec", "web", "--env", "prod", "--", "true"];
    ward.run(&enter).fails(1, &refused);
    assert!(!ward.ok(&["events", "--env", "prod"]).contains("it wakes"));
    // Nor is one taken away without, into an environment of which nobody asks anything.
    ward.run(&["env", "create", "copy", "--from", "prod", "--copy-data"])
        .fails(1, &refused);
    // Where nobody asks for it nobody needs one.
    ward.ok(&["deploy", "--env", "dev"]);
    let waive = [
        "policy", "waive", "reason", "--env", "prod", "--until", "1d",
    ];
    ward.ok(&[&waive[..], &["--why", "the test is over"]].concat());
    ward.ok(&["env", "delete", "prod", "--yes"]);
}
