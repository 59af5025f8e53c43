//! Ethernet frames built by hand, for clients that cannot be reached by an ordinary socket yet.

use std::net::{Ipv4Addr, SocketAddrV4};

use bootgate_events::MacAddr;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const TTL: u8 = 64;
const PROTOCOL_UDP: u8 = 17;
/// Shortest Ethernet frame without its check sequence; shorter ones are padded (IEEE 802.3).
const MIN_FRAME: usize = 60;

/// The payload does not fit an IPv4 datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("build UDP frame: payload of `{0}` bytes exceeds the 65507 of IPv4")]
pub struct PayloadTooLong(pub usize);

/// Builds an Ethernet frame with one whole UDP datagram, checksums filled in, padded to the Ethernet minimum.
///
/// A DHCP client that has not configured its address does not answer ARP for it, so that a kernel socket cannot
/// reach it other than by broadcast. A frame that names its hardware address does.
///
/// The frame is not fragmented: the caller keeps the payload within the link's MTU less 28 bytes.
///
/// # Errors
/// The payload is longer than IPv4 can carry (65507 bytes).
pub fn udp4_frame(
    source_mac: MacAddr,
    source: SocketAddrV4,
    destination_mac: MacAddr,
    destination: SocketAddrV4,
    payload: &[u8],
) -> Result<Vec<u8>, PayloadTooLong> {
    let too_long = |_| PayloadTooLong(payload.len());
    let udp_length = u16::try_from(UDP_HEADER + payload.len()).map_err(too_long)?;
    let ip_length = u16::try_from(IP_HEADER + UDP_HEADER + payload.len()).map_err(too_long)?;

    let mut ip = Vec::with_capacity(usize::from(ip_length));
    ip.extend([0x45, 0]);
    ip.extend(ip_length.to_be_bytes());
    // Identification 0 with "don't fragment" set: an atomic datagram (RFC 6864).
    ip.extend([0, 0, 0x40, 0, TTL, PROTOCOL_UDP, 0, 0]);
    ip.extend(source.ip().octets());
    ip.extend(destination.ip().octets());
    let header_sum = checksum(&[&ip]).to_be_bytes();
    ip[10..12].copy_from_slice(&header_sum);

    let mut udp = Vec::with_capacity(usize::from(udp_length));
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let length = udp_length.to_be_bytes();
    let pseudo = [&ip[12..20], &[0, PROTOCOL_UDP], &length].concat();
    // A sum of zero is sent as all ones, since zero says "no checksum" (RFC 768).
    let sum = match checksum(&[&pseudo, &udp]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());

    let mut frame = Vec::with_capacity((14 + ip.len() + udp.len()).max(MIN_FRAME));
    frame.extend(destination_mac.0);
    frame.extend(source_mac.0);
    frame.extend(ETHERTYPE_IPV4);
    frame.extend(ip);
    frame.extend(udp);
    frame.resize(frame.len().max(MIN_FRAME), 0);
    Ok(frame)
}

/// A UDP datagram found in an Ethernet frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp4<'a> {
    /// The sender's hardware address: the last router's, where there is one.
    pub source_mac: MacAddr,
    /// Where the frame went.
    pub destination_mac: MacAddr,
    /// The sender.
    pub source: SocketAddrV4,
    /// Where the datagram went.
    pub destination: SocketAddrV4,
    /// What it carries, without the frame's padding.
    pub payload: &'a [u8],
}

/// Reads a frame with one whole IPv4 UDP datagram; `None` for every other frame. Checksums are left alone: a card may
/// fill in those of frames that this host sends, and check those that come in.
#[must_use]
pub fn udp4_in(frame: &[u8]) -> Option<Udp4<'_>> {
    let (ethernet, ip) = frame.split_first_chunk::<14>()?;
    if ethernet[12..] != ETHERTYPE_IPV4 {
        return None;
    }
    let header: &[u8; IP_HEADER] = ip.first_chunk()?;
    let length = usize::from(header[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
    if header[0] >> 4 != 4 || length < IP_HEADER || header[9] != PROTOCOL_UDP || fragment != 0 {
        return None;
    }
    let (udp, rest) = ip.get(length..)?.split_first_chunk::<UDP_HEADER>()?;
    let payload = usize::from(u16::from_be_bytes([udp[4], udp[5]])).checked_sub(UDP_HEADER)?;
    let address = |at: usize| Some(Ipv4Addr::from(*header.get(at..)?.first_chunk::<4>()?));
    let port = |at: usize| Some(u16::from_be_bytes(*udp.get(at..)?.first_chunk::<2>()?));
    let station = |at: usize| Some(MacAddr(*ethernet.get(at..)?.first_chunk::<6>()?));
    Some(Udp4 {
        source_mac: station(6)?,
        destination_mac: station(0)?,
        source: SocketAddrV4::new(address(12)?, port(0)?),
        destination: SocketAddrV4::new(address(16)?, port(2)?),
        payload: rest.get(..payload)?,
    })
}

/// The Internet checksum (RFC 1071) over parts laid end to end; every part but the last has an even length.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_sums_to_zero_and_is_padded() {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67);
        let destination = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 10), 68);
        let client = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
        let frame = udp4_frame(
            MacAddr([2, 0, 0, 0, 0, 1]),
            source,
            client,
            destination,
            b"odd",
        )
        .unwrap();
        assert_eq!(frame.len(), 60);
        assert_eq!(&frame[..6], &client.0);
        let ip = &frame[14..34];
        assert_eq!(
            checksum(&[ip]),
            0,
            "a header with its checksum sums to all ones"
        );
        let udp_length = u16::from_be_bytes([frame[38], frame[39]]);
        assert_eq!(udp_length, 11);
        let udp = &frame[34..34 + usize::from(udp_length)];
        let pseudo = [&ip[12..20], &[0, 17], &udp[4..6]].concat();
        assert_eq!(checksum(&[&pseudo, udp]), 0);
        assert_eq!(&udp[8..], b"odd");
    }

    #[test]
    fn a_frame_that_was_built_is_read_again() {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67);
        let destination = SocketAddrV4::new(Ipv4Addr::BROADCAST, 68);
        let (server, everybody) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([0xff; 6]));
        let frame = udp4_frame(server, source, everybody, destination, b"odd").unwrap();
        let expected = Udp4 {
            source_mac: server,
            destination_mac: everybody,
            source,
            destination,
            payload: b"odd",
        };
        assert_eq!(udp4_in(&frame), Some(expected));
        for length in 0..45 {
            assert_eq!(udp4_in(&frame[..length]), None, "cut at {length}");
        }
        for (at, byte) in [
            (12, 0x86),
            (14, 0x65),
            (14, 0x41),
            (20, 0x20),
            (23, 6),
            (38, 0xff),
        ] {
            let mut other = frame.clone();
            other[at] = byte;
            assert_eq!(udp4_in(&other), None, "byte {at} is {byte:#x}");
        }
    }

    #[test]
    fn a_payload_beyond_ipv4_is_refused() {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let mac = MacAddr([2; 6]);
        assert!(udp4_frame(mac, any, mac, any, &vec![0; 65507]).is_ok());
        assert_eq!(
            udp4_frame(mac, any, mac, any, &vec![0; 65508]),
            Err(PayloadTooLong(65508))
        );
    }
}
