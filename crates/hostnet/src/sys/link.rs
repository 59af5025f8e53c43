//! Interface ioctls: TAP creation and offloads.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::check;

/// An all-zero interface request with a name. Names longer than 15 bytes are refused.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

/// Turns an open `/dev/net/tun` into a TAP interface of this name in the caller's network namespace.
pub(crate) fn create_tap(tun: impl AsFd, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI)
        .try_into()
        .unwrap_or_default();
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
        .map(drop)
}

/// `struct ethtool_value` of `linux/ethtool.h`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Commands of `linux/ethtool.h` that set one offload: TX checksums, scatter-gather, TSO, GSO, GRO, and the flags
/// (LRO, VLAN insertion and extraction) all at once.
const OFFLOADS: [u32; 6] = [0x17, 0x19, 0x1f, 0x24, 0x2c, 0x26];

/// Turns off every offload of an interface, so that frames that leave it are complete and no longer than its MTU.
/// An offload the interface does not know stays as it is.
pub(crate) fn disable_offloads(name: &str) -> io::Result<()> {
    // SAFETY: the descriptor is checked and new, so nobody else owns it.
    let socket = unsafe {
        OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?)
    };
    for cmd in OFFLOADS {
        let mut value = EthtoolValue { cmd, data: 0 };
        let mut request = request(name)?;
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: SIOCETHTOOL reads one ifreq and, through its pointer, one ethtool_value; both outlive the call.
        let done =
            check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) });
        match done {
            Err(error) if error.raw_os_error() != Some(libc::EOPNOTSUPP) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
