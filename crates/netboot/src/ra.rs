//! Answers to IPv6 router solicitations (RFC 4861), so that no boot client waits for a router that cannot come.
//!
//! iPXE configures IPv6 beside IPv4, and sends solicitations for 13 seconds where nobody answers. One advertisement that
//! offers nothing (no router, no prefix, no DHCPv6) ends that at once (iPXE's `src/net/ndp.c`).

use std::net::Ipv6Addr;

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
/// Hop limit that hosts are told to use; the value means nothing more here than "the usual one".
const CURRENT_HOP_LIMIT: u8 = 64;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Answers one Ethernet frame, if it is a valid router solicitation: who asked, and the frame to send.
///
/// The advertisement has a router lifetime of 0 (this is no default router), no M and O flags (no DHCPv6) and no prefix.
/// It goes to the asking station, or to all nodes where that has no address yet. `None` for every other frame, however
/// short or broken, and for our own.
#[must_use]
pub fn answer_frame(frame: &[u8], our_mac: [u8; 6]) -> Option<(MacAddr, Vec<u8>)> {
    let asked = Solicitation::parse(frame, our_mac)?;
    let destination = match asked.source.is_unspecified() {
        true => ALL_NODES,
        false => asked.source,
    };
    let destination_mac = match asked.source.is_unspecified() {
        true => [0x33, 0x33, 0, 0, 0, 1],
        false => asked.source_mac.0,
    };
    let advertisement = advertisement(our_mac, destination);
    let mut reply = Vec::with_capacity(ETHERNET + IP_HEADER + advertisement.len());
    reply.extend(destination_mac);
    reply.extend(our_mac);
    reply.extend(ETHERTYPE_IPV6);
    reply.extend([0x60, 0, 0, 0]);
    reply.extend(u16::try_from(advertisement.len()).ok()?.to_be_bytes());
    reply.extend([ICMPV6, HOP_LIMIT]);
    reply.extend(link_local(our_mac).octets());
    reply.extend(destination.octets());
    reply.extend(advertisement);
    Some((asked.source_mac, reply))
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
    fn parse(frame: &[u8], our_mac: [u8; 6]) -> Option<Self> {
        let (ethernet, packet) = frame.split_first_chunk::<ETHERNET>()?;
        let source_mac = MacAddr(ethernet[6..12].try_into().ok()?);
        if ethernet[12..] != ETHERTYPE_IPV6 || source_mac.0 == our_mac || source_mac.is_multicast()
        {
            return None;
        }
        let (header, rest) = packet.split_first_chunk::<IP_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // What follows the datagram is Ethernet padding.
        let icmp = rest.get(..length)?;
        let source = address(header, 8)?;
        let destination = address(header, 24)?;
        let to_us = [ALL_ROUTERS, ALL_NODES, link_local(our_mac)].contains(&destination);
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
            false => !source.is_multicast() && source != link_local(our_mac),
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

/// The ICMPv6 message (RFC 4861 section 4.2), checksum filled in.
fn advertisement(our_mac: [u8; 6], destination: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, CURRENT_HOP_LIMIT, 0];
    // Router lifetime (2 bytes), reachable time (4) and retransmission timer (4): none of them given.
    message.extend([0; 10]);
    message.extend([OPTION_SOURCE_ADDRESS, 1]);
    message.extend(our_mac);
    let sum = icmp_sum(link_local(our_mac), destination, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
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
