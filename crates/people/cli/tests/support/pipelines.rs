//! A stack with a pipeline through three environments, and what Ward says of its runs.

use std::fs;

use serde_json::Value;

use super::{Ran, Ward, eventually};

const ENVIRONMENTS: &str = r#"
[environment.dev]
service.web.route.host = "dev.localhost"
[environment.qa]
service.web.route.host = "qa.localhost"
[environment.prod]
service.web.route.host = "prod.localhost"

[pipeline.delivery]
stages = ["dev", "qa", "prod"]
"#;

/// Asks the stage itself, by the address that it is told.
const CHECK: &str = r#"
import os, sys, urllib.request
host = os.environ["WARD_ADDRESSES"].split()[0].split("//")[1].split(":")[0]
request = urllib.request.Request("http://" + os.environ["WARD_HTTP"], headers={"host": host})
answer = urllib.request.urlopen(request).read().decode()
print("checked", os.environ["WARD_ENV"], os.environ["WARD_RELEASE"], answer)
sys.exit(answer != "good")
"#;

/// The stack file and its check, which wants the answer `good`.
pub fn declare(ward: &Ward, answer: &str, gates: &str) {
    ward.write("check.py", CHECK);
    let more = format!("{ENVIRONMENTS}{gates}");
    ward.stack(&format!(r#"ANSWER = "{answer}""#), &more);
}

/// A gate behind dev: the check.
pub const CHECKED: &str = r#"
[pipeline.delivery.gate.dev]
command = ["python3", "check.py"]
"#;

/// A gate behind qa: somebody's word.
pub fn approved(people: &str, by: &str) -> String {
    format!(
        r#"
[pipeline.delivery.gate.qa]
approve = {{ role = "qa-lead", by = "{by}" }}
[role.qa-lead]
people = [{people}]
"#
    )
}

pub fn run(ward: &Ward) -> Ran {
    let dir = ward.dir().to_str().unwrap().to_owned();
    ward.run(&["pipeline", "run", "delivery", &dir])
}

pub fn shown(ward: &Ward, id: &str) -> Value {
    let runs = ward.ok(&["pipeline", "show", id, "--output", "json"]);
    let runs: Vec<Value> = serde_json::from_str(&runs).unwrap();
    runs.into_iter().next().unwrap()
}

pub fn comes_to(ward: &Ward, id: &str, at: &str) {
    eventually(&format!("{id} is {at}"), || {
        shown(ward, id)["position"]["at"] == at
    });
}

/// The pipeline's environments, where what prod gets has to pass a rule.
pub fn ruled(ward: &Ward, answer: &str, rule: &str, gates: &str) {
    declare(ward, answer, gates);
    let text = fs::read_to_string(ward.dir().join("ward.toml")).unwrap();
    let prod = "[environment.prod]\n";
    ward.write("ward.toml", &text.replace(prod, &format!("{prod}{rule}\n")));
}
