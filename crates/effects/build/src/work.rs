//! A folder of one build's passing files, inside the stack's cache.
//!
//! Its name holds the process id. A folder of another process is one whose Ward was killed, because a
//! cache belongs to one Ward alone; the next build removes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::layer::{Layer, Tree};
use crate::{Error, Result};

/// Each build of a process has a number of its own.
static NUMBER: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(crate) struct Work {
    path: PathBuf,
}

impl Work {
    pub(crate) fn begin(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).map_err(Error::file("make", cache))?;
        let ours = format!("work-{}-", std::process::id());
        for item in fs::read_dir(cache).map_err(Error::file("list", cache))? {
            let item = item.map_err(Error::file("list", cache))?;
            let name = item.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("work-") && !name.starts_with(&ours) {
                remove(&item.path());
            }
        }
        let path = cache.join(format!("{ours}{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&path).map_err(Error::file("make", &path))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes each tree as a layer, on a thread that may block.
    pub(crate) async fn write_layers(&self, trees: Vec<Tree>) -> Result<Vec<Layer>> {
        let path = self.path.clone();
        blocking(move || {
            let numbered = trees.iter().enumerate();
            let write = |(number, tree): (usize, &Tree)| {
                tree.write(&path.join(format!("layer-{number}.tar")))
            };
            numbered.map(write).collect()
        })
        .await
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = ward_tree::remove(path) {
        tracing::warn!(path = %path.display(), %error, "a build's passing files stay; the next build tries again");
    }
}

/// Runs what reads and writes files on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
