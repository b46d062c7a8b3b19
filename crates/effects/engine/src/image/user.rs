//! The `User` of an image's configuration: `uid`, `uid:gid`, `name`, `name:group`, or nothing.
//!
//! Names are looked up in the image's own `/etc/passwd` and `/etc/group`, in the topmost layer that has
//! the file, without leaving the layer.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::image::tree::Tree;

/// Who an image runs as, inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImageUser {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

/// Accounts are short files; a longer one is a mistake or an attack.
const MOST: u64 = 1 << 20;

pub(super) fn resolve(text: &str, layers: &[PathBuf]) -> Result<ImageUser, Error> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let entry = |file: &str, key: &str| look_up(layers, Path::new(file), key);
    let unknown = |what: &str, name: &str| Error::Image {
        what: format!("it runs as the {what} `{name}`, which it does not define"),
    };
    let (uid, own_gid) = match (user, user.parse()) {
        ("", _) => (0, 0),
        (_, Ok(uid)) => (uid, 0),
        (name, Err(_)) => {
            let fields = entry("etc/passwd", name).ok_or_else(|| unknown("user", name))?;
            let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok());
            let ids = number(2).zip(number(3));
            ids.ok_or_else(|| unknown("user", name))?
        }
    };
    let gid = match (group, group.parse()) {
        ("", _) => own_gid,
        (_, Ok(gid)) => gid,
        (name, Err(_)) => entry("etc/group", name)
            .and_then(|fields| fields.get(2)?.parse().ok())
            .ok_or_else(|| unknown("group", name))?,
    };
    Ok(ImageUser { uid, gid })
}

/// The fields of the line whose first field is `key`.
fn look_up(layers: &[PathBuf], file: &Path, key: &str) -> Option<Vec<String>> {
    let open = |layer: &PathBuf| Tree::open(layer).ok()?.read(file).ok();
    let found: File = layers.iter().rev().find_map(open)?;
    let lines = BufReader::new(found.take(MOST))
        .lines()
        .map_while(Result::ok);
    lines
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().is_some_and(|first| first == key))
}
