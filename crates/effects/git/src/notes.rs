//! Who pushed what: written down in a hosted repository before a push is taken. So it is known also where no server runs
//! then, and where a commit is found before anybody is told of its push.
//!
//! Decision: who it was the kernel says, and not the note: it is whoever owns it. A note does not say that the push was
//! taken, because that comes after it: the references say so, and a second note that is written then. None takes the place
//! of another, so that of several who push one commit the first can be told whose push was taken.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ward_types::source::CommitId;

use crate::repository::file;
use crate::{Repository, Result, Tip};

/// The folder of the notes in the repository.
const FOLDER: &str = "ward-pushes";
/// How long a note stays whose commits nobody has found: they were not taken, or others came over them.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// What the name of a note ends with that is of a push that was taken; and one that is being written.
const TAKEN: &str = "taken";
const NEW: &str = "new";

/// What somebody pushed, or wanted to push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Who.
    pub uid: u32,
    /// What, and where to.
    pub tips: Vec<Tip>,
    /// Whether it was taken by then. Of one that was not then it may be by now.
    pub taken: bool,
    written: SystemTime,
    path: PathBuf,
}

impl Repository {
    fn notes_folder(&self) -> PathBuf {
        self.path().join(FOLDER)
    }

    /// Makes the place of the notes, which is this user's.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn take_notes(&self) -> Result<()> {
        let folder = self.notes_folder();
        fs::create_dir_all(&folder).map_err(file("make", &folder))
    }

    /// Notes that this user pushes this. It is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&self, tips: &[Tip]) -> Result<()> {
        self.noted_as(tips, None)
    }

    /// Notes that what this user pushed was taken.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note_taken(&self, tips: &[Tip]) -> Result<()> {
        self.noted_as(tips, Some(TAKEN))
    }

    fn noted_as(&self, tips: &[Tip], end: Option<&str>) -> Result<()> {
        let Some(first) = tips.first() else {
            return Ok(());
        };
        self.take_notes()?;
        let folder = self.notes_folder();
        let own = format!("{}.{}", first.commit, std::process::id());
        let new = folder.join(format!("{own}.{NEW}"));
        let line = |tip: &Tip| format!("{} {}\n", tip.commit, tip.reference);
        let text: String = tips.iter().map(line).collect();
        written(&new, &text).map_err(file("write", &new))?;
        let end = end.map_or_else(String::new, |end| format!(".{end}"));
        let mut number = 0_u64;
        let path = loop {
            let path = folder.join(format!("{own}.{number}{end}"));
            match fs::File::create_new(&path) {
                // Another process of this number has noted the same.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                made => {
                    made.map_err(file("write", &path))?;
                    break path;
                }
            }
        };
        let kept = fs::rename(&new, &path).and_then(|()| fs::File::open(&folder)?.sync_all());
        kept.map_err(file("write", &path))
    }

    /// What is noted, the newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn notes(&self) -> Result<Vec<Note>> {
        let folder = self.notes_folder();
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(file("read", &folder))?,
        };
        let mut notes = Vec::new();
        for entry in entries {
            let path = entry.map_err(file("read", &folder))?.path();
            match noted(&path) {
                // It has got its name just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                note => notes.push(note.map_err(file("read", &path))?),
            }
        }
        notes.sort_by_key(|note| std::cmp::Reverse(note.written));
        Ok(notes)
    }

    /// Removes the notes of which all is over, and those that are too old to be of a push that is still under way.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn forget_notes(&self, is_over: impl Fn(&Tip) -> bool) -> Result<()> {
        for note in self.notes()? {
            // Of one that is still being written nothing is known yet.
            let over = !note.tips.is_empty() && note.tips.iter().all(&is_over);
            let old = note.written.elapsed().is_ok_and(|age| age > KEPT);
            if over || old {
                fs::remove_file(&note.path).map_err(file("remove", &note.path))?;
            }
        }
        Ok(())
    }
}

fn written(path: &Path, text: &str) -> io::Result<()> {
    // Whose it is would stay with a file that is there.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = fs::File::create_new(path)?;
    new.write_all(text.as_bytes())?;
    // Another user may push than the one that Ward runs as.
    new.set_permissions(fs::Permissions::from_mode(0o644))?;
    new.sync_all()
}

fn noted(path: &Path) -> io::Result<Note> {
    let meta = fs::symlink_metadata(path)?;
    let ends_with = |end: &str| path.extension().is_some_and(|found| found == end);
    let text = match ends_with(NEW) {
        true => Vec::new(),
        false => fs::read(path)?,
    };
    let tip = |line: &str| {
        let (commit, reference) = line.split_once(' ')?;
        Some(Tip {
            reference: reference.to_owned(),
            commit: CommitId::parse(commit).ok()?,
        })
    };
    Ok(Note {
        uid: meta.uid(),
        tips: String::from_utf8_lossy(&text)
            .lines()
            .filter_map(tip)
            .collect(),
        taken: ends_with(TAKEN),
        written: meta.modified()?,
        path: path.to_owned(),
    })
}
