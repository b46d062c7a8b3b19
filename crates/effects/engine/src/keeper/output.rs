//! What the application says, line by line, in its log file.
//!
//! The application is never made to wait for its log: what a full disk does not take is counted and told when
//! there is room again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use rustix::io::Errno;
use ward_types::keeper::LogSpec;

use super::mask::Masker;
use super::record;

/// A line that is longer is cut into several.
const MAX_LINE: usize = 16 * 1024;
/// Read at a time.
const CHUNK: usize = 16 * 1024;
/// Chunks read in one turn of the loop, so that a talkative application does not stop all else.
const TURN: usize = 64;

/// The log file.
pub(super) struct Log {
    file: Option<File>,
    path: PathBuf,
    size: u64,
    max: u64,
    lost: u64,
}

impl Log {
    /// Opens the file, at its end.
    pub(super) fn open(spec: &LogSpec) -> io::Result<Self> {
        let (file, size) = open(&spec.file)?;
        Ok(Self {
            file: Some(file),
            path: spec.file.clone(),
            size,
            max: spec.max_bytes,
            lost: 0,
        })
    }

    /// Appends whole lines.
    fn append(&mut self, lines: &[u8]) {
        if self.size > 0 && self.size + lines.len() as u64 > self.max {
            self.rotate();
        }
        if self.lost > 0 {
            let note = format!(
                "{} e ward: {} lines were lost here, because the log could not be written\n",
                record::now().0,
                self.lost
            );
            if self.write(note.as_bytes()).is_ok() {
                self.lost = 0;
            }
        }
        if self.write(lines).is_err() {
            self.lost += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let (file, size) = open(&self.path)?;
                self.size = size;
                self.file.insert(file)
            }
        };
        file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        // One that cannot be renamed grows on; losing it would be worse.
        if fs::rename(&self.path, &old).is_ok() {
            self.file = None;
            self.size = 0;
        }
    }
}

fn open(path: &PathBuf) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// One of the application's two streams.
pub(super) struct Stream {
    pub(super) pipe: OwnedFd,
    mark: u8,
    masker: Masker,
    partial: Vec<u8>,
}

/// What a stream has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// More may come.
    Open,
    /// Nothing more will come.
    Closed,
}

impl Stream {
    /// `mark` is `o` or `e`.
    pub(super) fn new(pipe: OwnedFd, mark: u8, masker: Masker) -> Self {
        Self {
            pipe,
            mark,
            masker,
            partial: Vec::new(),
        }
    }

    /// Takes what is there now.
    pub(super) fn take(&mut self, log: &mut Log) -> Flow {
        let mut chunk = vec![0; CHUNK];
        for _ in 0..TURN {
            match rustix::io::read(&self.pipe, &mut chunk[..]) {
                Ok(0) => return Flow::Closed,
                Ok(length) => {
                    let said = self.masker.feed(&chunk[..length]);
                    self.lines(&said, log);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Flow::Open,
                Err(_) => return Flow::Closed,
            }
        }
        Flow::Open
    }

    /// Takes all that is left, and the last line even if it has no end.
    pub(super) fn finish(&mut self, log: &mut Log) {
        while self.has_more() {
            if self.take(log) == Flow::Closed {
                break;
            }
        }
        let held = self.masker.finish();
        self.lines(&held, log);
        if !self.partial.is_empty() {
            let rest = std::mem::take(&mut self.partial);
            let mut text = Vec::with_capacity(rest.len() + 32);
            self.line(&rest, &mut text);
            log.append(&text);
        }
    }

    fn has_more(&self) -> bool {
        rustix::io::ioctl_fionread(&self.pipe).is_ok_and(|bytes| bytes > 0)
    }

    fn lines(&mut self, chunk: &[u8], log: &mut Log) {
        let mut text = Vec::with_capacity(chunk.len() + 256);
        for part in chunk.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(MAX_LINE) {
                self.partial.extend_from_slice(piece);
                if self.partial.ends_with(b"\n") || self.partial.len() >= MAX_LINE {
                    let mut line = std::mem::take(&mut self.partial);
                    self.line(line.strip_suffix(b"\n").unwrap_or(&line), &mut text);
                    line.clear();
                    self.partial = line;
                }
            }
        }
        if !text.is_empty() {
            log.append(&text);
        }
    }

    fn line(&self, line: &[u8], text: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = write!(text, "{} {} ", record::now().0, char::from(self.mark));
        text.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &tempfile::TempDir, max_bytes: u64) -> Log {
        Log::open(&LogSpec {
            file: dir.path().join("web.log"),
            max_bytes,
        })
        .unwrap()
    }

    fn texts(path: PathBuf) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect()
    }

    #[test]
    fn lines_are_joined_over_reads_and_the_last_needs_no_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, 1 << 20);
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let mut stream = Stream::new(reader, b'o', Masker::default());
        rustix::io::write(&writer, b"one\r\ntw").unwrap();
        assert_eq!(stream.take(&mut log), Flow::Open);
        rustix::io::write(&writer, b"o\n\nlast").unwrap();
        drop(writer);
        stream.finish(&mut log);
        assert_eq!(
            texts(dir.path().join("web.log")),
            ["o one", "o two", "o ", "o last"]
        );
    }

    #[test]
    fn a_long_line_is_cut_and_a_large_log_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(&dir, 20_000);
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let mut stream = Stream::new(reader, b'e', Masker::default());
        let long = [vec![b'x'; MAX_LINE + 10], b"\n".to_vec()].concat();
        stream.lines(&long, &mut log);
        stream.lines(b"after\n", &mut log);
        stream.lines(&long, &mut log);
        let lengths: Vec<usize> = texts(dir.path().join("web.log.1"))
            .iter()
            .map(String::len)
            .collect();
        assert_eq!(lengths, [MAX_LINE + 2, 12, 7]);
        assert_eq!(texts(dir.path().join("web.log")).len(), 2);
    }
}
