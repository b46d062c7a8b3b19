//! What is read from files, and read again when they change.
//!
//! 1. Files count as changed when another file is there, or its time or size are others.
//! 2. What cannot be read leaves what was read before in use. Who exchanges two files exchanges one first, so it is
//!    read a second time, at the next look, before anybody is told.
//!    A gateway that takes over is handed what its predecessor still uses in that way.
//! 3. What can be read and has a fault does not take the place of what has none.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

/// What makes a file this one and not another: device, inode, size, and the times of its content and of itself.
type Stamp = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Another value is in use from now on.
    Changed,
    /// What is there cannot be used, since now.
    Refused,
    /// Nothing new.
    Same,
}

/// A value of files.
pub(crate) struct Renewed<T> {
    files: Vec<PathBuf>,
    stamps: Vec<Stamp>,
    value: Option<Arc<T>>,
    doubt: bool,
    problem: Option<String>,
}

impl<T> Renewed<T> {
    /// Nothing yet of `files`, or what was read from them `before`.
    pub(crate) fn new(files: Vec<PathBuf>, before: Option<T>) -> Self {
        Self {
            files,
            stamps: Vec::new(),
            value: before.map(Arc::new),
            doubt: false,
            problem: None,
        }
    }

    /// What is in use.
    pub(crate) fn value(&self) -> Option<&Arc<T>> {
        self.value.as_ref()
    }

    /// Why what is in the files is not in use.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Looks at the files, and reads them by `read` if they have changed; `fault` says what is wrong with a value.
    pub(crate) fn look(
        &mut self,
        read: impl FnOnce() -> Result<T, String>,
        fault: impl Fn(&T) -> Option<String>,
    ) -> Look {
        // Before it is read: what changes meanwhile is seen at the next look.
        let stamps: Vec<Stamp> = self.files.iter().map(stamp).collect();
        if stamps == self.stamps && !self.doubt {
            return Look::Same;
        }
        let read = read().map(|value| (fault(&value), value));
        match read {
            Ok((flaw, value)) if flaw.is_none() || !self.is_good(&fault) => {
                self.value = Some(Arc::new(value));
                self.settle(stamps, None);
                Look::Changed
            }
            Ok((Some(problem), _)) | Err(problem) if self.doubt || self.value.is_none() => {
                self.settle(stamps, Some(problem));
                Look::Refused
            }
            _ => {
                self.doubt = true;
                Look::Same
            }
        }
    }

    fn is_good(&self, fault: impl Fn(&T) -> Option<String>) -> bool {
        self.value
            .as_ref()
            .is_some_and(|value| fault(value).is_none())
    }

    fn settle(&mut self, stamps: Vec<Stamp>, problem: Option<String>) {
        self.stamps = stamps;
        self.doubt = false;
        self.problem = problem;
    }
}

fn stamp(file: &PathBuf) -> Stamp {
    let about = std::fs::metadata(file).ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.size(),
        (about.mtime(), about.mtime_nsec()),
        (about.ctime(), about.ctime_nsec()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(path: &PathBuf) -> Result<u32, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        text.trim()
            .parse()
            .map_err(|_| format!("{text} is no number"))
    }

    fn odd(number: &u32) -> Option<String> {
        (number % 2 == 1).then(|| format!("{number} is odd"))
    }

    struct Looked {
        renewed: Renewed<u32>,
        file: PathBuf,
        _folder: tempfile::TempDir,
    }

    impl Looked {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("number");
            std::fs::write(&file, text).unwrap();
            Self {
                renewed: Renewed::new(vec![file.clone()], None),
                file,
                _folder: folder,
            }
        }

        /// As people should: beside it, then in its place.
        fn write(&self, text: &str) {
            let beside = self.file.with_extension("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, &self.file).unwrap();
        }

        fn look(&mut self) -> (Look, Option<u32>, Option<&str>) {
            let file = self.file.clone();
            let look = self.renewed.look(|| number(&file), odd);
            (
                look,
                self.renewed.value().map(|v| **v),
                self.renewed.problem(),
            )
        }
    }

    #[test]
    fn a_changed_file_is_read_and_an_unchanged_one_is_not() {
        let mut looked = Looked::new("2");
        assert_eq!(looked.look(), (Look::Changed, Some(2), None));
        assert_eq!(looked.look(), (Look::Same, Some(2), None));
        looked.write("4");
        assert_eq!(looked.look(), (Look::Changed, Some(4), None));
        let reading = || panic!("it was read");
        assert_eq!(looked.renewed.look(reading, odd), Look::Same);
    }

    #[test]
    fn what_cannot_be_used_is_told_at_the_second_look_and_what_was_stays() {
        let mut looked = Looked::new("2");
        looked.look();
        for (bad, why) in [("x", "x is no number"), ("3", "3 is odd")] {
            looked.write(bad);
            assert_eq!(looked.look(), (Look::Same, Some(2), None));
            assert_eq!(looked.look(), (Look::Refused, Some(2), Some(why)));
            assert_eq!(looked.look(), (Look::Same, Some(2), Some(why)));
            looked.write("2");
            assert_eq!(looked.look(), (Look::Changed, Some(2), None));
        }
        std::fs::remove_file(&looked.file).unwrap();
        looked.look();
        let (look, value, problem) = looked.look();
        assert_eq!((look, value), (Look::Refused, Some(2)));
        assert!(problem.unwrap().contains("No such file"));
    }

    #[test]
    fn what_is_exchanged_in_two_steps_is_never_a_problem() {
        let mut looked = Looked::new("2");
        looked.look();
        looked.write("");
        assert_eq!(looked.look(), (Look::Same, Some(2), None));
        looked.write("6");
        assert_eq!(looked.look(), (Look::Changed, Some(6), None));
    }

    #[test]
    fn where_there_is_nothing_better_what_has_a_fault_is_used() {
        let mut looked = Looked::new("x");
        assert_eq!(looked.look(), (Look::Refused, None, Some("x is no number")));
        looked.write("3");
        assert_eq!(looked.look(), (Look::Changed, Some(3), None));
        looked.write("5");
        assert_eq!(looked.look(), (Look::Changed, Some(5), None));
        looked.write("8");
        assert_eq!(looked.look(), (Look::Changed, Some(8), None));
        looked.write("7");
        looked.look();
        assert_eq!(looked.look(), (Look::Refused, Some(8), Some("7 is odd")));
    }
}
