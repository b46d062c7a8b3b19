//! An application that listens "everywhere" listens on its own loopback address.
//!
//! Each link has a listener on a loopback address of its own, at the port that the application expects: `api:8080`
//! is 127.77.0.2, port 8080. The kernel refuses a socket for all addresses (0.0.0.0) at a port that any address is
//! listened on at, and `web`, itself on port 8080, listens for all addresses, as nearly every server does. On a
//! cluster each has an address of its own; here they share one network namespace.
//!
//! The only way in to an application is its keeper's connection to 127.0.0.1, so for it "all addresses" and
//! 127.0.0.1 mean the same. Where an instance has links, its calls of bind(2) are therefore shown to the keeper
//! (seccomp's user notification, Linux 5.5): at a link's port it binds the application's socket (pidfd_getfd(2)) to the
//! loopback address instead; every other bind(2) goes on as if nothing had been asked. What the application can win by
//! changing the address in its memory meanwhile is a refusal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

use crate::process::last_error;

/// Load the call's number; bind? ask; anything else: allow. Another architecture's calls are killed by the filter of
/// the table.
const ASK_FOR_BIND: [libc::sock_filter; 4] = [
    instruction(0x20, 0, 0, 0),
    instruction(0x15, 0, 1, libc::SYS_bind as u32),
    instruction(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
    instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
];

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Has this process's calls of bind, and those of all that come from it, shown on the descriptor that is returned.
/// Needs no_new_privs.
pub(crate) fn ask_first() -> Result<OwnedFd, Errno> {
    let mut instructions = ASK_FOR_BIND;
    let program = libc::sock_fprog {
        len: instructions.len() as u16,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: `program` points to its instructions, and both live until the call, which copies them, returns.
    let number = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if number < 0 {
        return Err(last_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number as i32) })
}

/// The keeper's side.
pub(crate) struct Binds {
    pub(crate) questions: OwnedFd,
    ports: Vec<u16>,
}

/// What becomes of a call.
enum Answer {
    /// It goes on as it was made.
    GoOn,
    /// It was made in its place, with this outcome.
    Done(Result<(), Errno>),
}

impl Binds {
    /// `ports`: those of the links.
    pub(crate) fn new(questions: OwnedFd, ports: Vec<u16>) -> Self {
        Self { questions, ports }
    }

    /// Answers the next question. One whose process is gone needs none.
    pub(crate) fn answer(&self) -> Result<(), Errno> {
        // SAFETY: a plain C struct, for which zeros are valid; the kernel demands them.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked)?;
        let mut response = libc::seccomp_notif_resp {
            id: asked.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        match self.decide(&asked) {
            Answer::GoOn => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Answer::Done(Ok(())) => {}
            Answer::Done(Err(error)) => response.error = -error.raw_os_error(),
        }
        self.control(libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)
    }

    fn decide(&self, asked: &libc::seccomp_notif) -> Answer {
        let [number, address, length, ..] = asked.data.args;
        let Some(thread) = Pid::from_raw(asked.pid.cast_signed()) else {
            return Answer::GoOn;
        };
        // What cannot be read, the kernel will refuse with a better reason than ours.
        let Ok(wanted) = read_address(thread, address, length) else {
            return Answer::GoOn;
        };
        let everywhere = wanted.ip().is_unspecified() && self.ports.contains(&wanted.port());
        if !everywhere {
            return Answer::GoOn;
        }
        match take_socket(thread, number) {
            // Between asking and now the process may have ended, and another have got its number.
            Ok(socket) if self.still_asks(asked.id) => bind(&socket, wanted),
            _ => Answer::GoOn,
        }
    }

    fn still_asks(&self, mut id: u64) -> bool {
        self.control(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw mut id)
            .is_ok()
    }

    fn control<T>(&self, request: libc::Ioctl, argument: *mut T) -> Result<(), Errno> {
        // SAFETY: each caller passes the struct that its request is defined with (the request holds its size), which
        // lives until the call returns.
        let result = unsafe { libc::ioctl(self.questions.as_raw_fd(), request, argument) };
        if result < 0 {
            return Err(last_error());
        }
        Ok(())
    }
}

/// The `sockaddr_in` or `sockaddr_in6` in another process's memory.
fn read_address(process: Pid, address: u64, length: u64) -> Result<SocketAddr, Errno> {
    let mut bytes = [0u8; 28];
    let length = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: length,
    };
    let remote = libc::iovec {
        iov_base: address as usize as *mut libc::c_void,
        iov_len: length,
    };
    let pid = process.as_raw_nonzero().get();
    // SAFETY: writes at most `length` bytes into `bytes`; the remote address is the other process's, which the kernel
    // checks.
    let read = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    let read = usize::try_from(read).map_err(|_| last_error())?;
    parse_address(&bytes[..read]).ok_or(Errno::AFNOSUPPORT)
}

/// ip(7), ipv6(7): family in the machine's order, port in the network's.
fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let ip = match family {
        libc::AF_INET => IpAddr::from(*bytes.get(4..)?.first_chunk::<4>()?),
        libc::AF_INET6 => IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// A copy of another process's descriptor.
fn take_socket(thread: Pid, number: u64) -> Result<OwnedFd, Errno> {
    let process = rustix::process::pidfd_open(process_of(thread)?, PidfdFlags::empty())?;
    let number = i32::try_from(number).map_err(|_| Errno::BADF)?;
    rustix::process::pidfd_getfd(process, number, PidfdGetfdFlags::empty())
}

/// The process of a thread: a question names the thread, a pidfd the process.
fn process_of(thread: Pid) -> Result<Pid, Errno> {
    let path = format!("/proc/{}/status", thread.as_raw_nonzero());
    let status = std::fs::read_to_string(path).map_err(|_| Errno::SRCH)?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let process = process.and_then(|number| number.trim().parse().ok());
    process.and_then(Pid::from_raw).ok_or(Errno::SRCH)
}

/// Binds to the loopback address that stands for all addresses.
fn bind(socket: &OwnedFd, wanted: SocketAddr) -> Answer {
    use rustix::net::sockopt;
    // Datagrams are not in the links' way.
    if sockopt::socket_type(socket) != Ok(SocketType::STREAM) {
        return Answer::GoOn;
    }
    let ip: IpAddr = match wanted.ip() {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        // One that takes both families must be found at 127.0.0.1.
        IpAddr::V6(_) if sockopt::ipv6_v6only(socket) == Ok(false) => {
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()
        }
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let address = SocketAddr::new(ip, wanted.port());
    Answer::Done(rustix::net::bind(socket, &address))
}

impl AsFd for Binds {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.questions.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        let mut v4 = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        v4.extend([0x1f, 0x90, 0, 0, 0, 0]);
        assert_eq!(parse_address(&v4).unwrap().to_string(), "0.0.0.0:8080");
        let mut v6 = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
        v6.extend([0x1f, 0x90, 0, 0, 0, 0]);
        v6.extend([0; 16]);
        assert_eq!(parse_address(&v6).unwrap().to_string(), "[::]:8080");
        assert!(parse_address(&v6[..20]).is_none());
        assert!(parse_address(&[1, 0]).is_none());
    }
}
