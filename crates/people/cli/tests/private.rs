//! Repositories that are not public: a token over HTTPS, which is sealed, changed, and given to nobody else.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(
    clippy::disallowed_macros,
    reason = "a test that fails says what it saw"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::authority::Ca;
use support::work::Work;
use support::{Ran, Ward, eventually, piped};
use tempfile::TempDir;

const FIRST: &str = "tok-4f1d2a9e77c3";
const SECOND: &str = "tok-b86e0c51d9fa";

/// A server of repositories for those who have the token.
struct Private {
    folder: TempDir,
    process: Child,
    port: u16,
}

impl Private {
    /// It has a copy of this repository as `shop.git`.
    fn with(work: &Work) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path();
        Ca::new(path).issue("server", "127.0.0.1");
        let copy = path.join("shop.git");
        work.git(&["clone", "-q", "--bare", ".", copy.to_str().unwrap()]);
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/git.py");
        let mut process = Command::new("python3")
            .arg(program)
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap();
        let own = Self {
            folder,
            process,
            port,
        };
        own.wants(FIRST);
        own
    }

    /// From here on it takes this token alone.
    fn wants(&self, token: &str) {
        fs::write(self.folder.path().join("token"), format!("robot:{token}")).unwrap();
    }

    fn address(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }

    /// A platform whose git trusts its authority.
    fn platform(&self) -> Ward {
        let ward = Ward::new();
        let mut up = ward.command(&["up", "--platform"]);
        let authority = self.folder.path().join("authority.pem");
        let up = up.env("GIT_SSL_CAINFO", authority).output().unwrap();
        assert!(up.status.success(), "{up:?}");
        ward
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn add(ward: &Ward, address: &str, token: Option<&str>) -> Ran {
    let mut arguments = vec!["source", "add", "shop", address, "--branch", "main"];
    arguments.extend(["--poll", "1s"]);
    match token {
        None => ward.run(&arguments),
        Some(token) => {
            arguments.extend(["--token", "--token-user", "robot"]);
            piped(ward, &arguments, &format!("{token}\n"))
        }
    }
}

fn shown(ward: &Ward) -> Value {
    serde_json::from_str(&ward.ok(&["source", "show", "shop", "--output", "json"])).unwrap()
}

fn newest(ward: &Ward) -> (String, String) {
    let commits = shown(ward)["source"]["commits"].clone();
    let newest = commits.as_array().and_then(|all| all.last()).cloned();
    let newest = newest.unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&newest["commit"]["id"]),
        text(&newest["standing"]["is"]),
    )
}

/// Every file under a folder that holds these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(holding(&path, bytes)),
            kind if kind.is_file() => {
                let content = fs::read(&path).unwrap_or_default();
                if content.windows(bytes.len()).any(|part| part == bytes) {
                    found.push(path.display().to_string());
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn a_private_repository_is_reached_with_a_token_that_can_be_changed() {
    let work = Work::new();
    let first = work.commit("one", "");
    let private = Private::with(&work);
    let ward = private.platform();
    let address = private.address("shop.git");

    let refused = add(&ward, &address, None);
    refused.fails(1, &["nothing was changed", "--token"]);
    let refused = add(&ward, &address, Some("tok-wrong"));
    refused.fails(1, &["nothing was changed", "--token"]);
    assert!(!format!("{refused:?}").contains("tok-wrong"), "{refused:?}");
    add(&ward, &address, Some(FIRST)).success();
    let built = (first, "built".to_owned());
    eventually("the commit is built", || newest(&ward) == built);

    // The token ends, and the next look says so and what to do.
    private.wants(SECOND);
    let second = work.commit("two", "");
    let copy = private.folder.path().join("shop.git");
    work.git(&["push", "-q", copy.to_str().unwrap(), "main"]);
    eventually("the look says that the token is not taken", || {
        let trouble = shown(&ward)["looked"]["trouble"].clone();
        trouble
            .as_str()
            .is_some_and(|t| t.contains("Authentication failed"))
    });
    let wrong = piped(
        &ward,
        &["source", "token", "shop", "--token-user", "robot"],
        FIRST,
    );
    wrong.fails(1, &["nothing was changed"]);
    let set = ["source", "token", "shop", "--token-user", "robot"];
    piped(&ward, &set, SECOND).success();
    let built = (second, "built".to_owned());
    eventually("the second commit is built", || newest(&ward) == built);
    let events = ward.ok(&["events", "-n", "100"]);
    assert!(
        events.contains("source shop has token 2 of robot"),
        "{events}"
    );

    // P6: neither token is anywhere in the state, and what is told has none.
    for token in [FIRST, SECOND] {
        let found = holding(ward.home(), token.as_bytes());
        assert!(found.is_empty(), "{found:?}");
        assert!(!format!("{}{events}", shown(&ward)).contains(token));
    }
    ward.ok(&["source", "remove", "shop"]);
    ward.ok(&["audit", "verify"]);
}

#[test]
fn p6_a_token_is_not_given_to_where_a_repository_leads() {
    let work = Work::new();
    work.commit("one", "");
    let private = Private::with(&work);
    let ward = private.platform();
    let refused = add(&ward, &private.address("away/shop.git"), Some(FIRST));
    refused.fails(1, &["nothing was changed"]);
    assert!(!private.folder.path().join("given-away").exists());
    let refused = add(&ward, "ssh://git@127.0.0.1/shop.git", Some(FIRST));
    refused.fails(1, &["https:// alone"]);
    let hosted = [
        "source", "add", "shop", "--hosted", "--branch", "main", "--token",
    ];
    piped(&ward, &hosted, FIRST).fails(1, &["not reached with a token"]);
}
