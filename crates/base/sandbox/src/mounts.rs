//! Mounts by descriptor: made detached, given their restrictions, and only then attached.
//!
//! No step walks a path of an image from the host's root: a target is opened with `openat2` and
//! `RESOLVE_IN_ROOT`, so that a symbolic link in an image leads nowhere but into the image.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
};

/// Read-only, and no set-user-id program or device works.
pub(crate) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// Writable, and no set-user-id program or device works.
pub(crate) const READ_WRITE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// For a device file: it must work as one, and nothing else.
pub(crate) const DEVICE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// What an attribute or a copy covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// One mount.
    One,
    /// It and all mounts below it.
    Tree,
}

/// Opens `path` as if `root` were `/`, without following it out.
pub(crate) fn within(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    read_within(root, path, OFlags::PATH)
}

/// As [`within`], with flags.
pub(crate) fn read_within(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// A new file system, detached.
pub(crate) fn new(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A copy of what `source` shows, detached, with attributes.
pub(crate) fn copy(
    source: BorrowedFd<'_>,
    extent: Extent,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if extent == Extent::Tree {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let copy = rustix::mount::open_tree(source, "", flags)?;
    restrict(copy.as_fd(), extent, attributes)?;
    Ok(copy)
}

/// Puts a detached mount where `target` is.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags)
}

/// `struct mount_attr` of mount_setattr(2), version 0.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Adds attributes to a mount, or to it and all below: every one or none.
pub(crate) fn restrict(
    mount: BorrowedFd<'_>,
    extent: Extent,
    attributes: MountAttrFlags,
) -> Result<(), Errno> {
    let attr = MountAttr {
        set: u64::from(attributes.bits()),
        clear: 0,
        propagation: 0,
        userns: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if extent == Extent::Tree {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is an empty C string, `attr` is a version 0 mount_attr of the size that is passed, and
    // both live until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result < 0 {
        return Err(crate::process::last_error());
    }
    Ok(())
}

/// Mounts a read-only overlay of `layers`, topmost first, on `target`. `userxattr`: an ordinary user's
/// layers mark removed files and opaque folders in `user.overlay.*`.
pub(crate) fn overlay(layers: &[BorrowedFd<'_>], target: BorrowedFd<'_>) -> Result<(), Errno> {
    // mount(2), not fsconfig(2): its strings end at 256 bytes, and `lowerdir+` needs Linux 6.7.
    let paths: Vec<String> = layers.iter().map(|layer| magic(*layer)).collect();
    let data = format!("lowerdir={},userxattr", paths.join(":"));
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("overlay", magic(target), "overlay", flags, data.as_c_str())
}

/// A path that leads to an open descriptor, for calls that take no descriptor.
pub(crate) fn magic(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
