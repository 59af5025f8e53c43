//! Sockets for boot servers on an interface of the host.

use std::io;
use std::net::SocketAddrV4;

use bootgate_hostnet::UdpOptions;
use bootgate_hostnet::host::HostInterface;
use bootgate_server::{BoxFuture, PacketSocket, SocketSource};

/// Opens sockets on an interface of the host, of whatever kind: a card, a bridge, a VLAN interface.
pub struct InterfaceSockets(HostInterface);

impl InterfaceSockets {
    /// Sockets on this interface.
    #[must_use]
    pub fn new(interface: HostInterface) -> Self {
        Self(interface)
    }
}

impl SocketSource for InterfaceSockets {
    fn udp(
        &self,
        bind: SocketAddrV4,
        broadcast: bool,
    ) -> BoxFuture<'_, io::Result<std::net::UdpSocket>> {
        let socket = self.0.udp_socket(udp_options(bind, broadcast));
        Box::pin(async move { socket })
    }

    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<std::net::TcpListener>> {
        let listener = self.0.tcp_listener(bind);
        Box::pin(async move { listener })
    }

    fn packet(&self, ethertype: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        let socket = self.0.packet_socket(ethertype).map(|socket| PacketSocket {
            fd: socket.fd,
            mac: socket.mac.0,
            ifindex: socket.ifindex,
        });
        Box::pin(async move { socket })
    }
}

pub(crate) fn udp_options(bind: SocketAddrV4, broadcast: bool) -> UdpOptions {
    UdpOptions {
        broadcast,
        ..UdpOptions::new(bind)
    }
}
