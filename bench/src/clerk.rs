//! The small application in Python (`clerk.py`), and its stack file.

use std::fs;
use std::path::Path;

use crate::error::{Error, doing};

const SOURCE: &str = include_str!("clerk.py");

/// The host of its route.
pub(crate) const HOST: &str = "clerk.localhost";

/// Writes the application into a folder, and its first stack file.
pub(crate) fn make(folder: &Path) -> Result<(), Error> {
    let path = folder.join("app.py");
    doing(
        format!("write {}", path.display()),
        fs::write(&path, SOURCE),
    )?;
    write(folder, &[("MARK", "0")], "")
}

/// Writes its stack file: these variables, and lines for its service.
pub(crate) fn write(folder: &Path, variables: &[(&str, &str)], more: &str) -> Result<(), Error> {
    let variables = variables
        .iter()
        .map(|(name, value)| format!("{name} = \"{value}\""));
    let variables = variables.collect::<Vec<_>>().join(", ");
    let text = format!(
        r#"[stack]
name = "clerk"
version = "1.0"

[service.web]
build = {{ files = ["app.py"], run = ["/usr/bin/python3", "/app/app.py"], base = "host" }}
port = 8000
health = {{ path = "/healthz", interval = "100ms", healthy = 2 }}
instances = 2
route = {{ host = "{HOST}" }}
env = {{ {variables} }}
{more}

[environment.dev]
"#
    );
    let path = folder.join("ward.toml");
    doing(format!("write {}", path.display()), fs::write(&path, text))
}
