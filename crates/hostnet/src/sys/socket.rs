//! Socket options and packet sockets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::{check, size_of_u32};

/// Sets an option whose value is `value`, a C integer or a plain C structure.
fn set_option<T: Copy>(
    fd: impl AsFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes from a valid reference.
    check(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of_u32::<T>(),
        )
    })
    .map(drop)
}

/// Binds a socket to the interface of this name (`SO_BINDTODEVICE`).
pub(crate) fn bind_to_device(fd: impl AsFd, interface: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(interface.len())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the kernel reads `length` bytes of the name; it needs no terminating zero.
    check(unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            interface.as_ptr().cast(),
            length,
        )
    })
    .map(drop)
}

/// Has each datagram come with its destination and interface.
pub(crate) fn set_packet_info(fd: impl AsFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, &1i32)
}

/// Has a packet socket pass over the frames sent out of its interface (Linux 4.20).
pub(crate) fn ignore_outgoing(fd: impl AsFd) -> io::Result<()> {
    set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)
}

/// Has a packet socket receive into a ring shared with the kernel (TPACKET version 2).
pub(crate) fn receive_ring(fd: impl AsFd, ring: &libc::tpacket_req) -> io::Result<()> {
    let version: libc::c_int = 1; // TPACKET_V2 of `enum tpacket_versions`
    set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
    set_option(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, ring)
}

/// Opens a nonblocking packet socket that receives nothing yet.
pub(crate) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is checked and new, so nobody else owns it.
    unsafe {
        let fd = check(libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Binds a packet socket to an interface and an EtherType (host byte order), upon which it starts to receive.
pub(crate) fn bind_packet(fd: impl AsFd, ifindex: i32, ethertype: u16) -> io::Result<()> {
    // SAFETY: all-zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET.try_into().unwrap_or_default();
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = ifindex;
    // SAFETY: the kernel reads one sockaddr_ll from a valid reference.
    check(unsafe {
        libc::bind(
            fd.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of_u32::<libc::sockaddr_ll>(),
        )
    })
    .map(drop)
}

/// A step of a filter: code, jump where true, jump where false, operand (Linux's `Documentation/networking/filter.rst`).
pub(crate) type FilterStep = (u16, u8, u8, u32);

/// Has the kernel pass on only what the filter accepts.
pub(crate) fn attach_filter(fd: impl AsFd, steps: &[FilterStep]) -> io::Result<()> {
    let step = |&(code, jt, jf, k): &FilterStep| libc::sock_filter { code, jt, jf, k };
    let mut steps: Vec<libc::sock_filter> = steps.iter().map(step).collect();
    let program = libc::sock_fprog {
        len: steps
            .len()
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: steps.as_mut_ptr(),
    };
    // `steps` outlives the call, in which the kernel copies the program.
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Receives one frame of a packet socket, and whether it was one going out.
pub(crate) fn receive_frame(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    // SAFETY: all-zero is a valid sockaddr_ll; the kernel writes at most the lengths it is given.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        let mut length = size_of_u32::<libc::sockaddr_ll>();
        let read = libc::recvfrom(
            fd.as_fd().as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_TRUNC,
            (&raw mut address).cast(),
            &raw mut length,
        );
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        Ok((
            read.min(buffer.len()),
            address.sll_pkttype == libc::PACKET_OUTGOING,
        ))
    }
}
