//! Reads a stack file (`ward.toml`) and says everything that is wrong with it. Pure.
//!
//! The file's text comes in as a `&str` with the name to show for it; whether the folders and files
//! that it names exist is for others to find out ([`Stack::inputs`] says which and where).
//!
//! The way of a file: `syntax` makes the text a tree, `shape` compares each key and value with the
//! one table of `keys`, `overrides` lays each environment over the stack, `fit` looks whether the
//! parts fit each other, `decode` makes the specs. Each step says all that it finds and none stops the
//! next. A mistake in what was read in part could be a consequence of another one; those are left out.

mod decode;
mod fit;
mod inputs;
mod installation;
mod keys;
mod kind;
mod lines;
mod mistake;
mod overrides;
mod pipelines;
mod place;
mod reading;
mod reference;
mod report;
mod schedule;
mod secret;
mod shape;
mod sharing;
mod stack;
mod suggest;
mod syntax;

mod tree;
mod value;
mod variable;
mod volume;

pub use inputs::{Input, InputKind};
pub use installation::{Installation, installation};
pub use keys::{KEYS, Key, Need, Scope};
pub use kind::{Kind, Rule};
pub use mistake::{CODES, Code, Label, Mistake, Span};
pub use place::violations;
pub use reading::{MAX_BYTES, MOST_MISTAKES, Reading, read, too_large};
pub use reference::{EXAMPLE, reference};
pub use report::{Look, render, views};
pub use stack::{DEFAULT_ENVIRONMENT, Stack};
pub use suggest::closest;
pub use variable::{WrongVariable, database_variable, variable};
pub use ward_types::view::{LabelView, MistakeView};
