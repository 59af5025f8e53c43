//! Sockets bound to one interface.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use bootgate_events::MacAddr;

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
