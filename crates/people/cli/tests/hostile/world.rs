//! A Ward with the five origins behind its gateway.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::client::connect_from;
use crate::support::{Ward, poll};

/// A parser that the gateway has behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub name: &'static str,
    /// All hosts have one length, so that the same cases come to all.
    pub host: &'static str,
    /// What must be installed.
    program: &'static str,
    files: &'static str,
    run: &'static str,
}

pub const ORIGINS: [Origin; 5] = [
    Origin {
        name: "own",
        host: "owned.localhost",
        program: "/usr/bin/env",
        files: "origin",
        run: r#""./origin""#,
    },
    Origin {
        name: "python",
        host: "pytho.localhost",
        program: "/usr/bin/python3",
        files: "origin.py",
        run: r#""python3", "-u", "origin.py", "python""#,
    },
    Origin {
        name: "nginx",
        host: "nginx.localhost",
        program: "/usr/sbin/nginx",
        files: "origin.py",
        run: r#""python3", "-u", "origin.py", "nginx""#,
    },
    Origin {
        name: "haproxy",
        host: "hapro.localhost",
        program: "/usr/sbin/haproxy",
        files: "origin.py",
        run: r#""python3", "-u", "origin.py", "haproxy""#,
    },
    Origin {
        name: "node",
        host: "nodes.localhost",
        program: "/usr/bin/node",
        files: "origin.js",
        run: r#""node", "origin.js""#,
    },
];

impl Origin {
    /// Whether its program is installed.
    pub fn is_there(&self) -> bool {
        Path::new(self.program).exists()
    }
}

/// A Ward that serves these origins.
pub fn up(origins: &[Origin]) -> Ward {
    let ward = Ward::new();
    ward.write("origin.py", include_str!("origin.py"));
    ward.write("origin.js", include_str!("origin.js"));
    compile(&ward.dir().join("origin"));
    let mut text = "[stack]\nname = \"hostile\"\nversion = \"1.0\"\n".to_owned();
    for origin in origins {
        let Origin {
            name,
            host,
            files,
            run,
            ..
        } = origin;
        text.push_str(&format!(
            r#"
[service.{name}]
build = {{ files = ["{files}"], run = [{run}], base = "host" }}
port = 8000
health = {{ path = "/healthz", interval = "100ms", healthy = 2 }}
route = {{ host = "{host}" }}
"#
        ));
    }
    ward.write("ward.toml", &text);
    let mut command = ward.command(&["up", ward.dir().to_str().unwrap()]);
    let output = command.env("WARD_ACCESS_LOG_QUERY", "on").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    ward
}

fn compile(binary: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/origin.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(rustc);
    rustc.args(["--edition", "2024", "-O", "-C", "strip=symbols", "-o"]);
    let output = rustc.arg(binary).arg(source).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// A request in the words of the parser that read it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub connection: String,
    /// What a parser said that refused it.
    pub refused: Option<String>,
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
    /// Its line, for whoever has to find out.
    pub line: String,
}

impl Seen {
    fn read(line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let fields = value["headers"].as_array().into_iter().flatten();
        Self {
            connection: value["conn"].as_str().unwrap_or_default().to_owned(),
            refused: value["refused"].as_str().map(|why| {
                let id = value["id"].as_str().unwrap_or_default();
                format!("{why} {id} {}", value["raw"])
            }),
            method: bytes(&value["method"]),
            target: bytes(&value["target"]),
            headers: fields
                .map(|field| (bytes(&field[0]), bytes(&field[1])))
                .collect(),
            body: unhex(value["body"].as_str().unwrap_or_default()),
            whole: value["whole"].as_bool().unwrap_or_default(),
            line: line.to_owned(),
        }
    }

    /// The gateway's name for it.
    pub fn id(&self) -> String {
        let mut fields = self.headers.iter();
        let id = fields.find(|field| field.0.eq_ignore_ascii_case(b"x-request-id"));
        id.map(|id| String::from_utf8_lossy(&id.1).into_owned())
            .unwrap_or_default()
    }
}

/// The origins give each byte as the letter of its number.
fn bytes(value: &Value) -> Vec<u8> {
    let letters = value.as_str().unwrap_or_default().chars();
    letters
        .map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?'))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// All that an origin saw, once that does not grow any more.
pub fn seen(origin: &Origin, gateway: SocketAddr) -> Vec<Seen> {
    let (mut all, mut same) = (Vec::new(), 0);
    poll(Duration::from_secs(30), || {
        let more = fetch(origin, gateway, all.len());
        same = if more.is_empty() { same + 1 } else { 0 };
        all.extend(more.lines().map(Seen::read));
        same == 10
    });
    all
}

fn fetch(origin: &Origin, gateway: SocketAddr, from: usize) -> String {
    let stream = connect_from(Ipv4Addr::LOCALHOST, gateway).unwrap();
    let mut reader = BufReader::new(stream);
    let request = format!(
        "GET /seen/{from} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        origin.host
    );
    reader.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(
        line.contains(" 200 "),
        "{} has no list: {line}",
        origin.name
    );
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

/// The access log as a file, long before it is put away.
pub fn access_file(ward: &Ward) -> PathBuf {
    ward.home().join("gateway/access.log")
}

/// The lines of the access log, in their order, by the address that they came from.
pub fn access_log(ward: &Ward) -> BTreeMap<String, Vec<Value>> {
    let mut by_client: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let text = std::fs::read_to_string(access_file(ward)).unwrap();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let client = line["client"].as_str().unwrap_or_default().to_owned();
        by_client.entry(client).or_default().push(line);
    }
    by_client
}
