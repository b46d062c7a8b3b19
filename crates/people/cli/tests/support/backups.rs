//! A stack with a database, and what Ward says of its backups.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use super::{Ran, Ward, poll};

/// A service and its database with more lines, and what its environment allows.
pub fn stack(ward: &Ward, more: &str) {
    let allows = "[environment.dev]\ncopy_data = \"allowed\"";
    let more = format!("links = [\"db\"]\n[database.db]\nengine = \"postgres\"\n{more}\n{allows}");
    ward.stack(r#"ANSWER = "one""#, &more);
}

pub fn psql(ward: &Ward, env: &str, sql: &str) -> String {
    let arguments = ["db", "psql", "db", "--env", env, "--", "-qAt"];
    let mut command = ward.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(sql.as_bytes()).unwrap();
    drop(stdin);
    let ran = Ran::of(&arguments, child.wait_with_output().unwrap());
    ran.success().trim().to_owned()
}

pub fn view(ward: &Ward) -> Value {
    let listed = ["db", "backups", "--env", "shop/dev", "--output", "json"];
    serde_json::from_str(&ward.ok(&listed)).unwrap()
}

/// What became of a backup.
pub fn stand(ward: &Ward, id: u64) -> String {
    let view = view(ward);
    let all = view["backups"].as_array().unwrap();
    let found = all.iter().find(|one| one["id"] == id);
    found
        .map_or("gone", |one| one["stand"]["stand"].as_str().unwrap())
        .to_owned()
}

pub fn becomes(ward: &Ward, id: u64, wanted: &str) {
    let so = poll(Duration::from_secs(60), || stand(ward, id) == wanted);
    assert!(so, "b{id} is not {wanted}: {}", view(ward));
}

pub fn restored(ward: &Ward) -> Vec<u64> {
    let view = view(ward);
    let all = view["backups"].as_array().unwrap().iter();
    let counting = all.filter(|one| one["stand"]["stand"] == "restored");
    counting.map(|one| one["id"].as_u64().unwrap()).collect()
}
