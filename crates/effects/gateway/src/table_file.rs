//! The routing table on disk: what a restarted gateway begins with (promise P10).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ward_types::table::Table;

const NAME: &str = "table.json";

/// Writes the table so that a crash leaves the old one or the new one, never a part.
pub(crate) fn store(folder: &Path, table: &Table) -> io::Result<()> {
    let beside = folder.join(format!("{NAME}.{}", std::process::id()));
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(&serde_json::to_vec(table)?)?;
    file.sync_data()?;
    std::fs::rename(&beside, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}

/// The table that was stored last; `None` when there is none.
pub(crate) fn load(folder: &Path) -> io::Result<Option<Table>> {
    let bytes = match std::fs::read(folder.join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(serde_json::from_slice(&bytes)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ward_types::id::{Generation, Term};

    #[test]
    fn the_last_table_comes_back_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()).unwrap(), None);
        for generation in [1, 2] {
            let table = Table {
                term: Term(1),
                generation: Generation(generation),
                pools: Vec::new(),
            };
            store(folder.path(), &table).unwrap();
            assert_eq!(load(folder.path()).unwrap(), Some(table));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        std::fs::write(folder.path().join(NAME), "{").unwrap();
        assert!(load(folder.path()).is_err());
    }
}
