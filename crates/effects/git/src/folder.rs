//! What git knows of a folder of the user's.

use std::path::{Path, PathBuf};

use ward_types::source::{CommitId, Provenance, Tree};

use crate::address::without_secret;
use crate::process::{Git, Objects};
use crate::repository::{check_out, described};
use crate::{Error, Result};

/// A revision of the repository that a folder is in.
#[derive(Debug, Clone)]
pub struct Revision {
    /// What is known of it.
    pub provenance: Provenance,
    /// The repository's own folder.
    git_dir: PathBuf,
    /// Where the folder is in it; empty: at the top.
    prefix: String,
}

impl Revision {
    /// Finds the revision that somebody names, such as `v1.2`, `main~3` or a commit.
    ///
    /// # Errors
    /// When the folder is in no repository, or that has no such revision.
    pub async fn find(dir: &Path, revision: &str) -> Result<Self> {
        let plain = !revision.is_empty() && !revision.contains(|c: char| c.is_control());
        if !plain || revision.len() > 500 {
            return Err(Error::invalid(
                format!("`{}` is no revision", revision.escape_debug()),
                "name a commit, a branch or a tag",
            ));
        }
        let verifying = in_folder(dir, format!("find the revision {revision}"));
        let verifying = verifying.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]);
        let id = verifying.args([format!("{revision}^{{commit}}")]).text();
        let id = id.await.map_err(|error| match error {
            Error::Failed { said, .. } if said.contains("no reason") => Error::invalid(
                format!("{} has no revision {revision}", dir.display()),
                "`git log` shows what there is; `git fetch` brings what is elsewhere",
            ),
            other => other,
        })?;
        let id = CommitId::parse(id.trim()).map_err(|_| Error::Unreadable {
            of: revision.to_owned(),
            said: id.trim().chars().take(80).collect(),
        })?;
        let git_dir = in_folder(dir, "find the repository");
        let git_dir = git_dir.args(["rev-parse", "--absolute-git-dir"]).text();
        let git_dir = PathBuf::from(git_dir.await?.trim_end_matches('\n'));
        let prefix = in_folder(dir, "find the folder in its repository");
        let prefix = prefix.args(["rev-parse", "--show-prefix"]).text().await?;
        let asking = in_folder(dir, format!("show the commit {}", id.short()));
        Ok(Self {
            provenance: Provenance {
                repository: repository(dir).await,
                commit: described(asking, id.as_str()).await?,
                tree: Tree::AsCommitted,
                source: None,
            },
            git_dir,
            prefix: prefix.trim().trim_end_matches('/').to_owned(),
        })
    }

    /// Writes what it holds into a folder that is not there yet; the place of the asker's folder in it.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn check_out(&self, into: &Path) -> Result<PathBuf> {
        let id = &self.provenance.commit.id;
        check_out(&self.git_dir, Objects::Taken, id, into).await?;
        Ok(into.join(&self.prefix))
    }
}

/// What the folder of a stack file is made of: `None` where there is no git, no repository or no commit yet. What
/// differs anywhere in the repository counts as a change, and so does a file that git does not know and is not told to
/// ignore.
pub async fn provenance(dir: &Path) -> Option<Provenance> {
    let asking = in_folder(dir, "show what is checked out");
    let commit = match described(asking, "HEAD").await {
        Ok(commit) => commit,
        Err(error) => {
            tracing::debug!(dir = %dir.display(), %error, "no commit is known of a folder");
            return None;
        }
    };
    let asking = in_folder(dir, "compare the folder with its commit");
    let status = asking.args(["status", "--porcelain", "-z", "--ignore-submodules=none"]);
    let tree = match status.run().await {
        Ok(changes) if changes.is_empty() => Tree::AsCommitted,
        // Also where nobody can tell.
        _ => Tree::Changed,
    };
    Some(Provenance {
        repository: repository(dir).await,
        commit,
        tree,
        source: None,
    })
}

/// Where the others have it, or else the folder.
async fn repository(dir: &Path) -> String {
    let asking = in_folder(dir, "find the repository");
    let origin = asking.args(["config", "--get", "remote.origin.url"]).text();
    if let Ok(origin) = origin.await
        && let Some(origin) = without_secret(origin.trim())
    {
        return origin;
    }
    let asking = in_folder(dir, "find the repository");
    match asking.args(["rev-parse", "--show-toplevel"]).text().await {
        Ok(top) => top.trim_end_matches('\n').to_owned(),
        Err(_) => dir.display().to_string(),
    }
}

fn in_folder(dir: &Path, doing: impl Into<String>) -> Git {
    Git::to(doing, Objects::Taken).inside(dir)
}
