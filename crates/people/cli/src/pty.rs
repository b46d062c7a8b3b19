//! A pseudo-terminal between the caller's terminal and a program in a sandbox.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

/// Both ends, and the caller's terminal in raw mode until it is dropped.
pub(crate) struct Pty {
    outer: OwnedFd,
    inner: OwnedFd,
    _raw: RawMode,
}

impl Pty {
    /// Opens a pair of the caller's terminal's size.
    pub(crate) fn open() -> io::Result<Self> {
        let outer = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&outer)?;
        rustix::pty::unlockpt(&outer)?;
        let name = rustix::pty::ptsname(&outer, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inner = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
        fit(&outer);
        rustix::io::ioctl_fionbio(&outer, true)?;
        Ok(Self { outer, inner, _raw: RawMode::enter()? })
    }

    /// The end for the program.
    pub(crate) fn inner(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    /// Copies bytes between the two terminals until `ended` is ready, and what is left after that.
    pub(crate) async fn carry<T>(self, ended: impl Future<Output = T>) -> T {
        drop(self.inner); // The program alone holds its end now, so its end can be seen.
        let Ok(outer) = AsyncFd::register(self.outer) else {
            return ended.await;
        };
        let typed = std::thread::spawn({
            let copy = outer.get_ref().try_clone();
            move || copy.map(|fd| type_into(&fd))
        });
        drop(typed); // It ends with the process: a read of a terminal cannot be called off.
        let mut ended = std::pin::pin!(ended);
        let mut resized = signal(SignalKind::window_change()).ok();
        loop {
            tokio::select! {
                biased;
                shown = show(&outer) => if shown.is_err() {
                    return ended.await; // EIO: the program and all its children closed their end.
                },
                result = &mut ended => {
                    while matches!(tokio::time::timeout(std::time::Duration::from_millis(20), show(&outer)).await, Ok(Ok(()))) {}
                    return result;
                }
                () = next(&mut resized) => fit(outer.get_ref()),
            }
        }
    }
}

async fn next(resized: &mut Option<tokio::signal::unix::Signal>) {
    match resized {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

fn fit(outer: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let _ = tcsetwinsize(outer, size);
    }
}

fn type_into(outer: &OwnedFd) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = rustix::io::read(io::stdin(), &mut buffer[..]) {
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            match rustix::io::write(outer, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::AGAIN) => writable(outer),
                Err(_) => return,
            }
        }
    }
}

fn writable(outer: &OwnedFd) {
    let mut poll = [rustix::event::PollFd::new(outer, rustix::event::PollFlags::OUT)];
    let _ = rustix::event::poll(&mut poll, None);
}

async fn show(outer: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut guard = outer.readable().await?;
    let mut buffer = [0; 8192];
    match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut buffer[..])?)) {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(read)) => write_all(&buffer[..read]),
        Ok(Err(error)) => Err(error),
        Err(_would_block) => Ok(()),
    }
}

fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::write(io::stdout(), bytes)?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// The caller's terminal in raw mode; dropping it restores what was before.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
