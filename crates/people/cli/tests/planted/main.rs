//! Fifty secrets in every form that they can take, and a search for them everywhere (promise P6).

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod forms;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use forms::needles;
use support::load::get;
use support::secrets::{HOST, set};
use support::{Ward, eventually, head, piped, poll, python};

/// Says every secret that it has in several forms, in one piece and in several, and fails where it is told to.
const TALKS: &str = r#"
import base64, html, json, os, re, sys, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
names = os.environ["NAMES"].split(",")
def values():
    for name in names:
        path = "/run/secrets/" + name
        yield open(path).read() if os.path.exists(path) else os.environ[name]
def forms(value):
    raw = value.encode()
    quoted = urllib.parse.quote(value, safe="")
    yield "plain", value
    yield "base64", base64.b64encode(raw).decode()
    yield "url base64", base64.urlsafe_b64encode(raw).decode()
    yield "shifted", base64.b64encode(b"a" + raw + b"b").decode()
    yield "twice shifted", base64.b64encode(b"ab" + raw + b"c").decode()
    yield "url shifted", base64.urlsafe_b64encode(b"a" + raw + b"b").decode()
    yield "url twice shifted", base64.urlsafe_b64encode(b"ab" + raw + b"c").decode()
    yield "header", base64.b64encode(b"user:" + raw).decode()
    yield "quoted", quoted
    yield "quoted small", re.sub("%..", lambda found: found[0].lower(), quoted)
    yield "form", urllib.parse.quote_plus(value)
    yield "hex", raw.hex()
    yield "HEX", raw.hex().upper()
    for between, name in ((" ", "spaced hex"), (":", "hex with colons")):
        yield name, raw.hex(between)
        yield name + " in capitals", raw.hex(between).upper()
    yield "array", ", ".join("0x%02x" % byte for byte in raw)
    yield "ARRAY", ", ".join("0x%02X" % byte for byte in raw)
    yield "escapes", "".join("\\x%02x" % byte for byte in raw)
    yield "ESCAPES", "".join("\\x%02X" % byte for byte in raw)
    base32 = base64.b32encode(raw).decode()
    yield "base32", base32
    yield "base32 without padding", base32.rstrip("=")
    yield "small base32", base32.lower()
    yield "small base32 without padding", base32.lower().rstrip("=")
    for before in range(1, 5):
        shifted = base64.b32encode(b"abcd"[:before] + raw + b"b").decode()
        yield "base32 shifted by %d" % before, shifted
    yield "json", json.dumps({"value": value}, ensure_ascii=False)
    yield "ascii", json.dumps({"value": value})
    yield "numbers", list(raw)
    yield "numbers in json", json.dumps(list(raw), separators=(",", ":"))
    yield "html", html.escape(value)
    yield "html numbers", "".join("&#%d;" % ord(letter) for letter in value)
def say():
    for value in values():
        for form, said in forms(value):
            print("form " + form + ":", said)
        raw = value.encode()
        print("all of it:", "".join("%%%02x" % byte for byte in raw), urllib.parse.quote(value))
        print("file:\n" + base64.encodebytes(b'{"key": "' + raw + b'"}').decode())
        url = base64.urlsafe_b64encode(b"key=" + raw).decode().rstrip("=")
        print("\r\n".join(url[at:at + 76] for at in range(0, len(url), 76)))
        print("literal:", raw)
        dump = raw.hex(" ")
        print("\n".join(" " + dump[at:at + 48].rstrip() for at in range(0, len(dump), 48)))
        for line in value.splitlines():
            print("colours:", line[:5] + "\x1b[1;31m" + line[5:9] + "\x1b[0m" + line[9:])
        print("error: cannot open postgres://app:" + value + "@db", file=sys.stderr)
        for at in range(0, len(value), 3):
            sys.stdout.write(value[at:at + 3]); sys.stdout.flush()
        print()
    print("all said", flush=True)
say()
if os.environ.get("MODE") == "fail":
    sys.exit("failed with " + next(values()))
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Says them in many lines and in few, which are the last: one may begin before what is kept of it.
const CHECKS: &str = r#"
import base64, sys
for value in known:
    print(value)
    print(base64.encodebytes(b"before " + value.encode()).decode())
print("it checks")
print(" ".join(value.encode().hex() for value in known))
print(" ".join(base64.b64encode(value.encode()).decode() for value in known))
sys.exit(3)
"#;

/// A build that takes along whatever it is given of them.
const LOOKS: &str = r#"
{ echo it looks; env; cat /run/secrets/* 2>/dev/null; tr '\0' '\n' < /proc/self/environ; } > seen
cat seen
"#;

/// The forms that [`TALKS`] says of each value.
const FORMS: [&str; 35] = [
    "plain",
    "base64",
    "url base64",
    "shifted",
    "twice shifted",
    "url shifted",
    "url twice shifted",
    "header",
    "quoted",
    "quoted small",
    "form",
    "hex",
    "HEX",
    "spaced hex",
    "spaced hex in capitals",
    "hex with colons",
    "hex with colons in capitals",
    "array",
    "ARRAY",
    "escapes",
    "ESCAPES",
    "base32",
    "base32 without padding",
    "small base32",
    "small base32 without padding",
    "base32 shifted by 1",
    "base32 shifted by 2",
    "base32 shifted by 3",
    "base32 shifted by 4",
    "json",
    "ascii",
    "numbers",
    "numbers in json",
    "html",
    "html numbers",
];

/// Values of all kinds, none of which anything else would say: not even this test where it runs at the same time.
fn planted() -> Vec<(String, String)> {
    let run = format!("{:07}", std::process::id());
    let shape = |number: usize| match number % 6 {
        0 => format!("planted{number:02}Secret{run}Value"),
        1 => format!("p/l+a=n&t%{number:02} \"quoted\" 'and' #{run}"),
        2 => format!("plänted-ünïcode-{number:02}-日本-{run}"),
        3 => format!(
            "-----BEGIN KEY-----\nplantedKeyLine{number:02}A{run}\nplantedKeyLine{number:02}B{run}\n-----END KEY-----"
        ),
        4 if number.is_multiple_of(4) => {
            format!("planted-{number:02}-{run}-{}", "long0123456789".repeat(100))
        }
        4 => {
            let key: String = (1..=100_u64)
                .map(|n| format!("{:x}", n * 0x9e37_79b9_7f4a))
                .collect();
            format!("planted-{number:02}-{run}-{key}")
        }
        _ => format!("{{\"user\":\"planted{number:02}\",\"password\":\"pw-{run}-{number:02}\"}}"),
    };
    (0..50)
        .map(|n| (format!("SECRET_{n:02}"), shape(n)))
        .collect()
}

/// Looks for all needles in one go: by their first bytes.
struct Search(HashMap<[u8; 4], Vec<(usize, Vec<u8>)>>);

impl Search {
    fn of(all: impl Iterator<Item = Vec<Vec<u8>>>) -> Self {
        let mut starts: HashMap<[u8; 4], Vec<(usize, Vec<u8>)>> = HashMap::new();
        for (at, needles) in all.enumerate() {
            for needle in needles {
                let start = needle[..4].try_into().unwrap();
                starts.entry(start).or_default().push((at, needle));
            }
        }
        Self(starts)
    }

    /// Which of them are there.
    fn found(&self, bytes: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for at in 0..bytes.len().saturating_sub(3) {
            let here = &bytes[at..];
            for (number, needle) in self.0.get(&here[..4]).into_iter().flatten() {
                if here.starts_with(needle) {
                    found.insert(*number);
                }
            }
        }
        found
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        match (kind.is_dir(), kind.is_file()) {
            (true, _) => files(&entry.path(), found),
            (_, true) => found.push(entry.path()),
            _ => {}
        }
    }
}

fn stack(ward: &Ward, mode: &str) {
    let planted = planted();
    let names: Vec<&str> = planted.iter().map(|(name, _)| name.as_str()).collect();
    let place = |at: usize, name: &str| match at % 2 {
        0 => format!("{name} = \"env\""),
        _ => format!("{name} = \"/run/secrets/{name}\""),
    };
    let secrets: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(at, name)| place(at, name))
        .collect();
    let talks = python(&["talks.py", "seen"]);
    let head = head("1s", &format!(r#"command = ["sh", "looks.sh"], {talks}"#));
    let text = format!(
        r#"{head}route = {{ host = "{HOST}" }}
env = {{ NAMES = "{}", MODE = "{mode}" }}
secrets = {{ {} }}
release = {{ command = ["python3", "-c", "import os; print(os.environ['SECRET_00'])"] }}

[environment.dev]
[environment.other]
service.web.route = {{ host = "other.localhost" }}

[pipeline.try]
stages = ["dev"]
[pipeline.try.gate.dev]
command = ["python3", "check.py"]
"#,
        names.join(","),
        secrets.join(", ")
    );
    ward.write("ward.toml", &text);
}

#[test]
fn p6_fifty_planted_secrets_are_found_nowhere() {
    let ward = Ward::new();
    ward.write("talks.py", TALKS);
    ward.write("looks.sh", LOOKS);
    stack(&ward, "");
    ward.ok(&["up", "--platform"]);
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    let mut run = |arguments: &[&str], input: &str, code: i32| {
        said.push(says(&ward, arguments, input, code));
    };
    for (name, value) in planted() {
        run(
            &["secret", "set", &name, "--exact", "--env", "dev"],
            &value,
            0,
        );
    }
    let dir = ward.dir().to_str().unwrap().to_owned();
    run(&["up", &dir, "--env", "dev", "-v"], "", 0);
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
    eventually("it has said all", || {
        ward.ok(&["logs", "web", "-n", "10000"])
            .contains("all said")
    });
    // A check that knows all of them says them, and fails.
    let known: Vec<String> = planted().into_iter().map(|(_, value)| value).collect();
    let known = serde_json::to_string(&known).unwrap();
    ward.write("check.py", &format!("known = {known}\n{CHECKS}"));
    run(&["pipeline", "run", "try", &dir], "", 1);
    let shown = ward.ok(&["pipeline", "show", "p1", "--output", "json"]);
    for (name, _) in planted() {
        assert!(
            shown.contains(&format!("[secret {name}]")),
            "{name}: {shown}"
        );
    }
    assert!(shown.contains("it checks"), "{shown}");
    // One that fails says it in its failure, too.
    stack(&ward, "fail");
    run(&["deploy", "--env", "dev", "-v"], "", 1);
    for arguments in [
        &["logs", "-n", "100000"][..],
        &["logs", "web", "-n", "100000", "--output", "json"],
        &["events", "-n", "10000"],
        &["events", "-n", "10000", "--output", "json"],
        &["status"],
        &["status", "--output", "json"],
        &["releases", "--output", "json"],
        &["deployment", "show", "--output", "json"],
        &["pipeline", "show"],
        &["pipeline", "show", "p1"],
        &["pipeline", "show", "p1", "--output", "json"],
        &["secret", "list", "--output", "json"],
        &["secret", "history", "--output", "json"],
        &["secret", "list"],
        &["secret", "history"],
        &["config", "list"],
        &["config", "list", "--output", "json"],
        &["config", "history"],
        &["config", "history", "--output", "json"],
        &["policy", "show"],
        &["policy", "show", "--output", "json"],
        &["exec", "web", "--", "/usr/bin/env"],
        &["audit", "verify"],
    ] {
        run(arguments, "", 0);
    }
    // Plans, with other versions than those that serve: shown, kept, and printed again. Another environment, for
    // what differs.
    set(&ward, "SECRET_01", "planted-anew-for-the-plan");
    let more: Vec<String> = planted()
        .iter()
        .map(|(name, _)| format!("{name}=planted-in-the-other"))
        .collect();
    let import = ["secret", "import", "--env", "shop/other"];
    piped(&ward, &import, &more.join("\n")).success();
    stack(&ward, "other");
    ward.ok(&["deploy", "--env", "other"]);
    stack(&ward, "");
    ward.ok(&["rollback", "--to", "r1", "--env", "dev"]);
    for (arguments, code) in [
        (&["plan", "--env", "dev"][..], 2),
        (&["plan", "--env", "dev", "--output", "json"], 2),
        (&["plan", "--env", "dev", "--out", "kept.json"], 2),
        (&["plan", "--show", "kept.json"], 2),
        (&["env", "diff", "dev", "other"], 2),
        (&["env", "diff", "dev", "other", "--output", "json"], 2),
        (&["env", "delete", "other", "--yes"], 0),
        (&["events", "-n", "10000"], 0),
        (&["events", "-n", "10000", "--output", "json"], 0),
    ] {
        run(arguments, "", code);
    }
    let kept = fs::read(ward.dir().join("kept.json")).unwrap();
    said.push(("plan --out".to_owned(), kept));
    let planted = planted();
    let search = Search::of(planted.iter().map(|(_, value)| needles(value)));
    let (mut found, mut places) = (Vec::new(), 0);
    let mut look = |place: &str, bytes: &[u8]| {
        places += 1;
        let here = search.found(bytes).into_iter();
        found.extend(here.map(|at| format!("{} in {place}", planted[at].0)));
    };
    for (what, bytes) in &said {
        look(&format!("what `ward {what}` says"), bytes);
    }
    // The state folder: the log and its journal, logs, images and their layers, and what is sealed.
    let mut all = Vec::new();
    files(ward.home(), &mut all);
    assert!(all.len() > 60, "{}", all.len());
    for path in &all {
        look(
            &path.display().to_string(),
            &fs::read(path).unwrap_or_default(),
        );
    }
    // Every process: arguments of all, variables of all but the instance itself. What stops has its own until it is gone.
    eventually("what served before is gone", || {
        ward.instances("web").len() == 1
    });
    let instance = ward.instances("web")[0]["pid"].to_string();
    let mut variables = Vec::new();
    poll(Duration::from_secs(30), || {
        let others = pids().filter(|pid| *pid != instance);
        variables = others.map(|pid| (read(&pid, "environ"), pid)).collect();
        let mut all = variables.iter();
        all.all(|(bytes, _)| search.found(bytes).is_empty())
    });
    for (bytes, pid) in &variables {
        look(&format!("the variables of {pid}"), bytes);
    }
    for pid in pids() {
        look(&format!("the arguments of {pid}"), &read(&pid, "cmdline"));
    }
    for pid in [
        ward.server_pid().to_string(),
        ward.gateway_pid().to_string(),
        keeper(&instance),
    ] {
        let has_some = |(bytes, of): &(Vec<u8>, String)| *of == pid && !bytes.is_empty();
        assert!(variables.iter().any(has_some), "{pid} was searched");
    }
    // `cargo xtask bench environments` reads it.
    let of = places;
    println!("measured: {} of {of} places hold a secret", found.len());
    assert_eq!(found, Vec::<String>::new());
    // The search itself finds what is there.
    let variables = read(&instance, "environ");
    assert!(search.found(&variables).contains(&0), "the instance has it");
    let taken: Vec<&PathBuf> = all.iter().filter(|path| path.ends_with("seen")).collect();
    assert!(!taken.is_empty(), "the image has what the build has seen");
    for path in taken {
        let seen = fs::read_to_string(path).unwrap();
        assert!(
            seen.starts_with("it looks\n") && seen.contains("PATH="),
            "{seen}"
        );
        assert!(!seen.contains("SECRET_"), "{seen}");
    }
    let masked = said
        .iter()
        .find(|(what, _)| what.starts_with("logs -n"))
        .unwrap();
    // Each form of each secret was said, and masked: a form that is said and not masked is found above.
    let masked = String::from_utf8_lossy(&masked.1);
    for form in FORMS {
        for (name, value) in &planted {
            let says = |line: &str| {
                let said = line.split_once(&format!("form {form}: "));
                said.is_some_and(|(_, said)| said.contains(&format!("[secret {name}]")))
            };
            // The first line of a key is no secret.
            let armour = ["plain", "html"].contains(&form) && value.starts_with("-----");
            assert!(
                armour || masked.lines().any(says),
                "{form} of {name} is not masked"
            );
        }
    }
}

/// A command that ends with this code, and all that it says.
fn says(ward: &Ward, arguments: &[&str], input: &str, code: i32) -> (String, Vec<u8>) {
    let mut command = ward.command(arguments);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let ended = output.status.code();
    assert_eq!(ended, Some(code), "{arguments:?}: {output:?}");
    let all = [output.stdout, output.stderr].concat();
    (arguments.join(" "), all)
}

/// All processes of this machine.
fn pids() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.parse::<u32>().is_ok())
}

/// What `/proc` has of a process, or nothing when it is gone.
fn read(pid: &str, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// The keeper of an instance: the parent of the first process in there, whose child the instance is.
fn keeper(instance: &str) -> String {
    let keeper = parent(&parent(instance));
    let line = String::from_utf8_lossy(&read(&keeper, "cmdline")).into_owned();
    assert_eq!(line.split('\0').nth(1), Some("keeper"), "{line}");
    keeper
}

fn parent(pid: &str) -> String {
    let status = String::from_utf8_lossy(&read(pid, "status")).into_owned();
    let mut lines = status.lines();
    let parent = lines.find_map(|line| line.strip_prefix("PPid:"));
    parent.unwrap().trim().to_owned()
}
