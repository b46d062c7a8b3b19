//! What each repository holds: small files under `repositories/<name>/`.
//!
//! ```text
//! _blobs/<algorithm>/<hex>                    the repository holds this blob; touched when it is asked for
//! _manifests/<algorithm>/<hex>                descriptor of a manifest (JSON)
//! _referrers/<algorithm>/<hex>/<alg>-<hex>    the second manifest has the first as its subject
//! _tags/<tag>                                 the manifest's digest
//! ```
//!
//! No component of a repository's name begins with `_`, so a repository may lie below another.
//!
//! A manifest is recorded from the bottom up (content, blobs, referrer, manifest, tag) and removed
//! from the top down, each step durable before the next. So whatever moment the process dies at, what
//! can be seen is complete, and what is half recorded cannot be seen: a referrer without its manifest
//! is not listed, a tag never leads to a manifest that is not there.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::digest::ContentDigest;
use crate::durable;
use crate::error::{Error, Result};
use crate::manifest::{Contents, Recorded};
use crate::name::{Reference, Repository, Tag, is_component};

/// Writers of one repository wait for each other; this many repositories, more or less, do not.
const STRIPES: usize = 64;

/// The repositories.
pub(crate) struct Catalog {
    root: PathBuf,
    staging: PathBuf,
    writers: [Mutex<()>; STRIPES],
}

impl Catalog {
    pub(crate) fn new(root: PathBuf, staging: PathBuf) -> Self {
        Self {
            root,
            staging,
            writers: [const { Mutex::new(()) }; STRIPES],
        }
    }

    fn writing(&self, repository: &Repository) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        repository.hash(&mut hasher);
        let stripe = hasher.finish() % STRIPES as u64;
        // The remainder of 64 fits any usize. The files are consistent at each step, so a writer
        // that panicked left nothing to mend.
        self.writers[usize::try_from(stripe).unwrap_or(0)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, repository: &Repository, kind: &str) -> PathBuf {
        self.root.join(repository.as_str()).join(kind)
    }

    fn at(&self, repository: &Repository, kind: &str, digest: &ContentDigest) -> PathBuf {
        self.folder(repository, kind)
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    fn referrer(
        &self,
        repository: &Repository,
        subject: &ContentDigest,
        by: &ContentDigest,
    ) -> PathBuf {
        let name = format!("{}-{}", by.algorithm().name(), by.hex());
        self.at(repository, "_referrers", subject).join(name)
    }

    /// Whether anything was ever pushed to it.
    pub(crate) fn exists(&self, repository: &Repository) -> bool {
        ["_blobs", "_manifests", "_tags"]
            .iter()
            .any(|kind| self.folder(repository, kind).is_dir())
    }

    /// Records that the repository holds a blob.
    pub(crate) fn link_blob(&self, repository: &Repository, digest: &ContentDigest) -> Result<()> {
        let link = self.at(repository, "_blobs", digest);
        let folder = link.parent().unwrap_or(&self.root);
        durable::make_folder(folder)?;
        match File::create_new(&link) {
            Ok(_) => durable::sync_folder(folder),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => touch(&link),
            Err(e) => Err(Error::file("record a blob as", &link, e)),
        }
    }

    /// Whether the repository holds a blob. Asking is a promise to the client, who will leave out the
    /// upload: the link is made young, so that collection spares the blob for a while.
    pub(crate) fn vouch_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool> {
        let link = self.at(repository, "_blobs", digest);
        if !link.is_file() {
            return Ok(false);
        }
        touch(&link).map(|()| true)
    }

    /// Returns whether the repository held the blob.
    pub(crate) fn unlink_blob(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<bool> {
        let link = self.at(repository, "_blobs", digest);
        let was = link.is_file();
        durable::remove(&link).map(|()| was)
    }

    /// Records a manifest whose content is stored already, with its tag.
    pub(crate) fn put_manifest(
        &self,
        repository: &Repository,
        tag: Option<&Tag>,
        digest: &ContentDigest,
        contents: &Contents,
        size: u64,
    ) -> Result<()> {
        let _writing = self.writing(repository);
        for blob in &contents.blobs {
            self.link_blob(repository, blob)?;
        }
        if let Some(subject) = &contents.subject {
            durable::write(
                &self.staging,
                &self.referrer(repository, subject, digest),
                b"",
            )?;
        }
        let recorded = Recorded::new(contents, digest, size);
        let json = serde_json::to_vec(&recorded).unwrap_or_else(|_| {
            unreachable!("strings, a number and a map of strings have a JSON form")
        });
        durable::write(
            &self.staging,
            &self.at(repository, "_manifests", digest),
            &json,
        )?;
        let Some(tag) = tag else { return Ok(()) };
        let place = self.folder(repository, "_tags").join(tag.as_str());
        durable::write(&self.staging, &place, digest.to_string().as_bytes())
    }

    /// The manifest that a tag or digest leads to in this repository.
    pub(crate) fn find(
        &self,
        repository: &Repository,
        reference: &Reference,
    ) -> Result<Option<(ContentDigest, Recorded)>> {
        let digest = match reference {
            Reference::Digest(digest) => Some(digest.clone()),
            Reference::Tag(tag) => self.tagged(repository, tag)?,
        };
        let Some(digest) = digest else {
            return Ok(None);
        };
        let recorded = self.recorded(repository, &digest)?;
        Ok(recorded.map(|recorded| (digest, recorded)))
    }

    pub(crate) fn recorded(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
    ) -> Result<Option<Recorded>> {
        let link = self.at(repository, "_manifests", digest);
        let Some(json) = durable::read(&link)? else {
            return Ok(None);
        };
        serde_json::from_slice(&json).map(Some).map_err(|e| {
            Error::file(
                "read",
                &link,
                std::io::Error::new(std::io::ErrorKind::InvalidData, e),
            )
        })
    }

    fn tagged(&self, repository: &Repository, tag: &Tag) -> Result<Option<ContentDigest>> {
        let place = self.folder(repository, "_tags").join(tag.as_str());
        let Some(text) = durable::read(&place)? else {
            return Ok(None);
        };
        ContentDigest::parse(&String::from_utf8_lossy(&text)).map(Some)
    }

    /// All tags, in the order of a listing.
    pub(crate) fn tags(&self, repository: &Repository) -> Result<Vec<Tag>> {
        let names = durable::names_in(&self.folder(repository, "_tags"))?;
        let mut tags: Vec<Tag> = names
            .iter()
            .filter_map(|name| Tag::parse(name).ok())
            .collect();
        tags.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(tags)
    }

    pub(crate) fn tagged_digests(
        &self,
        repository: &Repository,
    ) -> Result<Vec<(Tag, ContentDigest)>> {
        let tags = self.tags(repository)?;
        tags.into_iter()
            .filter_map(|tag| match self.tagged(repository, &tag) {
                Ok(Some(digest)) => Some(Ok((tag, digest))),
                Ok(None) => None,
                Err(e) => Some(Err(e)),
            })
            .collect()
    }

    /// Returns whether there was such a tag.
    pub(crate) fn remove_tag(&self, repository: &Repository, tag: &Tag) -> Result<bool> {
        let _writing = self.writing(repository);
        let place = self.folder(repository, "_tags").join(tag.as_str());
        let was = place.is_file();
        durable::remove(&place).map(|()| was)
    }

    /// Removes a manifest and the tags that lead to it. `subject` is the one its content names.
    pub(crate) fn remove_manifest(
        &self,
        repository: &Repository,
        digest: &ContentDigest,
        subject: Option<&ContentDigest>,
    ) -> Result<()> {
        let _writing = self.writing(repository);
        for (tag, target) in self.tagged_digests(repository)? {
            if target == *digest {
                durable::remove(&self.folder(repository, "_tags").join(tag.as_str()))?;
            }
        }
        durable::remove(&self.at(repository, "_manifests", digest))?;
        match subject {
            Some(subject) => durable::remove(&self.referrer(repository, subject, digest)),
            None => Ok(()),
        }
    }

    /// The manifests whose subject is `subject`.
    pub(crate) fn referrers(
        &self,
        repository: &Repository,
        subject: &ContentDigest,
    ) -> Result<Vec<ContentDigest>> {
        let names = durable::names_in(&self.at(repository, "_referrers", subject))?;
        let mut digests: Vec<_> = names
            .iter()
            .filter_map(|name| name.split_once('-'))
            .filter_map(|(algorithm, hex)| ContentDigest::from_parts(algorithm, hex))
            .collect();
        digests.sort();
        Ok(digests)
    }

    /// The manifests of a repository, with the time each was recorded last.
    pub(crate) fn manifests(
        &self,
        repository: &Repository,
    ) -> Result<Vec<(ContentDigest, SystemTime)>> {
        digests_in(&self.folder(repository, "_manifests"))
    }

    /// The blobs of a repository, with the time each was asked for last.
    pub(crate) fn blobs(
        &self,
        repository: &Repository,
    ) -> Result<Vec<(ContentDigest, SystemTime)>> {
        digests_in(&self.folder(repository, "_blobs"))
    }

    /// Every repository, by name.
    pub(crate) fn repositories(&self) -> Result<Vec<Repository>> {
        let mut found = Vec::new();
        let mut open = vec![String::new()];
        while let Some(name) = open.pop() {
            for entry in durable::names_in(&self.root.join(&name))? {
                let path = if name.is_empty() {
                    entry.clone()
                } else {
                    format!("{name}/{entry}")
                };
                if is_component(&entry) {
                    open.push(path);
                }
            }
            found.extend(Repository::parse(&name).ok().filter(|r| self.exists(r)));
        }
        found.sort();
        Ok(found)
    }

    /// Removes the folders of a repository that hold nothing any more, and those above it.
    pub(crate) fn prune(&self, repository: &Repository) {
        let own = self.root.join(repository.as_str());
        for kind in ["_blobs", "_manifests", "_referrers", "_tags"] {
            remove_empty(&own.join(kind), 3);
        }
        let above = own.ancestors().take_while(|path| *path != self.root);
        for path in above {
            // A folder that holds something is not removed, which is what is wanted.
            if fs::remove_dir(path).is_err() {
                break;
            }
        }
    }
}

fn remove_empty(folder: &Path, depth: u8) {
    if depth > 0 {
        for name in durable::names_in(folder).unwrap_or_default() {
            remove_empty(&folder.join(name), depth - 1);
        }
    }
    // Not empty, or not a folder: it stays.
    let _ = fs::remove_dir(folder);
}

fn digests_in(folder: &Path) -> Result<Vec<(ContentDigest, SystemTime)>> {
    let mut found = Vec::new();
    for algorithm in durable::names_in(folder)? {
        let below = folder.join(&algorithm);
        for hex in durable::names_in(&below)? {
            let Some(digest) = ContentDigest::from_parts(&algorithm, &hex) else {
                continue;
            };
            let path = below.join(&hex);
            match fs::metadata(&path).and_then(|meta| meta.modified()) {
                Ok(modified) => found.push((digest, modified)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::file("read", &path, e)),
            }
        }
    }
    Ok(found)
}

fn touch(link: &Path) -> Result<()> {
    File::options()
        .write(true)
        .open(link)
        .and_then(|file| file.set_modified(now()))
        .map_err(|e| Error::file("touch", link, e))
}

/// The one place where this crate reads the clock: file times and the grace of a collection.
#[allow(
    clippy::disallowed_methods,
    reason = "an effect crate; the times compared are file times"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
