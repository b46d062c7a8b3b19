//! One Ward per state folder: an advisory lock that the kernel drops with its holder, so that a killed
//! server leaves none behind.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{Error, Result};

/// The right to use a state folder; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the state folder `home`, which is made (mode 0700) when it is not there.
///
/// # Errors
/// [`Error::Locked`], naming the process, when another one holds it; [`Error::File`] when the folder or
/// its file `lock` cannot be made.
pub fn lock(home: &Path) -> Result<Lock> {
    let make = DirBuilder::new().recursive(true).mode(0o700).create(home);
    make.map_err(Error::file("make the state folder", home))?;
    let path = home.join("lock");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(&path).map_err(Error::file("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(Error::Locked {
                home: home.to_owned(),
                pid: holder(&mut file),
            });
        }
        Err(errno) => return Err(Error::file("lock", &path)(errno.into())),
    }
    let pid = format!("{}\n", std::process::id());
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(pid.as_bytes()));
    written.map_err(Error::file("write", &path))?;
    Ok(Lock { _file: file })
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
