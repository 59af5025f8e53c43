//! Sockets bound to one interface, made in the network namespace of the calling thread.

use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
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

/// Connections the kernel keeps for an accepting server.
const BACKLOG: i32 = 128;

fn inet(kind: SocketType) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::INET,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?)
}

pub(crate) fn udp(interface: &str, options: UdpOptions) -> io::Result<UdpSocket> {
    let fd = inet(SocketType::DGRAM)?;
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
    let fd = inet(SocketType::STREAM)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sys::bind_to_device(&fd, interface)?;
    rustix::net::bind(&fd, &bind)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd.into())
}

pub(crate) fn packet(ifindex: i32, ethertype: u16) -> io::Result<OwnedFd> {
    let fd = sys::packet_socket()?;
    sys::bind_packet(&fd, ifindex, ethertype)?;
    Ok(fd)
}
