//! Giving up every privilege, for good.

use rustix::io::Errno;
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

/// Empties all five capability sets and locks the ways back.
///
/// The order matters: dropping from the bounding set and setting secure bits need CAP_SETPCAP, so the
/// permitted set goes last.
pub(crate) fn drop_all() -> Result<(), Errno> {
    // 1. Ambient first: it would be added to what the next program gets.
    rustix::thread::clear_ambient_capability_set()?;
    // 2. Bounding: no program file can give back what is not in it. The kernel names the last one by refusing
    //    the one behind it.
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::INVAL) if bit > 30 => break,
            Err(source) => return Err(source),
        }
    }
    // 3. Secure bits: id 0 inside is an id like any other, and that is locked.
    rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_SETUID_FIXUP
            | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
            | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    )?;
    // 4. Effective, permitted and inheritable, in one call.
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets)?;
    // 5. And no exec gives privileges. It is what lets an unprivileged process install a filter.
    rustix::thread::set_no_new_privs(true)
}
