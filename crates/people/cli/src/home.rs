//! Where the state folder is.

use std::path::{Path, PathBuf};

/// The state folder: what was asked for, else `/var/lib/ward` for root, else the XDG data folder.
///
/// # Errors
/// A sentence when there is nowhere to put it.
pub(crate) fn find(asked: Option<&Path>) -> Result<PathBuf, String> {
    let found = match asked {
        Some(dir) => dir.to_owned(),
        None => default()?,
    };
    std::path::absolute(&found).map_err(|error| {
        format!(
            "the state folder {} has no absolute path: {error}",
            found.display()
        )
    })
}

fn default() -> Result<PathBuf, String> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(data) = variable("XDG_DATA_HOME") {
        return Ok(data.join("ward"));
    }
    if rustix::process::getuid().is_root() {
        return Ok(PathBuf::from("/var/lib/ward"));
    }
    variable("HOME")
        .map(|home| home.join(".local/share/ward"))
        .ok_or_else(|| "there is no HOME to keep state in; set WARD_HOME".to_owned())
}
