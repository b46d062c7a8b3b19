//! The secrets of an instance that are files: on its own /run, which is memory, and of its user alone.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use ward_types::secrets::SecretFile;

use crate::error::{Doing, Failed};
use crate::mounts;

/// Makes the files, each with its folders. This process is the instance's user already.
pub(super) fn make(root: BorrowedFd<'_>, files: &[SecretFile]) -> Result<(), Failed> {
    for file in files {
        // No message says what is in it.
        let step = format!("making the secret's file {}", file.path);
        let path = file.path.strip_prefix("/run/").ok_or(Errno::INVAL);
        let run = mounts::within(root, "run").doing(&step)?;
        path.and_then(|path| write(run.as_fd(), path, file.value.expose().as_bytes()))
            .doing(&step)?;
    }
    Ok(())
}

fn write(run: BorrowedFd<'_>, path: &str, mut bytes: &[u8]) -> Result<(), Errno> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Errno::INVAL);
    }
    for (end, _) in path.match_indices('/') {
        match rustix::fs::mkdirat(run, &path[..end], Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(run, path, flags, Mode::from_raw_mode(0o400))?;
    while !bytes.is_empty() {
        let written = rustix::io::write(&file, bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}
