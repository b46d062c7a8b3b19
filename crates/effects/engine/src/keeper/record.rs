//! What a keeper leaves behind.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use ward_types::keeper::{Exit, SOCKET};
use ward_types::time::Timestamp;

/// `exit.json`.
#[derive(Debug, Serialize)]
pub(super) struct Ended {
    /// How the instance ended.
    pub(super) exit: Exit,
    /// Whether it was asked to.
    pub(super) asked: bool,
    /// When.
    pub(super) at: Timestamp,
    /// Why, where more is known than the exit says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// Writes `exit.json` whole or not at all.
pub(super) fn ended(dir: &Path, ended: &Ended) -> io::Result<()> {
    let temporary = dir.join(".exit.json.new");
    let text = serde_json::to_vec(ended)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&temporary)?.write_all(&text)?;
    fs::rename(&temporary, dir.join("exit.json"))
}

/// Removes the keeper's socket, so that nobody waits for an answer.
pub(super) fn remove_socket(dir: &Path) {
    // One that is left is recognised by its refusal and replaced.
    let _ = fs::remove_file(dir.join(SOCKET));
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let millis = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
    Timestamp(u64::try_from(millis).unwrap_or(0))
}
