//! Whose a folder of backups is: what lies in it and is in no log of this Ward's is removed, so it is asked first whether
//! it is this Ward's. A state folder that is begun anew must not sweep away what the one before it left.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The file that says whose a folder is.
const OWNER: &str = ".owner";
/// The same of this Ward, in the state folder.
const OWN: &str = "backups.owner";
/// Of so many random bytes.
const BYTES: u32 = 16;

/// Whether a folder is this Ward's; one that is nobody's becomes it.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn is_own(home: &Path, dir: &Path) -> io::Result<bool> {
    let own = match read(&home.join(OWN))? {
        Some(own) => own,
        None => {
            let drawn = ward_seal::generate(BYTES).map_err(io::Error::other)?;
            write(&home.join(OWN), drawn.expose())?;
            drawn.expose().to_owned()
        }
    };
    match read(&dir.join(OWNER))? {
        Some(owner) => Ok(owner == own),
        None => write(&dir.join(OWNER), &own).map(|()| true),
    }
}

/// Whether a folder that was a Ward's is still there: the place where its disk is mounted may be there without it.
pub(crate) fn is_there(dir: &Path) -> bool {
    dir.join(OWNER).is_file()
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner() {
        let (one, other, dir) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        assert!(is_own(one.path(), dir.path()).unwrap());
        assert!(is_own(one.path(), dir.path()).unwrap());
        assert!(!is_own(other.path(), dir.path()).unwrap());
        assert!(
            is_own(other.path(), one.path()).unwrap(),
            "that one is nobody's"
        );
    }
}
