//! What the server is told: interfaces, subnets, limits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bootgate_events::MacAddr;

use crate::dhcp::{DhcpLimits, InterfaceId};
use crate::policy::ArchTable;

/// An interface the server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// Its number.
    pub id: InterfaceId,
    /// The servers' address that boot URLs name: one that clients reach without a scope, so no link-local one.
    pub address: Ipv6Addr,
    /// Port of the HTTP server that boot URLs name.
    pub http_port: u16,
    /// Port of the TFTP server that boot URLs name.
    pub tftp_port: u16,
}

/// A subnet (a prefix on a link) that the server knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetConfig {
    /// Any address of the prefix; bits past its length do not count.
    pub prefix: Ipv6Addr,
    /// Length of the prefix in bits, 1 to 128.
    pub prefix_len: u8,
    /// Addresses to give out, as far as they lie inside the prefix; `None` where addresses come from elsewhere (another
    /// server, or router advertisements): then only INFORMATION-REQUEST is answered.
    pub range: Option<RangeInclusive<Ipv6Addr>>,
    /// DNS servers to hand out (option 23).
    pub dns: Vec<Ipv6Addr>,
    /// DNS domains to search (option 24). What is no domain name is left out.
    pub search: Vec<String>,
    /// How long a lease holds: both its lifetimes.
    pub lease: Duration,
    /// The interfaces whose own link this is. A client there gets an address of it without a relay.
    pub interfaces: Vec<InterfaceId>,
    /// Link addresses of relays that serve it though they are outside of it. One inside needs no mention.
    pub relays: Vec<Ipv6Addr>,
    /// Addresses kept for one machine each; inside or outside the range, but inside the prefix.
    pub reservations: BTreeMap<MacAddr, Ipv6Addr>,
    /// Largest number of addresses to keep in memory.
    pub max_leases: usize,
}

impl SubnetConfig {
    /// A subnet with one hour of lease, no DNS, no interface, no relays beyond its own and 4096 leases.
    #[must_use]
    pub fn new(prefix: Ipv6Addr, prefix_len: u8, range: Option<RangeInclusive<Ipv6Addr>>) -> Self {
        Self {
            prefix,
            prefix_len,
            range,
            dns: Vec::new(),
            search: Vec::new(),
            lease: Duration::from_secs(3600),
            interfaces: Vec::new(),
            relays: Vec::new(),
            reservations: BTreeMap::new(),
            max_leases: 4096,
        }
    }

    fn mask(&self) -> u128 {
        let bits = u32::from(self.prefix_len.min(128));
        u128::MAX.checked_shl(128 - bits).unwrap_or(0)
    }

    /// The first address of the prefix: the anycast address of its routers (RFC 4291 section 2.6.1), never given out.
    #[must_use]
    pub fn first(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix.to_bits() & self.mask())
    }

    /// The last address of the prefix.
    #[must_use]
    pub fn last(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix.to_bits() | !self.mask())
    }

    /// Whether `ip` is inside the prefix.
    #[must_use]
    pub fn contains(&self, ip: Ipv6Addr) -> bool {
        ip.to_bits() & self.mask() == self.first().to_bits()
    }
}

/// As `2001:db8::/64`: the name that the store keeps leases under.
impl fmt::Display for SubnetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix_len)
    }
}

/// What the server gives out, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpConfig {
    /// The server's own DUID, which must stay the same over restarts.
    pub duid: Vec<u8>,
    /// The interfaces it listens on.
    pub interfaces: Vec<InterfaceConfig>,
    /// The subnets it knows; `SubnetId` counts them from 0.
    pub subnets: Vec<SubnetConfig>,
    /// What clients go by where several servers answer (option 7). With 255 a client takes the first ADVERTISE at
    /// once; with less it waits a second for others.
    pub preference: u8,
    /// Whether this is the links' only DHCPv6 server: then addresses that nobody here knows are granted where they can
    /// be, and refused where not. Otherwise they are left to the other servers.
    pub authoritative: bool,
    /// How long an address stays unused after a client found it taken (DECLINE).
    pub quarantine: Duration,
    /// Parameters for the boot program (option 60), to all boot clients. EDK2 takes the first for the program's size
    /// in blocks of 512 bytes.
    pub boot_params: Vec<String>,
    /// What is known of client architectures, and the network boot programs for machines that name none.
    pub architectures: ArchTable,
    /// Limits against floods. What only machines known here get (`kept_for_known`) is a part of a subnet's `max_leases`;
    /// nothing is kept for offers, so `stranger_offers` has no meaning.
    pub limits: DhcpLimits,
}

impl DhcpConfig {
    /// A server without interfaces and subnets, whose DUID follows from an address of its own: preference 255,
    /// authoritative, ten minutes of quarantine, the usual limits.
    #[must_use]
    pub fn new(address: Ipv6Addr) -> Self {
        Self {
            // Type 4 has 16 bytes that nobody looks into (RFC 6355).
            duid: [&[0, 4][..], &address.octets()].concat(),
            interfaces: Vec::new(),
            subnets: Vec::new(),
            preference: 255,
            authoritative: true,
            quarantine: Duration::from_secs(600),
            boot_params: Vec::new(),
            architectures: ArchTable::iana(),
            limits: DhcpLimits::default(),
        }
    }
}
