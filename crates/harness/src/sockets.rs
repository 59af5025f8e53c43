//! Sockets for boot servers on an interface of the host.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use bootgate_events::MacAddr;
use bootgate_hostnet::host::HostInterface;
use bootgate_hostnet::{Udp6Options, UdpOptions};
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
        let socket = self.0.packet_socket(ethertype).map(packets);
        Box::pin(async move { socket })
    }

    fn dhcp_replies(&self) -> BoxFuture<'_, io::Result<PacketSocket>> {
        let socket = self.0.dhcp_replies().map(packets);
        Box::pin(async move { socket })
    }

    fn neighbour(&self, ip: Ipv4Addr) -> Option<MacAddr> {
        self.0.neighbour(ip)
    }

    fn udp6(
        &self,
        bind: SocketAddrV6,
        groups: &[Ipv6Addr],
    ) -> BoxFuture<'_, io::Result<std::net::UdpSocket>> {
        let socket = self.0.udp6_socket(&Udp6Options {
            groups: groups.to_vec(),
            ..Udp6Options::new(bind)
        });
        Box::pin(async move { socket })
    }

    fn tcp6_listener(
        &self,
        bind: SocketAddrV6,
    ) -> BoxFuture<'_, io::Result<std::net::TcpListener>> {
        let listener = self.0.tcp6_listener(bind);
        Box::pin(async move { listener })
    }
}

fn packets(socket: bootgate_hostnet::PacketSocket) -> PacketSocket {
    PacketSocket {
        fd: socket.fd,
        mac: socket.mac.0,
        ifindex: socket.ifindex,
    }
}

pub(crate) fn udp_options(bind: SocketAddrV4, broadcast: bool) -> UdpOptions {
    UdpOptions {
        broadcast,
        ..UdpOptions::new(bind)
    }
}
