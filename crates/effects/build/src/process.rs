//! Programs that a build runs: in a process group of their own, so that what they start ends with them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

use crate::{Error, Result, SOURCE_DATE_EPOCH, orphans};

/// What a program gets of Ward's environment: what it needs to be found, to find its tools and the
/// network. Everything else stays out, because secrets live in environment variables.
const INHERITED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "CARGO_HTTP_PROXY",
    "CARGO_HTTP_CAINFO",
    "CARGO_NET_OFFLINE",
    "CARGO_NET_GIT_FETCH_WITH_CLI",
];

/// A line longer than so many bytes is cut into several.
const LINE: usize = 1 << 20;

/// So many of the last lines go into the error of a program that failed.
const TAIL: usize = 20;

/// How long a pipe may stay open after its program has ended and its group was killed.
const LINGER: Duration = Duration::from_secs(5);

/// What takes lines while a program runs.
pub(crate) type Lines<'a> = &'a (dyn Fn(String) + Send + Sync);

/// A line that a program wrote, or a piece of one that is longer than 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What it says, without the line break.
    pub text: String,
    /// Whether the line begins with it; otherwise it continues the piece before.
    pub begins: bool,
    /// Whether the line ends with it.
    pub ends: bool,
}

/// What takes lines, and can tell those that were cut.
pub(crate) type Pieces<'a> = &'a (dyn Fn(Piece) + Send + Sync);

/// A program to run.
pub(crate) struct Step<'a> {
    pub(crate) program: &'a str,
    pub(crate) args: Vec<OsString>,
    pub(crate) dir: &'a Path,
    pub(crate) env: Vec<(&'static str, PathBuf)>,
}

impl Step<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        let inherited = INHERITED
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        command
            .args(&self.args)
            .current_dir(self.dir)
            .env_clear()
            .envs(inherited);
        command.env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH.to_string());
        command.envs([
            ("TERM", "dumb"),
            ("NO_COLOR", "1"),
            ("CARGO_TERM_COLOR", "never"),
        ]);
        command.envs([orphans::mark()]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command.process_group(0).kill_on_drop(true);
        command
    }

    /// The command as it can be pasted into a shell.
    fn text(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy());
        let words = std::iter::once(self.program.into()).chain(args);
        let words = words.map(|word| quoted(&word));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Runs the program to its end. Dropping the future kills its process group.
    pub(crate) async fn run(&self, lines: Lines<'_>) -> Result<()> {
        self.run_fed(Stdio::null(), lines).await
    }

    /// The same, with something to read.
    pub(crate) async fn run_fed(&self, stdin: Stdio, lines: Lines<'_>) -> Result<()> {
        self.run_told(stdin, &|piece| lines(piece.text)).await
    }

    /// The same, where it matters which lines were cut.
    pub(crate) async fn run_told(&self, stdin: Stdio, pieces: Pieces<'_>) -> Result<()> {
        // One pipe for both streams: of two, nobody could tell which line was written first.
        let pipe = std::io::pipe().and_then(|(reader, writer)| {
            let reader = Receiver::from_owned_fd(reader.into())?;
            Ok((reader, writer.try_clone()?, writer))
        });
        let (reader, stdout, stderr) = pipe.map_err(|source| self.not_started(source))?;
        let mut command = self.command();
        command.stdin(stdin).stdout(stdout).stderr(stderr);
        let child = self.spawn(command)?;
        let tail = Tail::default();
        let output = read_lines(Some(reader), |piece| {
            tail.push(&piece.text);
            pieces(piece);
        });
        let status = self.ended(child, output).await?;
        self.verdict(status, tail)
    }

    /// The same for a program whose standard output is data. The lines of the two streams come in no order.
    pub(crate) async fn run_apart(&self, stdout: Lines<'_>, stderr: Lines<'_>) -> Result<()> {
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.spawn(command)?;
        let tail = Tail::default();
        let out = read_lines(child.stdout.take(), |piece| {
            stdout(piece.text);
        });
        let err = read_lines(child.stderr.take(), |piece| {
            tail.push(&piece.text);
            stderr(piece.text);
        });
        let pipes = async {
            tokio::join!(out, err);
        };
        let status = self.ended(child, pipes).await?;
        self.verdict(status, tail)
    }

    /// Takes the command, and with it our copies of the pipe's ends, which would keep it open.
    fn spawn(&self, mut command: Command) -> Result<Child> {
        command.spawn().map_err(|source| self.not_started(source))
    }

    fn not_started(&self, source: std::io::Error) -> Error {
        Error::Start {
            program: self.program.to_owned(),
            dir: self.dir.to_owned(),
            source,
        }
    }

    async fn ended(&self, mut child: Child, pipes: impl Future<Output = ()>) -> Result<ExitStatus> {
        let group = Group::of(&child);
        let status = end(&mut child, group, pipes).await;
        status.map_err(Error::file("wait for the program in", self.dir))
    }

    fn verdict(&self, status: ExitStatus, tail: Tail) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            command: self.text(),
            status: status.to_string().replacen(": ", " ", 1),
            output: tail.lines(),
        })
    }
}

/// A word as a POSIX shell reads it back (XCU 2.2.2): bare where nothing in it is special.
fn quoted(word: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(bare) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Waits for the program, then for its output. What it left behind in its group is killed in between: it
/// may hold the pipes open for ever.
async fn end(
    child: &mut Child,
    group: Group,
    pipes: impl Future<Output = ()>,
) -> std::io::Result<ExitStatus> {
    let mut pipes = std::pin::pin!(pipes);
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = &mut pipes, if open => open = false,
        }
    };
    drop(group);
    if open && tokio::time::timeout(LINGER, pipes).await.is_err() {
        tracing::warn!("a program that a build started still holds its output open");
    }
    status
}

/// The process group of a running program; dropping it kills the group.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // ESRCH: nothing of it is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The last lines of an output.
#[derive(Default)]
struct Tail(Mutex<VecDeque<String>>);

impl Tail {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn lines(self) -> Vec<String> {
        self.0
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into()
    }
}

async fn read_lines(pipe: Option<impl AsyncRead + Unpin>, take: impl Fn(Piece)) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut begins = true;
    while let Ok(chunk) = reader.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(chunk.len(), |end| end + 1);
        line.extend_from_slice(&chunk[..length]);
        reader.consume(length);
        let ends = end.is_some();
        if ends || line.len() >= LINE {
            let text = text(&line);
            take(Piece { text, begins, ends });
            line.clear();
            begins = ends;
        }
    }
    if !line.is_empty() {
        let text = text(&line);
        let ends = true;
        take(Piece { text, begins, ends });
    }
}

/// A line as it would stand on a terminal in the end: a carriage return begins it anew.
fn text(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    text.rsplit('\r').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{LINE, Piece, quoted, read_lines};

    #[tokio::test]
    async fn the_pieces_of_a_line_are_known_as_such() {
        let of = async |text: &str| {
            let pieces = RefCell::new(Vec::new());
            read_lines(Some(text.as_bytes()), |piece: Piece| {
                pieces
                    .borrow_mut()
                    .push((piece.text.len(), piece.begins, piece.ends));
            })
            .await;
            pieces.into_inner()
        };
        let two = "A".repeat(LINE + 5);
        let cut = [(LINE, true, false), (5, false, true)];
        assert_eq!(of("one\ntwo").await, [(3, true, true); 2]);
        assert_eq!(of(&two).await, cut);
        let more = of(&format!("{two}\none\n")).await;
        assert_eq!(more, [&cut[..], &[(3, true, true)]].concat());
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        for bare in ["sh", "-c", "--config=a.b", "./build.sh", "a@1:2,3"] {
            assert_eq!(quoted(bare), bare);
        }
        for (word, shown) in [
            ("", "''"),
            ("echo compiling; exit 3", "'echo compiling; exit 3'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("~", "'~'"),
        ] {
            assert_eq!(quoted(word), shown);
            let script = format!("printf %s {shown}");
            let said = std::process::Command::new("sh")
                .args(["-c", &script])
                .output();
            assert_eq!(said.unwrap().stdout, word.as_bytes(), "{shown}");
        }
    }
}
