//! Memory and process limits by control groups, version 1 (also hybrid) and version 2, where they can be
//! written. What cannot be had is told in a sentence, never passed over.
//!
//! Groups are named `ward-KEEPER_PID-INSTANCE`. A keeper that is killed leaves an empty group behind; the next
//! keeper that ends, or [`sweep`], removes those whose keeper is gone. (Not one that starts: somebody waits for it.)

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Pid;
use ward_types::keeper::Limits;

/// One hierarchy's group of one instance.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups of one instance; they are removed on drop.
#[derive(Debug, Default)]
pub(crate) struct Cgroup {
    groups: Vec<Group>,
    memory: Option<usize>,
    processes: Option<usize>,
}

/// A place where groups can be made.
struct Parent {
    path: PathBuf,
    version: Version,
}

impl Cgroup {
    /// Makes the groups that the limits need. What the kernel refuses is added to `missing`.
    pub(crate) fn prepare(limits: &Limits, name: &str, missing: &mut Vec<String>) -> Self {
        let mut cgroup = Self::default();
        let name = format!("ward-{}-{name}", std::process::id());
        if let Some(bytes) = limits.memory {
            match cgroup.limit("memory", &name, &Limit::Memory(bytes)) {
                Ok(index) => cgroup.memory = Some(index),
                Err(error) => missing.push(format!(
                    "the memory limit is not enforced, so that this instance can take the machine's whole memory: \
                     no writable memory control group ({})",
                    error.kind()
                )),
            }
        }
        if let Some(count) = limits.processes {
            match cgroup.limit("pids", &name, &Limit::Processes(count)) {
                Ok(index) => cgroup.processes = Some(index),
                Err(_) if crate::limits::processes_count_by_namespace() => {}
                Err(error) => missing.push(format!(
                    "the process limit is not enforced, so that this instance can exhaust the machine's process \
                     table: no writable pids control group ({})",
                    error.kind()
                )),
            }
        }
        cgroup
    }

    /// Whether a group counts processes.
    pub(crate) fn counts_processes(&self) -> bool {
        self.processes.is_some()
    }

    fn limit(&mut self, controller: &str, name: &str, limit: &Limit) -> io::Result<usize> {
        let mut error = io::Error::from(io::ErrorKind::NotFound);
        for parent in parents(controller) {
            let path = parent.path.join(name);
            let group = Group {
                path,
                version: parent.version,
            };
            match make(&parent, &group, controller).and_then(|()| limit.write(&group)) {
                Ok(()) => return Ok(self.take(group)),
                Err(refused) => error = refused,
            }
        }
        Err(error)
    }

    fn take(&mut self, group: Group) -> usize {
        if let Some(index) = self
            .groups
            .iter()
            .position(|known| known.path == group.path)
        {
            return index;
        }
        self.groups.push(group);
        self.groups.len() - 1
    }

    /// Moves a process in; its children follow it.
    pub(crate) fn add(&self, pid: Pid) -> io::Result<()> {
        for group in &self.groups {
            fs::write(
                group.path.join("cgroup.procs"),
                pid.as_raw_nonzero().to_string(),
            )?;
        }
        Ok(())
    }

    /// How often the kernel has killed a process here for want of memory; 0 where nobody counts.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let Some(group) = self.memory.and_then(|index| self.groups.get(index)) else {
            return 0;
        };
        let file = match group.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = fs::read_to_string(group.path.join(file)).unwrap_or_default();
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill "))
            .and_then(|count| count.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            // What is still busy is swept by the next keeper that ends.
            let _ = fs::remove_dir(&group.path);
        }
        if !self.groups.is_empty() {
            sweep();
        }
    }
}

enum Limit {
    Memory(u64),
    Processes(u32),
}

impl Limit {
    fn write(&self, group: &Group) -> io::Result<()> {
        let file = |name: &str| group.path.join(name);
        match (self, group.version) {
            (Limit::Processes(count), _) => fs::write(file("pids.max"), count.to_string()),
            (Limit::Memory(bytes), Version::One) => {
                fs::write(file("memory.limit_in_bytes"), bytes.to_string())?;
                // Absent without swap accounting; then memory alone is limited.
                let _ = fs::write(file("memory.memsw.limit_in_bytes"), bytes.to_string());
                Ok(())
            }
            (Limit::Memory(bytes), Version::Two) => {
                fs::write(file("memory.max"), bytes.to_string())?;
                let _ = fs::write(file("memory.swap.max"), "0");
                Ok(())
            }
        }
    }
}

/// Makes the group, with the controller in it.
fn make(parent: &Parent, group: &Group, controller: &str) -> io::Result<()> {
    if parent.version == Version::Two {
        let _ = fs::write(
            parent.path.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
    match fs::create_dir(&group.path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let has = match parent.version {
        Version::One => true,
        Version::Two => fs::read_to_string(group.path.join("cgroup.controllers"))?
            .split_whitespace()
            .any(|name| name == controller),
    };
    if has {
        return Ok(());
    }
    let _ = fs::remove_dir(&group.path);
    Err(io::ErrorKind::Unsupported.into())
}

/// Where a group with this controller can be tried, best first.
fn parents(controller: &str) -> Vec<Parent> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match version_one(&own, &mounts, controller) {
        Some(path) => vec![Parent {
            path,
            version: Version::One,
        }],
        None => version_two(&own, &mounts),
    }
}

/// Version 1: below our own group, so that a limit set on Ward as a whole holds.
fn version_one(own: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let group = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        let path = fields.next()?;
        names
            .split(',')
            .any(|name| name == controller)
            .then_some(path)
    })?;
    let (root, point) = mounts.lines().find_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut rest = rest.split(' ');
        let kind = rest.next()?;
        let options = rest.nth(1)?;
        let carries = kind == "cgroup" && options.split(',').any(|option| option == controller);
        let mut fields = fields.split(' ').skip(3);
        carries.then_some((fields.next()?, fields.next()?))
    })?;
    Some(below(point, root, group))
}

/// Version 2: a group with processes cannot have children with controllers. So a group of Ward's own at the top,
/// and else beside our own group, upwards (a delegated `user@.service`).
fn version_two(own: &str, mounts: &str) -> Vec<Parent> {
    let Some((root, point)) = mounts.lines().find_map(|line| {
        let (fields, rest) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        rest.starts_with("cgroup2 ")
            .then_some((fields.next()?, fields.next()?))
    }) else {
        return Vec::new();
    };
    let ward = Path::new(point).join("ward");
    if rustix::process::geteuid().is_root() && fs::create_dir_all(&ward).is_ok() {
        let _ = fs::write(
            Path::new(point).join("cgroup.subtree_control"),
            "+memory +pids",
        );
    }
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/");
    let own = below(point, root, own);
    let above = own
        .ancestors()
        .skip(1)
        .take_while(|path| path.starts_with(point));
    std::iter::once(ward.as_path())
        .chain(above)
        .map(|path| Parent {
            path: path.to_owned(),
            version: Version::Two,
        })
        .collect()
}

/// The folder of `group` in a hierarchy whose `root` is mounted at `point`.
fn below(point: &str, root: &str, group: &str) -> PathBuf {
    let relative = group.strip_prefix(root).unwrap_or(group);
    Path::new(point).join(relative.trim_start_matches('/'))
}

/// Removes the empty groups of keepers that are gone.
pub fn sweep() {
    for controller in ["memory", "pids"] {
        for parent in parents(controller) {
            sweep_in(&parent.path);
        }
    }
}

fn sweep_in(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let keeper = name.to_str().and_then(|name| name.strip_prefix("ward-"));
        let keeper = keeper.and_then(|rest| rest.split('-').next());
        if let Some(pid) = keeper.and_then(|pid| pid.parse::<u32>().ok())
            && !runs(pid)
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether a process runs. One that ended and was not waited for yet does not: proc(5), the third field.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "36 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                          40 30 0:35 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn the_group_of_a_hybrid_machine_is_below_our_own() {
        let own = "4:memory:/service/a\n0::/";
        let path = version_one(own, HYBRID, "memory").unwrap();
        assert_eq!(path, Path::new("/sys/fs/cgroup/memory/service/a"));
        assert!(version_one(own, HYBRID, "pids").is_none());
    }

    #[test]
    fn a_version_two_machine_is_tried_upwards() {
        let mounts = "30 24 0:26 / /no-such-mount rw - cgroup2 cgroup2 rw";
        let parents = version_two("0::/user.slice/user-7.slice/session-1.scope", mounts);
        let paths: Vec<_> = parents
            .iter()
            .map(|p| p.path.display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "/no-such-mount/ward",
                "/no-such-mount/user.slice/user-7.slice",
                "/no-such-mount/user.slice",
                "/no-such-mount"
            ]
        );
    }
}
