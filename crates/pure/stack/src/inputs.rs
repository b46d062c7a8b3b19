//! What a stack file names beside itself for its builds. Whether that is there is I/O, so others find out; here is
//! where each of them stands in the file, and what a mistake about it looks like.

use crate::mistake::{Code, Mistake, Span};
use crate::suggest;
use crate::tree::Table;
use crate::value::quote;

/// The kind of thing that a build takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InputKind {
    /// A package of the Cargo workspace beside the file, with a binary.
    Package,
    /// A Dockerfile, relative to the stack's folder.
    Dockerfile,
    /// A file or folder that no command makes, relative to the stack's folder.
    File,
    /// The program that makes the files: a name to look for in `PATH`, or a path from the stack's folder.
    Program,
}

impl InputKind {
    fn code(self) -> Code {
        match self {
            InputKind::Package => Code::NoPackage,
            InputKind::Dockerfile => Code::NoDockerfile,
            InputKind::File => Code::NoFile,
            InputKind::Program => Code::NoProgram,
        }
    }
}

/// One thing that a build takes, and where the file names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Input {
    pub(crate) span: Span,
    /// What it is.
    pub kind: InputKind,
    /// The name that the file gives.
    pub name: String,
}

impl Input {
    /// Its name to put into a message.
    #[must_use]
    pub fn shown(&self) -> String {
        quote(&self.name)
    }

    /// The mistake when it is not there: `message` says that, `expected` what would be right, as a noun phrase.
    /// Of `there` the one that was probably meant is suggested.
    #[must_use]
    pub fn absent<'a>(
        &self,
        message: impl Into<String>,
        expected: impl Into<String>,
        there: impl IntoIterator<Item = &'a str>,
    ) -> Mistake {
        Mistake::at(self.span, self.kind.code(), message)
            .note("not there")
            .expected(expected)
            .mean(suggest::closest(&self.name, there))
    }
}

/// What the builds of one environment take, in the order of the file.
pub(crate) fn of(env: &Table) -> Vec<Input> {
    let builds = env
        .tables("service")
        .filter_map(|(_, _, service)| service.table("build"));
    let mut inputs: Vec<Input> = builds.flat_map(of_build).collect();
    inputs.sort();
    inputs.dedup();
    inputs
}

fn of_build(build: &Table) -> Vec<Input> {
    let input = |kind| {
        move |(name, span): (&str, Span)| Input {
            span,
            kind,
            name: name.to_owned(),
        }
    };
    if let Some(program) = build.texts("command").next() {
        // What it makes cannot be there yet.
        return vec![input(InputKind::Program)(program)];
    }
    let package = build.text("cargo").map(input(InputKind::Package));
    let dockerfile = build.text("dockerfile").map(input(InputKind::Dockerfile));
    let files = build.texts("files").map(input(InputKind::File));
    package.into_iter().chain(dockerfile).chain(files).collect()
}
