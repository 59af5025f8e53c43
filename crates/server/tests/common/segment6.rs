//! A segment with IPv6 alone: the servers on an interface of the test's own namespace.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::sync::Arc;

use bootgate_hostnet::host::HostInterface;
use bootgate_hostnet::{Udp6Options, UdpOptions};
use bootgate_server::{
    BootServer, BoxFuture, EventSink, Ip6Config, PacketSocket, ServerConfig, SocketSource,
};

use crate::common::run;

/// The servers' addresses.
pub const SERVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
pub const SERVER_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The addresses that are leased.
pub const FIRST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 1, 0);
pub const LAST: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 1, 0xffff);

/// Every server, over IPv6 alone.
pub fn config() -> ServerConfig {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut ip6 = Ip6Config::new(SERVER, 64, Some(FIRST..=LAST));
    ip6.link_local = Some(SERVER_LINK);
    ServerConfig {
        ip6: Some(ip6),
        ..ServerConfig::new(none, 24, none..=none)
    }
}

/// Runs `ip` in the test's namespace; it must succeed.
pub async fn ip(command: &str) {
    let arguments: Vec<&str> = command.split(' ').collect();
    let output = run("ip", &arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {command}: {errors}");
}

/// Gives an interface the servers' addresses, usable at once; sockets there.
pub async fn sockets(interface: &str) -> Arc<dyn SocketSource> {
    ip(&format!("link set {interface} addrgenmode none")).await;
    ip(&format!("link set {interface} up")).await;
    ip(&format!("addr add {SERVER}/64 dev {interface} nodad")).await;
    ip(&format!("addr add {SERVER_LINK}/64 dev {interface} nodad")).await;
    let host = HostInterface::open(interface).expect("the servers' interface");
    assert_eq!(host.link_local(), Some(SERVER_LINK));
    Arc::new(Sockets(host))
}

/// Starts the servers on an interface.
pub async fn serve(interface: &str, config: ServerConfig, sink: EventSink) -> BootServer {
    let server = BootServer::start(config, sockets(interface).await, sink).await;
    server.expect("the servers start")
}

struct Sockets(HostInterface);

impl SocketSource for Sockets {
    fn udp(&self, bind: SocketAddrV4, _: bool) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async move { self.0.udp_socket(UdpOptions::new(bind)) })
    }

    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move { self.0.tcp_listener(bind) })
    }

    fn packet(&self, ethertype: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async move {
            let socket = self.0.packet_socket(ethertype)?;
            Ok(PacketSocket {
                fd: socket.fd,
                mac: socket.mac.0,
                ifindex: socket.ifindex,
            })
        })
    }

    fn udp6(
        &self,
        bind: SocketAddrV6,
        groups: &[Ipv6Addr],
    ) -> BoxFuture<'_, io::Result<UdpSocket>> {
        let options = Udp6Options {
            groups: groups.to_vec(),
            ..Udp6Options::new(bind)
        };
        Box::pin(async move { self.0.udp6_socket(&options) })
    }

    fn tcp6_listener(&self, bind: SocketAddrV6) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move { self.0.tcp6_listener(bind) })
    }
}
