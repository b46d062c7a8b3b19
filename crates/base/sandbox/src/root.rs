//! The file tree of an instance, built and entered in one straight list of steps.

mod given;
mod host;
mod top;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};
use ward_types::keeper::{Access, InstanceSpec, Limits, MountSpec};

use crate::error::{Doing, Failed};
use crate::mounts::{self, Extent};
use host::HostTools;
use top::Top;

/// What the machine lets a workload know in `/proc` and is nobody's business: hidden.
const HIDDEN: &[&str] = &[
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
];
/// What a workload may read in `/proc` and not change.
const FROZEN: &[&str] = &[
    "proc/bus",
    "proc/fs",
    "proc/irq",
    "proc/sys",
    "proc/sysrq-trigger",
];
/// The devices that every program may expect.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

const LAYERS_ADVICE: &str = "each layer must be readable by everybody, as the image store makes it";

/// Descriptors of all that is shown, opened before the process becomes the instance's user, who may not walk
/// Ward's folders, and after it has a mount namespace of its own, in which alone they can be mounted.
pub(crate) struct Sources {
    dir: OwnedFd,
    layers: Vec<OwnedFd>,
    host: HostTools,
    devices: Vec<OwnedFd>,
    mounts: Vec<OwnedFd>,
}

impl Sources {
    /// Opens everything.
    pub(crate) fn open(spec: &InstanceSpec) -> Result<Self, Failed> {
        let open_all = |paths: &mut dyn Iterator<Item = &Path>| -> Result<Vec<OwnedFd>, Failed> {
            paths.map(open).collect()
        };
        let devices = DEVICES
            .iter()
            .map(|name| open(&Path::new("/dev").join(name)));
        let mut layers = spec.root.layers.iter().map(std::path::PathBuf::as_path);
        let mut mounts = spec.root.mounts.iter().map(|mount| mount.source.as_path());
        Ok(Self {
            dir: open(&spec.dir)?,
            layers: open_all(&mut layers)?,
            host: HostTools::open(spec.root.host_usr)?,
            devices: devices.collect::<Result<_, _>>()?,
            mounts: open_all(&mut mounts)?,
        })
    }
}

fn open(path: &Path) -> Result<OwnedFd, Failed> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(&format!("opening {}", path.display()))
}

/// Takes this mount namespace from its origin, so that nothing mounted here is seen there, or there here.
pub(crate) fn detach_from_host() -> Result<(), Failed> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).doing("making the mounts private")
}

/// Where a root's scratch space comes from.
pub(crate) enum Scratch {
    /// Empty, for an instance.
    New,
    /// An instance's own, for a program that runs beside it: copies of its mounts.
    Shared(Vec<OwnedFd>),
}

/// The folders of scratch space, and their modes. /dev/shm lies in /dev, so it comes after that.
pub(crate) const SCRATCH: [(&str, &str); 3] =
    [("tmp", "1777"), ("run", "0755"), ("dev/shm", "1777")];

/// Builds the file tree and makes it this process's root. What the kernel denies is added to `missing`.
pub(crate) fn enter(
    spec: &InstanceSpec,
    sources: &Sources,
    scratch_space: &Scratch,
    missing: &mut Vec<String>,
) -> Result<(), Failed> {
    // 1. A scratch file system over the instance's own folder, which is sure to exist. It vanishes with the old
    //    root at the end.
    let scratch = tmpfs("0755", None).doing("making a tmpfs")?;
    mounts::attach(scratch.as_fd(), sources.dir.as_fd()).doing("mounting a tmpfs")?;

    // 2. The top layer, before the root is mounted: the layers of an overlay must not change under it, and a
    //    read-only root takes no mount point any more.
    let view = image_view(sources, scratch.as_fd())?;
    let top = Top::make(scratch.as_fd(), view.as_ref().map(AsFd::as_fd))?;
    furnish(spec, sources, &top)?;

    // 3. The root itself.
    let root = mount_root(sources, scratch.as_fd(), &top)?;

    // 4. The host's tools first among what is shown: a mount of the stack may lie below them.
    sources.host.show(root.as_fd(), &sources.layers)?;

    // 5. Devices, then scratch space, of which one lies in /dev.
    devices(&sources.devices, root.as_fd())?;
    show_scratch_space(root.as_fd(), scratch_space, &spec.limits)?;
    if matches!(scratch_space, Scratch::New) {
        given::make(root.as_fd(), &spec.secrets.files)?;
    }

    // 6. /proc, after /dev, whose null hides files in it.
    process_information(root.as_fd(), &sources.devices[0], missing)?;

    // 7. What the stack asks for, last, so that it lies on top.
    for (mount, source) in spec.root.mounts.iter().zip(&sources.mounts) {
        show(root.as_fd(), mount, source)?;
    }

    // 8. The root becomes read-only when nothing has to be made in it any more.
    mounts::restrict(root.as_fd(), Extent::One, mounts::READ_ONLY)
        .doing("making the root read-only")?;
    enter_root(root.as_fd()).doing("entering the new root")
}

/// Replaces the root of this process and lets go of the old one, in which the host's files were.
fn enter_root(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    // The old root lies on top of the new one now; "." is still the new one's place.
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn tmpfs(mode: &str, size: Option<u64>) -> Result<OwnedFd, Errno> {
    let size = size.map(|bytes| bytes.to_string());
    let mut options = vec![("mode", mode)];
    options.extend(size.as_deref().map(|bytes| ("size", bytes)));
    mounts::new("tmpfs", &options, mounts::READ_WRITE)
}

/// The image as it is without Ward's additions, to look at: its only layer, or an overlay of all.
fn image_view(sources: &Sources, scratch: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Failed> {
    match sources.layers.as_slice() {
        [] => Ok(None),
        [only] => mounts::within(only.as_fd(), ".")
            .map(Some)
            .doing("opening the image's layer"),
        layers => {
            top::folder(scratch, "view")?;
            let place = mounts::within(scratch, "view").doing("opening the image")?;
            let layers: Vec<_> = layers.iter().rev().map(AsFd::as_fd).collect();
            mounts::overlay(&layers, place.as_fd())
                .doing_with("mounting the image's layers", LAYERS_ADVICE)?;
            mounts::within(scratch, "view")
                .map(Some)
                .doing("opening the image")
        }
    }
}

/// Mount points and the files of /etc.
fn furnish(spec: &InstanceSpec, sources: &Sources, top: &Top<'_>) -> Result<(), Failed> {
    for folder in ["dev", "proc", "tmp", "run", "etc"] {
        top.folder(folder)?;
    }
    top.file("etc/hosts", &crate::etc::hosts(spec))?;
    top.file("etc/hostname", &format!("{}\n", spec.facts.id))?;
    top.file("etc/resolv.conf", crate::etc::RESOLV_CONF)?;
    let known = |path| top.image_text(path);
    top.file(
        "etc/passwd",
        &crate::etc::passwd(&known("etc/passwd"), &spec.user),
    )?;
    top.file(
        "etc/group",
        &crate::etc::group(&known("etc/group"), &spec.user),
    )?;
    if !top.image_has("etc/nsswitch.conf") {
        top.file("etc/nsswitch.conf", crate::etc::NSSWITCH_CONF)?;
    }
    sources.host.furnish(top)?;
    for (mount, source) in spec.root.mounts.iter().zip(&sources.mounts) {
        if is_folder(source.as_fd()).doing("looking at a mount")? {
            top.folder(&mount.target)?;
        } else {
            top.place_for_file(&mount.target)?;
        }
    }
    Ok(())
}

fn mount_root(
    sources: &Sources,
    scratch: BorrowedFd<'_>,
    top: &Top<'_>,
) -> Result<OwnedFd, Failed> {
    top::folder(scratch, "root")?;
    let place = mounts::within(scratch, "root").doing("opening the root")?;
    if sources.layers.is_empty() {
        let copy =
            mounts::copy(top.fd(), Extent::One, mounts::READ_WRITE).doing("making the root")?;
        mounts::attach(copy.as_fd(), place.as_fd()).doing("mounting the root")?;
    } else {
        let mut layers = vec![top.fd()];
        layers.extend(sources.layers.iter().rev().map(AsFd::as_fd));
        mounts::overlay(&layers, place.as_fd())
            .doing_with("mounting the image's layers", LAYERS_ADVICE)?;
    }
    mounts::within(scratch, "root").doing("opening the root")
}

fn devices(devices: &[OwnedFd], root: BorrowedFd<'_>) -> Result<(), Failed> {
    let dev = mounts::new(
        "tmpfs",
        &[("mode", "0755"), ("size", "64k")],
        MountAttrFlags::MOUNT_ATTR_NOSUID,
    )
    .doing("making /dev")?;
    for name in DEVICES {
        top::empty_file(dev.as_fd(), name)?;
    }
    for folder in ["shm", "pts"] {
        top::folder(dev.as_fd(), folder)?;
    }
    let links = [
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
        ("pts/ptmx", "ptmx"),
    ];
    for (target, name) in links {
        rustix::fs::symlinkat(target, &dev, name).doing("making a link in /dev")?;
    }
    let place = mounts::within(root, "dev").doing("opening /dev")?;
    mounts::attach(dev.as_fd(), place.as_fd()).doing("mounting /dev")?;
    for (name, device) in DEVICES.iter().zip(devices) {
        let copy =
            mounts::copy(device.as_fd(), Extent::One, mounts::DEVICE).doing("copying a device")?;
        attach_at(root, &format!("dev/{name}"), copy.as_fd())?;
    }
    terminals(root)?;
    mounts::restrict(dev.as_fd(), Extent::One, MountAttrFlags::MOUNT_ATTR_RDONLY)
        .doing("making /dev read-only")
}

/// Pseudo terminals of its own.
fn terminals(root: BorrowedFd<'_>) -> Result<(), Failed> {
    let options = [("mode", "0620"), ("ptmxmode", "0666")];
    let noexec = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = mounts::new("devpts", &options, noexec).doing("making /dev/pts")?;
    attach_at(root, "dev/pts", pts.as_fd())
}

/// The most, in bytes, that each scratch folder of an instance without any limit holds. It is memory of the machine,
/// and the kernel's own default is half of that.
const SCRATCH_SPACE: u64 = 1 << 30;

/// More than its memory would not be a full folder but an end for want of memory.
fn scratch_bytes(limits: &Limits) -> u64 {
    let least = [limits.scratch, limits.memory].into_iter().flatten().min();
    least.unwrap_or(SCRATCH_SPACE)
}

fn show_scratch_space(
    root: BorrowedFd<'_>,
    scratch: &Scratch,
    limits: &Limits,
) -> Result<(), Failed> {
    for (index, (path, mode)) in SCRATCH.iter().enumerate() {
        match scratch {
            Scratch::New => {
                let bytes = scratch_bytes(limits);
                let space = tmpfs(mode, Some(bytes)).doing("making scratch space")?;
                attach_at(root, path, space.as_fd())?;
            }
            Scratch::Shared(spaces) => attach_at(root, path, spaces[index].as_fd())?,
        }
    }
    Ok(())
}

fn attach_at(root: BorrowedFd<'_>, path: &str, mount: BorrowedFd<'_>) -> Result<(), Failed> {
    let place = mounts::within(root, path).doing(&format!("opening /{path}"))?;
    mounts::attach(mount, place.as_fd()).doing(&format!("mounting /{path}"))
}

/// A new /proc of the new process namespace. The kernel denies it where the /proc that we have is itself partly
/// covered, as in most containers; the host's own is never shown instead.
fn process_information(
    root: BorrowedFd<'_>,
    null: &OwnedFd,
    missing: &mut Vec<String>,
) -> Result<(), Failed> {
    let attributes = mounts::READ_WRITE | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = match mounts::new("proc", &[], attributes) {
        Ok(proc) => proc,
        Err(Errno::PERM) => {
            missing.push(
                "/proc is empty, so that programs that look at their own process there fail, and no protection is \
                 weaker: the kernel allows no new one inside this container"
                    .to_owned(),
            );
            return Ok(());
        }
        Err(source) => return Err(source).doing("making /proc"),
    };
    attach_at(root, "proc", proc.as_fd())?;
    for path in HIDDEN {
        hide(root, path, null)?;
    }
    for path in FROZEN {
        freeze(root, path)?;
    }
    Ok(())
}

fn hide(root: BorrowedFd<'_>, path: &str, null: &OwnedFd) -> Result<(), Failed> {
    let Ok(place) = mounts::within(root, path) else {
        return Ok(());
    };
    let step = format!("hiding /{path}");
    let cover = if is_folder(place.as_fd()).doing(&step)? {
        mounts::new(
            "tmpfs",
            &[("mode", "0555"), ("size", "0")],
            mounts::READ_ONLY,
        )
    } else {
        mounts::copy(null.as_fd(), Extent::One, mounts::DEVICE)
    };
    mounts::attach(cover.doing(&step)?.as_fd(), place.as_fd()).doing(&step)
}

fn freeze(root: BorrowedFd<'_>, path: &str) -> Result<(), Failed> {
    let Ok(place) = mounts::within(root, path) else {
        return Ok(());
    };
    let step = format!("making /{path} read-only");
    let copy = mounts::copy(place.as_fd(), Extent::Tree, mounts::READ_ONLY).doing(&step)?;
    mounts::attach(copy.as_fd(), place.as_fd()).doing(&step)
}

fn show(root: BorrowedFd<'_>, mount: &MountSpec, source: &OwnedFd) -> Result<(), Failed> {
    let attributes = match mount.access {
        Access::ReadOnly => mounts::READ_ONLY,
        Access::ReadWrite => mounts::READ_WRITE,
    };
    let step = format!("showing {} as {}", mount.source.display(), mount.target);
    let copy = mounts::copy(source.as_fd(), Extent::Tree, attributes).doing(&step)?;
    let place = mounts::within(root, &mount.target).doing(&step)?;
    mounts::attach(copy.as_fd(), place.as_fd()).doing(&step)
}

fn is_folder(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mode = rustix::fs::fstat(fd)?.st_mode;
    Ok(rustix::fs::FileType::from_raw_mode(mode).is_dir())
}
