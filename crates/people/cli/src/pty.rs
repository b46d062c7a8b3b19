//! A pseudo-terminal between the caller's terminal and a program in a sandbox.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How long the last words of a program may take to arrive, when something that it left behind still has
/// its terminal open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Both ends, and the caller's terminal in raw mode until it is dropped.
pub(crate) struct Pty {
    outer: Arc<OwnedFd>,
    inner: OwnedFd,
    _raw: RawMode,
}

impl Pty {
    /// Opens a pair of the caller's terminal's size.
    pub(crate) fn open() -> io::Result<Self> {
        let outer =
            rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&outer)?;
        rustix::pty::unlockpt(&outer)?;
        let name = rustix::pty::ptsname(&outer, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let inner = rustix::fs::open(name.as_c_str(), flags, Mode::empty())?;
        fit(&outer);
        Ok(Self {
            outer: Arc::new(outer),
            inner,
            _raw: RawMode::enter()?,
        })
    }

    /// The end for the program.
    pub(crate) fn inner(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    /// Copies bytes between the two terminals until `ended` is ready, and what is left after that.
    pub(crate) async fn carry<T>(self, ended: impl Future<Output = T>) -> T {
        drop(self.inner); // The program alone holds its end now, so its end can be seen.
        // Threads, because a read of a terminal blocks; they end with the process at the latest.
        let (typed, shown) = (self.outer.clone(), self.outer.clone());
        std::thread::spawn(move || copy(io::stdin(), &*typed));
        let (said, silence) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            copy(&*shown, io::stdout());
            drop(said);
        });
        let mut ended = std::pin::pin!(ended);
        let mut resized = signal(SignalKind::window_change()).ok();
        let result = loop {
            tokio::select! {
                result = &mut ended => break result,
                () = next(&mut resized) => fit(&self.outer),
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, silence).await;
        result
    }
}

/// Copies until either side ends; the program's end of its terminal shows as EIO.
fn copy(from: impl AsFd, to: impl AsFd) {
    let mut buffer = [0; 8192];
    while let Ok(read @ 1..) = rustix::io::read(&from, &mut buffer[..]) {
        let mut rest = &buffer[..read];
        while !rest.is_empty() {
            match rustix::io::write(&to, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}

async fn next(resized: &mut Option<Signal>) {
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
