//! What is deployed: one application in Rust, one in Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ward_types::id::ReleaseId;

use crate::clerk;
use crate::error::Error;
use crate::load::{KeepAlive, Load, Target};
use crate::measure::under_load;
use crate::ward::{Ward, replace};
use crate::workshop::Workshop;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// examples/returns.
    Returns,
    /// A small one in Python, that says in each answer which mark it was deployed with.
    Clerk,
}

/// An application that is moved between releases.
pub(super) struct Application {
    kind: Kind,
    folder: PathBuf,
    /// What distinguishes one release from the next.
    mark: u32,
    /// The mark that each release answered with.
    marks: BTreeMap<ReleaseId, u32>,
}

impl Application {
    pub(super) fn returns(ward: &Ward) -> Self {
        Self::new(Kind::Returns, ward.stack().to_owned())
    }

    pub(super) fn clerk(workshop: &Workshop) -> Result<Self, Error> {
        let folder = workshop.folder("clerk")?;
        clerk::make(&folder)?;
        Ok(Self::new(Kind::Clerk, folder))
    }

    fn new(kind: Kind, folder: PathBuf) -> Self {
        Self {
            kind,
            folder,
            mark: 0,
            marks: BTreeMap::new(),
        }
    }

    /// Where its stack file is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stack's name, with which its environment's begins.
    pub(super) fn stack(&self) -> &'static str {
        match self.kind {
            Kind::Returns => "returns",
            Kind::Clerk => "clerk",
        }
    }

    /// Requests of many kinds.
    pub(super) async fn load(&self, ward: &Ward) -> Result<Load, Error> {
        match self.kind {
            Kind::Returns => {
                let target = Target::of(ward, under_load::HOST).await?;
                Load::returns_for_long(&target).await
            }
            Kind::Clerk => Ok(Load::page(
                self.stack(),
                &Target::of(ward, clerk::HOST).await?,
            )),
        }
    }

    /// Makes the stack file another one, so that a deploy has something to do.
    pub(super) fn change(&mut self) -> Result<(), Error> {
        let next = self.mark + 1;
        match self.kind {
            Kind::Clerk => clerk::write(&self.folder, &[("MARK", &next.to_string())], "")?,
            Kind::Returns => {
                let (old, new) = (returns_variables(self.mark), returns_variables(next));
                replace(&self.folder.join("ward.toml"), &old, &new)?;
            }
        }
        self.mark = next;
        Ok(())
    }

    /// Whether what answers is this release; else why not. examples/returns does not say which it is.
    pub(super) async fn prove(&mut self, ward: &Ward, release: ReleaseId) -> Result<(), String> {
        if self.kind == Kind::Returns {
            return Ok(());
        }
        let target = Target::of(ward, clerk::HOST).await;
        let target = target.map_err(|error| error.sentence())?;
        let headers = KeepAlive::new(&target, "/").get().await?;
        let mark = headers.get("mark").and_then(|mark| mark.to_str().ok());
        let mark: u32 = mark.and_then(|mark| mark.parse().ok()).ok_or("no mark")?;
        let known = *self.marks.entry(release).or_insert(mark);
        match known == mark {
            true => Ok(()),
            false => Err(format!(
                "{release} is said to serve, which has mark {known}, and mark {mark} answers"
            )),
        }
    }
}

fn returns_variables(mark: u32) -> String {
    match mark {
        0 => "env = { RUST_LOG = \"info\" }\nmemory".to_owned(),
        mark => format!("env = {{ RUST_LOG = \"info\", MARK = \"{mark}\" }}\nmemory"),
    }
}
