//! The value of a secret: from a pipe, from an editor, or typed without being shown. Never from an argument, which
//! every user of the machine can read, and which the shell writes down.

use std::fs;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use ward_types::secret::Secret;
use zeroize::Zeroizing;

use crate::commands::Trouble;

/// Nothing that is longer is read.
const LONGEST: u64 = 4 << 20;

/// What becomes of a line's end behind a value, which `echo` and editors add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// One is taken off.
    TakenOff,
    /// It belongs to the value.
    Kept,
}

/// Asks for a value.
pub(crate) fn ask(name: &str, end: LineEnd) -> Result<Secret, Trouble> {
    let text = match (std::io::stdin().is_terminal(), editor()) {
        (false, _) => piped()?,
        (true, Some(editor)) => edited(&editor)?,
        (true, None) => typed(name)?,
    };
    let text = match end {
        LineEnd::TakenOff => without_line_end(&text),
        LineEnd::Kept => &text,
    };
    Ok(Secret::new(text.to_owned()))
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// All of standard input.
pub(crate) fn piped() -> Result<Zeroizing<String>, Trouble> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_end(&mut bytes);
    read.map_err(|error| failed(&format!("standard input cannot be read: {error}")))?;
    text(&bytes)
}

fn text(bytes: &[u8]) -> Result<Zeroizing<String>, Trouble> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Trouble::failure(
            "the value is not UTF-8 text".to_owned(),
            Some("encode it, in base64 for instance, and let the application decode it".to_owned()),
        )),
    }
}

fn failed(message: &str) -> Trouble {
    Trouble::failure(message.to_owned(), None)
}

fn editor() -> Option<String> {
    let set = ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    set.into_iter().find(|command| !command.trim().is_empty())
}

/// Lets an editor write a file on a memory file system, of this user alone, which is removed in any case.
fn edited(editor: &str) -> Result<Zeroizing<String>, Trouble> {
    let folder = Folder::make()?;
    let path = folder.0.join("value");
    fs::File::create_new(&path)
        .map_err(|error| failed(&format!("cannot make {}: {error}", path.display())))?;
    let ran = Command::new("/bin/sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(&path)
        .status();
    let ran = ran.map_err(|error| failed(&format!("the editor cannot be run: {error}")))?;
    if !ran.success() {
        return Err(failed(&format!(
            "the editor ended with {ran}; nothing was changed"
        )));
    }
    let bytes = fs::read(&path).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| failed(&format!("cannot read what was edited: {error}")))?;
    text(&bytes)
}

/// A private folder in memory; with it goes what the editor left beside the file.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Trouble> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = own
            .into_iter()
            .chain([PathBuf::from("/dev/shm"), std::env::temp_dir()]);
        let above = places.into_iter().find(|place| place.is_dir());
        let above = above.unwrap_or_else(|| Path::new("/tmp").to_owned());
        let path = above.join(format!("ward-secret-{}", std::process::id()));
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)));
        made.map_err(|error| failed(&format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One line from the terminal, which does not show it.
fn typed(name: &str) -> Result<Zeroizing<String>, Trouble> {
    let _ = write!(anstream::stderr(), "Value of {name}, which is not shown: ");
    let terminal = std::io::stdin();
    let before = tcgetattr(&terminal).map_err(|error| failed(&error.to_string()))?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &silent)
        .map_err(|error| failed(&error.to_string()))?;
    let mut line = Zeroizing::new(String::new());
    let read = terminal.read_line(&mut line);
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    let _ = writeln!(anstream::stderr());
    read.map_err(|error| failed(&format!("the terminal cannot be read: {error}")))?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_taken_off() {
        for (text, value) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a", "a"),
            ("\n", ""),
        ] {
            assert_eq!(without_line_end(text), value);
        }
    }
}
