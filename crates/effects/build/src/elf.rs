//! The one thing that Ward reads of an ELF file: which program loads it (ELF-64, program headers,
//! `PT_INTERP`). The loader itself says which libraries it would load.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::layer::open_file;
use crate::{Error, Result};

const PT_INTERP: u32 = 3;

/// The dynamic loader of a binary; `None` when it is linked statically.
pub(crate) fn interpreter(path: &Path) -> Result<Option<PathBuf>> {
    let file = open_file(path).map_err(Error::file("read", path))?;
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match read(&file) {
        // An offset that no file can have is invalid input for the kernel.
        Err(error) if matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) => {
            Err(Error::NotElf {
                path: path.to_owned(),
            })
        }
        other => other.map_err(Error::file("read", path)),
    }
}

fn read(file: &File) -> io::Result<Option<PathBuf>> {
    let mut start = [0; 64];
    file.read_exact_at(&mut start, 0)?;
    let class_64 = start[4] == 2;
    let little_endian = start[5] == 1;
    if &start[..4] != b"\x7fELF" || !class_64 || little_endian != cfg!(target_endian = "little") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let table = long(&start, 32);
    let (entry_size, entries) = (u64::from(short(&start, 54)), u64::from(short(&start, 56)));
    for number in 0..entries {
        let mut entry = [0; 56];
        let at = number
            .checked_mul(entry_size)
            .and_then(|offset| offset.checked_add(table));
        file.read_exact_at(&mut entry, at.ok_or(io::ErrorKind::InvalidData)?)?;
        if word(&entry, 0) == PT_INTERP {
            return name(file, long(&entry, 8), long(&entry, 32)).map(Some);
        }
    }
    Ok(None)
}

/// The text that ends with a zero byte, at most as long as a path can be.
fn name(file: &File, offset: u64, size: u64) -> io::Result<PathBuf> {
    if size > 4096 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    file.read_exact_at(&mut bytes, offset)?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_binary_names_its_loader() {
        let loader = interpreter(&std::env::current_exe().unwrap())
            .unwrap()
            .unwrap();
        assert!(loader.exists(), "{}", loader.display());
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("script");
        for content in [
            b"#!/bin/sh\n".to_vec(),
            vec![0; 100],
            Vec::new(),
            [b"\x7fELF\x02\x01".to_vec(), vec![0xff; 200]].concat(),
        ] {
            std::fs::write(&path, content).unwrap();
            assert!(matches!(interpreter(&path), Err(Error::NotElf { .. })));
        }
        std::fs::remove_file(&path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        assert!(matches!(interpreter(&path), Err(Error::File { .. })));
    }
}
