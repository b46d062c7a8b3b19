//! Reads a stack file (`ward.toml`) and says everything that is wrong with it. Pure.
//!
//! The file's text comes in as a `&str` with the name to show for it; whether the folders and files
//! that it names exist is for others to find out.

mod mistake;
mod stack;
mod suggest;

pub use mistake::{CODES, Code, Label, Mistake, Span};
pub use stack::{DEFAULT_ENVIRONMENT, Stack};

/// The most that a stack file may hold, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// What a stack file says.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The stack; `None` when there is any mistake, so that nothing is ever changed by a file that
    /// has one.
    pub stack: Option<Stack>,
    /// Everything that is wrong, in the order of the file.
    pub mistakes: Vec<Mistake>,
}
