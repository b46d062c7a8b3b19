//! Which PostgreSQL of the machine runs a database.
//!
//! A data folder belongs to the major version that made it. So data decides first: the newest major that
//! has data is the one that runs, or nothing does, because another would come up empty and look like a
//! loss of everything. Only a database without data gets the newest that is installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, file};

/// The line that installs PostgreSQL on Debian and Ubuntu.
pub const INSTALL: &str = "sudo apt-get install -y postgresql";

/// The oldest major version that Ward runs.
const OLDEST: u32 = 15;

/// A PostgreSQL of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its major version.
    pub major: u32,
    /// The folder of its programs.
    pub bin: PathBuf,
}

pub(crate) fn newest(installations: &Path) -> Result<Installation, Error> {
    let mut found: Vec<u32> = numbers(installations)?;
    found.retain(|major| installed(installations, *major).is_some());
    match found.iter().max() {
        Some(major) if *major >= OLDEST => Ok(Installation {
            major: *major,
            bin: installations.join(major.to_string()).join("bin"),
        }),
        _ => Err(Error::NotInstalled { found }),
    }
}

pub(crate) fn for_data(installations: &Path, data: &Path) -> Result<Installation, Error> {
    let holds_data = |major: &u32| data.join(major.to_string()).join("data").exists();
    let Some(major) = numbers(data)?.into_iter().filter(holds_data).max() else {
        return newest(installations);
    };
    installed(installations, major).ok_or_else(|| Error::OtherMajor {
        data: data.join(major.to_string()),
        major,
    })
}

fn installed(installations: &Path, major: u32) -> Option<Installation> {
    let bin = installations.join(major.to_string()).join("bin");
    let complete = ["postgres", "initdb", "psql"]
        .iter()
        .all(|program| bin.join(program).is_file());
    complete.then_some(Installation { major, bin })
}

/// The names in a folder that are whole numbers, smallest first.
fn numbers(folder: &Path) -> Result<Vec<u32>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file("read", folder)(error)),
    };
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut found: Vec<u32> = entries.flatten().filter_map(number).collect();
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(below: &Path, major: u32) {
        let bin = below.join(major.to_string()).join("bin");
        fs::create_dir_all(&bin).unwrap();
        for program in ["postgres", "initdb", "psql"] {
            fs::write(bin.join(program), "").unwrap();
        }
    }

    #[test]
    fn none_or_an_old_one_says_the_line_that_installs_it() {
        let machine = tempfile::tempdir().unwrap();
        let none = newest(&machine.path().join("absent")).unwrap_err();
        assert!(
            none.to_string()
                .contains("sudo apt-get install -y postgresql"),
            "{none}"
        );
        install(machine.path(), 13);
        let old = newest(machine.path()).unwrap_err();
        assert!(old.to_string().contains("(found 13)"), "{old}");
    }

    #[test]
    fn the_newest_by_number_that_is_complete_wins() {
        let machine = tempfile::tempdir().unwrap();
        install(machine.path(), 9);
        install(machine.path(), 15);
        install(machine.path(), 16);
        fs::create_dir_all(machine.path().join("18/bin")).unwrap();
        fs::create_dir_all(machine.path().join("common")).unwrap();
        let found = newest(machine.path()).unwrap();
        assert_eq!(
            (found.major, found.bin),
            (16, machine.path().join("16/bin"))
        );
    }

    #[test]
    fn data_stays_with_the_major_that_made_it() {
        let machine = tempfile::tempdir().unwrap();
        let data = tempfile::tempdir().unwrap();
        install(machine.path(), 16);
        fs::create_dir_all(data.path().join("17")).unwrap();
        assert_eq!(for_data(machine.path(), data.path()).unwrap().major, 16);
        fs::create_dir_all(data.path().join("15/data")).unwrap();
        let missing = for_data(machine.path(), data.path())
            .unwrap_err()
            .to_string();
        assert!(missing.contains("postgresql-15"), "{missing}");
        install(machine.path(), 15);
        assert_eq!(for_data(machine.path(), data.path()).unwrap().major, 15);
    }
}
