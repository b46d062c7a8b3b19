//! The build cache: what makes the next build fast, and nothing that anybody could miss.

use std::fs;
use std::path::Path;

/// Empties each stack's cache under `builds` that holds more than `limit` bytes. Cargo never removes what
/// older sources left in its target folder, so a cache that is begun anew is small again. Must not run
/// while something is built. What cannot be removed stays for the next time. Blocks on the disk.
pub fn trim_cache(builds: &Path, limit: u64) {
    for cache in fs::read_dir(builds).into_iter().flatten().flatten() {
        if bytes_below(&cache.path()) > limit {
            tracing::info!(cache = %cache.path().display(), limit, "the build cache is begun anew");
            let _ = ward_tree::remove(&cache.path());
        }
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => bytes += entry.metadata().map_or(0, |m| m.len()),
                _ => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cache_that_is_too_large_goes() {
        let builds = tempfile::tempdir().unwrap();
        for (stack, bytes) in [("large", 101), ("small", 99)] {
            let below = builds.path().join(stack).join("target");
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join("object"), vec![0; bytes]).unwrap();
        }
        trim_cache(builds.path(), 100);
        assert!(!builds.path().join("large").exists());
        assert!(builds.path().join("small").exists());
        trim_cache(&builds.path().join("none"), 100);
    }
}
