//! A password in a file of mode 0600: drawn once, then always the same.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::rand::GetRandomFlags;
use ward_types::secret::Secret;
use zeroize::Zeroizing;

use crate::error::{Error, file};

/// Letters and digits only, so that it needs no escaping in a URL, a shell or SQL. 32 of them, 5 bits each.
const LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";

/// 200 bits.
const LENGTH: usize = 40;

/// The password in the file `path`, drawn and written when there is none.
pub(crate) fn keep(path: &Path) -> Result<Secret, Error> {
    if let Some(known) = read(path)? {
        return Ok(known);
    }
    let drawn = draw()?;
    // Another thread may have been quicker: then its password counts.
    match write_new(path, &drawn) {
        Ok(()) => Ok(drawn),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path)?.ok_or_else(|| file("read", path)(error))
        }
        Err(error) => Err(file("write", path)(error)),
    }
}

fn read(path: &Path) -> Result<Option<Secret>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file("read", path)(error)),
    };
    let fits = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !fits {
        let what = "it holds no password of 32 or more letters and digits";
        return Err(file("use", path)(io::Error::new(
            io::ErrorKind::InvalidData,
            what,
        )));
    }
    Ok(Some(Secret::new(text.to_string())))
}

/// A new one.
pub(crate) fn draw() -> Result<Secret, Error> {
    let mut random = Zeroizing::new([0; LENGTH]);
    let mut filled = 0;
    while filled < LENGTH {
        let drawn = rustix::rand::getrandom(&mut random[filled..], GetRandomFlags::empty());
        filled += drawn.map_err(|errno| Error::Random(errno.into()))?;
    }
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(Secret::new(random.iter().map(letter).collect()))
}

/// Writes the file whole and on the disk before it has its name: a database that was made with a password
/// must never outlive it.
fn write_new(path: &Path, password: &Secret) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = rustix::thread::gettid().as_raw_nonzero();
    let temporary = folder.join(format!(".{name}.{unique}"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut written = options.open(&temporary)?;
    written.write_all(password.expose().as_bytes())?;
    written.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    linked?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_password_is_kept_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("returns/dev/db");
        let drawn = keep(&path).unwrap();
        assert!(drawn.expose().len() >= 32);
        assert!(
            drawn
                .expose()
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric())
        );
        assert_eq!(keep(&path).unwrap(), drawn);
        assert_ne!(keep(&folder.path().join("other")).unwrap(), drawn);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn many_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let drawn: Vec<Secret> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| keep(&path).unwrap()))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        assert!(drawn.iter().all(|one| *one == drawn[0]));
    }

    #[test]
    fn a_file_that_holds_something_else_is_told_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        fs::write(&path, "short").unwrap();
        assert!(keep(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
    }
}
