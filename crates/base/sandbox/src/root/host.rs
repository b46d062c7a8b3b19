//! The host's own programs and libraries, shown read-only, below whatever the image has at the same place.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{Top, attach_at, is_folder, open};
use crate::error::{Doing, Failed};
use crate::mounts::{self, Extent};

/// Where programs and libraries are on a Linux machine. On most, all but the first are links into it.
const TREES: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What programs of `/usr` cannot do without. The rest of the host's `/etc` is nobody's business.
const SETTINGS: &[&str] = &["etc/alternatives", "etc/ssl", "etc/ld.so.cache"];

/// What of the host is shown.
#[derive(Default)]
pub(super) struct HostTools {
    links: Vec<(&'static str, String)>,
    shown: Vec<Shown>,
}

struct Shown {
    path: &'static str,
    source: OwnedFd,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

impl HostTools {
    /// Opens what is shown; nothing unless the instance asks for it.
    pub(super) fn open(host_usr: bool) -> Result<Self, Failed> {
        let mut tools = Self::default();
        if !host_usr {
            return Ok(tools);
        }
        for path in TREES.iter().chain(SETTINGS) {
            let full = Path::new("/").join(path);
            match fs::read_link(&full) {
                Ok(target) if TREES.contains(path) => tools.link(path, target),
                _ if full.exists() => tools.show_at(path, &full)?,
                _ => {}
            }
        }
        Ok(tools)
    }

    fn link(&mut self, path: &'static str, target: PathBuf) {
        if let Ok(target) = target.into_os_string().into_string() {
            self.links.push((path, target));
        }
    }

    fn show_at(&mut self, path: &'static str, full: &Path) -> Result<(), Failed> {
        let source = open(full)?;
        let kind = match is_folder(source.as_fd()).doing("looking at the host's tools")? {
            true => Kind::Folder,
            false => Kind::File,
        };
        self.shown.push(Shown { path, source, kind });
        Ok(())
    }

    /// Makes the links and mount points that the image lacks.
    pub(super) fn furnish(&self, top: &Top<'_>) -> Result<(), Failed> {
        for (path, target) in &self.links {
            top.link(path, target)?;
        }
        for shown in &self.shown {
            match shown.kind {
                Kind::Folder => top.folder(shown.path)?,
                Kind::File => top.place_for_file(shown.path)?,
            }
        }
        Ok(())
    }

    /// Mounts everything, each below what the layers have at that place.
    pub(super) fn show(&self, root: BorrowedFd<'_>, layers: &[OwnedFd]) -> Result<(), Failed> {
        for shown in &self.shown {
            let above = parts(layers, shown)?;
            let step = format!("showing the host's /{}", shown.path);
            if above.is_empty() {
                let copy = mounts::copy(shown.source.as_fd(), Extent::Tree, mounts::READ_ONLY);
                attach_at(root, shown.path, copy.doing(&step)?.as_fd())?;
            } else {
                merge(root, shown, &above).doing(&step)?;
            }
        }
        // A link of the host over which the image has a folder of its own: the image's lies on top.
        for (path, target) in &self.links {
            self.merge_link(root, layers, path, target)?;
        }
        Ok(())
    }

    fn merge_link(
        &self,
        root: BorrowedFd<'_>,
        layers: &[OwnedFd],
        path: &'static str,
        target: &str,
    ) -> Result<(), Failed> {
        let usr = self.shown.iter().find(|shown| shown.path == "usr");
        let (Some(usr), Some(below)) = (usr, target.strip_prefix("usr/")) else {
            return Ok(());
        };
        let step = format!("showing the host's /{path}");
        let shown = Shown {
            path,
            source: mounts::within(usr.source.as_fd(), below).doing(&step)?,
            kind: Kind::Folder,
        };
        let above = parts(layers, &shown)?;
        if above.is_empty() {
            return Ok(());
        }
        merge(root, &shown, &above).doing(&step)
    }
}

/// The folders that the layers have at that place, topmost first.
fn parts(layers: &[OwnedFd], shown: &Shown) -> Result<Vec<OwnedFd>, Failed> {
    if shown.kind == Kind::File {
        return Ok(Vec::new());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut parts = Vec::new();
    for layer in layers.iter().rev() {
        match mounts::read_within(layer.as_fd(), shown.path, flags) {
            Ok(part) => parts.push(part),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(source) => {
                return Err(source).doing(&format!("opening the image's /{}", shown.path));
            }
        }
    }
    Ok(parts)
}

fn merge(root: BorrowedFd<'_>, shown: &Shown, above: &[OwnedFd]) -> Result<(), Errno> {
    let mut layers: Vec<_> = above.iter().map(AsFd::as_fd).collect();
    layers.push(shown.source.as_fd());
    let place = mounts::within(root, shown.path)?;
    mounts::overlay(&layers, place.as_fd())
}
