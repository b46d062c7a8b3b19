//! Secrets: set, generated, listed, taken back, missing, and without their master key.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use support::load::get;
use support::secrets::{HOST, asked, set, stack};
use support::{Ran, Ward, eventually, kill9, piped, poll};

fn json(ward: &Ward, arguments: &[&str]) -> Value {
    let text = ward.ok(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&text).unwrap()
}

fn releases(ward: &Ward) -> usize {
    json(ward, &["releases"]).as_array().unwrap().len()
}

#[test]
fn secrets_reach_the_instance_and_come_back_with_a_release() {
    let ward = Ward::new();
    let secrets = r#"API_KEY = "env", signing-key = "/run/secrets/signing-key", TOKEN = "env""#;
    stack(&ward, secrets, "[secret.TOKEN]\ngenerate = 32");
    ward.ok(&["up", "--platform"]);
    // What is missing is said in one go, and nothing is changed.
    let dir = ward.dir().to_str().unwrap().to_owned();
    let refused = ward.run(&["up", &dir]);
    let says = [
        "secrets are not set in shop/dev: API_KEY (of web), signing-key (of web); nothing was changed",
        "`ward secret set API_KEY --env shop/dev`",
    ];
    refused.fails(1, &says);
    assert!(!refused.stderr().contains("TOKEN"), "{refused:?}");
    // Before anything is deployed: recorded, and part of the first release.
    set(&ward, "API_KEY", "key-number-one\n");
    set(&ward, "signing-key", "line one\nline two\n\n");
    ward.up();
    assert_eq!(asked(&ward, "/var/API_KEY"), "key-number-one");
    assert_eq!(
        asked(&ward, "/file/run/secrets/signing-key"),
        "0400 line one\nline two\n"
    );
    let token = asked(&ward, "/var/TOKEN");
    assert_eq!(token.len(), 43, "32 bytes in base64url");
    // A deploy of the same changes nothing; a new value is a new release of the same build.
    ward.up();
    assert_eq!(releases(&ward), 1);
    let said = set(&ward, "API_KEY", "key-number-two").stderr();
    assert!(said.contains("API_KEY has version 2"), "{said}");
    assert_eq!(asked(&ward, "/var/API_KEY"), "key-number-two");
    assert_eq!(asked(&ward, "/var/TOKEN"), token);
    let all = json(&ward, &["releases"]);
    assert_eq!(all[0]["version"], all[1]["version"]);
    let same = set(&ward, "API_KEY", "key-number-two").stderr();
    assert!(same.contains("nothing changed in shop/dev"), "{same}");
    // Back, with its secrets (P2).
    let back = ward.run(&["rollback"]);
    let warned = "r1 comes back with its own secrets: API_KEY 1 (the newest is 2)";
    assert!(back.stderr().contains(warned), "{back:?}");
    assert_eq!(asked(&ward, "/var/API_KEY"), "key-number-one");
    let listed = json(&ward, &["secret", "list"]);
    let key = &listed["secrets"][0];
    assert_eq!(
        (&key["newest"]["version"], &key["in_force"]),
        (&2.into(), &1.into())
    );
    assert_eq!(key["used_by"][0], "web");
    let table = ward.run(&["secret", "list"]);
    assert!(
        table
            .stderr()
            .contains("what serves has version 1 of API_KEY, not 2"),
        "{table:?}"
    );
    // Several in one release.
    let env = "# of the vault\nAPI_KEY=key-number-three\nexport OTHER=\"some\\nthing\"\n";
    let imported = piped(&ward, &["secret", "import"], env);
    assert_eq!(imported.code(), 0, "{imported:?}");
    assert!(
        imported.stderr().contains("no service gets OTHER"),
        "{imported:?}"
    );
    assert_eq!(releases(&ward), 3);
    assert_eq!(asked(&ward, "/var/API_KEY"), "key-number-three");
    let history = json(&ward, &["secret", "history", "API_KEY"]);
    assert_eq!(history["API_KEY"].as_array().unwrap().len(), 3);
    assert_eq!(history["API_KEY"][1]["releases"][0], 2);
    ward.ok(&["secret", "unset", "OTHER"]);
    ward.run(&["secret", "unset", "API_KEY"])
        .fails(1, &["API_KEY is a secret of web in r3", "take it out"]);
    // No word of any value.
    let values = ["key-number", "line one", token.as_str(), "some\nthing"];
    for arguments in [
        &["events", "-n", "1000"][..],
        &["events", "-n", "1000", "--output", "json"],
        &["secret", "list", "--output", "json"],
        &["secret", "history"],
        &["status", "--output", "json"],
        &["releases", "--output", "json"],
        &["deployment", "show", "--output", "json"],
    ] {
        let said = ward.ok(arguments);
        for value in values {
            assert!(!said.contains(value), "{arguments:?} says {value}");
        }
    }
}

#[test]
fn what_an_instance_says_of_a_secret_is_masked() {
    let ward = Ward::new();
    stack(&ward, r#"API_KEY = "env""#, "");
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "hunter2-hunter2");
    ward.up();
    asked(&ward, "/say/API_KEY");
    let mut said = String::new();
    eventually("the instance's words are kept", || {
        said = ward.ok(&["logs", "web"]);
        said.contains("it is")
    });
    assert!(said.contains("it is [secret API_KEY]"), "{said}");
}

#[test]
fn p4_what_is_set_while_data_is_removed_is_refused_and_not_lost() {
    let ward = Ward::new();
    let stubborn = "env = { STUBBORN = \"1\" }\nstop_timeout = \"10m\"";
    stack(&ward, r#"API_KEY = "env""#, stubborn);
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "key-number-one");
    ward.up();
    let pid = ward.instances("web")[0]["pid"].as_i64().unwrap();
    let mut down = ward.command(&["down", "--purge", "--yes", "--env", "dev"]);
    let down = down.stdout(Stdio::piped()).stderr(Stdio::piped());
    let down = down.spawn().unwrap();
    eventually("it is being purged", || {
        json(&ward, &["env", "show", "dev"])["state"] == "purged"
    });
    let again = ["secret", "set", "API_KEY", "--env", "shop/dev"];
    let says = [
        "the data of shop/dev is being removed, and its secrets with it; nothing was changed",
        "wait until its data is gone",
    ];
    piped(&ward, &again, "key-number-two").fails(1, &says);
    kill9(i32::try_from(pid).unwrap());
    Ran::of(&["down"], down.wait_with_output().unwrap()).success();
    set(&ward, "API_KEY", "key-number-two");
    stack(&ward, r#"API_KEY = "env""#, "");
    ward.up();
    assert_eq!(asked(&ward, "/var/API_KEY"), "key-number-two");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let ward = Ward::new();
    stack(&ward, r#"API_KEY = "env""#, "");
    ward.ok(&["up", "--platform"]);
    let refused = |arguments: &[&str], input: &str, code: i32, says: &[&str]| {
        let arguments = [&["secret"], arguments].concat();
        let ran = piped(&ward, &arguments, input);
        ran.fails(code, says);
        assert!(!ran.stderr().contains("hunter2"), "{ran:?}");
    };
    let here = ["--env", "dev"];
    let with = |words: &[&'static str]| [words, &here].concat();
    refused(
        &with(&["set", "API_KEY=hunter2"]),
        "",
        2,
        &["no place on a command line"],
    );
    refused(
        &with(&["set", "API_KEY", "hunter2"]),
        "",
        2,
        &["no place on a command line"],
    );
    refused(
        &with(&["set", "API_KEY"]),
        &"hunter2 ".repeat(40 * 1024 + 1),
        1,
        &["standard input has more than 320 KiB; nothing was changed"],
    );
    refused(
        &with(&["set", "../hunter2"]),
        "",
        2,
        &["not a name of a secret"],
    );
    refused(
        &with(&["set", "API_KEY"]),
        "\n",
        1,
        &["the value of API_KEY is empty"],
    );
    refused(
        &with(&["set", "API_KEY"]),
        "hunter2\0",
        1,
        &["holds a NUL character"],
    );
    refused(
        &with(&["set", "database/db"]),
        "hunter2",
        1,
        &["which Ward makes itself"],
    );
    refused(
        &with(&["import"]),
        "A=1\nhunter2\n",
        1,
        &["line 2 of standard input: it has no `=`"],
    );
    refused(&with(&["import"]), "A=1\nA=2\n", 1, &["A is named twice"]);
    let long = "hunter2".repeat(6000);
    refused(
        &with(&["set", "API_KEY"]),
        &long,
        1,
        &["has 42000 bytes; 32768 is the most"],
    );
    // Nothing of that made an environment.
    let status = ward.status();
    assert_eq!(status["environments"].as_array().unwrap().len(), 0);
    let misspelt = piped(
        &ward,
        &["secret", "set", "API_KYE", "--env", "dev"],
        "hunter2",
    );
    let says = "no service gets API_KYE (did you mean `API_KEY`?)";
    assert!(misspelt.stderr().contains(says), "{misspelt:?}");
    set(&ward, "API_KEY", "hunter2-hunter2");
    ward.up();
    ward.run(&["config", "set", "API_KEY=1"]).fails(
        1,
        &["API_KEY is a secret of web", "ward secret set API_KEY"],
    );
    ward.run(&["secret", "unset", "NOTHING"])
        .fails(1, &["NOTHING is not set"]);
    ward.run(&["secret", "history", "NOTHING"])
        .fails(1, &["never had a secret NOTHING"]);
}

/// The only file of a master key.
fn key(ward: &Ward) -> std::path::PathBuf {
    let entries = fs::read_dir(ward.home().join("master-keys")).unwrap();
    let mut keys = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "key"));
    let key = keys.next().unwrap();
    assert_eq!(keys.next(), None);
    key
}

#[test]
fn what_is_missing_in_several_environments_is_told_at_once() {
    let ward = Ward::new();
    let envs = "[environment.dev]\n[environment.qa]\nservice.web.route.host = \"qa.localhost\"\n";
    stack(&ward, r#"API_KEY = "env""#, envs);
    let missing = ["in shop/dev: API_KEY", "in shop/qa: API_KEY"];
    ward.run(&["deploy", "--envs", "dev,qa"]).fails(1, &missing);
}

/// Releases, plans and the log have for ever what it says, whichever way it takes.
#[test]
fn p6_a_stack_file_that_says_a_secret_becomes_no_release() {
    let ward = Ward::new();
    let value = "planted-Wk42vRt8Lq";
    let dir = ward.dir().to_str().unwrap().to_owned();
    // Lines of prod, which is the last environment.
    let declare = |answer: &str, more: &str| {
        support::pipelines::declare(&ward, answer, "");
        let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        let host = "service.web.route.host = \"prod.localhost\"\n";
        ward.write("ward.toml", &text.replace(host, &format!("{host}{more}")));
    };
    declare("good", "");
    ward.ok(&["deploy", "--env", "dev"]);
    let set = ["secret", "set", "API_KEY", "--env", "shop/prod", "--new"];
    piped(&ward, &set, value).success();
    let refused = |words: &[&str], place: &str| {
        let says = format!("the value of the secret API_KEY of shop/prod is in {place}");
        let ran = ward.run(words);
        let way_out = "`secrets = { API_KEY = \"env\" }`";
        ran.fails(1, &[&says, "nothing was changed", way_out]);
        assert!(!ran.stderr().contains(value), "{ran:?}");
    };
    let ways: [&[&str]; 5] = [
        &["deploy", "--env", "prod"],
        &["plan", "--env", "prod"],
        &["deploy", "--envs", "qa,prod"],
        &["pipeline", "run", "delivery", &dir],
        &["up", "--env", "prod", &dir],
    ];
    let forms = [
        (value.to_owned(), "", "ANSWER of the service web"),
        (
            format!("https://u:{value}@example.com/"),
            "",
            "ANSWER of the service web",
        ),
        (
            "good".to_owned(),
            "service.web.release.command = [\"login\", \"planted-Wk42v\\u0052t8Lq\"]\n",
            "the release command of the service web",
        ),
    ];
    for (answer, more, place) in &forms {
        declare(answer, more);
        for words in ways {
            refused(words, place);
        }
    }
    // What another environment is told is a line of each build's file, and so is a comment.
    let told = format!("service.web.env.KEY = \"{value}\"\n");
    for more in [told, format!("# {value}\n")] {
        declare("better", &more);
        let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
        let line = text.lines().position(|line| line.contains(value)).unwrap();
        let place = format!("line {} of the stack file", line + 1);
        let ways: [&[&str]; 3] = [
            &["deploy", "--env", "dev"],
            &["plan", "--env", "dev"],
            &["build", &dir],
        ];
        for words in ways {
            refused(words, &place);
        }
    }
    for file in ["ward.db", "ward.db-wal"] {
        let bytes = fs::read(ward.home().join(file)).unwrap_or_default();
        let mut parts = bytes.windows(value.len());
        assert!(
            !parts.any(|part| part == value.as_bytes()),
            "it is in {file}"
        );
    }
    // Where nobody can tell a deploy goes on as without secrets.
    let key = key(&ward);
    fs::rename(&key, ward.home().join("aside")).unwrap();
    ward.ok(&["deploy", "--env", "dev"]);
}

#[test]
fn without_its_master_key_nothing_starts_and_what_serves_goes_on() {
    let ward = Ward::new();
    let more = "[secret.TOKEN]\ngenerate = 32";
    stack(&ward, r#"API_KEY = "env", TOKEN = "env""#, more);
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "hunter2-hunter2");
    ward.up();
    let key = key(&ward);
    let id = key.file_stem().unwrap().to_str().unwrap().to_owned();
    let aside = ward.home().join("aside");
    fs::rename(&key, &aside).unwrap();
    let says = [
        &*format!(
            "the master key {id} is needed, and {} is not there",
            key.display()
        ),
        "r1 serves as before",
    ];
    ward.run(&["deploy", "--force"]).fails(1, &says);
    // A release with other values needs all the others, too.
    ward.run(&["config", "set", "A=1"]).fails(1, &says);
    ward.run(&["secret", "rotate", "TOKEN"]).fails(1, &says);
    ward.run(&["secret", "unset", "TOKEN"]).fails(1, &says);
    piped(&ward, &["secret", "set", "API_KEY"], "another-value").fails(1, &says[..1]);
    ward.run(&["secret", "rekey"]).fails(1, &says[..1]);
    assert_eq!(releases(&ward), 1);
    // One that dies is not replaced by one without its secrets.
    let pid = ward.instances("web")[0]["pid"].as_i64().unwrap();
    assert_eq!(asked(&ward, "/var/API_KEY"), "hunter2-hunter2");
    kill9(i32::try_from(pid).unwrap());
    eventually("status says which key is needed", || {
        let text = ward.ok(&["status"]);
        text.contains(&id)
    });
    assert!(ward.healthy("web").is_empty());
    // Another one under its name opens nothing.
    fs::write(&key, "0".repeat(64)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    ward.run(&["deploy", "--force"])
        .fails(1, &["should hold the master key", &id]);
    ward.run(&["config", "set", "A=1"]).fails(
        1,
        &["should hold the master key", &id, "nothing was changed"],
    );
    assert_eq!(releases(&ward), 1);
    let events = ward.ok(&["events"]);
    assert!(!events.contains("configuration 1"), "{events}");
    // With the key back all comes back by itself.
    fs::rename(&aside, &key).unwrap();
    let back = poll(std::time::Duration::from_secs(60), || {
        get(&ward.http(), HOST, "/var/API_KEY").is_ok_and(|answer| answer.body == "hunter2-hunter2")
    });
    assert!(back, "{}", ward.ok(&["status"]));
}

use std::os::unix::fs::PermissionsExt;

#[test]
fn another_master_key_opens_all_that_was_sealed_before() {
    let ward = Ward::new();
    stack(&ward, r#"API_KEY = "env""#, "");
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "hunter2-hunter2");
    ward.up();
    set(&ward, "API_KEY", "hunter3-hunter3");
    let before = key(&ward);
    let rekeyed = json(&ward, &["secret", "rekey", "--why", "a test"]);
    let after = key(&ward);
    assert_ne!(before, after);
    assert_eq!(rekeyed["to"], after.file_stem().unwrap().to_str().unwrap());
    assert_eq!(rekeyed["values"], 2);
    ward.ok(&["rollback"]);
    assert_eq!(asked(&ward, "/var/API_KEY"), "hunter2-hunter2");
    ward.ok(&["deploy", "--force"]);
    assert_eq!(asked(&ward, "/var/API_KEY"), "hunter3-hunter3");
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("are sealed under the master key"),
        "{events}"
    );
}

#[test]
fn declared_rotations_make_new_versions() {
    let ward = Ward::new();
    let more = r#"
[secret.TOKEN]
generate = 32
[secret.API_KEY]
rotate = ["python3", "-c", "import os; print(os.environ['API_KEY'] + '+' + os.environ['WARD_SECRET'])"]
[secret.BROKEN]
rotate = ["python3", "-c", "import os; raise SystemExit(os.environ['BROKEN'])"]
"#;
    let secrets = r#"TOKEN = "env", API_KEY = "env", BROKEN = "env", PLAIN = "env""#;
    stack(&ward, secrets, more);
    ward.ok(&["up", "--platform"]);
    let values = "API_KEY=first-key\nBROKEN=hunter2-hunter2\nPLAIN=some-value\n";
    piped(&ward, &["secret", "import", "--env", "dev"], values).success();
    ward.up();
    let token = asked(&ward, "/var/TOKEN");
    ward.ok(&["secret", "rotate", "TOKEN"]);
    assert_ne!(asked(&ward, "/var/TOKEN"), token);
    ward.ok(&["secret", "rotate", "API_KEY"]);
    assert_eq!(asked(&ward, "/var/API_KEY"), "first-key+API_KEY");
    let broken = ward.run(&["secret", "rotate", "BROKEN"]);
    broken.fails(
        1,
        &["the rotation of BROKEN ended with status 1; nothing was changed; r3 serves as before"],
    );
    assert!(!broken.stderr().contains("hunter2"), "{broken:?}");
    ward.run(&["secret", "rotate", "PLAIN"]).fails(
        1,
        &["does not say how PLAIN is rotated", "ward secret set PLAIN"],
    );
    ward.run(&["secret", "rotate", "NOTHING"])
        .fails(1, &["has no secret NOTHING"]);
    ward.run(&["secret", "rotate", "database/db"])
        .fails(1, &["has no database db"]);
}

#[test]
fn a_copy_has_the_configuration_of_its_parent_and_secrets_of_its_own() {
    let ward = Ward::new();
    let secrets = r#"API_KEY = "env", TOKEN = "env""#;
    stack(&ward, secrets, "[secret.TOKEN]\ngenerate = 32");
    ward.ok(&["up", "--platform"]);
    set(&ward, "API_KEY", "hunter2-hunter2");
    ward.ok(&["config", "set", "web.MODE=parent", "--env", "dev"]);
    ward.up();
    let create = ["env", "create", "demo", "--from", "dev"];
    let says = [
        "a secret is not set in shop/demo: API_KEY (of web)",
        "--env shop/demo --new`",
    ];
    ward.run(&create).fails(1, &says);
    let own = ["secret", "set", "API_KEY", "--env", "shop/demo", "--new"];
    piped(&ward, &own, "a-key-of-its-own").success();
    ward.ok(&create);
    let of = |host: &str, name: &str| {
        get(&ward.http(), host, &format!("/var/{name}"))
            .unwrap()
            .body
    };
    let demo = "web.demo.localhost";
    assert_eq!(of(demo, "API_KEY"), "a-key-of-its-own");
    assert_eq!(
        (of(demo, "MODE"), of(HOST, "MODE")),
        ("parent".into(), "parent".into())
    );
    assert_ne!(of(demo, "TOKEN"), of(HOST, "TOKEN"));
    ward.ok(&["config", "set", "web.MODE=demo", "--env", "demo"]);
    assert_eq!(
        (of(demo, "MODE"), of(HOST, "MODE")),
        ("demo".into(), "parent".into())
    );
    ward.ok(&["config", "unset", "web.MODE", "--env", "demo"]);
    assert_eq!(of(demo, "MODE"), "(none)");
    // With it go its secrets.
    assert!(ward.home().join("sealed/shop/demo").exists());
    ward.ok(&["env", "delete", "demo", "--yes"]);
    assert!(!ward.home().join("sealed/shop/demo").exists());
    assert_eq!(of(HOST, "API_KEY"), "hunter2-hunter2");
}

/// Runs a program at a terminal of its own until a condition holds, then does something to it. Says how it ended and
/// whether the terminal shows what is typed.
const TERMINAL: &str = r#"
import fcntl, os, signal, subprocess, sys, termios
until, does, argv = sys.argv[1], sys.argv[2], sys.argv[3:]
ours, theirs = os.openpty()
def own():
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own)
seen = b""
while until.encode() not in seen:
    seen += os.read(ours, 4096)
if does == "ctrl-c":
    os.write(ours, b"\x03")
else:
    os.kill(child.pid, getattr(signal, does))
status = child.wait()
shows = bool(termios.tcgetattr(theirs)[3] & termios.ECHO)
print(status, "shown" if shows else "not shown", flush=True)
os.write(1, seen)
"#;

#[test]
fn p6_who_is_interrupted_leaves_no_value_and_a_terminal_that_shows_what_is_typed() {
    let ward = Ward::new();
    ward.write("terminal.py", TERMINAL);
    ward.write(
        "editor.sh",
        "echo hunter2 > \"$1\"\necho wrote $1.\nexec sleep 60\n",
    );
    let at_terminal = |until: &str, does: &str, editor: &str| {
        let ward_itself = ward.command(&[]).get_program().to_owned();
        let mut command = ward.command_of("python3", &["terminal.py", until, does]);
        command.arg(ward_itself);
        command.args(["secret", "set", "API_KEY", "--env", "shop/dev"]);
        command.env("EDITOR", editor);
        Ran::of(&["secret", "set"], command.output().unwrap()).success()
    };
    for (does, status) in [("ctrl-c", 130), ("SIGTERM", 143), ("SIGHUP", 129)] {
        let said = at_terminal("which is not shown", does, "");
        assert!(said.starts_with(&format!("{status} shown\n")), "{said}");
        let editor = ward.dir().join("editor.sh");
        let said = at_terminal("value.", does, &format!("sh {}", editor.display()));
        assert!(said.starts_with(&format!("{status} shown\n")), "{said}");
        let (_, path) = said.split_once("wrote ").unwrap();
        let (path, _) = path.split_once("/value.").unwrap();
        assert!(path.contains("/ward-secret-"), "{path}");
        assert!(!std::path::Path::new(path).exists(), "{path} is left");
    }
}

#[test]
fn a_command_for_the_master_key_that_takes_its_time_holds_up_nobody_else() {
    let ward = Ward::new();
    stack(&ward, r#"API_KEY = "env""#, "");
    let (gate, runs) = (ward.dir().join("gate"), ward.dir().join("runs"));
    let key = format!(
        "echo run >> {}; until [ -e {} ]; do sleep 0.1; done; printf %064d 7",
        runs.display(),
        gate.display()
    );
    let platform = || {
        let mut command = ward.command(&["up", "--platform"]);
        command.env("WARD_MASTER_KEY_COMMAND", &key);
        Ran::of(&["up"], command.output().unwrap()).success();
    };
    fs::write(&gate, "").unwrap();
    platform();
    set(&ward, "API_KEY", "hunter2-hunter2");
    ward.up();
    // Another server has not asked for the key yet.
    kill9(ward.server_pid());
    platform();
    fs::remove_file(&gate).unwrap();
    fs::remove_file(&runs).unwrap();
    let plans: Vec<_> = (0..8)
        .map(|_| {
            let mut plan = ward.command(&["plan", "--env", "dev"]);
            let plan = plan.stdout(Stdio::piped()).stderr(Stdio::piped());
            plan.spawn().unwrap()
        })
        .collect();
    eventually("the key is asked for", || runs.exists());
    for _ in 0..5 {
        ward.ok(&["status"]);
    }
    fs::write(&gate, "").unwrap();
    for plan in plans {
        Ran::of(&["plan"], plan.wait_with_output().unwrap()).success();
    }
    assert_eq!(
        fs::read_to_string(&runs).unwrap(),
        "run\n",
        "it was waited for"
    );
    // Another master key is asked for away from the desk.
    fs::remove_file(&gate).unwrap();
    fs::remove_file(&runs).unwrap();
    let mut rekey = ward.command(&["secret", "rekey"]);
    let rekey = rekey.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut rekey = rekey.spawn().unwrap();
    eventually("the key is asked for again", || runs.exists());
    ward.ok(&["maintenance", "on", "--env", "dev", "--message", "soon"]);
    ward.ok(&["maintenance", "off", "--env", "dev"]);
    assert_eq!(rekey.try_wait().unwrap(), None, "it was decided meanwhile");
    fs::write(&gate, "").unwrap();
    Ran::of(&["secret", "rekey"], rekey.wait_with_output().unwrap()).success();
    let events = ward.ok(&["events"]);
    assert!(
        events.contains("are sealed under the master key"),
        "{events}"
    );
    // So is the one that the values in a reason are found with.
    kill9(ward.server_pid());
    platform();
    fs::remove_file(&gate).unwrap();
    fs::remove_file(&runs).unwrap();
    let begins = ["maintenance", "on", "--env", "dev", "--message", "soon"];
    let said = [&begins[..], &["--why", "hunter2-hunter2 has come"]].concat();
    let mut says = ward.command(&said);
    let says = says.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut says = says.spawn().unwrap();
    eventually("the key is asked for", || runs.exists());
    ward.ok(&begins);
    ward.ok(&["maintenance", "off", "--env", "dev"]);
    assert_eq!(says.try_wait().unwrap(), None, "it was decided meanwhile");
    fs::write(&gate, "").unwrap();
    Ran::of(&said, says.wait_with_output().unwrap()).success();
    let events = ward.ok(&["events"]);
    assert!(events.contains("[secret API_KEY] has come"), "{events}");
}
