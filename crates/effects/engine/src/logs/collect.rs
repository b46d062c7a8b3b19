//! Removing output that nobody will ask for: of retired releases, and of all but the newest instances.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ward_types::id::{InstanceId, ReleaseId};

use super::text_of;
use crate::error::{Error, file};
use crate::folder::subfolders;

/// See [`Engine::collect_logs`](crate::Engine::collect_logs).
pub(crate) fn collect(
    folder: &Path,
    releases: &BTreeSet<ReleaseId>,
    newest: usize,
    present: &BTreeSet<InstanceId>,
) -> Result<(), Error> {
    for component in subfolders(folder)? {
        for release in subfolders(&component)? {
            let Ok(id) = text_of(&release).parse::<ReleaseId>() else {
                continue;
            };
            let retained = id == ReleaseId::default() || releases.contains(&id);
            collect_release(&release, if retained { newest } else { 0 }, present)?;
            // Not of one that is retained: an instance of it may be on its way to its first line. Only when it is
            // empty; what else lies in it is not Ward's.
            if !retained {
                let _ = fs::remove_dir(&release);
            }
        }
    }
    Ok(())
}

fn collect_release(
    release: &Path,
    newest: usize,
    present: &BTreeSet<InstanceId>,
) -> Result<(), Error> {
    let outputs = outputs(release)?;
    let instances: BTreeSet<(u64, &InstanceId)> =
        outputs.iter().map(|(id, _)| (id.ordinal(), id)).collect();
    let kept: BTreeSet<&InstanceId> = instances
        .iter()
        .rev()
        .take(newest)
        .map(|(_, id)| *id)
        .chain(present)
        .collect();
    for (_, path) in outputs.iter().filter(|(id, _)| !kept.contains(id)) {
        remove(path)?;
    }
    Ok(())
}

/// The output files of a release's instances, the rotated ones too.
fn outputs(release: &Path) -> Result<Vec<(InstanceId, PathBuf)>, Error> {
    let mut outputs = Vec::new();
    for entry in fs::read_dir(release).map_err(file("read", release))? {
        let path = entry.map_err(file("read", release))?.path();
        let name = text_of(&path);
        let name = name.strip_suffix(".1").unwrap_or(&name);
        if let Some(Ok(id)) = name.strip_suffix(".log").map(InstanceId::parse) {
            outputs.push((id, path));
        }
    }
    Ok(outputs)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path)(error)),
        _ => Ok(()),
    }
}
