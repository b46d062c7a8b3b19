//! The reference pages, from the tables that the code itself reads, and from the tests.

use std::fs;
use std::path::PathBuf;

use crate::promises;
use crate::run::{root, say};

fn pages() -> Result<Vec<(PathBuf, String)>, String> {
    let docs = root().join("docs");
    Ok(vec![
        (docs.join("stack.md"), ward_stack::reference()),
        (docs.join("promises.md"), promises::page()?),
    ])
}

/// Writes every page anew.
pub(crate) fn write() -> Result<(), String> {
    for (path, text) in pages()? {
        fs::write(&path, text)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Whether every page is what its table gives.
pub(crate) fn check() -> Result<(), String> {
    for (path, text) in pages()? {
        let there = fs::read_to_string(&path).unwrap_or_default();
        if there != text {
            return Err(format!(
                "{} is not what its table gives; run `cargo xtask docs`",
                path.display()
            ));
        }
    }
    Ok(())
}
