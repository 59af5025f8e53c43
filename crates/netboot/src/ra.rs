//! IPv6 router advertisements (RFC 4861), so that no boot client waits for a router that cannot come, and so that it
//! learns where DHCPv6 serves.
//!
//! iPXE configures IPv6 beside IPv4, and sends solicitations for 13 seconds where nobody answers. One advertisement that
//! offers nothing (no router, no prefix, no DHCPv6) ends that at once (iPXE's `src/net/ndp.c`). It asks by DHCPv6 only
//! where an advertisement says so by its M or O flag.

use std::net::Ipv6Addr;
use std::time::Duration;

use bootgate_events::MacAddr;

use crate::frame::checksum;

const ETHERNET: usize = 14;
const IP_HEADER: usize = 40;
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;
/// Neighbour discovery travels with the largest hop limit only, so that no router passed it on (RFC 4861 section 6.1).
const HOP_LIMIT: u8 = 255;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const OPTION_SOURCE_ADDRESS: u8 = 1;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
/// RFC 8106.
const OPTION_DNS: u8 = 25;
/// DNS servers that one option holds: its length is counted in units of 8 bytes by one byte.
const MAX_DNS: usize = 64;
/// Hop limit that hosts are told to use; the value means nothing more here than "the usual one".
const CURRENT_HOP_LIMIT: u8 = 64;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What an advertisement says. The default says nothing: no router, no prefix, no DHCPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// M flag: addresses are to be had by DHCPv6.
    pub managed: bool,
    /// O flag: everything else is to be had by DHCPv6.
    pub other: bool,
    /// How long the sender is a default router, in seconds (up to 65535, of which 9000 are meant to be the limit); 0:
    /// it is none.
    pub router_lifetime: u16,
    /// The link's MTU in bytes, where hosts are to be told it.
    pub mtu: Option<u32>,
    /// Prefixes of the link.
    pub prefixes: Vec<Prefix>,
    /// DNS servers, 64 at most (RFC 8106).
    pub dns: Vec<Ipv6Addr>,
}

/// A prefix of the link (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Any address of it; bits past its length are not sent.
    pub prefix: Ipv6Addr,
    /// Its length in bits, 0 to 128.
    pub len: u8,
    /// L flag: its addresses are reached directly.
    pub on_link: bool,
    /// A flag: hosts may make themselves addresses of it.
    pub autonomous: bool,
    /// How long it holds, for both lifetimes.
    pub lifetime: Duration,
}

impl Prefix {
    /// A prefix whose addresses are given out by DHCPv6: on the link, not for hosts to make themselves addresses of,
    /// for 30 days (RFC 4861 section 6.2.1).
    #[must_use]
    pub fn managed(prefix: Ipv6Addr, len: u8) -> Self {
        Self {
            prefix,
            len,
            on_link: true,
            autonomous: false,
            lifetime: Duration::from_secs(30 * 86_400),
        }
    }
}

impl Advertisement {
    /// What a server of this prefix says: it is on the link, and addresses and all else are to be had by DHCPv6.
    #[must_use]
    pub fn managed(prefix: Ipv6Addr, len: u8) -> Self {
        Self {
            managed: true,
            other: true,
            prefixes: vec![Prefix::managed(prefix, len)],
            ..Self::default()
        }
    }

    /// Time from one unsolicited advertisement to the next, when `sent` were sent: 16 seconds for the first three, so that
    /// hosts that are up already hear soon, then 200 seconds (RFC 4861 sections 6.2.1 and 10).
    #[must_use]
    pub fn interval(sent: u32) -> Duration {
        match sent {
            0 => Duration::ZERO,
            1..3 => Duration::from_secs(16),
            _ => Duration::from_secs(200),
        }
    }
}

/// Who advertises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its link-local address.
    pub address: Ipv6Addr,
}

impl Sender {
    /// A sender with the link-local address that follows from its hardware address.
    #[must_use]
    pub fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            address: link_local(mac),
        }
    }

    /// Answers one Ethernet frame, if it is a valid router solicitation: who asked, and the frame to send.
    ///
    /// The answer goes to the asking station, or to all nodes where that has no address yet. `None` for every other
    /// frame, however short or broken, and for our own.
    #[must_use]
    pub fn answer(&self, frame: &[u8], said: &Advertisement) -> Option<(MacAddr, Vec<u8>)> {
        let asked = Solicitation::parse(frame, self)?;
        let reply = match asked.source.is_unspecified() {
            true => self.to_all(said),
            false => self.frame(asked.source_mac.0, asked.source, said),
        };
        Some((asked.source_mac, reply))
    }

    /// An unsolicited advertisement: an Ethernet frame to all nodes.
    #[must_use]
    pub fn to_all(&self, said: &Advertisement) -> Vec<u8> {
        self.frame([0x33, 0x33, 0, 0, 0, 1], ALL_NODES, said)
    }

    fn frame(&self, to: [u8; 6], destination: Ipv6Addr, said: &Advertisement) -> Vec<u8> {
        let message = said.message(self, destination);
        let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let mut frame = Vec::with_capacity(ETHERNET + IP_HEADER + message.len());
        frame.extend(to);
        frame.extend(self.mac);
        frame.extend(ETHERTYPE_IPV6);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(length.to_be_bytes());
        frame.extend([ICMPV6, HOP_LIMIT]);
        frame.extend(self.address.octets());
        frame.extend(destination.octets());
        frame.extend(message);
        frame
    }
}

/// Answers one Ethernet frame, if it is a valid router solicitation, by an advertisement that says nothing.
/// [`Sender::answer`] of [`Advertisement::default`].
#[must_use]
pub fn answer_frame(frame: &[u8], our_mac: [u8; 6]) -> Option<(MacAddr, Vec<u8>)> {
    Sender::new(our_mac).answer(frame, &Advertisement::default())
}

/// The link-local address that follows from a hardware address (RFC 4291 appendix A).
#[must_use]
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        pair(a ^ 2, b),
        pair(c, 0xff),
        pair(0xfe, d),
        pair(e, f),
    )
}

struct Solicitation {
    source_mac: MacAddr,
    source: Ipv6Addr,
}

impl Solicitation {
    /// The checks of RFC 4861 section 6.1.1, after those of the layers below.
    fn parse(frame: &[u8], us: &Sender) -> Option<Self> {
        let (ethernet, packet) = frame.split_first_chunk::<ETHERNET>()?;
        let source_mac = MacAddr(ethernet[6..12].try_into().ok()?);
        if ethernet[12..] != ETHERTYPE_IPV6 || source_mac.0 == us.mac || source_mac.is_multicast() {
            return None;
        }
        let (header, rest) = packet.split_first_chunk::<IP_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // What follows the datagram is Ethernet padding.
        let icmp = rest.get(..length)?;
        let source = address(header, 8)?;
        let destination = address(header, 24)?;
        let to_us = [ALL_ROUTERS, ALL_NODES, us.address].contains(&destination);
        let fits = header[0] >> 4 == 6
            && header[6] == ICMPV6
            && header[7] == HOP_LIMIT
            && to_us
            && icmp_sum(source, destination, icmp) == 0;
        let [ROUTER_SOLICITATION, 0, ..] = icmp else {
            return None;
        };
        let options = icmp.get(8..)?;
        let names_source = has_source_address(options)?;
        // A station without an address has no business to name its hardware address.
        let usable = match source.is_unspecified() {
            true => !names_source,
            false => !source.is_multicast() && source != us.address,
        };
        (fits && usable).then_some(Self { source_mac, source })
    }
}

fn address(header: &[u8; IP_HEADER], at: usize) -> Option<Ipv6Addr> {
    let octets: [u8; 16] = header.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from(octets))
}

/// Whether the options name the source's hardware address; `None` where one is cut short or has length zero.
fn has_source_address(mut options: &[u8]) -> Option<bool> {
    let mut found = false;
    while let [kind, units, ..] = options {
        found |= *kind == OPTION_SOURCE_ADDRESS;
        let length = 8 * usize::from(*units);
        options = match length {
            0 => return None,
            _ => options.get(length..)?,
        };
    }
    options.is_empty().then_some(found)
}

impl Advertisement {
    /// The ICMPv6 message (RFC 4861 section 4.2), checksum filled in.
    fn message(&self, sender: &Sender, destination: Ipv6Addr) -> Vec<u8> {
        let flags = (u8::from(self.managed) << 7) | (u8::from(self.other) << 6);
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, CURRENT_HOP_LIMIT, flags];
        message.extend(self.router_lifetime.to_be_bytes());
        // Reachable time and retransmission timer (4 bytes each): not given.
        message.extend([0; 8]);
        message.extend([OPTION_SOURCE_ADDRESS, 1]);
        message.extend(sender.mac);
        if let Some(mtu) = self.mtu {
            message.extend([OPTION_MTU, 1, 0, 0]);
            message.extend(mtu.to_be_bytes());
        }
        for prefix in &self.prefixes {
            prefix.write(&mut message);
        }
        let dns = &self.dns[..self.dns.len().min(MAX_DNS)];
        if !dns.is_empty() {
            let units = u8::try_from(1 + 2 * dns.len()).unwrap_or(u8::MAX);
            message.extend([OPTION_DNS, units, 0, 0]);
            // Three times the longest interval (RFC 8106 section 5.1).
            message.extend(600u32.to_be_bytes());
            message.extend(dns.iter().flat_map(Ipv6Addr::octets));
        }
        let sum = icmp_sum(sender.address, destination, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

impl Prefix {
    fn write(&self, message: &mut Vec<u8>) {
        let len = self.len.min(128);
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let lifetime = u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX);
        let flags = (u8::from(self.on_link) << 7) | (u8::from(self.autonomous) << 6);
        message.extend([OPTION_PREFIX, 4, len, flags]);
        message.extend(lifetime.to_be_bytes());
        message.extend(lifetime.to_be_bytes());
        message.extend([0; 4]);
        message.extend(Ipv6Addr::from_bits(self.prefix.to_bits() & mask).octets());
    }
}

/// The ICMPv6 checksum with its pseudo-header (RFC 8200 section 8.1); 0 over a message that carries a right one.
fn icmp_sum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut pseudo = Vec::with_capacity(40);
    pseudo.extend(source.octets());
    pseudo.extend(destination.octets());
    pseudo.extend(length.to_be_bytes());
    pseudo.extend([0, 0, 0, ICMPV6]);
    checksum(&[&pseudo, message])
}
