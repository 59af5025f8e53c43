//! What the interfaces of the caller's network namespace are.

use std::ffi::CStr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType};

use super::check;

/// One entry of the interface list: a link, or an address on one.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Link {
        ifindex: i32,
        hardware_type: u16,
        mac: [u8; 6],
        flags: u32,
    },
    Address {
        address: Ipv4Addr,
        netmask: Ipv4Addr,
    },
    Address6 {
        address: Ipv6Addr,
        netmask: Ipv6Addr,
    },
}

/// The entries of the interface of this name.
pub(crate) fn entries(name: &str) -> io::Result<Vec<Entry>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes a pointer to a list that stays valid until freeifaddrs, or fails.
    check(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` points into the list, which is not freed yet; names are terminated.
        let (item, item_name) = unsafe { (&*next, CStr::from_ptr((*next).ifa_name)) };
        if item_name.to_bytes() == name.as_bytes() && !item.ifa_addr.is_null() {
            // SAFETY: `item` is a live entry with an address.
            found.extend(unsafe { entry(item) });
        }
        next = item.ifa_next;
    }
    // SAFETY: the list came from getifaddrs, is freed once, and nothing points into it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// Largest IP packet that the interface takes, in bytes.
pub(crate) fn mtu(name: &str) -> io::Result<i32> {
    let fd = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays the terminating zero.
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // SAFETY: SIOCGIFMTU reads the name and writes the MTU into the same structure.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFMTU, &raw mut request) })?;
    // SAFETY: the call has just written this member.
    Ok(unsafe { request.ifr_ifru.ifru_mtu })
}

/// # Safety
/// `item` is a live entry of getifaddrs whose `ifa_addr` is not null.
unsafe fn entry(item: &libc::ifaddrs) -> Option<Entry> {
    // SAFETY: every address begins with its family, and has the type that goes with it.
    unsafe {
        match i32::from((*item.ifa_addr).sa_family) {
            libc::AF_PACKET => {
                let link = item.ifa_addr.cast::<libc::sockaddr_ll>().read_unaligned();
                let mut mac = [0; 6];
                mac.copy_from_slice(&link.sll_addr[..6]);
                Some(Entry::Link {
                    ifindex: link.sll_ifindex,
                    hardware_type: link.sll_hatype,
                    mac,
                    flags: item.ifa_flags,
                })
            }
            libc::AF_INET if !item.ifa_netmask.is_null() => Some(Entry::Address {
                address: ipv4(item.ifa_addr),
                netmask: ipv4(item.ifa_netmask),
            }),
            libc::AF_INET6 if !item.ifa_netmask.is_null() => Some(Entry::Address6 {
                address: ipv6(item.ifa_addr),
                netmask: ipv6(item.ifa_netmask),
            }),
            _ => None,
        }
    }
}

/// # Safety
/// `address` points to a `sockaddr_in`.
unsafe fn ipv4(address: *const libc::sockaddr) -> Ipv4Addr {
    // SAFETY: as the caller promises.
    let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))
}

/// # Safety
/// `address` points to a `sockaddr_in6`.
unsafe fn ipv6(address: *const libc::sockaddr) -> Ipv6Addr {
    // SAFETY: as the caller promises.
    let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
    Ipv6Addr::from(address.sin6_addr.s6_addr)
}
