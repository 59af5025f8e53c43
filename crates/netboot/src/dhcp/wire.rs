//! Messages as they lie on the wire, written.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::options::code;

/// Old relays and ROMs drop shorter messages: the size of a BOOTP message (RFC 1542 section 2.1).
const MIN_SIZE: usize = 300;
/// Room for a bootfile in the `file` field, which a NUL ends.
const MAX_FILE: usize = 127;
/// Begins the options (RFC 2131 section 3).
pub(super) const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The fixed part of a message and the magic cookie.
pub(super) const FIXED: usize = 240;

/// `op` of a client's message.
pub(super) const REQUEST: u8 = 1;
/// `op` of a server's message.
pub(super) const REPLY: u8 = 2;

/// The fields that a message and its reply share.
pub(super) struct Header {
    pub(super) op: u8,
    pub(super) xid: u32,
    pub(super) flags: u16,
    pub(super) giaddr: Ipv4Addr,
    pub(super) mac: MacAddr,
}

/// A message being written.
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A message over Ethernet of this kind (option 53).
    pub(super) fn new(header: &Header, message: u8) -> Self {
        let mut bytes = Vec::with_capacity(576);
        bytes.resize(FIXED, 0);
        bytes[..3].copy_from_slice(&[header.op, 1, 6]);
        bytes[4..8].copy_from_slice(&header.xid.to_be_bytes());
        bytes[10..12].copy_from_slice(&header.flags.to_be_bytes());
        bytes[24..28].copy_from_slice(&header.giaddr.octets());
        bytes[28..34].copy_from_slice(&header.mac.0);
        bytes[236..FIXED].copy_from_slice(&MAGIC);
        let mut writer = Self { bytes };
        writer.option(code::MESSAGE_TYPE, &[message]);
        writer
    }

    pub(super) fn ciaddr(&mut self, ip: Ipv4Addr) {
        self.bytes[12..16].copy_from_slice(&ip.octets());
    }

    pub(super) fn yiaddr(&mut self, ip: Ipv4Addr) {
        self.bytes[16..20].copy_from_slice(&ip.octets());
    }

    pub(super) fn siaddr(&mut self, ip: Ipv4Addr) {
        self.bytes[20..24].copy_from_slice(&ip.octets());
    }

    /// The `file` field; left empty where the name does not fit with the NUL that ends it.
    pub(super) fn file(&mut self, name: &[u8]) {
        if name.len() <= MAX_FILE {
            self.bytes[108..108 + name.len()].copy_from_slice(name);
        }
    }

    /// An option; one over 255 bytes in parts (RFC 3396), an empty one not at all.
    pub(super) fn option(&mut self, code: u8, value: &[u8]) {
        for part in value.chunks(255) {
            let length = u8::try_from(part.len()).unwrap_or(u8::MAX);
            self.bytes.extend([code, length]);
            self.bytes.extend(part);
        }
    }

    pub(super) fn address(&mut self, code: u8, ip: Ipv4Addr) {
        self.option(code, &ip.octets());
    }

    pub(super) fn addresses(&mut self, code: u8, ips: &[Ipv4Addr]) {
        // No client wants more than an option holds.
        let octets: Vec<u8> = ips.iter().take(63).flat_map(|ip| ip.octets()).collect();
        self.option(code, &octets);
    }

    pub(super) fn number(&mut self, code: u8, value: u32) {
        self.option(code, &value.to_be_bytes());
    }

    /// The message, ended and padded.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(code::END);
        if self.bytes.len() < MIN_SIZE {
            self.bytes.resize(MIN_SIZE, code::PAD);
        }
        self.bytes
    }
}
