//! Decision: one server acts on a state folder at a time, and it is known by a number that only grows.
//!
//! The lock keeps a second server from starting; it is bound to a file, and a file can be removed. So each
//! start takes the next fencing number and writes it beside the lock, where every later one writes a
//! greater one: a server that finds another number there than its own has been succeeded, does nothing any
//! more and ends. The same number goes with each table to the gateway, which refuses a smaller one; what else
//! the gateway is asked for carries none.
//! While a server lives it touches the file once a second: that is its heartbeat, derived from the file's
//! time and stored nowhere else.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ward_types::id::Term;

use crate::{Error, Log as _, Result, Store};

/// How often the holder gives a sign of life.
pub const HEARTBEAT: Duration = Duration::from_secs(1);

/// Its file in the state folder.
const FILE: &str = "lease";

/// The right to act on a state folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lease {
    term: Arc<AtomicU64>,
    home: PathBuf,
    path: PathBuf,
}

/// Who holds a lease, as anybody can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its fencing number.
    pub term: Term,
    /// Since its last sign of life.
    pub silent: Duration,
}

impl Lease {
    /// Takes the lease of a state folder; whoever had it before is fenced from here on. The caller holds the
    /// folder's [lock](crate::lock()).
    ///
    /// # Errors
    /// When the number cannot be made durable.
    pub fn take(home: &Path, store: &Store) -> Result<Self> {
        let path = home.join(FILE);
        // The file may be of a database that is gone, and the database older than the file.
        let known = read(&path)?.unwrap_or_default();
        let counted = store.next_number("term", 1)?;
        let lease = Self {
            term: Arc::default(),
            home: home.to_owned(),
            path,
        };
        lease.write(Term(counted.max(lease.after(known)?)))?;
        Ok(lease)
    }

    /// Takes a number that is greater than this one too. The caller holds the lease.
    ///
    /// # Errors
    /// When the number cannot be made durable.
    pub fn raise_above(&self, other: Term) -> Result<()> {
        match other < self.term() {
            true => Ok(()),
            false => self.write(Term(self.after(other)?)),
        }
    }

    fn after(&self, other: Term) -> Result<u64> {
        let garbled = || std::io::Error::other("it holds the greatest number there is: remove it");
        let next = other.0.checked_add(1);
        next.ok_or_else(|| Error::file("go on from", &self.path)(garbled()))
    }

    fn write(&self, term: Term) -> Result<()> {
        let aside = self.home.join("lease.new");
        let written = File::create(&aside).and_then(|mut file| {
            writeln!(file, "{}", term.0)?;
            file.sync_all()
        });
        match written {
            // A disk that is full keeps no server from starting: who would go back then? What is there has its place.
            Err(error) if is_full(&error) && self.path.exists() => {
                let _ = fs::remove_file(&aside);
                self.overwrite(term)
                    .map_err(Error::file("write", &self.path))?;
            }
            written => {
                written.map_err(Error::file("write", &aside))?;
                fs::rename(&aside, &self.path).map_err(Error::file("write", &self.path))?;
            }
        }
        self.term.store(term.0, Ordering::SeqCst);
        Ok(())
    }

    /// In one go, within a sector: a number that is greater is no shorter.
    fn overwrite(&self, term: Term) -> std::io::Result<()> {
        let file = File::options().write(true).open(&self.path)?;
        file.write_all_at(format!("{}\n", term.0).as_bytes(), 0)?;
        file.sync_all()
    }

    /// Its fencing number.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.term.load(Ordering::SeqCst))
    }

    /// Whether it is still held.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another one was taken since, or the file is gone or garbled: then nobody can
    /// tell. [`Error::File`] when it cannot be read at the moment, which says nothing.
    pub fn check(&self) -> Result<()> {
        let found = read(&self.path)?;
        match found == Some(self.term()) {
            true => Ok(()),
            false => Err(Error::Fenced {
                path: self.path.clone(),
                term: self.term(),
                found,
            }),
        }
    }

    /// Gives a sign of life.
    ///
    /// # Errors
    /// As [`Lease::check`].
    pub fn beat(&self) -> Result<()> {
        self.check()?;
        let now = FileTimes::new().set_modified(SystemTime::now());
        let touched = File::options().write(true).open(&self.path);
        let touched = touched.and_then(|file| file.set_times(now));
        touched.map_err(Error::file("touch", &self.path))
    }

    /// Who holds the lease of a state folder, if anybody ever did.
    #[must_use]
    pub fn holder(home: &Path) -> Option<Holder> {
        let path = home.join(FILE);
        let term = read(&path).ok()??;
        let touched = fs::metadata(&path).and_then(|m| m.modified()).ok()?;
        Some(Holder {
            term,
            silent: touched.elapsed().unwrap_or_default(),
        })
    }
}

/// `None`: there is no number.
fn read(path: &Path) -> Result<Option<Term>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok().map(Term)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_it_fences_whoever_had_it() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("ward.db")).unwrap();
        let first = Lease::take(home.path(), &store).unwrap();
        first.check().unwrap();
        let second = Lease::take(home.path(), &store).unwrap();
        assert!(second.term() > first.term());
        second.beat().unwrap();
        let fenced = first.beat().unwrap_err();
        assert!(
            matches!(&fenced, Error::Fenced { found, .. } if *found == Some(second.term())),
            "{fenced}"
        );
    }

    #[test]
    fn a_disk_that_is_full_keeps_nobody_from_taking_it() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("ward.db")).unwrap();
        let fill = || std::os::unix::fs::symlink("/dev/full", home.path().join("lease.new"));
        fill().unwrap();
        let first = Lease::take(home.path(), &store).unwrap_err();
        assert!(matches!(first, Error::File { .. }), "{first}");
        fs::remove_file(home.path().join("lease.new")).unwrap();
        let first = Lease::take(home.path(), &store).unwrap();
        first.raise_above(Term(998)).unwrap();
        fill().unwrap();
        let second = Lease::take(home.path(), &store).unwrap();
        assert_eq!(second.term(), Term(1000));
        second.check().unwrap();
        assert!(first.check().is_err());
        assert!(!home.path().join("lease.new").exists());
    }

    #[test]
    fn numbers_grow_also_when_the_database_is_another_one() {
        let home = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&home.path().join(name)).unwrap();
        let first = Lease::take(home.path(), &open("one.db")).unwrap();
        let second = Lease::take(home.path(), &open("two.db")).unwrap();
        assert!(second.term() > first.term());
        fs::remove_file(home.path().join("lease")).unwrap();
        assert!(second.check().is_err(), "nobody can tell");
    }

    #[test]
    fn a_file_that_cannot_be_read_fences_nobody_and_a_garbled_one_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("ward.db")).unwrap();
        let path = home.path().join("lease");
        let lease = Lease::take(home.path(), &store).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let unread = lease.check().unwrap_err();
        assert!(matches!(unread, Error::File { .. }), "{unread}");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, u64::MAX.to_string()).unwrap();
        let garbled = Lease::take(home.path(), &store).unwrap_err();
        assert!(matches!(garbled, Error::File { .. }), "{garbled}");
        fs::write(&path, "what?").unwrap();
        assert!(matches!(
            lease.check(),
            Err(Error::Fenced { found: None, .. })
        ));
        Lease::take(home.path(), &store).unwrap().check().unwrap();
    }

    #[test]
    fn a_sign_of_life_is_seen() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Lease::holder(home.path()), None);
        let store = Store::open(&home.path().join("ward.db")).unwrap();
        let lease = Lease::take(home.path(), &store).unwrap();
        let file = File::options()
            .write(true)
            .open(home.path().join("lease"))
            .unwrap();
        let past = SystemTime::now() - Duration::from_secs(100);
        file.set_times(FileTimes::new().set_modified(past)).unwrap();
        let silent = Lease::holder(home.path()).unwrap().silent;
        assert!(silent >= Duration::from_secs(99), "{silent:?}");
        lease.beat().unwrap();
        let holder = Lease::holder(home.path()).unwrap();
        assert!(holder.term == lease.term() && holder.silent < Duration::from_secs(50));
    }
}
