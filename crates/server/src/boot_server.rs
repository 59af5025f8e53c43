//! The boot server of one segment.

mod opened;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use bootgate_events::EventKind;
use bootgate_netboot::dhcp::{DhcpConfig, DhcpLimits, DhcpMode, Responder};
use bootgate_netboot::policy::ArchTable;
use tokio::task::JoinSet;

use crate::context::{Context, Orders};
use crate::dhcp::DhcpServer;
use crate::dhcp6::Dhcp6Server;
use crate::held::HoldingSource;
use crate::tftp::TftpServer;
use crate::{
    Artifacts, EventSink, Limits, Machines, ServerConfig, Shared, SharedParts, SocketSource,
    StartError,
};
use opened::{Opened, Over6};

/// The servers of one segment, running. They stop when it is stopped or dropped.
pub struct BootServer {
    context: Arc<Context>,
    orders: Arc<Orders>,
    addresses: Addresses,
    listening: Vec<(String, String)>,
    /// What answers single packets.
    tasks: JoinSet<()>,
    /// What has transfers under way.
    transfers: JoinSet<()>,
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
        let orders = Orders::new(self.config.limits);
        let mut server = BootServer {
            context: Arc::new(Context::new(
                self.config,
                Arc::clone(&orders),
                http,
                shared,
                Arc::clone(&self.sockets),
            )),
            orders,
            addresses,
            listening: Vec::new(),
            tasks: JoinSet::new(),
            transfers: JoinSet::new(),
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
        let mut config = config;
        config.services.dhcp &= config.mode != DhcpMode::Off;
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

    /// The same with sockets that are held once more; transfers get theirs from `sockets`.
    pub(crate) async fn bind_held(
        config: ServerConfig,
        sockets: Arc<dyn SocketSource>,
        held: Arc<HoldingSource>,
    ) -> Result<Bound, StartError> {
        let held: Arc<dyn SocketSource> = held;
        let opened = Opened::open(&config, &held).await?;
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
            self.transfers.spawn(server.run(self.orders.taking()));
            self.ready("tftp", addresses.tftp.map(|a| a.to_string()));
        }
        if let Some(listener) = http {
            self.transfers.spawn(crate::http::run(
                Arc::clone(&self.context),
                listener,
                self.orders.taking(),
            ));
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
        let orders = Arc::clone(&self.orders);
        let context = Context::new(config, orders, http, shared, Arc::clone(sockets));
        let context = Arc::new(context);
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
            self.transfers.spawn(server.run(self.orders.taking()));
            self.ready("tftp", bound);
        }
        for listener in over6.http {
            let bound = address(listener.local_addr());
            self.transfers.spawn(crate::http::run(
                Arc::clone(&context),
                listener,
                self.orders.taking(),
            ));
            self.ready("http", bound);
        }
    }

    fn ready(&mut self, service: &str, address: Option<String>) {
        let service = service.to_owned();
        let address = address.unwrap_or_default();
        self.listening.push((service.clone(), address.clone()));
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

    /// The services that were started, and where each listens: the same as its `ServerReady` event tells.
    #[must_use]
    pub fn listening(&self) -> &[(String, String)] {
        &self.listening
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
        self.transfers.shutdown().await;
    }

    /// What clients may take from now on; what they have they keep.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.orders.set_limits(limits);
    }

    /// Takes nothing new, and returns when its listeners are gone. What is given back ends with the last transfer that is under way. TFTP
    /// transfers that share the server's port (`tftp_single_port`) end at once.
    pub(crate) async fn retire(mut self) -> impl Future<Output = ()> + Send + 'static {
        self.tasks.shutdown().await;
        self.orders.close().await;
        async move { while self.transfers.join_next().await.is_some() {} }
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
        interface.mode = config.mode;
    }
    for subnet in &mut dhcp.subnets {
        subnet.lease = config.lease;
        subnet.router = config.router;
        subnet.max_leases = config.limits.max_leases;
    }
    dhcp
}
