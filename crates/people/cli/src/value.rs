//! The value of a secret: from a pipe, from an editor, or typed without being shown. Never from an argument, which
//! every user of the machine can read, and which the shell writes down.

use std::fs;
use std::io::{IsTerminal as _, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal as Kill, kill_process};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use ward_types::secret::Secret;
use zeroize::Zeroizing;

use crate::commands::Trouble;
use crate::printer::Status;

/// Nothing that is longer is read, in bytes: all values of an environment together have 256 KiB at the most, and however they are
/// escaped on their way to the server a call has room for so many.
const LONGEST: usize = 320 << 10;

/// What becomes of a line's end behind a value, which `echo` and editors add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnd {
    /// One is taken off.
    TakenOff,
    /// It belongs to the value.
    Kept,
}

/// A value that was asked for.
pub(crate) struct Asked {
    pub(crate) value: Secret,
    /// From the first question at a terminal on, signals end nothing by themselves.
    pub(crate) signals: Option<Signals>,
}

/// Asks for a value.
pub(crate) async fn ask(name: &str, end: LineEnd) -> Result<Asked, Trouble> {
    let (text, signals) = match std::io::stdin().is_terminal() {
        false => (piped()?, None),
        true => {
            let mut signals = Signals::listen()?;
            let text = match editor() {
                Some(editor) => edited(&editor, &mut signals).await?,
                None => typed(name, &mut signals).await?,
            };
            (text, Some(signals))
        }
    };
    let text = match end {
        LineEnd::TakenOff => without_line_end(&text),
        LineEnd::Kept => &text,
    };
    let value = Secret::new(text.to_owned());
    Ok(Asked { value, signals })
}

/// What would end the program at once, and leave a terminal that shows nothing, or a value in a file.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Trouble> {
        let listen = |kind| {
            signal(kind).map_err(|error| failed(&format!("signals cannot be heard: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for any of them: how the program ends by it, as a shell says.
    pub(crate) async fn any(&mut self) -> Status {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            status = ended(&mut self.terminate, &mut self.hang_up) => status,
        }
    }

    /// Waits for any but Ctrl-C, which means something else then.
    pub(crate) async fn but_interrupt(&mut self) -> Status {
        ended(&mut self.terminate, &mut self.hang_up).await
    }
}

/// What a shell says of what SIGINT ended.
const INTERRUPTED: Status = Status::Program(130);

async fn ended(terminate: &mut Signal, hang_up: &mut Signal) -> Status {
    tokio::select! {
        _ = terminate.recv() => Status::Program(143),
        _ = hang_up.recv() => Status::Program(129),
    }
}

fn stopped(status: Status) -> Trouble {
    failed("no value was given; nothing was changed").ending_with(status)
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// All of standard input.
pub(crate) fn piped() -> Result<Zeroizing<String>, Trouble> {
    let bytes = read_whole(std::io::stdin().lock());
    let bytes =
        bytes.map_err(|error| failed(&format!("standard input cannot be read: {error}")))?;
    text(&bytes, "standard input")
}

/// All of a file.
pub(crate) fn of_file(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let unread = |error: std::io::Error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Trouble::failure(message, Some("nothing was changed".to_owned()))
    };
    let opened = fs::File::open(path).map_err(unread)?;
    let bytes = read_whole(opened).map_err(unread)?;
    text(&bytes, &path.display().to_string())
}

/// All of it, or more than may be there.
fn read_whole(from: impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(LONGEST as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: &[u8], from: &str) -> Result<Zeroizing<String>, Trouble> {
    if bytes.len() > LONGEST {
        return Err(Trouble::failure(
            format!(
                "{from} has more than {} KiB; nothing was changed",
                LONGEST >> 10
            ),
            Some(
                "one value has 32 KiB at the most; what is longer is a file, on a volume"
                    .to_owned(),
            ),
        ));
    }
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
async fn edited(editor: &str, signals: &mut Signals) -> Result<Zeroizing<String>, Trouble> {
    let folder = Folder::make()?;
    let path = folder.0.join("value");
    fs::File::create_new(&path)
        .map_err(|error| failed(&format!("cannot make {}: {error}", path.display())))?;
    let unrun = |error| failed(&format!("the editor cannot be run: {error}"));
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(&path)
        .spawn()
        .map_err(unrun)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let mut interrupted = false;
    let ran = loop {
        tokio::select! {
            biased;
            // The editor got it too, and many go on: what counts is how it ends.
            _ = signals.interrupt.recv() => interrupted = true,
            status = ended(&mut signals.terminate, &mut signals.hang_up) => {
                if let Some(pid) = pid.and_then(Pid::from_raw) {
                    // It may have ended just now.
                    let _ = kill_process(pid, Kill::TERM);
                }
                return Err(stopped(status));
            }
            ran = child.wait() => break ran.map_err(unrun)?,
        }
    };
    // Its end may be known before the signal is.
    interrupted |= ran.signal() == Some(Kill::INT.as_raw());
    match (ran.success(), interrupted) {
        (true, _) => {}
        (false, true) => return Err(stopped(INTERRUPTED)),
        (false, false) => {
            let message = format!("the editor ended with {ran}; nothing was changed");
            return Err(failed(&message));
        }
    }
    let bytes = fs::read(&path).map(Zeroizing::new);
    let bytes = bytes.map_err(|error| failed(&format!("cannot read what was edited: {error}")))?;
    text(&bytes, "what was written")
}

/// A private folder in memory; with it goes what the editor left beside the file.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Trouble> {
        let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = own
            .into_iter()
            .chain([PathBuf::from("/dev/shm"), std::env::temp_dir()]);
        let above = in_memory(places)?;
        let path = above.join(format!("ward-secret-{}", std::process::id()));
        let made = fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)));
        made.map_err(|error| failed(&format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

/// The first of these folders that is in memory. A disk keeps what was removed from it.
fn in_memory(mut places: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Trouble> {
    let found = places.find(|place| place.is_dir() && is_in_memory(place));
    found.ok_or_else(|| {
        let message = "there is no folder in memory for the editor's file, and on a disk the value would stay";
        let hint = "pipe it in: `ward secret set NAME < FILE`; or type it: `env -u VISUAL -u EDITOR ward secret set NAME`";
        Trouble::failure(message.to_owned(), Some(hint.to_owned()))
    })
}

/// By the numbers that Linux gives file systems (statfs(2)): tmpfs, ramfs.
fn is_in_memory(place: &Path) -> bool {
    let known = rustix::fs::statfs(place);
    known.is_ok_and(|known| matches!(known.f_type, 0x0102_1994 | 0x8584_58f6))
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One line from the terminal, which does not show it.
async fn typed(name: &str, signals: &mut Signals) -> Result<Zeroizing<String>, Trouble> {
    let _ = write!(anstream::stderr(), "Value of {name}, which is not shown: ");
    let silent = Silent::enter().map_err(|error| failed(&error.to_string()))?;
    let (said, line) = oneshot::channel();
    // A thread, because a read of a terminal blocks; it ends with the process at the latest.
    std::thread::spawn(move || {
        let mut line = Zeroizing::new(String::new());
        let read = std::io::stdin().read_line(&mut line);
        let _ = said.send(read.map(|_| line));
    });
    let read = tokio::select! {
        read = line => Ok(read),
        status = signals.any() => Err(stopped(status)),
    };
    drop(silent);
    let _ = writeln!(anstream::stderr());
    let unread =
        |error: &dyn std::fmt::Display| failed(&format!("the terminal cannot be read: {error}"));
    let read = read?.map_err(|error| unread(&error))?;
    read.map_err(|error| unread(&error))
}

/// The terminal does not show what is typed; dropping it restores what was before.
struct Silent {
    before: Termios,
}

impl Silent {
    fn enter() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_written_where_it_stays() {
        let on_disk = || [PathBuf::from("/proc"), PathBuf::from("/nowhere")].into_iter();
        assert!(in_memory(on_disk()).is_err());
        let shared = PathBuf::from("/dev/shm");
        if is_in_memory(&shared) {
            let places = on_disk().chain([shared.clone()]);
            assert_eq!(in_memory(places).ok(), Some(shared));
        }
    }

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
