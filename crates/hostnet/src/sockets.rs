//! Sockets bound to one interface, made in the network namespace of the calling thread.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use bootgate_events::MacAddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::sys::socket as sys;

/// A raw packet socket (`AF_PACKET`, `SOCK_RAW`, nonblocking) bound to one interface and EtherType.
#[derive(Debug)]
pub struct PacketSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// Hardware address of the interface: the source of frames sent.
    pub mac: MacAddr,
    /// Index of the interface in its network namespace.
    pub ifindex: i32,
}

/// How a UDP socket is made. It is always nonblocking, close-on-exec and bound to the interface
/// (`SO_BINDTODEVICE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UdpOptions {
    /// Address and port to bind; port 0 lets the kernel choose.
    pub bind: SocketAddrV4,
    /// Whether broadcasts may be sent (`SO_BROADCAST`).
    pub broadcast: bool,
    /// Whether the address may be shared (`SO_REUSEADDR`).
    pub reuse_address: bool,
    /// Whether each datagram comes with its destination and interface (`IP_PKTINFO`).
    pub packet_info: bool,
}

impl UdpOptions {
    /// A plain socket on `bind`: no broadcast, no sharing, no packet information.
    #[must_use]
    pub fn new(bind: SocketAddrV4) -> Self {
        Self {
            bind,
            broadcast: false,
            reuse_address: false,
            packet_info: false,
        }
    }
}

/// How an IPv6 UDP socket is made. It is always nonblocking, close-on-exec, without IPv4 (`IPV6_V6ONLY`) and bound to
/// the interface (`SO_BINDTODEVICE`).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Udp6Options {
    /// Address and port to bind; port 0 lets the kernel choose.
    pub bind: SocketAddrV6,
    /// Groups to join on the interface.
    pub groups: Vec<Ipv6Addr>,
    /// Whether the address may be shared (`SO_REUSEADDR`).
    pub reuse_address: bool,
}

impl Udp6Options {
    /// A plain socket on `bind`: no groups, no sharing.
    #[must_use]
    pub fn new(bind: SocketAddrV6) -> Self {
        Self {
            bind,
            groups: Vec::new(),
            reuse_address: false,
        }
    }
}

/// Connections the kernel keeps for an accepting server.
const BACKLOG: i32 = 128;

fn inet(family: AddressFamily, kind: SocketType) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        family,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?)
}

pub(crate) fn udp(interface: &str, options: UdpOptions) -> io::Result<UdpSocket> {
    let fd = inet(AddressFamily::INET, SocketType::DGRAM)?;
    if options.broadcast {
        sockopt::set_socket_broadcast(&fd, true)?;
    }
    if options.reuse_address {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    if options.packet_info {
        sys::set_packet_info(&fd)?;
    }
    sys::bind_to_device(&fd, interface)?;
    rustix::net::bind(&fd, &options.bind)?;
    Ok(fd.into())
}

pub(crate) fn tcp(interface: &str, bind: SocketAddrV4) -> io::Result<TcpListener> {
    let fd = inet(AddressFamily::INET, SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sys::bind_to_device(&fd, interface)?;
    rustix::net::bind(&fd, &bind)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd.into())
}

/// An address with the scope that makes it one of this interface; link-local ones cannot be bound without.
fn scoped(bind: SocketAddrV6, ifindex: i32) -> SocketAddrV6 {
    let link_local = bind.ip().is_unicast_link_local();
    let scope = if link_local {
        ifindex.cast_unsigned()
    } else {
        0
    };
    SocketAddrV6::new(*bind.ip(), bind.port(), 0, scope)
}

pub(crate) fn udp6(interface: &str, ifindex: i32, options: &Udp6Options) -> io::Result<UdpSocket> {
    let fd = inet(AddressFamily::INET6, SocketType::DGRAM)?;
    sockopt::set_ipv6_v6only(&fd, true)?;
    if options.reuse_address {
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    sys::bind_to_device(&fd, interface)?;
    rustix::net::bind(&fd, &scoped(options.bind, ifindex))?;
    for group in &options.groups {
        sockopt::set_ipv6_add_membership(&fd, group, ifindex.cast_unsigned())?;
    }
    sockopt::set_ipv6_multicast_loop(&fd, false)?;
    Ok(fd.into())
}

pub(crate) fn tcp6(interface: &str, ifindex: i32, bind: SocketAddrV6) -> io::Result<TcpListener> {
    let fd = inet(AddressFamily::INET6, SocketType::STREAM)?;
    sockopt::set_ipv6_v6only(&fd, true)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sys::bind_to_device(&fd, interface)?;
    rustix::net::bind(&fd, &scoped(bind, ifindex))?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd.into())
}

pub(crate) fn packet(ifindex: i32, ethertype: u16) -> io::Result<OwnedFd> {
    let fd = sys::packet_socket()?;
    sys::bind_packet(&fd, ifindex, ethertype)?;
    Ok(fd)
}

/// Accepts whole UDP datagrams over IPv4 from port 67 to port 68 in Ethernet frames.
const DHCP_REPLIES: [sys::FilterStep; 12] = [
    (0x28, 0, 0, 12),     // load the frame's type
    (0x15, 0, 9, 0x0800), // IPv4?
    (0x30, 0, 0, 23),     // load the protocol
    (0x15, 0, 7, 17),     // UDP?
    (0x28, 0, 0, 20),     // load the fragment's offset
    (0x45, 5, 0, 0x1fff), // not the first?
    (0xb1, 0, 0, 14),     // index: length of the IP header
    (0x48, 0, 0, 14),     // load the source port
    (0x15, 0, 2, 67),     // a server's?
    (0x48, 0, 0, 16),     // load the destination port
    (0x15, 1, 0, 68),     // a client's?
    (0x06, 0, 0, 0),      // refuse
];
const ACCEPT: sys::FilterStep = (0x06, 0, 0, 0xffff);

pub(crate) fn dhcp_replies(ifindex: i32) -> io::Result<OwnedFd> {
    const IPV4: u16 = 0x0800;
    let fd = sys::packet_socket()?;
    let program = [&DHCP_REPLIES[..], &[ACCEPT]].concat();
    // Before it is bound, nothing comes in: nothing slips past the filter.
    sys::attach_filter(&fd, &program)?;
    sys::ignore_outgoing(&fd)?;
    sys::bind_packet(&fd, ifindex, IPV4)?;
    Ok(fd)
}
