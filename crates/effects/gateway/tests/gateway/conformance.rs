//! Cases from RFC 9113 (HTTP/2), RFC 8441 and RFC 6455 (websockets), driven by libraries in Python that can send what no
//! client should. The cases are tables in `conformance/`; the instance behind the gateway is in the process of the cases.
//!
//! `cargo xtask test` installs the libraries. `CONFORMANCE_ONLY=PADDING cargo test ...` runs the cases with that in their
//! name, and shows what came back.

#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::app::App;
use crate::world::World;

/// The Python that has the libraries: what whoever runs the tests names must be there.
fn python() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WARD_TEST_PYTHON") {
        return Some(PathBuf::from(named));
    }
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().nth(3).map(Path::to_owned);
    let python = target.map(|target| target.join("test-python/bin/python"));
    python.filter(|python| python.exists())
}

async fn conforms(cases: &str, at_least: usize) {
    let Some(python) = python() else {
        println!("the libraries of the cases are not installed; `cargo xtask test` does that");
        return;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway/conformance");
    let only = std::env::var("CONFORMANCE_ONLY");
    let mut driver = Command::new(python)
        .args(["-B", "-u", "cases.py", cases])
        .args(&only)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(driver.stdout.take().unwrap());
    let mut port = String::new();
    said.read_line(&mut port).unwrap();
    let port: u16 = port.trim().parse().unwrap();
    let mut world = World::new().await;
    world.instance("web-r1-1", SocketAddr::from(([127, 0, 0, 1], port)));
    world.route(&["web-r1-1"]).await;
    let (host, port) = (world.http.ip(), world.http.port());
    let mut input = driver.stdin.take().unwrap();
    writeln!(input, "{host} {port}").unwrap();
    let report = tokio::task::spawn_blocking(move || {
        let mut report = String::new();
        said.read_to_string(&mut report).map(|_| report)
    });
    let report = report.await.unwrap().unwrap();
    let passed = driver.wait().unwrap().success();
    println!("{report}");
    assert!(passed, "{report}");
    let last = report.lines().last().unwrap_or_default();
    let count = last.split(' ').next().and_then(|count| count.parse().ok());
    assert!(only.is_ok() || count >= Some(at_least), "{last}");
    // It is the gateway that it was.
    assert!(world.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn frames_of_http2_as_rfc_9113_has_them() {
    conforms("rfc9113", 150).await;
}

const HOST: &str = "-H:authority: shop.localhost";

/// What a tool says, run to its end; `None` where it is not installed.
async fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    let ended = command.args(arguments).output().await.ok()?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    Some(text + &String::from_utf8_lossy(&ended.stderr))
}

#[tokio::test]
async fn nghttp2s_tools_find_nothing_wrong() {
    let app = App::http("one").await;
    let mut world = World::new().await;
    world.instance("web-r1-1", app.address);
    world.route(&["web-r1-1"]).await;
    let plain = format!("http://127.0.0.1:{}", world.http.port());
    let tls = format!("https://127.0.0.1:{}", world.https.port());
    for url in [&plain, &tls] {
        // A tenth of the requests of one connection at once, which is more than the usual window has room for.
        let load = ["-n2000", "-c4", "-m50", "-w10", HOST, url.as_str()];
        let Some(load) = said("/usr/bin/h2load", &load).await else {
            println!("nghttp2's tools are not installed; `cargo xtask test` does that");
            return;
        };
        assert!(
            load.contains("2000 succeeded, 0 failed, 0 errored"),
            "{load}"
        );
        assert!(load.contains("status codes: 2000 2xx"), "{load}");
        let many = format!("{url}/head");
        let one = said(
            "/usr/bin/nghttp",
            &["-nv", "--no-verify-peer", "-m20", "-t30s", HOST, &many],
        )
        .await;
        let one = one.unwrap();
        assert_eq!(one.matches(":status: 200").count(), 20, "{one}");
        assert!(
            !one.contains("[ERROR]") && !one.contains("RST_STREAM"),
            "{one}"
        );
    }
    // With a body, padded, and with a window that opens a byte at a time.
    let body = concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs");
    let size = std::fs::metadata(body).unwrap().len();
    let echo = format!("{plain}/count");
    let posted = ["-d", body, "-b64", "-w1", "-H", "te: trailers", HOST, &echo];
    let posted = said("/usr/bin/nghttp", &posted);
    assert_eq!(posted.await.unwrap(), size.to_string());
}

#[tokio::test]
async fn websockets_as_rfc_6455_has_them() {
    conforms("rfc6455", 80).await;
}
