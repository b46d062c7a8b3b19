//! A bare repository of Ward's own: a copy of another one, or one that people push to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ward_types::source::{Commit, CommitId, Follows};
use ward_types::text::steers;
use ward_types::time::Timestamp;

use crate::process::{Git, LONG, Objects, QUICK};
use crate::{Address, Credentials, Error, Result};

/// Where the references of another repository are kept in the copy, and those of commits that are needed.
const COPIES: &str = "refs/ward/copies/";
const NEEDED: &str = "refs/ward/needed/";

/// The locks of a whole repository (gitrepository-layout(5)).
const LOCKS: [&str; 4] = [
    "shallow.lock",
    "packed-refs.lock",
    "config.lock",
    "HEAD.lock",
];

/// What git says of a reference that a repository has not.
const NOT_THERE: &str = "couldn't find remote ref";

/// A commit's author and subject are shortened to so many characters.
const LONGEST: usize = 200;

/// What a reference leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// `refs/heads/main`.
    pub reference: String,
    /// The commit.
    pub commit: CommitId,
}

/// Whose commits a repository shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commits {
    /// Its own.
    Own,
    /// Those of the repository that it is a copy of.
    Copied,
}

/// A bare repository. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    path: PathBuf,
    objects: Objects,
}

impl Repository {
    /// The one in this folder, which need not be there yet.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let objects = Objects::Taken;
        Self { path, objects }
    }

    /// The one that a hook runs for, with what is just being pushed to it.
    #[must_use]
    pub fn in_hook(path: PathBuf) -> Self {
        let objects = Objects::Pushed;
        Self { path, objects }
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn git(&self, doing: impl Into<String>) -> Git {
        Git::to(doing, self.objects).of(&self.path)
    }

    /// Makes it, where it is not there; done again it changes nothing.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn make(&self) -> Result<()> {
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent).map_err(file("make", parent))?;
        }
        let making = Git::to("make a repository", Objects::Taken).args([
            "init",
            "--quiet",
            "--bare",
            "--template=",
        ]);
        making.args([&self.path]).run().await.map(drop)
    }

    /// Changes one of its settings.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn set(&self, name: &str, value: &str) -> Result<()> {
        let setting = self.git("change a setting of the repository");
        setting.args(["config", name, value]).run().await.map(drop)
    }

    /// Fetches what `follows` names, the newest commit of each and nothing before it. What is there no more is
    /// forgotten, but for commits that are needed.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn fetch(
        &self,
        from: &Address,
        follows: &Follows,
        credentials: Option<&Credentials>,
    ) -> Result<()> {
        self.fetch_newest(from, follows, credentials, 1).await
    }

    /// The same with so many of the newest commits.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn fetch_newest(
        &self,
        from: &Address,
        follows: &Follows,
        credentials: Option<&Credentials>,
        commits: usize,
    ) -> Result<()> {
        self.unlock();
        let reference = follows.reference();
        let copied = reference.replacen("refs/", COPIES, 1);
        let fetching = self.git(format!("fetch {follows} of {}", from.as_str()));
        let lent = credentials.map(|own| own.lend(from)).transpose()?;
        let fetching = fetching.within(LONG).with(lent).args([
            "fetch",
            "--quiet",
            &format!("--depth={commits}"),
            "--no-tags",
            "--prune",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
            "--end-of-options",
            from.as_str(),
        ]);
        let refspec = format!("+{reference}:{copied}");
        match fetching.args([refspec]).run().await {
            // A tag may be still to come, as those may that a pattern names.
            Err(Error::Failed { said, .. }) if is_tag(follows) && said.contains(NOT_THERE) => {
                Ok(())
            }
            // Of a pattern that names nothing git says nothing, and fails where it is to fetch so many commits.
            Err(error @ Error::Failed { .. }) if is_tag(follows) => {
                match self.has_none(from, follows, credentials).await {
                    Ok(true) => Ok(()),
                    Ok(false) | Err(_) => Err(error),
                }
            }
            fetched => fetched.map(drop),
        }
    }

    /// Whether another repository has nothing that `follows` names.
    async fn has_none(
        &self,
        from: &Address,
        follows: &Follows,
        credentials: Option<&Credentials>,
    ) -> Result<bool> {
        let lent = credentials.map(|own| own.lend(from)).transpose()?;
        let listing = self.git(format!("list {follows} of {}", from.as_str()));
        let listing = listing.with(lent).args(["ls-remote", "--quiet", "--refs"]);
        let listing = listing.args(["--end-of-options", from.as_str(), &follows.reference()]);
        Ok(listing.text().await?.is_empty())
    }

    /// Removes locks that are older than any run of git here can be: a machine that went down leaves them, and nothing
    /// could be fetched any more.
    fn unlock(&self) {
        let old = |path: &Path| {
            let age = fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()?;
            (age > LONG + QUICK).then_some(())
        };
        for name in LOCKS {
            let path = self.path.join(name);
            if old(&path).is_some() && fs::remove_file(&path).is_ok() {
                tracing::warn!(path = %path.display(), "a lock was removed that nobody holds any more");
            }
        }
    }

    /// What the references that `follows` names lead to, the oldest first.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn tips(&self, follows: &Follows, commits: Commits) -> Result<Vec<Tip>> {
        let reference = follows.reference();
        let (asked, prefix) = match commits {
            Commits::Own => (reference, "refs/"),
            Commits::Copied => (reference.replacen("refs/", COPIES, 1), COPIES),
        };
        // A tag may lead to an object that leads to the commit.
        let format = "%(objecttype) %(objectname) %(*objecttype) %(*objectname) %(refname)";
        let listing = self.git("list references").args([
            "for-each-ref",
            "--sort=creatordate",
            &format!("--format={format}"),
            until_star(&asked),
        ]);
        let text = listing.text().await?;
        let tips = text.lines().filter_map(|line| tip(line, prefix));
        Ok(tips.filter(|tip| follows.names(&tip.reference)).collect())
    }

    /// The commits behind `tip` that none of `known` holds, by first parents, the oldest first; at most so many, the
    /// newest.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn behind(
        &self,
        tip: &CommitId,
        known: &[CommitId],
        most: usize,
    ) -> Result<Vec<CommitId>> {
        let listing = self.git(format!("list the commits behind {}", tip.short()));
        let most = format!("--max-count={}", most + 1);
        // What is known may be gone from here.
        let listing = listing.args(["rev-list", "--first-parent", "--ignore-missing", &most]);
        let listing = listing.args([tip.as_str(), "--not"]);
        let listing = listing.args(known.iter().map(CommitId::as_str));
        let text = listing.text().await?;
        let all = text.lines().filter_map(|line| CommitId::parse(line).ok());
        let mut behind: Vec<CommitId> = all.filter(|id| id != tip).collect();
        behind.reverse();
        Ok(behind)
    }

    /// What is known of a commit.
    ///
    /// # Errors
    /// When it is not there, and [`Error`].
    pub async fn commit(&self, id: &CommitId) -> Result<Commit> {
        let asking = self.git(format!("show the commit {}", id.short()));
        described(asking, id.as_str()).await
    }

    /// Keeps a commit for as long as it is needed, whatever its references lead to.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn need(&self, id: &CommitId) -> Result<()> {
        let keeping = self.git(format!("keep the commit {}", id.short()));
        let name = format!("{NEEDED}{id}");
        let keeping = keeping.args(["update-ref", &name, id.as_str()]);
        keeping.run().await.map(drop)
    }

    /// Checks a commit out into this folder, whatever is there.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn check_out_anew(&self, id: &CommitId, into: &Path) -> Result<()> {
        let old = into.with_extension(format!("{}.old", std::process::id()));
        // What is left in it by somebody who was killed may still be written to.
        match fs::rename(into, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("rename", into)(error));
            }
            _ => {}
        }
        if old.exists() {
            fs::remove_dir_all(&old).map_err(file("remove", &old))?;
        }
        self.check_out(id, into).await
    }

    /// Keeps no commits but these.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn need_only(&self, ids: &[CommitId]) -> Result<()> {
        let listing = self.git("list references");
        let listing = listing.args(["for-each-ref", "--format=%(refname)", NEEDED]);
        for name in listing.text().await?.lines() {
            let needed = |id: &CommitId| name.ends_with(id.as_str());
            if !ids.iter().any(needed) {
                let forgetting = self.git("forget a commit");
                forgetting.args(["update-ref", "-d", name]).run().await?;
            }
        }
        Ok(())
    }

    /// The text of a regular file of a commit, `None` where it has none of that name; no more than `limit` bytes.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn file(&self, id: &CommitId, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
        let doing = format!("read {path} of {}", id.short());
        let listing = self.git(&doing).args([
            "ls-tree",
            "-z",
            "--long",
            "--full-tree",
            id.as_str(),
            "--",
            path,
        ]);
        let listed = listing.text().await?;
        // `100644 blob HASH SIZE\tPATH`; a link or a submodule has another mode.
        let entry = listed.split('\t').next().unwrap_or_default();
        let words: Vec<&str> = entry.split_whitespace().collect();
        let [mode, "blob", object, size] = words[..] else {
            return Ok(None);
        };
        if !mode.starts_with("100") {
            return Ok(None);
        }
        if size.parse::<usize>().map_or(true, |size| size > limit) {
            return Err(Error::TooMuch { doing, limit });
        }
        let reading = self.git(&doing).args(["cat-file", "blob", object]);
        reading.run().await.map(Some)
    }

    /// Writes what a commit holds into a folder, which is there when it is whole. One that is there stays as it is.
    ///
    /// # Errors
    /// [`Error`], as it says.
    pub async fn check_out(&self, id: &CommitId, into: &Path) -> Result<()> {
        check_out(&self.path, self.objects, id, into).await
    }
}

/// Of a repository wherever it is.
pub(crate) async fn check_out(
    repository: &Path,
    objects: Objects,
    id: &CommitId,
    into: &Path,
) -> Result<()> {
    if into.exists() {
        return Ok(());
    }
    // One that an earlier process left may still be written to.
    let own = std::process::id();
    let new = into.with_extension(format!("{own}.new"));
    let index = into.with_extension(format!("{own}.index"));
    clear(&new, &index)?;
    fs::create_dir_all(&new).map_err(file("make", &new))?;
    let git = || {
        let doing = format!("check out the commit {}", id.short());
        let git = Git::to(doing, objects).of(repository).within(LONG);
        // Whoever may read the repository's settings has decided where its work tree is: not here.
        git.env("GIT_INDEX_FILE", &index).args([
            "-c",
            "core.bare=false",
            "-c",
            "safe.directory=*",
            "--work-tree",
        ])
    };
    let reading = git()
        .args([new.as_os_str()])
        .args(["read-tree", id.as_str()]);
    reading.run().await?;
    let writing = git().args([new.as_os_str()]);
    let writing = writing.args(["-C"]).args([new.as_os_str()]);
    let writing = writing.args(["checkout-index", "--all", "--force", "--quiet"]);
    writing.run().await?;
    fs::rename(&new, into).map_err(file("rename", &new))?;
    clear(&new, &index)
}

fn clear(new: &Path, index: &Path) -> Result<()> {
    for (path, gone) in [
        (new, ward_tree::remove(new)),
        (index, fs::remove_file(index)),
    ] {
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file("remove", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What git says of one commit.
pub(crate) async fn described(git: Git, revision: &str) -> Result<Commit> {
    let git = git.args([
        "log",
        "-1",
        "--no-show-signature",
        "--no-notes",
        "--no-color",
        "--encoding=UTF-8",
        "--format=%H%x00%an <%ae>%x00%ct%x00%s",
        "--end-of-options",
        revision,
        "--",
    ]);
    let text = git.text().await?;
    let fields: Vec<&str> = text.trim_end_matches('\n').splitn(4, '\0').collect();
    let unreadable = || Error::Unreadable {
        of: revision.chars().take(60).collect(),
        said: clean(&text),
    };
    let [id, author, committed, subject] = fields[..] else {
        return Err(unreadable());
    };
    let seconds: u64 = committed.parse().map_err(|_| unreadable())?;
    Ok(Commit {
        id: CommitId::parse(id).map_err(|_| unreadable())?,
        author: clean(author),
        committed: Timestamp(seconds.saturating_mul(1000)),
        subject: clean(subject),
    })
}

fn is_tag(follows: &Follows) -> bool {
    matches!(follows, Follows::Tags(_))
}

/// Nothing that a terminal could take for a command, and no more than anybody reads.
fn clean(text: &str) -> String {
    let text = text.trim().chars().take(LONGEST);
    text.map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// What a reference must begin with to be named by a pattern: git matches only whole parts of a name.
fn until_star(pattern: &str) -> &str {
    match pattern.split_once('*') {
        None => pattern,
        Some((before, _)) => match before.rsplit_once('/') {
            Some((folders, _)) => folders,
            None => before,
        },
    }
}

fn tip(line: &str, prefix: &str) -> Option<Tip> {
    let fields: Vec<&str> = line.splitn(5, ' ').collect();
    let [kind, object, inner_kind, inner, reference] = fields[..] else {
        return None;
    };
    let commit = match (kind, inner_kind) {
        ("commit", _) => object,
        ("tag", "commit") => inner,
        _ => return None,
    };
    let reference = reference.strip_prefix(prefix)?;
    Some(Tip {
        reference: format!("refs/{reference}"),
        commit: CommitId::parse(commit).ok()?,
    })
}

pub(crate) fn file<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(io::Error) -> Error + use<'a> {
    move |source| Error::File {
        action,
        path: path.to_owned(),
        source,
    }
}
