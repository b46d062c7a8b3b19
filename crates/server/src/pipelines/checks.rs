//! The files that a check is made of: a build passes its gates by those that it was built beside, and by no others.
//!
//! Decision: what a command names in the folder is bound by digest, when a build is kept and when a run begins. What such a
//! file starts or reads in its turn is not: a check that has to be bound whole is one file, or is in the image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use ward_types::id::Digest;
use ward_types::pipeline::{Check, Pipeline};

use crate::actor::{Refusal, RefusalKind};

/// Files by the words that name them.
pub(crate) type Files = BTreeMap<String, Digest>;

/// The files of a folder that the checks of these pipelines name.
///
/// # Errors
/// One that cannot be read, with its name.
pub(crate) async fn files_of<'a>(
    dir: &Path,
    pipelines: impl IntoIterator<Item = &'a Pipeline>,
) -> Result<Files, Refusal> {
    let all = pipelines.into_iter().flat_map(words);
    let found = found(dir, all.cloned().collect()).await;
    found.map_err(|why| {
        let message = format!("a check of the pipeline cannot be read: {why}; nothing was changed");
        Refusal::new(RefusalKind::Invalid, message)
            .hint("make it readable for the user that Ward runs as")
    })
}

/// The words of a pipeline's checks.
pub(crate) fn words(pipeline: &Pipeline) -> impl Iterator<Item = &String> {
    let checks = pipeline
        .stages
        .iter()
        .filter_map(|stage| stage.gate.check.as_ref());
    checks.flat_map(|check| &check.command)
}

/// The first of these words that names something else than it did, or nothing any more.
pub(crate) fn differing<'a>(
    words: impl IntoIterator<Item = &'a String>,
    are: &Files,
    were: &Files,
) -> Option<&'a String> {
    let mut bound = words.into_iter().filter(|word| were.contains_key(*word));
    bound.find(|word| are.get(*word) != were.get(*word))
}

/// The first file of those that a check names which is not what it was.
///
/// # Errors
/// One that cannot be read, with its name.
pub(crate) async fn altered<'a>(
    dir: &Path,
    check: &'a Check,
    were: &Files,
) -> Result<Option<&'a String>, String> {
    let are = found(dir, check.command.clone()).await?;
    Ok(differing(&check.command, &are, were))
}

async fn found(dir: &Path, words: Vec<String>) -> Result<Files, String> {
    let dir = dir.to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        let mut files = Files::new();
        for word in words {
            if let Some(path) = named(&dir, &word) {
                let digest =
                    digest(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                files.insert(word, digest);
            }
        }
        Ok(files)
    });
    looking.await.map_err(|error| error.to_string())?
}

/// The file in a folder that a word of a command names, if it does.
fn named(dir: &Path, word: &str) -> Option<PathBuf> {
    let path = dir.join(word);
    let inside = path.canonicalize().ok()?;
    let is_ours = inside.starts_with(dir.canonicalize().ok()?) && inside.is_file();
    is_ours.then_some(path)
}

fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash) = (File::open(path)?, Context::new(&SHA256));
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    Ok(Digest::from_sha256(&bytes))
}
