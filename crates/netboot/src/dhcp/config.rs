//! What the server is told: interfaces, subnets, limits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bootgate_events::MacAddr;

use crate::policy::ArchTable;

/// Number of an interface: its place in [`DhcpConfig::interfaces`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub usize);

/// Number of a subnet: its place in [`DhcpConfig::subnets`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubnetId(pub usize);

/// What the server does on an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DhcpMode {
    /// Gives out addresses and what there is to boot.
    #[default]
    Full,
    /// Adds what there is to boot to the answers of another DHCP server (PXE 2.1 "proxyDHCP").
    Proxy,
    /// Says nothing on ports 67 and 4011.
    Off,
}

impl DhcpMode {
    /// The name that configuration files and explanations use: `full`, `proxy`, `off`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DhcpMode::Full => "full",
            DhcpMode::Proxy => "proxy",
            DhcpMode::Off => "off",
        }
    }
}

impl fmt::Display for DhcpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An interface the server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// The kernel's name for it.
    pub name: String,
    /// The server's own address on it: option 54, next-server, and the host of boot URLs in replies to what came in
    /// there.
    pub address: Ipv4Addr,
    /// Length of the address's prefix in bits, 0 to 32.
    pub prefix_len: u8,
    /// What the server does there.
    pub mode: DhcpMode,
    /// Port of the HTTP server that boot URLs name.
    pub http_port: u16,
}

/// A subnet the server gives out addresses of. [`SubnetConfig::new`] fills in all but the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetConfig {
    /// Any address of the network; bits past the prefix do not count.
    pub network: Ipv4Addr,
    /// Length of the network's prefix in bits, 0 to 32.
    pub prefix_len: u8,
    /// Addresses to give out, as far as they lie inside the network. The server's own, the gateway's, the network's
    /// and the broadcast address are left out by themselves.
    pub ranges: Vec<RangeInclusive<Ipv4Addr>>,
    /// The default gateway to hand out, where there is one.
    pub router: Option<Ipv4Addr>,
    /// DNS servers to hand out.
    pub dns: Vec<Ipv4Addr>,
    /// DNS domain to hand out, at most 255 bytes.
    pub domain: Option<String>,
    /// NTP servers to hand out.
    pub ntp: Vec<Ipv4Addr>,
    /// How long a lease holds.
    pub lease: Duration,
    /// The interfaces whose own segment this is. A client there gets an address of it without a relay.
    pub interfaces: Vec<InterfaceId>,
    /// Relays that serve it though their address is outside of it. One inside the network needs no mention.
    pub relays: Vec<Ipv4Addr>,
    /// Addresses kept for one machine each; inside or outside the ranges, but inside the network.
    pub reservations: BTreeMap<MacAddr, Ipv4Addr>,
    /// Largest number of addresses to keep in memory, whatever the size of the ranges.
    pub max_leases: usize,
}

impl SubnetConfig {
    /// A subnet with one range, one hour of lease, no gateway, no servers to hand out, no interface, no relays
    /// beyond its own and 4096 leases.
    #[must_use]
    pub fn new(network: Ipv4Addr, prefix_len: u8, range: RangeInclusive<Ipv4Addr>) -> Self {
        Self {
            network,
            prefix_len,
            ranges: vec![range],
            router: None,
            dns: Vec::new(),
            domain: None,
            ntp: Vec::new(),
            lease: Duration::from_secs(3600),
            interfaces: Vec::new(),
            relays: Vec::new(),
            reservations: BTreeMap::new(),
            max_leases: 4096,
        }
    }

    /// The network mask.
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        let bits = u32::from(self.prefix_len.min(32));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0))
    }

    /// The network's own address.
    #[must_use]
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() & self.netmask().to_bits())
    }

    /// The address all stations of the network listen to.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !self.netmask().to_bits())
    }

    /// Whether `ip` is inside the network.
    #[must_use]
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        let mask = self.netmask().to_bits();
        ip.to_bits() & mask == self.network.to_bits() & mask
    }
}

/// As `10.0.0.0/24`: the name that the store keeps leases under.
impl fmt::Display for SubnetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix_len)
    }
}

/// What one client, and all strangers together, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpLimits {
    /// Messages in a row from one hardware address that are answered; 0 turns the limit off.
    pub burst: u32,
    /// After the burst, one message in this time is answered.
    pub every: Duration,
    /// Hardware addresses whose rate is kept in mind. Where there are more, some start anew; memory does not grow.
    pub tracked: usize,
    /// Largest part of a subnet's addresses that may be offered at once to machines never seen before, in percent.
    pub stranger_offers: u8,
    /// Part of a subnet's addresses that only machines known here get, in percent, rounded down.
    pub kept_for_known: u8,
}

impl Default for DhcpLimits {
    /// 20 messages, then 5 a second; 8192 hardware addresses in mind; strangers are offered half of a subnet at most
    /// at once, and a tenth of it never.
    fn default() -> Self {
        Self {
            burst: 20,
            every: Duration::from_millis(200),
            tracked: 8192,
            stranger_offers: 50,
            kept_for_known: 10,
        }
    }
}

/// What the server gives out, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpConfig {
    /// The interfaces it listens on; [`InterfaceId`] counts them from 0.
    pub interfaces: Vec<InterfaceConfig>,
    /// The subnets it gives out addresses of; [`SubnetId`] counts them from 0.
    pub subnets: Vec<SubnetConfig>,
    /// How long an address that was offered waits for its REQUEST.
    pub offer_hold: Duration,
    /// How long an address stays unused after a client found it taken (DECLINE).
    pub quarantine: Duration,
    /// Whether this is the segments' only DHCP server: then a REQUEST for an address nobody here knows is granted
    /// where it can be, and refused by NAK where not. Otherwise it is left to the other servers.
    pub authoritative: bool,
    /// What is known of client architectures, and the network boot programs for machines that name none.
    pub architectures: ArchTable,
    /// Limits against floods.
    pub limits: DhcpLimits,
}

impl DhcpConfig {
    /// One interface in mode `full` with one subnet on it: one hour of lease, a minute for offers, ten minutes of
    /// quarantine, no gateway, authoritative, 4096 leases, HTTP on port 80, no reservations, and no network boot
    /// programs but those that a machine names.
    #[must_use]
    pub fn new(server_ip: Ipv4Addr, prefix_len: u8, pool: RangeInclusive<Ipv4Addr>) -> Self {
        let interface = InterfaceConfig {
            name: String::new(),
            address: server_ip,
            prefix_len,
            mode: DhcpMode::Full,
            http_port: 80,
        };
        let mut subnet = SubnetConfig::new(server_ip, prefix_len, pool);
        subnet.interfaces.push(InterfaceId(0));
        Self {
            interfaces: vec![interface],
            subnets: vec![subnet],
            offer_hold: Duration::from_secs(60),
            quarantine: Duration::from_secs(600),
            authoritative: true,
            architectures: ArchTable::iana(),
            limits: DhcpLimits::default(),
        }
    }
}
