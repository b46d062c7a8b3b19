//! Runs a real PostgreSQL as an instance like any other.
//!
//! The machine's own PostgreSQL (15 or later) runs in a sandbox that shows the host's `/usr` and one
//! writable folder. The instance's program is a short script: it makes the data folder if there is none,
//! aside and renamed when it is whole, and then becomes `postgres`. So there is no state between "no
//! database" and "a database", whatever is killed when.
//!
//! Passwords are drawn from the kernel once per environment, kept in files that only Ward can read, and
//! reach the instance through its environment variables, which travel through the keeper's pipe; they are
//! in no argument and no log.

mod backup;
mod copy;
mod database;
mod error;
mod installation;
mod password;
mod role;

pub use backup::proving;
pub use copy::{CopyPlace, RESERVE, feeding};
pub use database::{Database, LinkVariables, PORT, Place};
pub use error::Error;
pub use installation::{INSTALL, Installation};
pub use role::{Credential, admission, role_of, withdrawal};

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ward_types::id::{EnvId, Name};

/// The databases of a state folder.
#[derive(Debug, Clone)]
pub struct Postgres {
    home: PathBuf,
    installations: PathBuf,
}

impl Postgres {
    /// The databases of the state folder `home` (absolute), with the PostgreSQL that Debian installs below
    /// `/usr/lib/postgresql`.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self::with_installations(home, PathBuf::from("/usr/lib/postgresql"))
    }

    /// As [`Postgres::new`], with PostgreSQL below another folder, as `MAJOR/bin`. The folder must lie below
    /// `/usr`, which is what the instance sees of the host.
    #[must_use]
    pub fn with_installations(home: PathBuf, installations: PathBuf) -> Self {
        Self {
            home,
            installations,
        }
    }

    /// The newest PostgreSQL of this machine.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], which names the line that installs it.
    pub fn newest(&self) -> Result<Installation, Error> {
        installation::newest(&self.installations)
    }

    /// All that an instance of a database and the links to it need: the PostgreSQL that its data was made
    /// with (the newest, when there is no data), and its passwords, which are drawn now if there are none.
    /// Doing it again gives the same.
    ///
    /// # Errors
    /// [`Error::NotInstalled`], [`Error::OtherMajor`], [`Error::File`].
    pub fn prepare(&self, env: &EnvId, name: &Name) -> Result<Database, Error> {
        let data = self.folder("data", env).join(name.as_str());
        let installation = installation::for_data(&self.installations, &data)?;
        let secrets = self.folder("secrets", env);
        let app = password::keep(&secrets.join(name.as_str()))?;
        // A name of a database holds no dot, so this one is nobody else's.
        let ward = password::keep(&secrets.join(format!("{name}.superuser")))?;
        let data = data.join(installation.major.to_string());
        Ok(Database::new(env, name, installation, data, app, ward))
    }

    /// Removes a database's data and passwords, for ever. Removing what is not there does nothing. No
    /// instance of it may run.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn purge(&self, env: &EnvId, name: &Name) -> Result<(), Error> {
        let secrets = self.folder("secrets", env);
        // The data first: with its passwords gone, data that stayed could not be opened.
        gone(
            &self.folder("data", env).join(name.as_str()),
            ward_tree::remove,
        )?;
        gone(&secrets.join(name.as_str()), |path| fs::remove_file(path))?;
        gone(&secrets.join(format!("{name}.superuser")), |path| {
            fs::remove_file(path)
        })
    }

    fn folder(&self, kind: &str, env: &EnvId) -> PathBuf {
        let (stack, env) = (env.stack(), env.env());
        self.home.join(kind).join(stack.as_str()).join(env.as_str())
    }
}

fn gone(path: &Path, remove: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error::file("remove", path)(error))
        }
        _ => Ok(()),
    }
}
