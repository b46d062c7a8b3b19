//! What was built before: an unchanged source is not built again while the registry has its image.
//!
//! A source is the key of the stack file and the content of the files: of those that git tracks or would
//! track, and those that the key `files` names; of all but `.git` where there is no git, or where a
//! Dockerfile may copy anything. A build changes what it is a function of when it writes beside its
//! source, so its image is remembered by the source before and after it.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use ward_types::id::Digest;

use crate::layer::{digest_of, digest_of_reader, open_file};
use crate::work::blocking;
use crate::{Error, ImageSink, Request, Result, files, image};

/// Raised when the same source gives another image, so that no older one is taken for it.
const VERSION: u32 = 1;

/// So many sources of a service are remembered, so that going back to an earlier one is quick too.
const REMEMBERED: usize = 32;

/// Which files of the stack's folder are the source.
#[derive(Debug, Clone)]
pub(crate) enum Scope {
    /// What git tracks or would track, and these.
    Tracked(Vec<PathBuf>),
    /// All.
    Everything,
}

/// The fingerprint of a request's source as it is now.
pub(crate) async fn of(request: &Request, scope: Scope) -> Result<Digest> {
    let mut paths = match &scope {
        Scope::Everything => Vec::new(),
        Scope::Tracked(_) => tracked(&request.dir).await,
    };
    match scope {
        Scope::Tracked(named) if !paths.is_empty() => paths.extend(named),
        _ => paths = vec![PathBuf::new()],
    }
    let request = request.clone();
    blocking(move || hash(&request, &paths)).await
}

/// Empty where git is not installed, does not know the folder or does not trust it.
async fn tracked(dir: &Path) -> Vec<PathBuf> {
    let mut git = tokio::process::Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    git.current_dir(dir).stdin(Stdio::null()).kill_on_drop(true);
    match git.output().await {
        Ok(output) if output.status.success() => {
            let names = output
                .stdout
                .split(|byte| *byte == 0)
                .filter(|name| !name.is_empty());
            names
                .map(|name| PathBuf::from(std::ffi::OsString::from_vec(name.to_vec())))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn hash(request: &Request, paths: &[PathBuf]) -> Result<Digest> {
    let mut items = Vec::new();
    for path in paths {
        item(&request.dir, path, &mut items)?;
    }
    items.sort();
    items.dedup();
    let source = serde_json::to_vec(&request.source).unwrap_or_default();
    let mut text = format!("{VERSION} {}\n", digest_of(&source)).into_bytes();
    text.extend(items.concat());
    Ok(digest_of(&text))
}

/// Appends a line per file: kind, content's digest, length of the path and the path.
fn item(dir: &Path, path: &Path, items: &mut Vec<Vec<u8>>) -> Result<()> {
    let full = dir.join(path);
    let Ok(metadata) = full.symlink_metadata() else {
        // Tracked and deleted, or not made yet.
        return Ok(());
    };
    let (kind, digest) = if metadata.is_symlink() && !path.as_os_str().is_empty() {
        let target = fs::read_link(&full).map_err(Error::file("read", &full))?;
        ('l', digest_of(target.as_os_str().as_bytes()))
    } else if full.is_dir() {
        for name in files::names(&full)? {
            item(dir, &path.join(name), items)?;
        }
        return Ok(());
    } else if metadata.is_file() {
        let content = open_file(&full).and_then(digest_of_reader);
        let (digest, _) = content.map_err(Error::file("read", &full))?;
        let executable = metadata.permissions().mode() & 0o100 != 0;
        (if executable { 'x' } else { 'f' }, digest)
    } else {
        return Ok(());
    };
    let name = path.as_os_str().as_bytes();
    let mut line = format!("{kind} {} {} ", digest.hex(), name.len()).into_bytes();
    line.extend_from_slice(name);
    line.push(b'\n');
    items.push(line);
    Ok(())
}

/// The images of a service by the fingerprints of their sources, the newest last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    images: Vec<(Digest, Digest)>,
}

impl Memory {
    fn path(request: &Request) -> PathBuf {
        request.cache.join(format!("{}.json", request.service))
    }

    /// What is remembered of a service; a file that cannot be read is nothing remembered.
    fn load(request: &Request) -> Self {
        let bytes = fs::read(Self::path(request)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// The image of this source, if the sink still has it.
    pub(crate) async fn recall(
        request: &Request,
        source: &Digest,
        sink: &impl ImageSink,
    ) -> Result<Option<Digest>> {
        let memory = Self::load(request);
        let known = memory
            .images
            .into_iter()
            .rev()
            .find(|(known, _)| known == source);
        match known {
            Some((_, digest)) if image::has(request, &digest, sink).await? => Ok(Some(digest)),
            _ => Ok(None),
        }
    }

    /// Remembers the image of these sources. A memory that cannot be written costs a build later, no more.
    pub(crate) fn keep(request: &Request, sources: [Digest; 2], image: &Digest) {
        let mut memory = Self::load(request);
        memory.images.retain(|(known, _)| !sources.contains(known));
        memory
            .images
            .extend(sources.map(|source| (source, image.clone())));
        let surplus = memory.images.len().saturating_sub(REMEMBERED);
        memory.images.drain(..surplus);
        let path = Self::path(request);
        let new = path.with_extension("json.new");
        let written = serde_json::to_vec(&memory)
            .map_err(std::io::Error::from)
            .and_then(|bytes| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "the build was not remembered");
        }
    }
}
