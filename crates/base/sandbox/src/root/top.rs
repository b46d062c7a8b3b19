//! The topmost layer of a root: mount points and files that the image lacks.
//!
//! Layers are read-only and belong to ids that the sandbox does not map, so that nothing can be made in them; a
//! small layer of Ward's own on top holds what has to be there. A path that the image already has is left to
//! the image, whatever symbolic links lead to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Doing, Failed};
use crate::mounts::{magic, read_within, within};

/// The most that is read of an image's file.
const MAX_TEXT: usize = 1 << 20;

/// The top layer.
pub(super) struct Top<'image> {
    layer: OwnedFd,
    image: Option<BorrowedFd<'image>>,
}

impl<'image> Top<'image> {
    /// An empty layer in the scratch file system, above `image`.
    pub(super) fn make(
        scratch: BorrowedFd<'_>,
        image: Option<BorrowedFd<'image>>,
    ) -> Result<Self, Failed> {
        folder(scratch, "top")?;
        let layer = within(scratch, "top").doing("opening the top layer")?;
        Ok(Self { layer, image })
    }

    /// The layer itself.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.layer.as_fd()
    }

    /// Whether the image has something at `path`.
    pub(super) fn image_has(&self, path: &str) -> bool {
        self.image.is_some_and(|image| within(image, path).is_ok())
    }

    /// The text of an image's file; empty when there is none that can be read.
    pub(super) fn image_text(&self, path: &str) -> String {
        let Some(image) = self.image else {
            return String::new();
        };
        let Ok(file) = read_within(image, path, OFlags::RDONLY | OFlags::NONBLOCK) else {
            return String::new();
        };
        let mut text = Vec::new();
        let reader = std::fs::File::from(file);
        let limited = std::io::Read::take(reader, MAX_TEXT as u64);
        match std::io::Read::read_to_end(&mut { limited }, &mut text) {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => String::new(),
        }
    }

    /// What a symbolic link of the image says, if `path` is one.
    pub(super) fn image_link(&self, path: &str) -> bool {
        self.image.is_some_and(|image| {
            read_within(image, path, OFlags::PATH | OFlags::NOFOLLOW)
                .and_then(|fd| rustix::fs::fstat(&fd))
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink())
        })
    }

    /// Makes sure that there is a folder at `path`.
    pub(super) fn folder(&self, path: &str) -> Result<(), Failed> {
        let step = format!("making the folder {path}");
        if self.image_has(path) {
            return Ok(());
        }
        let place = self.place(path).doing(&step)?;
        folders(self.fd(), &place).doing(&step)
    }

    /// Makes sure that a file can be mounted at `path`.
    pub(super) fn place_for_file(&self, path: &str) -> Result<(), Failed> {
        if self.image_has(path) {
            return Ok(());
        }
        self.file(path, "")
    }

    /// Puts a file there, instead of the image's.
    pub(super) fn file(&self, path: &str, text: &str) -> Result<(), Failed> {
        let step = format!("making the file {path}");
        let place = self.place(path).doing(&step)?;
        write(self.fd(), &place, text).doing(&step)
    }

    /// Puts a symbolic link there, unless the image has something.
    pub(super) fn link(&self, path: &str, target: &str) -> Result<(), Failed> {
        if self.image_has(path) || self.image_link(path) {
            return Ok(());
        }
        rustix::fs::symlinkat(target, self.fd(), path).doing(&format!("making the link {path}"))
    }

    /// Where `path` lies when the symbolic links of its folders, in the image, are followed. Relative.
    fn place(&self, path: &str) -> Result<String, Errno> {
        let path = path.trim_matches('/');
        if path.is_empty() || path.split('/').any(|part| part == "..") {
            return Err(Errno::INVAL);
        }
        let Some(image) = self.image else {
            return Ok(path.to_owned());
        };
        let (mut folder, mut rest) = path.rsplit_once('/').unwrap_or(("", path));
        loop {
            let real = match folder {
                "" => Ok(String::new()),
                _ => real_path(image, folder),
            };
            match real {
                Ok(real) => return Ok(format!("{real}/{rest}").trim_matches('/').to_owned()),
                Err(Errno::NOENT) => {
                    folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
                    rest = path[folder.len()..].trim_start_matches('/');
                }
                Err(source) => return Err(source),
            }
        }
    }
}

/// Where a path of the image really lies in it.
fn real_path(image: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let read = |fd: BorrowedFd<'_>| -> Result<String, Errno> {
        let link = rustix::fs::readlink(magic(fd), Vec::new())?;
        link.into_string().map_err(|_| Errno::ILSEQ)
    };
    let base = read(image)?;
    let found = read(within(image, path)?.as_fd())?;
    let relative = found
        .strip_prefix(base.trim_end_matches('/'))
        .unwrap_or(&found);
    Ok(relative.trim_matches('/').to_owned())
}

/// Makes a folder in `parent`.
pub(super) fn folder(parent: BorrowedFd<'_>, name: &str) -> Result<(), Failed> {
    rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)).doing(&format!("making {name}"))
}

/// Makes an empty file in `parent`.
pub(super) fn empty_file(parent: BorrowedFd<'_>, name: &str) -> Result<(), Failed> {
    write(parent, name, "").doing(&format!("making {name}"))
}

fn folders(parent: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
        match rustix::fs::mkdirat(parent, &path[..end], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(source),
        }
    }
    Ok(())
}

fn write(parent: BorrowedFd<'_>, path: &str, text: &str) -> Result<(), Errno> {
    if let Some((above, _)) = path.rsplit_once('/') {
        folders(parent, above)?;
    }
    let flags =
        OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(parent, path, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, text.as_bytes()).map(|_| ())
}
