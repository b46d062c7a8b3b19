//! The network namespace: a loopback device and nothing else.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::UnshareFlags;

use crate::error::{SandboxError, outside};

/// Moves this process into a network namespace of its own, with loopback up. Its sockets are made inside from
/// now on; path-named Unix sockets work across the border.
pub(crate) fn enter() -> Result<(), SandboxError> {
    crate::process::unshare(UnshareFlags::NEWNET).map_err(outside("making a network namespace"))?;
    loopback_up().map_err(outside("bringing the loopback device up"))?;
    // A workload has no capability, and images want port 80; in a network of its own nobody is shut out.
    // Where the kernel has no such setting, ports below 1024 are refused to the workload, which it will say.
    let _ = std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    Ok(())
}

/// Sets the flag IFF_UP of `lo`; the kernel gives it 127.0.0.1/8 and ::1 by itself.
fn loopback_up() -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: `ifreq` is a plain C struct for which zeros are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which lives until the call returns.
    let result = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    };
    if result < 0 {
        return Err(crate::process::last_error());
    }
    Ok(())
}
