//! Two stacks on one Ward.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use super::load::{Answer, get};
use super::{Ran, Ward};

/// `claims` exports its service `api`, and the service `web` of `returns` asks it.
pub struct Both {
    pub ward: Ward,
    pub returns: TempDir,
    app: &'static str,
}

impl Both {
    /// Both services run this program.
    pub fn of(app: &'static str, text: &str) -> Self {
        let both = Self {
            ward: Ward::new(),
            returns: TempDir::new().unwrap(),
            app,
        };
        for dir in [both.ward.dir(), both.returns.path()] {
            fs::write(dir.join(app), text).unwrap();
        }
        both
    }

    fn service(&self, name: &str, more: &str) -> String {
        let app = self.app;
        format!(
            r#"
[service.{name}]
build = {{ files = ["{app}"], run = ["python3", "-u", "{app}"], base = "host" }}
port = 8000
health = {{ path = "/healthz", interval = "50ms", healthy = 2 }}
start_timeout = "10s"
{more}
"#
        )
    }

    /// Writes the stack file of `claims`.
    pub fn claims(&self, api: &str, more: &str) {
        let api = self.service("api", &format!("instances = 2\n{api}"));
        let text = format!("[stack]\nname = \"claims\"\nversion = \"1.0\"\n{api}\n{more}\n");
        fs::write(self.ward.dir().join("ward.toml"), text).unwrap();
    }

    /// Writes the stack file of `returns`.
    pub fn returns(&self, links: &str, more: &str) {
        let host = "route = { host = \"returns.localhost\" }";
        let web = self.service(
            "web",
            &format!("links = [{links}]\n{host}\nenv = {{ TO = \"api.claims\" }}\n"),
        );
        let text = format!("[stack]\nname = \"returns\"\nversion = \"1.0\"\n{web}\n{more}\n");
        fs::write(self.returns.path().join("ward.toml"), text).unwrap();
    }

    pub fn deploy(&self, dir: &Path, env: &str) -> Ran {
        let dir = dir.to_str().unwrap();
        let command = ["deploy", dir, "--env", env];
        self.ward.run(&command)
    }

    pub fn deploy_claims(&self) -> Ran {
        self.deploy(self.ward.dir(), "dev")
    }

    pub fn deploy_returns(&self) -> Ran {
        self.deploy(self.returns.path(), "dev")
    }

    /// The first of each, which serves.
    pub fn up(&self) {
        let dirs = [self.ward.dir(), self.returns.path()];
        for dir in dirs {
            self.ward.ok(&["up", dir.to_str().unwrap()]);
        }
    }

    pub fn ask_at(&self, host: &str, path: &str) -> Answer {
        get(&self.ward.http(), host, path).unwrap()
    }

    pub fn ask(&self, path: &str) -> Answer {
        self.ask_at("returns.localhost", path)
    }

    pub fn answers(&self, body: &str) {
        let answer = self.ask("/");
        assert_eq!((answer.status, answer.body.as_str()), (200, body));
    }

    pub fn refuses(&self, host: &str, says: &[&str]) {
        let answer = self.ask_at(host, "/");
        assert_eq!(answer.status, 503, "{}", answer.body);
        for text in says {
            assert!(answer.body.contains(text), "{}", answer.body);
        }
    }

    pub fn env(&self, env: &str) -> Value {
        let shown = self.ward.ok(&["env", "show", env, "--output", "json"]);
        serde_json::from_str(&shown).unwrap()
    }
}
