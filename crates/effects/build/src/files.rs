//! The files of a stack's folder that go into an image.
//!
//! Ward may run as root and the folder belong to somebody else, so no name and no symbolic link may lead
//! out of it: names are checked here, and files are opened beneath the folder. Links are kept as links.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use ward_types::spec::Base;

use crate::layer::{Content, Node, Tree, beneath, open_folder};
use crate::{Error, Result};

/// Where an image has the files, without the root's slash.
pub(crate) const PLACE: &str = "app";

/// Never taken: the version control's own.
pub(crate) const SKIPPED: &str = ".git";

/// Where files are taken from.
pub(crate) struct Selection {
    pub(crate) dir: PathBuf,
    pub(crate) base: Base,
    pub(crate) after_command: bool,
}

/// A name of the stack file as a path below the stack's folder.
pub(crate) fn inside(name: &str) -> Result<PathBuf> {
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => {
                return Err(Error::Outside {
                    name: name.to_owned(),
                });
            }
        }
    }
    Ok(path)
}

impl Selection {
    /// The named files and folders, below the image's folder for them.
    pub(crate) fn tree(&self, names: &[String]) -> Result<Tree> {
        let folder = open_folder(&self.dir).map_err(Error::file("open", &self.dir))?;
        let folder = Arc::new(folder);
        let mut tree = Tree::default();
        tree.insert(Path::new(PLACE), Node::Folder);
        for name in names {
            let path = inside(name)?;
            self.check_named(&folder, &path, name)?;
            self.take(&folder, &path, &mut tree)?;
        }
        Ok(tree)
    }

    /// Whether the name is there, and the folder that holds it really lies inside.
    fn check_named(&self, folder: &OwnedFd, path: &Path, name: &str) -> Result<()> {
        let missing = || Error::MissingFile {
            name: name.to_owned(),
            dir: self.dir.clone(),
            after_command: self.after_command,
        };
        if self.dir.join(path).symlink_metadata().is_err() {
            return Err(missing());
        }
        match path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            None => Ok(()),
            Some(parent) => match beneath(folder, parent, OFlags::PATH | OFlags::DIRECTORY) {
                Ok(_) => Ok(()),
                Err(_) => Err(Error::Outside {
                    name: name.to_owned(),
                }),
            },
        }
    }

    fn take(&self, folder: &Arc<OwnedFd>, path: &Path, tree: &mut Tree) -> Result<()> {
        let full = self.dir.join(path);
        let metadata = full
            .symlink_metadata()
            .map_err(Error::file("read", &full))?;
        let place = Path::new(PLACE).join(path);
        if metadata.is_symlink() && !path.as_os_str().is_empty() {
            let target = fs::read_link(&full).map_err(Error::file("read", &full))?;
            self.check_link(path, &target)?;
            tree.insert(&place, Node::Link(target));
        } else if metadata.is_file() {
            tree.insert(
                &place,
                Node::File(Content::Beneath(Arc::clone(folder), path.to_owned())),
            );
        } else if full.is_dir() {
            if !path.as_os_str().is_empty() {
                tree.insert(&place, Node::Folder);
            }
            for name in names(&full)? {
                self.take(folder, &path.join(name), tree)?;
            }
        } else {
            return Err(Error::Special {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// A link may lead anywhere inside the folder, and on the host's base into the host's programs, as
    /// those of a Python virtual environment do.
    fn check_link(&self, path: &Path, target: &Path) -> Result<()> {
        let host = ["/usr", "/bin", "/lib", "/lib64", "/sbin"];
        let on_host =
            self.base == Base::Host && host.iter().any(|folder| target.starts_with(folder));
        let climbs = target.components().any(|part| part == Component::ParentDir);
        let fine = match target.is_absolute() {
            true => on_host && !climbs,
            false => stays_inside(path, target),
        };
        if fine {
            return Ok(());
        }
        Err(Error::Escapes {
            path: path.to_owned(),
            target: target.to_owned(),
        })
    }
}

/// Whether a relative target, read from the link's place, never climbs above the root.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth == 0 => return false,
            Component::ParentDir => depth -= 1,
            _ => {}
        }
    }
    true
}

/// The names in a folder, without the version control's own, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let listing = fs::read_dir(folder).map_err(Error::file("list", folder))?;
    let names = listing.map(|item| item.map(|item| item.file_name()));
    let names: std::io::Result<Vec<_>> = names.collect();
    let mut names = names.map_err(Error::file("list", folder))?;
    names.retain(|name| name != SKIPPED);
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(inside("./dist//app.js").unwrap(), Path::new("dist/app.js"));
        assert_eq!(inside(".").unwrap(), Path::new(""));
        for name in ["/etc/passwd", "../x", "a/../../x", "a/.."] {
            assert!(matches!(inside(name), Err(Error::Outside { .. })), "{name}");
        }
    }

    #[test]
    fn links_stay_inside() {
        for (link, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("d/e/a", "../../b/c"),
            ("a", "./b/../c"),
        ] {
            assert!(
                stays_inside(link.as_ref(), target.as_ref()),
                "{link} {target}"
            );
        }
        for (link, target) in [
            ("a", ".."),
            ("a", "../b"),
            ("d/a", "../../b"),
            ("d/a", "../x/../../d/b"),
        ] {
            assert!(
                !stays_inside(link.as_ref(), target.as_ref()),
                "{link} {target}"
            );
        }
    }
}
