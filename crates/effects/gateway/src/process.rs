//! The gateway's process.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::limits::Limits;

/// What a gateway is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The state folder.
    pub home: PathBuf,
    /// How many worker threads; `None`: one per core.
    pub workers: Option<NonZeroUsize>,
    /// How much a client may take.
    pub limits: Limits,
}

impl Options {
    /// The usual gateway of the state folder `home`.
    #[must_use]
    pub fn new(home: PathBuf) -> Self {
        Self {
            home,
            workers: None,
            limits: Limits::default(),
        }
    }
}

/// Runs a gateway until it is told to quit. Blocks. Descriptor 0 must be a Unix socket on which the two
/// listening sockets come, as [`crate::spawn`] sends them. Exit status 0 after `Quit` or SIGTERM, 2 when it
/// could not start.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let _ = options;
    ExitCode::from(2)
}
