//! What the log says of those who entered an instance: the whole command, and no secret.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;

use support::{Ward, piped};

const VALUE: &str = "planted-J7kq2vX9Lm4";

/// Whether the log's files have a value anywhere.
fn is_kept(ward: &Ward, value: &str) -> bool {
    ["ward.db", "ward.db-wal"].iter().any(|file| {
        let bytes = fs::read(ward.home().join(file)).unwrap_or_default();
        let mut parts = bytes.windows(value.len());
        parts.any(|part| part == value.as_bytes())
    })
}

fn events(ward: &Ward) -> String {
    ward.ok(&["events", "-n", "1000"])
}

#[test]
fn who_audits_reads_what_was_run_with_its_arguments() {
    let ward = Ward::new();
    let more = "links = [\"db\"]\n[database.db]\nengine = \"postgres\"";
    ward.stack(r#"ANSWER = "one""#, more);
    ward.up();
    ward.ok(&["exec", "web", "--", "/bin/ls", "/app"]);
    let failed = ward.run(&["exec", "web", "--", "sh", "-c", "echo \"it's\"; exit 7"]);
    assert_eq!(failed.code(), 7, "{failed:?}");
    ward.ok(&["exec", "web", "--", "printf", "one\ntwo\u{1b}[2J"]);
    ward.ok(&["db", "psql", "db", "--", "-Atc", "select 40 + 2"]);
    let long = "x".repeat(3000);
    ward.ok(&["exec", "web", "--", "true", &long]);
    let events = events(&ward);
    for ran in [
        "/bin/ls /app run in web-r1-",
        r#"sh -c 'echo "it'\''s"; exit 7' run in web-r1-"#,
        "printf 'one\\ntwo\\u{1b}[2J' run in web-r1-",
        "psql -Atc 'select 40 + 2' run in db-",
        "x… (3005 letters) run in web-r1-",
    ] {
        assert!(events.contains(ran), "no {ran} in {events}");
    }
    assert!(!events.contains(&long), "{events}");
    ward.ok(&["audit", "verify"]);
}

#[test]
fn p6_a_secret_among_the_arguments_is_named_and_not_shown() {
    let ward = Ward::new();
    let more =
        "secrets = { API_KEY = \"env\" }\nlinks = [\"db\"]\n[database.db]\nengine = \"postgres\"";
    ward.stack(r#"ANSWER = "one""#, more);
    ward.ok(&["up", "--platform"]);
    let set = ["secret", "set", "API_KEY", "--env", "shop/dev", "--new"];
    piped(&ward, &set, VALUE).success();
    ward.up();
    let script = format!("echo {VALUE} | wc -c");
    ward.ok(&["exec", "web", "--", "sh", "-c", &script]);
    // One that was replaced may be valid elsewhere for a while.
    let newer = "planted-Zr81mNw0QpTt";
    piped(&ward, &["secret", "set", "API_KEY"], newer).success();
    ward.ok(&["exec", "web", "--", "echo", newer]);
    // Typed where the program belongs it is none, and recorded all the same.
    ward.run(&["exec", "web", "--", newer]).fails(127, &[]);
    // The database's own, which nobody typed.
    let variables = ward.ok(&["exec", "--secrets", "web", "--", "env"]);
    let password = variables
        .lines()
        .find_map(|line| line.strip_prefix("PGPASSWORD="))
        .or_else(|| {
            let url = variables.lines().find(|line| line.contains("postgres"))?;
            url.split(':').nth(2)?.split('@').next()
        })
        .unwrap_or_else(|| panic!("no password in {variables}"))
        .to_owned();
    ward.ok(&["exec", "web", "--", "echo", &format!("pw={password}")]);
    // The command of a run is what it is made from: one that says a secret is refused.
    let script = format!("echo {newer} | wc -c");
    for says in [newer, &script, &format!("pw={password}")] {
        ward.run(&["run", "web", "--", "sh", "-c", says]).fails(
            1,
            &[
                "is in the command, and commands are recorded",
                "nothing was run",
            ],
        );
    }
    ward.ok(&["run", "web", "--", "sh", "-c", "test -n \"$API_KEY\""]);
    // In parts as a shell puts them together it is one all the same.
    let (begin, end) = newer.split_at(9);
    let parts = format!("echo '{begin}'\"{end}\"");
    ward.run(&["run", "web", "--", "sh", "-c", &parts])
        .fails(1, &["the value of the secret API_KEY is in the command"]);
    ward.ok(&["exec", "web", "--", "sh", "-c", &parts]);
    // What is said why is in the log, too.
    let why = format!("the customer's key {newer} fails");
    for command in ["exec", "run"] {
        ward.ok(&[command, "--why", &why, "web", "--", "true"]);
    }
    // Whatever it is that is done; of a value that is only set by it, too.
    let fresh = "planted-Hq53ncR7yEwZ";
    let set = [
        "secret",
        "set",
        "OTHER_KEY",
        "--why",
        &format!("it is {fresh}"),
    ];
    piped(&ward, &set, fresh).success();
    let quiet = ["config", "set", "web.QUIET=yes", "--why", &why];
    ward.ok(&quiet);
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.ok(&["deploy", &dir, "--force", "--why", &why]);
    ward.ok(&["down", "--env", "dev", "--yes", "--why", &why]);
    ward.ok(&["up", &dir, "--why", &why]);
    let waive = ["policy", "waive", "freeze", "--env", "dev"];
    ward.ok(&[&waive[..], &["--until", "1h", "--why", &why]].concat());
    let releases = ward.ok(&["releases"]);
    assert!(
        releases.contains("the customer's key [secret"),
        "{releases}"
    );
    assert!(!releases.contains(newer), "{releases}");
    // And what is set is kept in the log for ever.
    for says in [newer, &format!("https://u:{newer}@example.com/")] {
        let set = ["config", "set", &format!("web.KEY={says}")];
        ward.run(&set).fails(
            1,
            &[
                "the value of the secret API_KEY is in KEY",
                "`ward secret set KEY",
                "nothing was changed",
            ],
        );
    }
    // And a command is one line of the log.
    let forged = "a\n  999  2026-11-22 15:00:00Z  ward  shop/dev forged";
    ward.ok(&["run", "web", "--", "echo", forged]);
    let history = ward.ok(&["job", "history"]);
    for shown in [&events(&ward), &history] {
        assert!(shown.contains("'a\\n  999  2026"), "{shown}");
        assert!(
            !shown
                .lines()
                .any(|line| line.trim_start().starts_with("999")),
            "{shown}"
        );
    }
    let events = events(&ward);
    for ran in [
        "sh -c 'echo [secret API_KEY] | wc -c' run in web-r1-",
        "echo '[secret API_KEY]' run in web-r2-",
        "'[secret API_KEY]' run in web-r2-",
        "echo 'pw=[secret database/db]' run in web-r2-",
    ] {
        assert!(events.contains(ran), "no {ran} in {events}");
    }
    let masked = "the customer's key [secret API_KEY] fails";
    assert!(events.matches(masked).count() > 6, "{events}");
    for value in [VALUE, newer, fresh, &password, &parts] {
        assert!(!is_kept(&ward, value), "{value} is in the log");
    }
}

/// Whoever makes one may know the original's secrets, whether its rows come with it or not.
#[test]
fn p6_the_reason_of_a_copy_says_no_secret_of_its_original() {
    let ward = Ward::new();
    ward.stack(r#"ANSWER = "one""#, "");
    ward.up();
    piped(&ward, &["secret", "set", "API_KEY"], VALUE).success();
    let why = format!("{VALUE} fails there");
    let copy = ["env", "create", "demo", "--from", "dev"];
    ward.ok(&[&copy[..], &["--why", &why]].concat());
    let events = events(&ward);
    assert!(
        events.contains("“[secret API_KEY] fails there”"),
        "{events}"
    );
    assert!(!is_kept(&ward, VALUE), "the value is in the log");
}
