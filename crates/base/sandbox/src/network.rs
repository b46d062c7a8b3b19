//! The network namespace: a loopback device and nothing else.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::UnshareFlags;

use crate::error::{NETWORK_NAMESPACE_REMEDY, SandboxError, outside};

/// Moves this process into a network namespace of its own, with loopback up. Its sockets are made inside from
/// now on; path-named Unix sockets work across the border.
pub(crate) fn enter() -> Result<(), SandboxError> {
    crate::process::unshare(UnshareFlags::NEWNET).map_err(|source| SandboxError::Outside {
        doing: "making a network namespace",
        advice: NETWORK_NAMESPACE_REMEDY,
        because: source.into(),
    })?;
    loopback_up().map_err(outside("bringing the loopback device up"))?;
    // A workload has no capability, and images want port 80; in a network of its own nobody is shut out.
    // Where the kernel has no such setting, ports below 1024 are refused to the workload, which it will say.
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    Ok(())
}

/// Gives the loopback device one more address, so that a declared outside address can be listened on inside.
/// `number` tells it from the others. Only in a network namespace of this process's own.
///
/// # Errors
/// `PermissionDenied` in a network namespace that is not its own.
pub fn add_address(number: u32, address: Ipv4Addr) -> io::Result<()> {
    let alias = format!("lo:{number}");
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    configure(&socket, &alias, libc::SIOCSIFADDR, address)?;
    configure(&socket, &alias, libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST)?;
    Ok(())
}

fn configure(
    socket: &OwnedFd,
    name: &str,
    what: libc::Ioctl,
    address: Ipv4Addr,
) -> Result<(), Errno> {
    let mut request = named(name);
    let value = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the union's field is a `sockaddr`, as large as a `sockaddr_in` and of lesser alignment.
    request.ifr_ifru.ifru_addr =
        unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(value) };
    ask(socket, what, &request)
}

/// Sets the flag IFF_UP of `lo`; the kernel gives it 127.0.0.1/8 and ::1 by itself.
fn loopback_up() -> Result<(), Errno> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut request = named("lo");
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ask(&socket, libc::SIOCSIFFLAGS, &request)
}

fn named(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is a plain C struct for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
        *place = byte as libc::c_char;
    }
    request
}

fn ask(socket: &OwnedFd, what: libc::Ioctl, request: &libc::ifreq) -> Result<(), Errno> {
    // SAFETY: the interface requests read an `ifreq`, which lives until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what as _, &raw const *request) };
    if result < 0 {
        return Err(crate::process::last_error());
    }
    Ok(())
}
