//! A DHCPv4 server (RFC 2131) for boot clients, without its sockets.
//!
//! [`Responder::handle`] takes the payload of a UDP datagram that came to port 67 and says what to send, and to
//! whom. What comes in is read by a sanitiser of our own ([`ClientFacts::parse`]), because firmware sends what
//! a strict decoder trips over; what goes out is encoded by `dhcproto`.

mod facts;
mod lease;
mod options;
mod reply;
mod responder;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bootgate_events::{DhcpFacts, MacAddr};

pub use facts::{ClientFacts, MessageKind, ParseError};
pub use responder::Responder;

/// UDP port of DHCP servers and relays.
pub const SERVER_PORT: u16 = 67;
/// UDP port of DHCP clients.
pub const CLIENT_PORT: u16 = 68;

/// What the server gives out. [`DhcpConfig::new`] fills in all but the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpConfig {
    /// The server's own address: option 54, next-server, and the host of boot URLs.
    pub server_ip: Ipv4Addr,
    /// Length of the network's prefix in bits, 0 to 32.
    pub prefix_len: u8,
    /// Addresses to give out. The server's own, the network's and the broadcast address are left out by themselves.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// How long a lease holds.
    pub lease: Duration,
    /// How long an address that was offered waits for its REQUEST.
    pub offer_hold: Duration,
    /// How long an address stays unused after a client found it taken (DECLINE).
    pub quarantine: Duration,
    /// The default gateway to hand out, where there is one.
    pub router: Option<Ipv4Addr>,
    /// Whether this is the segment's only DHCP server: then a REQUEST for an address nobody here knows is granted
    /// where it can be, and refused by NAK where not. Otherwise it is left to the other servers.
    pub authoritative: bool,
    /// Largest number of addresses to keep in memory, whatever the pool's size.
    pub max_leases: usize,
    /// Port of the HTTP server that boot URLs name.
    pub http_port: u16,
    /// Addresses kept for one machine each; inside or outside the pool, but inside the network.
    pub reservations: BTreeMap<MacAddr, Ipv4Addr>,
}

impl DhcpConfig {
    /// A configuration with one hour of lease, a minute for offers, ten minutes of quarantine, no gateway,
    /// authoritative, 4096 leases, HTTP on port 80 and no reservations.
    #[must_use]
    pub fn new(server_ip: Ipv4Addr, prefix_len: u8, pool: RangeInclusive<Ipv4Addr>) -> Self {
        Self {
            server_ip,
            prefix_len,
            pool,
            lease: Duration::from_secs(3600),
            offer_hold: Duration::from_secs(60),
            quarantine: Duration::from_secs(600),
            router: None,
            authoritative: true,
            max_leases: 4096,
            http_port: 80,
            reservations: BTreeMap::new(),
        }
    }

    /// The network mask.
    #[must_use]
    pub fn netmask(&self) -> Ipv4Addr {
        let bits = u32::from(self.prefix_len.min(32));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0))
    }

    /// The address all stations of the network listen to.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.server_ip.to_bits() | !self.netmask().to_bits())
    }

    /// Whether `ip` is inside the network.
    #[must_use]
    pub fn on_network(&self, ip: Ipv4Addr) -> bool {
        let mask = self.netmask().to_bits();
        ip.to_bits() & mask == self.server_ip.to_bits() & mask
    }
}

/// What became of one datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Who sent it and what it said, where it was readable at all.
    pub received: Option<(MacAddr, DhcpFacts)>,
    /// The reply to send.
    pub reply: Option<Reply>,
    /// Why there is no reply, in words. Also given for messages that never have one (RELEASE, DECLINE), where it
    /// says what was done.
    pub dropped: Option<String>,
}

/// A DHCP message to send from port 67.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The UDP payload, at least 300 bytes long.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub to: Destination,
    /// The client it is for.
    pub mac: MacAddr,
    /// What it says.
    pub facts: DhcpFacts,
    /// Why the client gets this, in words.
    pub reason: String,
}

/// Where a reply goes (RFC 2131 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To 255.255.255.255, port 68, out of the segment's interface.
    Broadcast,
    /// To a client that has this address already, port 68; ordinary routing.
    Unicast {
        /// The client's address.
        ip: Ipv4Addr,
    },
    /// To a client that does not answer ARP for this address yet, port 68: a frame built by hand
    /// ([`crate::frame::udp4_frame`]). Where no raw socket is at hand, a broadcast does as well.
    UnicastTo {
        /// The address the client is getting.
        ip: Ipv4Addr,
        /// Its hardware address.
        mac: MacAddr,
    },
    /// To the relay agent with this address, port 67.
    Relay(Ipv4Addr),
}

impl Destination {
    /// The UDP port that the reply goes to.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Destination::Relay(_) => SERVER_PORT,
            _ => CLIENT_PORT,
        }
    }

    /// The IP address that the reply goes to.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        match *self {
            Destination::Broadcast => Ipv4Addr::BROADCAST,
            Destination::Unicast { ip } | Destination::UnicastTo { ip, .. } => ip,
            Destination::Relay(ip) => ip,
        }
    }
}
