//! Commits: what the folder of a stack file was made of, repositories that are looked at and copied, and checkouts.
//!
//! It starts the program `git`, each time with an environment of its own: no settings of the user or the machine, no
//! prompts, no hooks, and of transports only files, HTTPS and SSH. Each run has a deadline, and what it says is read
//! up to a limit. Submodules and files of Git LFS are not fetched: a checkout has empty folders and pointers there.

mod address;
mod credentials;
mod error;
mod folder;
mod notes;
mod process;
mod repository;

pub use address::{Address, branch, folder, tags};
pub use credentials::Credentials;
pub use error::{Error, Result};
pub use folder::{Revision, provenance};
pub use notes::Note;
pub use process::{INSTALL, is_installed};
pub use repository::{Commits, Repository, Tip};
