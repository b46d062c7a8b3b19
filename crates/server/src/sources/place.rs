//! Where a source is in the state folder: its repository, the commits that are checked out, and what is run when
//! somebody pushes to it.
//!
//! A pipeline runs its checks in the folder of its commit, which therefore stays until no run needs it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ward_git::{Address, Commits, Credentials, Repository, Tip};
use ward_types::event::State;
use ward_types::id::Name;
use ward_types::source::{CommitId, Place, Source, Standing, Then};

/// The folder of all sources in the state folder.
const FOLDER: &str = "sources";

/// The largest push that is taken, in bytes.
const LARGEST_PUSH: u64 = 1 << 30;

/// A source's folder in the state folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(home: &Path, source: &Name) -> Self {
        Self(home.join(FOLDER).join(source.as_str()))
    }

    pub(super) fn repository(&self) -> Repository {
        Repository::at(self.0.join("repository.git"))
    }

    /// Where a commit is checked out.
    pub(super) fn commit(&self, id: &CommitId) -> PathBuf {
        self.0.join("commits").join(id.as_str())
    }

    /// Removes all of it.
    pub(super) fn remove(&self) -> io::Result<()> {
        match ward_tree::remove(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes the checkouts and forgets the commits that nothing needs.
    pub(super) async fn keep_only(&self, needed: &BTreeSet<CommitId>) -> ward_git::Result<()> {
        for entry in fs::read_dir(self.0.join("commits")).into_iter().flatten() {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| CommitId::parse(name).ok());
            if id.is_none_or(|id| !needed.contains(&id)) {
                let path = entry.path();
                ward_tree::remove(&path).map_err(|source| ward_git::Error::File {
                    action: "remove",
                    path,
                    source,
                })?;
            }
        }
        let needed: Vec<CommitId> = needed.iter().cloned().collect();
        self.repository().need_only(&needed).await
    }
}

/// What people read of it: a folder or a URL.
pub(super) fn repository(home: &Path, source: &Source) -> String {
    match &source.place {
        Place::Remote(address) => address.clone(),
        Place::Hosted => {
            let repository = Folder::of(home, &source.name).repository();
            repository.path().display().to_string()
        }
    }
}

/// Makes a source's repository ready; done again it changes nothing but the program that its hooks start.
pub(super) async fn make_ready(home: &Path, exe: &Path, source: &Source) -> ward_git::Result<()> {
    let repository = Folder::of(home, &source.name).repository();
    repository.make().await?;
    if source.place == Place::Hosted {
        repository.take_notes()?;
        let hooks = repository.path().join("hooks");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| ward_git::Error::File {
                action: "write",
                path,
                source,
            }
        };
        fs::create_dir_all(&hooks).map_err(at(&hooks))?;
        for kind in ["pre-receive", "post-receive"] {
            let path = hooks.join(kind);
            let new = hooks.join(format!("{kind}.new"));
            fs::write(&new, script(home, exe, source, kind)).map_err(at(&new))?;
            let executable = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&new, executable).map_err(at(&new))?;
            // Somebody may be pushing just now.
            fs::rename(&new, &path).map_err(at(&path))?;
        }
        let hooks = hooks.display().to_string();
        for (name, value) in [
            // Whoever pushes may have set other hooks for all of their repositories.
            ("core.hooksPath", hooks.as_str()),
            ("receive.fsckObjects", "true"),
            ("receive.maxInputSize", &LARGEST_PUSH.to_string()),
            ("transfer.hideRefs", "refs/ward"),
        ] {
            repository.set(name, value).await?;
        }
    }
    Ok(())
}

fn script(home: &Path, exe: &Path, source: &Source, kind: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let path = |path: &Path| quoted(&path.display().to_string());
    let follows = quoted(&source.follows.reference());
    let folder = match source.folder.is_empty() {
        true => String::new(),
        false => format!(" --folder {}", quoted(&source.folder)),
    };
    let then = match &source.then {
        Then::Keep => String::new(),
        Then::Deploy(env) => format!(" --env {env}"),
        Then::Pipeline(name) => format!(" --pipeline {name}"),
    };
    format!(
        "#!/bin/sh\n# Written by Ward.\nexec {} --home {} hook {kind} {} --follows {follows}{folder}{then}\n",
        path(exe),
        path(home),
        source.name
    )
}

/// Fetches what a source follows, where it is in another repository.
pub(super) async fn fetch(
    home: &Path,
    source: &Source,
    login: Option<&Credentials>,
) -> ward_git::Result<()> {
    let repository = Folder::of(home, &source.name).repository();
    match (&source.place, login) {
        (Place::Remote(address), login) => {
            let address = Address::parse(address)?;
            let commits = match source.each {
                true => BEHIND + 1,
                false => 1,
            };
            repository
                .fetch_newest(&address, &source.follows, login, commits)
                .await
        }
        (Place::Hosted, None) => Ok(()),
        (Place::Hosted, Some(_)) => Err(ward_git::Error::Invalid {
            message: "a repository that Ward hosts is not reached with a token".to_owned(),
            hint: "leave the token out".to_owned(),
        }),
    }
}

/// The most commits behind a tip that are built where each is to be.
const BEHIND: usize = 20;

/// The commits behind a tip that came with it since something of its branch was seen last, the oldest first, where each
/// is to be built.
pub(super) async fn behind(
    home: &Path,
    source: &Source,
    tip: &Tip,
) -> ward_git::Result<Vec<CommitId>> {
    let of = source.commits.iter();
    let known = of.filter(|seen| seen.reference == tip.reference);
    let known: Vec<CommitId> = known.map(|seen| seen.commit.id.clone()).collect();
    if !source.each || known.is_empty() || known.contains(&tip.commit) {
        return Ok(Vec::new());
    }
    let repository = Folder::of(home, &source.name).repository();
    repository.behind(&tip.commit, &known, BEHIND).await
}

/// What the references of a source lead to, as of its last fetch.
pub(super) async fn tips(home: &Path, source: &Source) -> ward_git::Result<Vec<Tip>> {
    let repository = Folder::of(home, &source.name).repository();
    let commits = match &source.place {
        Place::Remote(_) => Commits::Copied,
        Place::Hosted => Commits::Own,
    };
    repository.tips(&source.follows, commits).await
}

/// The commits that have still to be built or released, or that a pipeline checks things in.
pub(super) fn needed(state: &State, source: &Source) -> BTreeSet<CommitId> {
    let needs = |standing: &Standing| match standing {
        Standing::Waiting => true,
        Standing::Built { .. } => source.then != Then::Keep,
        Standing::Began { run, .. } => state.pipelines.get(run).is_some_and(|run| !run.is_over()),
        Standing::There
        | Standing::Deployed { .. }
        | Standing::Passed { .. }
        | Standing::Failed { .. } => false,
    };
    let commits = source.commits.iter().filter(|seen| needs(&seen.standing));
    commits.map(|seen| seen.commit.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use ward_types::source::Follows;
    use ward_types::time::Timestamp;

    use super::*;

    #[test]
    fn a_hook_is_a_script_that_no_path_can_add_a_word_to() {
        let source = Source {
            name: Name::parse("shop").expect("a name"),
            place: Place::Hosted,
            follows: Follows::Tags("v*".into()),
            folder: "it's here".into(),
            then: Then::Keep,
            poll: None,
            webhook: false,
            each: false,
            login: None,
            added: Timestamp(0),
            by: String::new(),
            commits: Vec::new(),
        };
        let home = Path::new("/a home's");
        let script = script(home, Path::new("/bin/ward"), &source, "pre-receive");
        let line = script.lines().last().expect("a line");
        assert_eq!(
            line,
            r"exec '/bin/ward' --home '/a home'\''s' hook pre-receive shop --follows 'refs/tags/v*' --folder 'it'\''s here'"
        );
    }
}
