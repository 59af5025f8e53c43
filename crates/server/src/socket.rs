//! Where the servers' sockets come from.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use bootgate_events::MacAddr;
use tokio::net::TcpStream;

/// A future of an object-safe trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens sockets on one segment: in a namespace held by somebody else, or on an interface of the host. All sockets
/// are bound, non-blocking and close-on-exec; one that receives broadcasts is bound to the segment's interface
/// too (`SO_BINDTODEVICE`).
pub trait SocketSource: Send + Sync + 'static {
    /// A UDP socket bound to `bind`; port 0 lets the kernel choose. `broadcast` asks for `SO_BROADCAST` and a
    /// socket that hears only the segment's interface.
    fn udp(
        &self,
        bind: SocketAddrV4,
        broadcast: bool,
    ) -> BoxFuture<'_, io::Result<std::net::UdpSocket>>;

    /// A listening TCP socket (with `SO_REUSEADDR`) bound to `bind`.
    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<std::net::TcpListener>>;

    /// A packet socket for whole Ethernet frames of one type (host byte order: `0x86dd` is IPv6), which also hears
    /// all multicast (`PACKET_MR_ALLMULTI`). Type 0 asks for a socket that only sends.
    fn packet(&self, ethertype: u16) -> BoxFuture<'_, io::Result<PacketSocket>>;

    /// A packet socket that hears other hosts' DHCP replies (UDP over IPv4 from port 67 to port 68) and nothing else: the
    /// kernel filters, so that it costs nothing beside other traffic and takes nothing from a DHCP client of this host.
    /// `Unsupported` where the source has none.
    fn dhcp_replies(&self) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }

    /// The hardware address that answers for `ip` on the segment, as the kernel learned it (ARP): the machine that leased
    /// it from somebody else. Must not block. `None` where nobody is known.
    fn neighbour(&self, _ip: Ipv4Addr) -> Option<MacAddr> {
        None
    }

    /// An IPv6 UDP socket (`IPV6_V6ONLY`) that hears only the segment's interface, bound to `bind` and in `groups`
    /// there. A link-local address means the one of the segment's interface, whatever its scope. `Unsupported` where
    /// the source has no IPv6.
    fn udp6(
        &self,
        _bind: SocketAddrV6,
        _groups: &[Ipv6Addr],
    ) -> BoxFuture<'_, io::Result<std::net::UdpSocket>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }

    /// A listening IPv6 TCP socket (with `SO_REUSEADDR` and `IPV6_V6ONLY`) bound to `bind`. As for
    /// [`SocketSource::udp6`].
    fn tcp6_listener(
        &self,
        _bind: SocketAddrV6,
    ) -> BoxFuture<'_, io::Result<std::net::TcpListener>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }
}

/// An `AF_PACKET`/`SOCK_RAW` socket bound to the segment's interface, non-blocking.
#[derive(Debug)]
pub struct PacketSocket {
    /// The socket.
    pub fd: OwnedFd,
    /// Hardware address of the interface.
    pub mac: [u8; 6],
    /// Index of the interface.
    pub ifindex: i32,
}

/// A client whose power went off leaves its connection open: after `idle` without acknowledgement of what was sent,
/// the kernel ends it. Small answers leave at once.
pub(crate) fn set_up(stream: &TcpStream, idle: Duration) {
    let milliseconds = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    let set = rustix::net::sockopt::set_tcp_user_timeout(stream, milliseconds);
    if let Err(error) = set {
        tracing::debug!("set the user timeout of a connection: {error}");
    }
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("set no-delay on a connection: {error}");
    }
}
