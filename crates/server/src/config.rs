//! What a boot server is told when it starts.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bootgate_netboot::dhcp::{DhcpMode, InterfaceId};
use bootgate_netboot::dhcp6::SubnetConfig;
use bootgate_netboot::ra::Advertisement;
use bootgate_store::StoreError;

/// How the servers of one segment are set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// The servers' address on the segment; 0.0.0.0, with `ip6` set, where it is served over IPv6 alone.
    pub server_ip: Ipv4Addr,
    /// How the segment is served over IPv6; `None` where it is not.
    pub ip6: Option<Ip6Config>,
    /// Length of the segment's prefix, 1 to 30.
    pub prefix_len: u8,
    /// Addresses to lease out.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// How long a lease lasts.
    pub lease: Duration,
    /// Default gateway for clients, where there is one.
    pub router: Option<Ipv4Addr>,
    /// What the DHCP server does here, where this server shares nothing with others ([`BootServer::start`](crate::BootServer::start)).
    /// A lab says so for each of its interfaces.
    pub mode: DhcpMode,
    /// Whether the DHCP server owns the segment: it then refuses addresses that it did not lease.
    pub authoritative: bool,
    /// Port of the HTTP server; 0 lets the kernel choose.
    pub http_port: u16,
    /// Port of the TFTP server; 0 lets the kernel choose.
    pub tftp_port: u16,
    /// Ports of TFTP transfers, each of which has one (RFC 1350); `None` lets the kernel choose. For firewalls.
    pub tftp_ports: Option<RangeInclusive<u16>>,
    /// Whether TFTP transfers use the server's port too, against RFC 1350: for firewalls, and for clients that answer
    /// no other port. Slower; `tftp_ports` is not used.
    pub tftp_single_port: bool,
    /// Port of the DHCP server.
    pub dhcp_port: u16,
    /// Whether PXE's boot server discovery is answered on port 4011.
    pub pxe: bool,
    /// The interface's number in the DHCP server's configuration.
    pub interface: InterfaceId,
    /// The interface's MTU in bytes; TFTP blocks are kept within it.
    pub mtu: u16,
    /// Which servers to start.
    pub services: Services,
    /// What one client may take.
    pub limits: Limits,
}

/// How a segment is served over IPv6. TFTP and HTTP listen on the same ports as over IPv4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ip6Config {
    /// The servers' address on the segment that clients are told: one they reach without a scope, so no link-local one.
    pub address: Ipv6Addr,
    /// The interface's link-local address, where the servers listen on it too, and advertise from it.
    pub link_local: Option<Ipv6Addr>,
    /// Whether DHCPv6 is served (port 547).
    pub dhcp: bool,
    /// The segment's own prefix: what DHCPv6 gives out there. Its list of interfaces needs no entry.
    pub subnet: Option<SubnetConfig>,
    /// What router advertisements say, with [`Services::ra`]; `None`: nothing, and only to who asks.
    pub advertise: Option<Advertisement>,
}

impl Ip6Config {
    /// DHCPv6 with the addresses `range` (`None`: everything but addresses), and advertisements that say so.
    #[must_use]
    pub fn new(address: Ipv6Addr, prefix_len: u8, range: Option<RangeInclusive<Ipv6Addr>>) -> Self {
        let mut advertise = Advertisement::managed(address, prefix_len);
        advertise.managed = range.is_some();
        for prefix in &mut advertise.prefixes {
            prefix.autonomous = range.is_none();
        }
        Self {
            address,
            link_local: None,
            dhcp: true,
            subnet: Some(SubnetConfig::new(address, prefix_len, range)),
            advertise: Some(advertise),
        }
    }
}

/// Which servers to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Services {
    /// DHCPv4.
    pub dhcp: bool,
    /// Answers to IPv6 router solicitations.
    pub ra: bool,
    /// TFTP.
    pub tftp: bool,
    /// HTTP: files, scripts and the agent's API.
    pub http: bool,
}

impl Default for Services {
    fn default() -> Self {
        Self {
            dhcp: true,
            ra: true,
            tftp: true,
            http: true,
        }
    }
}

/// What one client, and all of them, may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Leases at most, expired ones not counted.
    pub max_leases: usize,
    /// TFTP transfers at once from one address.
    pub tftp_transfers_per_client: usize,
    /// TFTP transfers at once from all addresses.
    pub tftp_transfers: usize,
    /// Largest TFTP window of one transfer in bytes (window size times block size).
    pub tftp_window_bytes: usize,
    /// HTTP connections at once from one address.
    pub http_connections_per_client: usize,
    /// HTTP connections at once from all addresses.
    pub http_connections: usize,
    /// How long an HTTP connection may be idle, and how long a client may leave sent bytes unacknowledged.
    pub http_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_leases: 4096,
            tftp_transfers_per_client: 8,
            tftp_transfers: 1024,
            tftp_window_bytes: 256 << 10,
            http_connections_per_client: 64,
            http_connections: 2048,
            http_idle: Duration::from_secs(60),
        }
    }
}

impl ServerConfig {
    /// The usual set-up for a segment: all servers on their well-known ports, Ethernet's MTU, leases of an hour,
    /// sole DHCP server, no gateway, no answers on port 4011, first interface.
    #[must_use]
    pub fn new(server_ip: Ipv4Addr, prefix_len: u8, pool: RangeInclusive<Ipv4Addr>) -> Self {
        Self {
            server_ip,
            ip6: None,
            prefix_len,
            pool,
            lease: Duration::from_secs(3600),
            router: None,
            mode: DhcpMode::Full,
            authoritative: true,
            http_port: 80,
            tftp_port: 69,
            tftp_ports: None,
            tftp_single_port: false,
            dhcp_port: 67,
            pxe: false,
            interface: InterfaceId(0),
            mtu: 1500,
            services: Services::default(),
            limits: Limits::default(),
        }
    }
}

/// A boot server could not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is in use by another program.
    #[error("start the {service} server: `{address}` is already in use")]
    PortTaken {
        /// `dhcp`, `tftp` or `http`.
        service: &'static str,
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// A socket could not be opened for another reason.
    #[error("open the {service} server's socket on `{address}`: {source}")]
    Socket {
        /// `dhcp`, `ra`, `tftp` or `http`.
        service: &'static str,
        /// Where it was to listen.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The leases of before cannot be read.
    #[error("read the leases: {0}")]
    Store(#[source] StoreError),
    /// The system has no thread left.
    #[error("start the lease writer: {0}")]
    Thread(#[source] io::Error),
    /// The configuration contradicts itself.
    #[error("set up the boot server: {0}")]
    Config(String),
}
