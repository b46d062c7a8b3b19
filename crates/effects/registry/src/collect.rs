//! Collection: what nothing refers to is removed.
//!
//! Decision: mark and sweep, with every writer of references held off while it runs (pulls are not).
//! Roots are the digests that the caller keeps (retained releases), every tag, and every manifest that
//! is younger than the grace period. From a root everything it names is reached, and so is everything
//! that names it as its subject. Spared beside that is what somebody may be about to refer to: blobs
//! pushed, or asked for, within the grace period or since the oldest upload under way began.
//! Files whose place is not one that Ward writes to are never looked at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use ward_types::id::Digest;

use crate::catalog::{Catalog, now};
use crate::digest::ContentDigest;
use crate::error::{Error, Result};
use crate::manifest;
use crate::name::Repository;
use crate::registry::Registry;

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs removed, manifests' own content included.
    pub blobs: u64,
    /// Bytes these had.
    pub bytes: u64,
    /// Manifests taken out of repositories.
    pub manifests: u64,
    /// Uploads ended that nobody went on with.
    pub uploads: u64,
    /// Blobs that stay.
    pub kept: u64,
    /// What is kept but is not here: releases that cannot be brought back from this registry.
    pub missing: BTreeSet<ContentDigest>,
}

/// Everything the repositories refer to.
struct References {
    repositories: Vec<Repository>,
    manifests: HashMap<ContentDigest, SystemTime>,
    /// Blobs, with when one of their repositories was last asked for them.
    links: HashMap<ContentDigest, SystemTime>,
    tagged: HashSet<ContentDigest>,
}

impl Registry {
    /// Removes what is not reachable from `keep`, a tag, or a referrer of what is.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a manifest that is kept cannot be read: nothing is removed then, since
    /// what it refers to is not known. Push it again, or remove its tag.
    pub async fn collect(&self, keep: &BTreeSet<Digest>) -> Result<Collected> {
        let at = now();
        let expired = earlier(at, self.inner.options.upload_expiry);
        let swept = self
            .blocking(move |inner| inner.uploads.sweep(expired))
            .await?;
        let _alone = self.inner.gate.write().await;
        let spared = [
            Some(earlier(at, self.inner.options.grace)),
            swept.oldest,
            self.oldest_writer(),
        ];
        let since = spared.into_iter().flatten().min().unwrap_or(at);
        let mut collected = Collected {
            uploads: swept.removed,
            ..Collected::default()
        };
        let references = self
            .blocking(|inner| References::read(&inner.catalog))
            .await?;
        let reached = self
            .mark(keep, &references, since, &mut collected.missing)
            .await?;
        // Records go before the content that they promise.
        collected.manifests = self.sweep_records(&references, &reached, since).await?;
        self.sweep_blobs(&references, &reached, since, &mut collected)
            .await?;
        let repositories = references.repositories;
        self.blocking(move |inner| {
            repositories.iter().for_each(|r| inner.catalog.prune(r));
            Ok(())
        })
        .await?;
        Ok(collected)
    }

    async fn mark(
        &self,
        keep: &BTreeSet<Digest>,
        references: &References,
        since: SystemTime,
        missing: &mut BTreeSet<ContentDigest>,
    ) -> Result<HashSet<ContentDigest>> {
        let kept: HashSet<ContentDigest> = keep.iter().map(ContentDigest::from).collect();
        let young = references.manifests.iter().filter(|(_, at)| **at >= since);
        let mut open: Vec<ContentDigest> = kept.iter().cloned().collect();
        open.extend(references.tagged.iter().cloned());
        open.extend(young.map(|(digest, _)| digest.clone()));
        let mut reached = HashSet::new();
        while let Some(digest) = open.pop() {
            if !reached.insert(digest.clone()) {
                continue;
            }
            let is_manifest = kept.contains(&digest) || references.manifests.contains_key(&digest);
            if is_manifest && self.inner.blobs.size(&digest).await?.is_none() {
                missing.insert(digest);
            } else if is_manifest {
                open.extend(self.named_by(&digest).await?);
                open.extend(self.referrers_everywhere(references, &digest).await?);
            }
        }
        Ok(reached)
    }

    /// What a manifest names. A digest that is kept may also be that of a plain blob, which names nothing.
    async fn named_by(&self, digest: &ContentDigest) -> Result<Vec<ContentDigest>> {
        match self.small(digest).await {
            Ok(bytes) => Ok(manifest::references(&bytes).unwrap_or_default()),
            Err(Error::Size { .. }) => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }

    async fn referrers_everywhere(
        &self,
        references: &References,
        digest: &ContentDigest,
    ) -> Result<Vec<ContentDigest>> {
        let (repositories, digest) = (references.repositories.clone(), digest.clone());
        self.blocking(move |inner| {
            let mut found = Vec::new();
            for repository in &repositories {
                for referrer in inner.catalog.referrers(repository, &digest)? {
                    // An entry without its manifest is a push that a crash cut short.
                    if inner.catalog.recorded(repository, &referrer)?.is_some() {
                        found.push(referrer);
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    async fn sweep_records(
        &self,
        references: &References,
        reached: &HashSet<ContentDigest>,
        since: SystemTime,
    ) -> Result<u64> {
        let mut removed = 0;
        for repository in &references.repositories {
            let name = repository.clone();
            let (manifests, blobs) = self
                .blocking(move |inner| {
                    Ok((inner.catalog.manifests(&name)?, inner.catalog.blobs(&name)?))
                })
                .await?;
            for (digest, _) in manifests
                .iter()
                .filter(|(digest, _)| !reached.contains(digest))
            {
                self.forget_manifest(repository, digest).await?;
                removed += 1;
            }
            let name = repository.clone();
            let idle: Vec<ContentDigest> = blobs
                .into_iter()
                .filter(|(digest, at)| !reached.contains(digest) && *at < since)
                .map(|(digest, _)| digest)
                .collect();
            self.blocking(move |inner| {
                idle.iter()
                    .try_for_each(|digest| inner.catalog.unlink_blob(&name, digest).map(|_| ()))
            })
            .await?;
        }
        Ok(removed)
    }

    async fn forget_manifest(&self, repository: &Repository, digest: &ContentDigest) -> Result<()> {
        let contents = self.small(digest).await.ok();
        let subject = contents.and_then(|bytes| manifest::read(None, &bytes).ok()?.subject);
        let (name, digest) = (repository.clone(), digest.clone());
        self.blocking(move |inner| {
            inner
                .catalog
                .remove_manifest(&name, &digest, subject.as_ref())
        })
        .await
    }

    async fn sweep_blobs(
        &self,
        references: &References,
        reached: &HashSet<ContentDigest>,
        since: SystemTime,
        collected: &mut Collected,
    ) -> Result<()> {
        for blob in self.inner.blobs.list().await? {
            let asked = [
                references.links.get(&blob.digest).copied(),
                self.vouched(&blob.digest),
            ];
            let latest = asked
                .into_iter()
                .flatten()
                .fold(blob.modified, SystemTime::max);
            if reached.contains(&blob.digest) || latest >= since {
                collected.kept += 1;
                continue;
            }
            self.inner.blobs.delete(&blob.digest).await?;
            collected.blobs += 1;
            collected.bytes += blob.size;
        }
        Ok(())
    }
}

impl References {
    fn read(catalog: &Catalog) -> Result<Self> {
        let mut all = Self {
            repositories: catalog.repositories()?,
            manifests: HashMap::new(),
            links: HashMap::new(),
            tagged: HashSet::new(),
        };
        for repository in &all.repositories {
            for (digest, at) in catalog.manifests(repository)? {
                note_latest(&mut all.manifests, digest, at);
            }
            for (digest, at) in catalog.blobs(repository)? {
                note_latest(&mut all.links, digest, at);
            }
            let tagged = catalog.tagged_digests(repository)?;
            all.tagged
                .extend(tagged.into_iter().map(|(_, digest)| digest));
        }
        Ok(all)
    }
}

fn note_latest(
    map: &mut HashMap<ContentDigest, SystemTime>,
    digest: ContentDigest,
    at: SystemTime,
) {
    let latest = map.entry(digest).or_insert(at);
    *latest = (*latest).max(at);
}

fn earlier(at: SystemTime, by: std::time::Duration) -> SystemTime {
    at.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}
