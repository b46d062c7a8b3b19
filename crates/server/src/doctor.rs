//! What the machine lacks beyond the kernel: programs that some stacks need.

use std::path::Path;

use ward_postgres::{INSTALL, Postgres};

/// A program that was looked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Program {
    /// What it is.
    pub name: String,
    /// Whether it was found.
    pub found: bool,
    /// What cannot be done without it.
    pub without: String,
    /// The line that installs it.
    pub remedy: String,
}

/// What was looked for, found or not.
#[must_use]
pub fn programs(home: &Path) -> Vec<Program> {
    let postgres = Postgres::new(home.to_owned()).newest();
    let builder = ["buildah", "podman", "docker"]
        .into_iter()
        .find(|name| on_path(name));
    vec![
        Program {
            name: match &postgres {
                Ok(installation) => format!("PostgreSQL {}", installation.major),
                Err(_) => "PostgreSQL 15 or later".to_owned(),
            },
            found: postgres.is_ok(),
            without: "a stack with a database cannot come up".to_owned(),
            remedy: INSTALL.to_owned(),
        },
        Program {
            name: builder.map_or("buildah, podman or docker".to_owned(), |name| {
                format!("{name}, for Dockerfiles")
            }),
            found: builder.is_some(),
            without: "a build from a Dockerfile fails; all other builds work".to_owned(),
            remedy: "sudo apt-get install -y buildah".to_owned(),
        },
        Program {
            name: "git".to_owned(),
            found: ward_git::is_installed(),
            without: "releases do not know their commit, no revision can be built and no repository watched".to_owned(),
            remedy: ward_git::INSTALL.to_owned(),
        },
    ]
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
