//! Who the keeper and its instance are: user namespaces and id maps.
//!
//! Root gives each component an unprivileged id of its own and stays in the host's user namespace. An ordinary
//! user can only be itself; its keeper enters a user namespace that maps just its own id, because only there
//! may it make a network namespace.

use rustix::io::Errno;
use rustix::process::{Gid, Pid, Uid, getegid, geteuid};
use rustix::thread::UnshareFlags;
use ward_types::keeper::UserSpec;

use crate::error::{SandboxError, USER_NAMESPACE_REMEDY};

/// The id map of an instance's user namespace, one line each.
pub(crate) struct IdMap {
    uid: String,
    gid: String,
    groups: Groups,
}

/// What becomes of supplementary groups.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Groups {
    /// Root's are dropped.
    Dropped,
    /// An ordinary user's cannot be: giving up a group could open what is closed to the group.
    Kept,
}

/// Checks who the instance wants to be, and enters the keeper's own user namespace where it needs one.
pub(crate) fn enter(user: &UserSpec) -> Result<IdMap, SandboxError> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if uid == 0 {
        if user.host_id == 0 {
            return Err(host_id(
                user,
                "that is root outside; give it an id of its own",
            ));
        }
        return Ok(map(user, user.host_id, user.host_id, Groups::Dropped));
    }
    if user.host_id != uid {
        return Err(host_id(
            user,
            "an ordinary user's instances can only run as that user",
        ));
    }
    own_namespace(uid, gid)?;
    Ok(map(user, uid, gid, Groups::Kept))
}

fn host_id(user: &UserSpec, reason: &'static str) -> SandboxError {
    SandboxError::HostId {
        wanted: user.host_id,
        reason,
    }
}

fn map(user: &UserSpec, uid: u32, gid: u32, groups: Groups) -> IdMap {
    IdMap {
        groups,
        uid: format!("{} {uid} 1", user.uid),
        gid: format!("{} {gid} 1", user.gid),
    }
}

fn own_namespace(uid: u32, gid: u32) -> Result<(), SandboxError> {
    crate::process::unshare(UnshareFlags::NEWUSER)
        .map_err(|because| user_namespace("making a user namespace", because.into()))?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", &format!("{gid} {gid} 1"))
}

impl IdMap {
    /// What becomes of supplementary groups.
    pub(crate) fn groups(&self) -> Groups {
        self.groups
    }

    /// Gives a new child's user namespace its map. Until then the child has no id there.
    pub(crate) fn write(&self, child: Pid) -> Result<(), SandboxError> {
        let child = child.as_raw_nonzero();
        write(&format!("/proc/{child}/uid_map"), &self.uid)?;
        write(&format!("/proc/{child}/gid_map"), &self.gid)
    }
}

/// Becomes the instance's user inside its user namespace. The capabilities stay until they are dropped.
pub(crate) fn become_user(user: &UserSpec, groups: Groups) -> Result<(), Errno> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    if groups == Groups::Dropped {
        set_thread_groups(&[])?;
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

fn write(path: &str, text: &str) -> Result<(), SandboxError> {
    std::fs::write(path, text)
        .map_err(|because| user_namespace("mapping a user into the user namespace", because))
}

pub(crate) fn user_namespace(doing: &'static str, because: std::io::Error) -> SandboxError {
    SandboxError::Outside {
        doing,
        advice: USER_NAMESPACE_REMEDY,
        because,
    }
}
