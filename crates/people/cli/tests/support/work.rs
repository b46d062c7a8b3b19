//! A repository that a person works in.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::APP;

/// Two environments, and a pipeline through both.
pub const PIPELINE: &str = r#"
[environment.dev]
[environment.prod]
service.web.route.host = "prod.localhost"
[pipeline.delivery]
stages = ["dev", "prod"]
"#;

/// The gate behind dev, at which one of these approves.
pub fn gate(by: &str, people: &str) -> String {
    format!(
        r#"
[pipeline.delivery.gate.dev]
approve = {{ role = "lead", by = "{by}" }}
[role.lead]
people = [{people}]
"#
    )
}

/// A repository with a work tree, whose commits are Anna's.
pub struct Work(TempDir);

impl Work {
    pub fn new() -> Self {
        let work = Self(TempDir::new().unwrap());
        work.git(&["init", "-q", "-b", "main"]);
        work.write("app.py", APP);
        work
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    pub fn tried(&self, args: &[&str]) -> Output {
        let mut git = Command::new("git");
        git.args([
            "-c",
            "user.name=Anna Bauer",
            "-c",
            "user.email=anna@example.com",
        ]);
        git.args(["-c", "commit.gpgSign=false"]);
        git.args(args).current_dir(self.path());
        // Variables of the test's own Ward mean nothing to another person's shell.
        git.env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null());
        git.output().unwrap()
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = self.tried(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits an application that answers this; its id.
    pub fn commit(&self, answer: &str, more: &str) -> String {
        self.write("ward.toml", &stack(answer, more));
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", &format!("Answer {answer}")]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn short(&self, id: &str) -> String {
        id[..10].to_owned()
    }
}

/// The stack file of an application that answers this.
pub fn stack(answer: &str, more: &str) -> String {
    format!(
        r#"
[stack]
name = "shop"
version = "1.0"

[service.web]
build = {{ files = ["app.py"], run = ["python3", "-u", "app.py"], base = "host" }}
port = 8000
health = {{ path = "/healthz", interval = "50ms", healthy = 2 }}
route = {{ host = "dev.localhost" }}
start_timeout = "10s"
env = {{ ANSWER = "{answer}" }}
{more}
"#
    )
}
