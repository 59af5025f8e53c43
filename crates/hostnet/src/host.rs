//! Sockets on a real interface of the host, for boards. Nothing of the interface is changed.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use bootgate_events::MacAddr;

use crate::{PacketSocket, UdpOptions};

/// An existing interface of the caller's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: i32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its IPv4 addresses with the lengths of their prefixes.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
}

impl HostInterface {
    /// Looks at an interface.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none of this name; `InvalidInput` where it is not Ethernet.
    pub fn open(_name: &str) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether `address` is on it.
    #[must_use]
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(have, _)| *have == address)
    }

    /// Makes a UDP socket on it, nonblocking.
    ///
    /// # Errors
    /// `AddrInUse` where the port is taken, `PermissionDenied` for a low port without the right to it.
    pub fn udp_socket(&self, _options: UdpOptions) -> io::Result<UdpSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a listening TCP socket on it, nonblocking.
    ///
    /// # Errors
    /// As for [`HostInterface::udp_socket`].
    pub fn tcp_listener(&self, _bind: SocketAddrV4) -> io::Result<TcpListener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a raw packet socket on it, nonblocking. `ethertype` in host byte order; 3 takes every frame.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub fn packet_socket(&self, _ethertype: u16) -> io::Result<PacketSocket> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
