//! Fifty secrets in every form that they can take, and a search for them everywhere (promise P6).

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use support::load::get;
use support::{Ward, eventually};

const HOST: &str = "shop.localhost";

/// Says every secret that it has in several forms, in one piece and in several, and fails where it is told to.
const TALKS: &str = r#"
import base64, json, os, sys, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
names = os.environ["NAMES"].split(",")
def values():
    for name in names:
        path = "/run/secrets/" + name
        yield open(path).read() if os.path.exists(path) else os.environ[name]
def say():
    for value in values():
        raw = value.encode()
        print("plain:", value)
        print("base64:", base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())
        print("header:", base64.b64encode(b"user:" + raw).decode())
        print("query:", urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value))
        print("hex:", raw.hex(), json.dumps({"value": value}))
        print("all of it:", "".join("%%%02x" % byte for byte in raw), urllib.parse.quote(value))
        print("file:\n" + base64.encodebytes(b'{"key": "' + raw + b'"}').decode())
        url = base64.urlsafe_b64encode(b"key=" + raw).decode().rstrip("=")
        print("\r\n".join(url[at:at + 76] for at in range(0, len(url), 76)))
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

/// Values of all kinds, none of which anything else would say.
fn planted() -> Vec<(String, String)> {
    let shape = |number: usize| match number % 6 {
        0 => format!("planted{number:02}Secret{number:02}Value"),
        1 => format!("p/l+a=n&t%{number:02} \"quoted\" 'and' #more"),
        2 => format!("plänted-ünïcode-{number:02}-日本"),
        3 => format!(
            "-----BEGIN KEY-----\nplantedKeyLine{number:02}Aaaa\nplantedKeyLine{number:02}Bbbb\n-----END KEY-----"
        ),
        4 => format!("planted-{number:02}-{}", "long0123456789".repeat(100)),
        _ => format!("{{\"user\":\"planted{number:02}\",\"password\":\"pw-planted-{number:02}\"}}"),
    };
    (0..50)
        .map(|n| (format!("SECRET_{n:02}"), shape(n)))
        .collect()
}

/// What a search looks for: the lines of a value, and its other forms.
fn needles(value: &str) -> Vec<Vec<u8>> {
    let lines = value.lines().filter(|line| !line.starts_with("-----"));
    let lines: Vec<&str> = lines.collect();
    let mut needles: Vec<Vec<u8>> = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
    for line in lines.iter().filter(|line| line.is_ascii()) {
        let (head, rest) = line.split_at(5);
        let (middle, tail) = rest.split_at(4);
        let coloured = format!("{head}\x1b[1;31m{middle}\x1b[0m{tail}");
        needles.push(coloured.into_bytes());
    }
    let all = value.bytes().map(|byte| format!("%{byte:02x}"));
    needles.push(all.collect::<String>().into_bytes());
    // Whole lines of a value that was encoded with what stood around it, and cut at 76 letters.
    for around in [format!("{{\"key\": \"{value}\"}}"), format!("key={value}")] {
        let letters = base64(around.as_bytes());
        let lines = letters.as_bytes().chunks_exact(76).skip(1).take(2);
        needles.extend(lines.clone().map(<[u8]>::to_vec));
        let url_safe = |byte: &u8| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        };
        needles.extend(lines.map(|line| line.iter().map(url_safe).collect()));
    }
    needles.push(hex(value).into_bytes());
    needles.push(
        base64(value.as_bytes())
            .trim_end_matches('=')
            .as_bytes()
            .to_vec(),
    );
    needles
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0))
        });
        for at in 0..=chunk.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts
        .into_iter()
        .any(|(at, _)| bytes[at..].starts_with(needle))
}

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
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
    let text = format!(
        r#"
[stack]
name = "shop"
version = "1.0"
keep_warm = "1s"

[service.web]
build = {{ files = ["talks.py"], run = ["python3", "-u", "talks.py"], base = "host" }}
port = 8000
health = {{ path = "/", interval = "50ms" }}
route = {{ host = "{HOST}" }}
env = {{ NAMES = "{}", MODE = "{mode}" }}
secrets = {{ {} }}
release = {{ command = ["python3", "-c", "import os; print(os.environ['SECRET_00'])"] }}
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
    stack(&ward, "");
    ward.ok(&["up", "--platform"]);
    let mut said: Vec<(String, Vec<u8>)> = Vec::new();
    let mut run = |arguments: &[&str], input: &str| {
        let mut command = ward.command(arguments);
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let all = [output.stdout, output.stderr].concat();
        said.push((arguments.join(" "), all));
    };
    for (name, value) in planted() {
        run(&["secret", "set", &name, "--exact", "--env", "dev"], &value);
    }
    let dir = ward.dir().to_str().unwrap().to_owned();
    run(&["up", &dir, "-v"], "");
    assert_eq!(get(&ward.http(), HOST, "/").unwrap().status, 200);
    eventually("it has said all", || {
        ward.ok(&["logs", "web", "-n", "10000"])
            .contains("all said")
    });
    // One that fails says it in its failure, too.
    stack(&ward, "fail");
    run(&["deploy", "-v"], "");
    assert!(
        !said_last(&said).contains("succeeded"),
        "{}",
        said_last(&said)
    );
    let mut run = |arguments: &[&str]| {
        let output = ward.command(arguments).output().unwrap();
        said.push((arguments.join(" "), [output.stdout, output.stderr].concat()));
    };
    for arguments in [
        &["logs", "-n", "100000"][..],
        &["logs", "web", "-n", "100000", "--output", "json"],
        &["events", "-n", "10000"],
        &["events", "-n", "10000", "--output", "json"],
        &["status"],
        &["status", "--output", "json"],
        &["releases", "--output", "json"],
        &["deployment", "show", "--output", "json"],
        &["secret", "list", "--output", "json"],
        &["secret", "history", "--output", "json"],
        &["config", "list", "--output", "json"],
        &["exec", "web", "--", "/usr/bin/env"],
        &["audit", "verify"],
    ] {
        run(arguments);
    }
    let planted = planted();
    let forms: Vec<(&str, Vec<Vec<u8>>)> = planted
        .iter()
        .map(|(name, value)| (name.as_str(), needles(value)))
        .collect();
    let (mut found, mut places) = (Vec::new(), 0);
    let mut look = |place: &str, bytes: &[u8]| {
        places += 1;
        for (name, needles) in &forms {
            if needles.iter().any(|needle| holds(bytes, needle)) {
                found.push(format!("{name} in {place}"));
            }
        }
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
    // Every process: arguments of all, variables of all but the instances themselves.
    let instance = ward.instances("web")[0]["pid"].as_i64().unwrap();
    let own = |pid: &str| namespace(pid) == namespace(&instance.to_string());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().into_string().unwrap();
        if pid.parse::<u32>().is_err() {
            continue;
        }
        let read = |file: &str| fs::read(entry.path().join(file)).unwrap_or_default();
        look(&format!("the arguments of {pid}"), &read("cmdline"));
        if !own(&pid) {
            look(&format!("the variables of {pid}"), &read("environ"));
        }
    }
    // `cargo xtask bench environments` reads it.
    let of = places;
    println!("measured: {} of {of} places hold a secret", found.len());
    assert_eq!(found, Vec::<String>::new());
    // The search itself finds what is there.
    let variables = fs::read(format!("/proc/{instance}/environ")).unwrap();
    assert!(holds(&variables, &forms[0].1[0]), "the instance has it");
    let masked = said
        .iter()
        .find(|(what, _)| what.starts_with("logs -n"))
        .unwrap();
    assert!(
        String::from_utf8_lossy(&masked.1)
            .matches("[secret SECRET_")
            .count()
            > 300
    );
}

fn said_last(said: &[(String, Vec<u8>)]) -> String {
    String::from_utf8_lossy(&said.last().unwrap().1).into_owned()
}

fn namespace(pid: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/pid"))
        .ok()
        .map(|meta| meta.ino())
}
