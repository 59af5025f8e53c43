//! The boot server of one segment.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use bootgate_events::EventKind;
use bootgate_netboot::dhcp::{DhcpConfig, DhcpLimits, PXE_PORT, Responder};
use bootgate_netboot::dhcp6;
use bootgate_netboot::policy::ArchTable;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::context::Context;
use crate::dhcp::{DhcpServer, Outlet};
use crate::dhcp6::Dhcp6Server;
use crate::ra::Packets;
use crate::tftp::TftpServer;
use crate::{
    Artifacts, EventSink, Machines, ServerConfig, Shared, SharedParts, SocketSource, StartError,
};

/// Ethernet type of IPv6.
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The servers of one segment, running. They stop when it is stopped or dropped.
pub struct BootServer {
    context: Arc<Context>,
    addresses: Addresses,
    tasks: JoinSet<()>,
}

/// The open sockets of one interface. What is missing to serve is what it shares with other interfaces, which may need
/// to know the ports that the kernel chose.
pub struct Bound {
    config: ServerConfig,
    sockets: Arc<dyn SocketSource>,
    opened: Opened,
}

impl Bound {
    /// Where the servers will listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.opened.addresses()
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The HTTP server's address as clients are told it.
    #[must_use]
    pub fn http(&self) -> SocketAddrV4 {
        let bound = self.addresses().http.map(|http| http.port());
        let port = bound.unwrap_or(self.config.http_port);
        SocketAddrV4::new(self.config.server_ip, port)
    }

    /// Starts the servers. When it returns, every server answers and has told so by a `ServerReady` event. Must be called
    /// in a tokio runtime with time and I/O.
    #[must_use]
    pub fn start(self, shared: Arc<Shared>) -> BootServer {
        let (addresses, http) = (self.addresses(), SocketAddr::V4(self.http()));
        let mut server = BootServer {
            context: Arc::new(Context::new(self.config, http, shared)),
            addresses,
            tasks: JoinSet::new(),
        };
        server.spawn(self.opened, self.sockets);
        server
    }
}

/// Where the servers listen; `None` for one that was not started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// DHCP.
    pub dhcp: Option<SocketAddrV4>,
    /// TFTP.
    pub tftp: Option<SocketAddrV4>,
    /// HTTP.
    pub http: Option<SocketAddrV4>,
}

impl BootServer {
    /// Opens all sockets and starts the servers of a segment that shares nothing with others. When it returns, every
    /// server answers and has told so by a `ServerReady` event. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// A port is taken or a socket cannot be opened: the error names the server and the address. No server is left
    /// running.
    pub async fn start(
        config: ServerConfig,
        sockets: Arc<dyn SocketSource>,
        sink: EventSink,
    ) -> Result<BootServer, StartError> {
        check(&config)?;
        let bound = BootServer::bind(config, sockets).await?;
        let responder = Responder::new(dhcp_config(&bound.config, bound.http().port()));
        let interfaces = [(&bound.config, bound.http().port())];
        let table = ArchTable::iana();
        let authoritative = bound.config.authoritative;
        let mut parts = SharedParts::new(responder, sink);
        parts.responder6 = crate::dhcp6::dhcp6_responder(
            &interfaces,
            Vec::new(),
            table,
            authoritative,
            DhcpLimits::default(),
        );
        let shared = Shared::new(parts);
        Ok(bound.start(shared))
    }

    /// Opens the sockets of one interface and starts its servers, which share `shared` with those of other
    /// interfaces. [`BootServer::bind`] and [`Bound::start`] in one.
    ///
    /// # Errors
    /// As for [`BootServer::bind`].
    pub async fn start_on(
        shared: Arc<Shared>,
        config: ServerConfig,
        sockets: Arc<dyn SocketSource>,
    ) -> Result<BootServer, StartError> {
        Ok(BootServer::bind(config, sockets).await?.start(shared))
    }

    /// Opens the sockets of one interface. From now on they keep what comes in. Must be called in a tokio runtime with
    /// time and I/O.
    ///
    /// # Errors
    /// A port is taken or a socket cannot be opened: the error names the server and the address. No socket is left
    /// open.
    pub async fn bind(
        config: ServerConfig,
        sockets: Arc<dyn SocketSource>,
    ) -> Result<Bound, StartError> {
        let opened = Opened::open(&config, &sockets).await?;
        Ok(Bound {
            config,
            sockets,
            opened,
        })
    }

    /// Starts the tasks. From its bind on, a socket keeps what comes in, so that each server is ready by now.
    fn spawn(&mut self, opened: Opened, sockets: Arc<dyn SocketSource>) {
        let Opened {
            dhcp,
            replies,
            ra,
            tftp,
            http,
            over6,
        } = opened;
        let addresses = self.addresses;
        if let Some(outlet) = dhcp {
            let server = DhcpServer::new(Arc::clone(&self.context), outlet);
            self.tasks.spawn(server.run());
            self.ready("dhcp", addresses.dhcp.map(|a| a.to_string()));
        }
        if let Some(replies) = replies {
            let context = Arc::clone(&self.context);
            self.tasks.spawn(crate::dhcp::listen(context, replies));
        }
        if let Some(packets) = ra {
            let address = packets.mac().to_string();
            self.tasks
                .spawn(crate::ra::run(Arc::clone(&self.context), packets));
            self.ready("ra", Some(address));
        }
        self.spawn6(over6, &sockets);
        if let Some(socket) = tftp {
            let server = TftpServer::new(Arc::clone(&self.context), sockets, socket);
            self.tasks.spawn(server.run());
            self.ready("tftp", addresses.tftp.map(|a| a.to_string()));
        }
        if let Some(listener) = http {
            self.tasks
                .spawn(crate::http::run(Arc::clone(&self.context), listener));
            self.ready("http", addresses.http.map(|a| a.to_string()));
        }
    }

    /// Starts what serves over IPv6. URLs in what clients get there have the IPv6 address.
    fn spawn6(&mut self, over6: Over6, sockets: &Arc<dyn SocketSource>) {
        let Some(ip6) = &self.context.config.ip6 else {
            return;
        };
        let http = SocketAddr::from((ip6.address, self.context.http.port()));
        let config = self.context.config.clone();
        let shared = Arc::clone(&self.context.shared);
        let context = Arc::new(Context::new(config, http, shared));
        let address = |bound: io::Result<SocketAddr>| bound.ok().map(|bound| bound.to_string());
        if let Some(socket) = over6.dhcp {
            let bound = address(socket.local_addr());
            let server = Dhcp6Server::new(Arc::clone(&context), socket);
            self.tasks.spawn(server.run());
            self.ready("dhcp6", bound);
        }
        for socket in over6.tftp {
            let bound = address(socket.local_addr());
            let server = TftpServer::new(Arc::clone(&context), Arc::clone(sockets), socket);
            self.tasks.spawn(server.run());
            self.ready("tftp", bound);
        }
        for listener in over6.http {
            let bound = address(listener.local_addr());
            self.tasks
                .spawn(crate::http::run(Arc::clone(&context), listener));
            self.ready("http", bound);
        }
    }

    fn ready(&self, service: &str, address: Option<String>) {
        let service = service.to_owned();
        let address = address.unwrap_or_default();
        self.context
            .emit(None, EventKind::ServerReady { service, address });
    }

    /// The machines it serves; may be changed while it runs.
    #[must_use]
    pub fn machines(&self) -> Arc<Machines> {
        Arc::clone(&self.context.machines)
    }

    /// The files it gives out; may be changed while it runs.
    #[must_use]
    pub fn artifacts(&self) -> Arc<Artifacts> {
        Arc::clone(&self.context.artifacts)
    }

    /// Where the servers listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What it shares with the servers of other interfaces.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.context.shared)
    }

    /// How many packets and requests each server left without an answer. Of these, a few a second became
    /// `PacketDropped` events.
    #[must_use]
    pub fn dropped(&self) -> HashMap<&'static str, u64> {
        let mut sums = HashMap::new();
        for ((service, _), count) in self.context.drops() {
            *sums.entry(service).or_default() += count;
        }
        sums
    }

    /// Stops all servers and transfers, and waits until they are gone.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

fn check(config: &ServerConfig) -> Result<(), StartError> {
    if !(1..=30).contains(&config.prefix_len) {
        let problem = format!(
            "prefix length `{}` is not within 1 to 30",
            config.prefix_len
        );
        return Err(StartError::Config(problem));
    }
    if config.pool.is_empty() {
        let problem = format!(
            "pool `{}-{}` is empty",
            config.pool.start(),
            config.pool.end()
        );
        return Err(StartError::Config(problem));
    }
    Ok(())
}

fn dhcp_config(config: &ServerConfig, http_port: u16) -> DhcpConfig {
    let mut dhcp = DhcpConfig::new(config.server_ip, config.prefix_len, config.pool.clone());
    dhcp.authoritative = config.authoritative;
    for interface in &mut dhcp.interfaces {
        interface.http_port = http_port;
    }
    for subnet in &mut dhcp.subnets {
        subnet.lease = config.lease;
        subnet.router = config.router;
        subnet.max_leases = config.limits.max_leases;
    }
    dhcp
}

/// The servers' sockets.
struct Opened {
    dhcp: Option<Outlet>,
    /// For other servers' replies.
    replies: Option<Packets>,
    ra: Option<Packets>,
    tftp: Option<UdpSocket>,
    http: Option<TcpListener>,
    over6: Over6,
}

/// The sockets of the servers over IPv6.
#[derive(Default)]
struct Over6 {
    dhcp: Option<UdpSocket>,
    tftp: Vec<UdpSocket>,
    http: Vec<TcpListener>,
}

impl Opened {
    async fn open(
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

    fn addresses(&self) -> Addresses {
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
