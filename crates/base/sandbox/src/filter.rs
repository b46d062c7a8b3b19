//! The system call filter: what no workload has business with, group by group, and a closed top.
//!
//! A list of what is denied instead of what is allowed, because a platform runs programs that it does not
//! know, and one refused call of an unusual runtime costs a team a day. What makes such a list fail open is
//! the next kernel's new call. So everything above [`LAST_REVIEWED`] is answered with ENOSYS, as on the kernel
//! of the day the list was reviewed; that also covers the x32 calls, whose numbers begin at 0x4000_0000. Another
//! architecture's calls kill the process.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

use crate::error::SandboxError;

/// The highest system call number that the list was reviewed against (`file_setattr`, Linux 6.17); numbers
/// are the same on every architecture from 424 on.
pub const LAST_REVIEWED: u32 = 469;

/// System calls that are answered with EPERM, whatever their arguments, and why.
pub struct Group {
    /// Why a workload has no business with them.
    pub reason: &'static str,
    /// Name and number.
    pub calls: &'static [(&'static str, i64)],
}

macro_rules! calls {
    ($($name:ident = $call:ident),* $(,)?) => { &[$((stringify!($name), libc::$call as i64)),*] };
}

/// The table.
pub const DENIED: &[Group] = &[
    Group {
        reason: "they change the file tree, and with it what every protection here rests on",
        calls: calls![
            mount = SYS_mount,
            umount2 = SYS_umount2,
            pivot_root = SYS_pivot_root,
            chroot = SYS_chroot,
            move_mount = SYS_move_mount,
            open_tree = SYS_open_tree,
            fsopen = SYS_fsopen,
            fsconfig = SYS_fsconfig,
            fsmount = SYS_fsmount,
            fspick = SYS_fspick,
            mount_setattr = SYS_mount_setattr,
            quotactl = SYS_quotactl,
            swapon = SYS_swapon,
            swapoff = SYS_swapoff,
        ],
    },
    Group {
        reason: "a new user namespace gives capabilities inside, and the kernel code behind them",
        calls: calls![unshare = SYS_unshare, setns = SYS_setns],
    },
    Group {
        reason: "they read or steer another process from outside; a debugger has no place in production",
        calls: calls![
            ptrace = SYS_ptrace,
            process_vm_readv = SYS_process_vm_readv,
            process_vm_writev = SYS_process_vm_writev,
            kcmp = SYS_kcmp,
            pidfd_getfd = SYS_pidfd_getfd,
            migrate_pages = SYS_migrate_pages,
            move_pages = SYS_move_pages,
        ],
    },
    Group {
        reason: "kernel keyrings are not namespaced",
        calls: calls![
            add_key = SYS_add_key,
            request_key = SYS_request_key,
            keyctl = SYS_keyctl
        ],
    },
    Group {
        reason: "large kernel interfaces with a long history of escapes",
        calls: calls![
            bpf = SYS_bpf,
            userfaultfd = SYS_userfaultfd,
            perf_event_open = SYS_perf_event_open,
            io_uring_setup = SYS_io_uring_setup,
            io_uring_enter = SYS_io_uring_enter,
            io_uring_register = SYS_io_uring_register,
        ],
    },
    Group {
        reason: "they change the kernel or the whole machine",
        calls: calls![
            init_module = SYS_init_module,
            finit_module = SYS_finit_module,
            delete_module = SYS_delete_module,
            kexec_load = SYS_kexec_load,
            reboot = SYS_reboot,
            acct = SYS_acct,
            syslog = SYS_syslog,
            vhangup = SYS_vhangup,
        ],
    },
    Group {
        reason: "the clock belongs to the machine",
        calls: calls![
            settimeofday = SYS_settimeofday,
            clock_settime = SYS_clock_settime,
            clock_adjtime = SYS_clock_adjtime,
            adjtimex = SYS_adjtimex,
        ],
    },
    Group {
        reason: "they open files past the file tree's borders, or watch the whole machine's files",
        calls: calls![
            open_by_handle_at = SYS_open_by_handle_at,
            fanotify_init = SYS_fanotify_init,
            lookup_dcookie = SYS_lookup_dcookie,
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "hardware access, and calls that only old programs of one architecture know",
        calls: calls![
            iopl = SYS_iopl,
            ioperm = SYS_ioperm,
            modify_ldt = SYS_modify_ldt,
            kexec_file_load = SYS_kexec_file_load,
            uselib = SYS_uselib,
            ustat = SYS_ustat,
            sysfs = SYS_sysfs,
            _sysctl = SYS__sysctl,
            nfsservctl = SYS_nfsservctl,
        ],
    },
];

/// Calls that libc has no name for; they belong to the group of mounts.
pub const DENIED_BY_NUMBER: &[(&str, i64)] = &[("quotactl_fd", 443), ("open_tree_attr", 467)];

/// The flags of clone(2) that make namespaces.
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32 as u64;

/// `struct seccomp_data`'s number, and the three instructions that are needed.
const LOAD_NUMBER: sock_filter = instruction(0x20, 0, 0, 0);
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The compiled filters, to be installed in this order.
pub(crate) struct Filters {
    programs: [BpfProgram; 2],
}

impl Filters {
    /// Compiles the table for this machine.
    pub(crate) fn compile() -> Result<Self, SandboxError> {
        let denied = denied().map_err(|source| SandboxError::Filter { source })?;
        Ok(Self {
            programs: [denied, absent()],
        })
    }

    /// Installs the filters, for this process and all that come from it, for good.
    pub(crate) fn install(&self) -> Result<(), rustix::io::Errno> {
        for program in &self.programs {
            seccompiler::apply_filter(program).map_err(|_| crate::process::last_error())?;
        }
        Ok(())
    }
}

fn denied() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (_, number) in DENIED.iter().flat_map(|group| group.calls) {
        rules.insert(*number, Vec::new());
    }
    for (_, number) in DENIED_BY_NUMBER {
        rules.insert(*number, Vec::new());
    }
    conditional(&mut rules)?;
    let target = TargetArch::try_from(std::env::consts::ARCH)?;
    let deny = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, deny, target)?.try_into()
}

/// Calls that are denied for some of their arguments.
fn conditional(rules: &mut BTreeMap<i64, Vec<SeccompRule>>) -> Result<(), BackendError> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};
    // clone with any namespace flag: as unshare. One rule per flag: any of them is one too many.
    let mut flags = Vec::new();
    for bit in (0..32).map(|shift| 1u64 << shift) {
        if NAMESPACES & bit != 0 {
            flags.push(rule(&[(0, MaskedEq(bit), bit)])?);
        }
    }
    rules.insert(libc::SYS_clone, flags);
    // Sockets: Unix, IPv4, IPv6, and of netlink only routing (getifaddrs). AF_VSOCK leads to the hypervisor past
    // every network namespace; AF_ALG, AF_PACKET and the rest are kernel surface without a use here.
    let (unix, inet, inet6) = (
        libc::AF_UNIX as u64,
        libc::AF_INET as u64,
        libc::AF_INET6 as u64,
    );
    let netlink = libc::AF_NETLINK as u64;
    let sockets = vec![
        rule(&[
            (0, Ne, unix),
            (0, Ne, inet),
            (0, Ne, inet6),
            (0, Ne, netlink),
        ])?,
        rule(&[(0, Eq, netlink), (2, Ne, libc::NETLINK_ROUTE as u64)])?,
    ];
    rules.insert(libc::SYS_socket, sockets);
    rules.insert(libc::SYS_socketpair, vec![rule(&[(0, Ne, unix)])?]);
    // Terminals: pushing input into the terminal of whoever runs `ward exec`. The kernel looks at 32 bits.
    let terminal = [libc::TIOCSTI as u32, libc::TIOCLINUX as u32].map(u64::from);
    let terminal = terminal.map(|request| rule(&[(1, Eq, request)]));
    rules.insert(
        libc::SYS_ioctl,
        terminal.into_iter().collect::<Result<_, _>>()?,
    );
    // Personalities: the plain ones, and "which am I?"; the others turn protections of memory off.
    let plain = [0u64, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
    let others = plain.map(|value| (0, Ne, value));
    rules.insert(libc::SYS_personality, vec![rule(&others)?]);
    Ok(())
}

fn rule(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions.iter().map(|(index, operator, value)| {
        SeccompCondition::new(*index, SeccompCmpArgLen::Dword, operator.clone(), *value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// ENOSYS for clone3, whose flags lie in memory where no filter can look (C libraries then use clone), and for
/// everything that nobody has reviewed.
fn absent() -> BpfProgram {
    let enosys = ERRNO | libc::ENOSYS as u32;
    vec![
        LOAD_NUMBER,
        instruction(0x15, 1, 0, libc::SYS_clone3 as u32),
        instruction(0x25, 0, 1, LAST_REVIEWED),
        instruction(0x06, 0, 0, enosys),
        instruction(0x06, 0, 0, ALLOW),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_compiles_and_names_no_call_twice() {
        Filters::compile().unwrap();
        let mut numbers: Vec<i64> = DENIED
            .iter()
            .flat_map(|group| group.calls)
            .map(|call| call.1)
            .collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
        assert!(
            numbers
                .iter()
                .all(|number| *number <= i64::from(LAST_REVIEWED))
        );
    }
}
