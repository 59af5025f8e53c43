//! The sockets of one interface, opened before anything is served.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use bootgate_netboot::dhcp::PXE_PORT;
use bootgate_netboot::dhcp6;
use tokio::net::{TcpListener, UdpSocket};

use super::Addresses;
use crate::dhcp::Outlet;
use crate::ra::Packets;
use crate::{ServerConfig, SocketSource, StartError};

/// Ethernet type of IPv6.
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The servers' sockets.
pub(super) struct Opened {
    pub(super) dhcp: Option<Outlet>,
    /// For other servers' replies.
    pub(super) replies: Option<Packets>,
    pub(super) ra: Option<Packets>,
    pub(super) tftp: Option<UdpSocket>,
    pub(super) http: Option<TcpListener>,
    pub(super) over6: Over6,
}

/// The sockets of the servers over IPv6.
#[derive(Default)]
pub(super) struct Over6 {
    pub(super) dhcp: Option<UdpSocket>,
    pub(super) tftp: Vec<UdpSocket>,
    pub(super) http: Vec<TcpListener>,
}

impl Opened {
    pub(super) async fn open(
        config: &ServerConfig,
        sockets: &Arc<dyn SocketSource>,
    ) -> Result<Self, StartError> {
        let mut services = config.services;
        if config.server_ip.is_unspecified() && config.ip6.is_some() {
            (services.http, services.tftp, services.dhcp) = (false, false, false);
        }
        let mut opened = Self {
            dhcp: None,
            replies: None,
            ra: None,
            tftp: None,
            http: None,
            over6: Over6::default(),
        };
        if services.http {
            let bind = SocketAddrV4::new(config.server_ip, config.http_port);
            let listener = sockets.tcp_listener(bind).await;
            let listener = listener.and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            });
            opened.http = Some(listener.map_err(|error| failure("http", bind, error))?);
        }
        if services.tftp {
            let bind = SocketAddrV4::new(config.server_ip, config.tftp_port);
            opened.tftp = Some(udp("tftp", bind, false, sockets).await?);
        }
        if services.dhcp {
            opened.dhcp = Some(dhcp(config, sockets).await?);
            if config.pxe {
                opened.replies = replies(sockets).await;
            }
        }
        if services.ra {
            let packets = sockets.packet(ETHERTYPE_IPV6).await.and_then(Packets::new);
            opened.ra = Some(packets.map_err(|source| StartError::Socket {
                service: "ra",
                address: "icmp6".to_owned(),
                source,
            })?);
        }
        opened.open6(config, sockets).await?;
        Ok(opened)
    }

    /// Over IPv6, TFTP and HTTP get the ports that they have over IPv4.
    async fn open6(
        &mut self,
        config: &ServerConfig,
        sockets: &Arc<dyn SocketSource>,
    ) -> Result<(), StartError> {
        let Some(ip6) = &config.ip6 else {
            return Ok(());
        };
        let bound = self.addresses();
        let http = bound.http.map_or(config.http_port, |http| http.port());
        let tftp = bound.tftp.map_or(config.tftp_port, |tftp| tftp.port());
        for address in [Some(ip6.address), ip6.link_local].into_iter().flatten() {
            if config.services.http {
                let bind = SocketAddrV6::new(address, http, 0, 0);
                let listener = sockets.tcp6_listener(bind).await.and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)
                });
                let listener = listener.map_err(|error| failure("http", bind, error))?;
                self.over6.http.push(listener);
            }
            if config.services.tftp {
                let bind = SocketAddrV6::new(address, tftp, 0, 0);
                self.over6
                    .tftp
                    .push(udp6("tftp", bind, &[], sockets).await?);
            }
        }
        if ip6.dhcp {
            let bind = SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, dhcp6::SERVER_PORT, 0, 0);
            let groups = [dhcp6::ALL_SERVERS_AND_RELAYS, dhcp6::ALL_SERVERS];
            self.over6.dhcp = Some(udp6("dhcp6", bind, &groups, sockets).await?);
        }
        Ok(())
    }

    pub(super) fn addresses(&self) -> Addresses {
        let v4 = |address: io::Result<SocketAddr>| match address {
            Ok(SocketAddr::V4(address)) => Some(address),
            _ => None,
        };
        Addresses {
            dhcp: self
                .dhcp
                .as_ref()
                .and_then(|outlet| v4(outlet.dhcp.local_addr())),
            tftp: self
                .tftp
                .as_ref()
                .and_then(|socket| v4(socket.local_addr())),
            http: self
                .http
                .as_ref()
                .and_then(|socket| v4(socket.local_addr())),
        }
    }
}

async fn dhcp(
    config: &ServerConfig,
    sockets: &Arc<dyn SocketSource>,
) -> Result<Outlet, StartError> {
    // Clients without an address write to the broadcast address, which only the wildcard address hears.
    let bind = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, config.dhcp_port);
    let dhcp = udp("dhcp", bind, true, sockets).await?;
    let pxe = if config.pxe {
        let bind = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PXE_PORT);
        Some(udp("pxe", bind, true, sockets).await?)
    } else {
        None
    };
    let packets = match sockets.packet(0).await.and_then(Packets::new) {
        Ok(packets) => Some(packets),
        Err(error) => {
            tracing::warn!("no packet socket, DHCP replies go by broadcast: {error}");
            None
        }
    };
    Outlet::new(dhcp, pxe, packets).map_err(|error| failure("dhcp", bind, error))
}

/// A socket for other servers' replies. Without it, clients tell of them.
async fn replies(sockets: &Arc<dyn SocketSource>) -> Option<Packets> {
    match sockets.dhcp_replies().await.and_then(Packets::new) {
        Ok(replies) => Some(replies),
        Err(error) => {
            tracing::warn!("other DHCP servers' replies are not heard: {error}");
            None
        }
    }
}

async fn udp(
    service: &'static str,
    bind: SocketAddrV4,
    broadcast: bool,
    sockets: &Arc<dyn SocketSource>,
) -> Result<UdpSocket, StartError> {
    let socket = sockets.udp(bind, broadcast).await.and_then(|socket| {
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    });
    socket.map_err(|error| failure(service, bind, error))
}

async fn udp6(
    service: &'static str,
    bind: SocketAddrV6,
    groups: &[Ipv6Addr],
    sockets: &Arc<dyn SocketSource>,
) -> Result<UdpSocket, StartError> {
    let socket = sockets.udp6(bind, groups).await.and_then(|socket| {
        socket.set_nonblocking(true)?;
        UdpSocket::from_std(socket)
    });
    socket.map_err(|error| failure(service, bind, error))
}

fn failure(service: &'static str, address: impl Into<SocketAddr>, source: io::Error) -> StartError {
    let address = address.into();
    if source.kind() == io::ErrorKind::AddrInUse {
        return StartError::PortTaken { service, address };
    }
    StartError::Socket {
        service,
        address: address.to_string(),
        source,
    }
}
