//! What another server's reply says.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::ParseError;
use super::facts::{address_at, readable, reply_parts};
use super::options::{FILE, Options, SNAME, code, encapsulated, message};

/// Sub-option of option 43: PXE's discovery control (PXE 2.1 section 2.4).
const DISCOVERY_CONTROL: u8 = 6;

/// A server's OFFER, ACK or NAK, read as tolerantly as a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Kind of message.
    pub message: ServerMessage,
    /// Transaction id.
    pub xid: u32,
    /// The client it is for.
    pub mac: MacAddr,
    /// The address it gives (`yiaddr`); 0.0.0.0 from a proxy.
    pub yiaddr: Ipv4Addr,
    /// The server to boot from (`siaddr`), or 0.0.0.0.
    pub siaddr: Ipv4Addr,
    /// The relay it came by, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// Who answers (option 54).
    pub server_id: Option<Ipv4Addr>,
    /// The network mask (option 1).
    pub netmask: Option<Ipv4Addr>,
    /// Gateways (option 3).
    pub routers: Vec<Ipv4Addr>,
    /// DNS servers (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// How long the lease would hold, in seconds (option 51).
    pub lease: Option<u32>,
    /// The interface's MTU (option 26).
    pub mtu: Option<u16>,
    /// Vendor class (option 60), control characters replaced.
    pub vendor_class: Option<String>,
    /// PXE's discovery control (option 43, sub-option 6).
    pub discovery_control: Option<u8>,
    /// The server's name (option 66, else `sname`), control characters replaced.
    pub server_name: Option<String>,
    /// The bootfile (option 67, else `file`), control characters replaced.
    pub bootfile: Option<String>,
}

/// Kind of a server's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerMessage {
    /// An offer.
    Offer,
    /// A lease, or a boot server's answer.
    Ack,
    /// A refusal.
    Nak,
}

impl ServerFacts {
    /// Reads a server's reply. Total: every input gives facts or an error, and never a panic.
    ///
    /// # Errors
    /// The datagram is not a DHCP server's reply over Ethernet.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let (fixed, mac, options) = reply_parts(packet)?;
        let [kind] = options
            .fixed(code::MESSAGE_TYPE)
            .ok_or(ParseError::NoMessageType)?;
        let message = match kind {
            message::OFFER => ServerMessage::Offer,
            message::ACK => ServerMessage::Ack,
            message::NAK => ServerMessage::Nak,
            _ => return Err(ParseError::NotFromServer(kind)),
        };
        let address = |code| options.fixed::<4>(code).map(Ipv4Addr::from);
        let overload = options.overload();
        Ok(Self {
            message,
            xid: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            mac,
            yiaddr: address_at(fixed, 16),
            siaddr: address_at(fixed, 20),
            giaddr: address_at(fixed, 24),
            server_id: address(code::SERVER_ID),
            netmask: address(code::NETMASK),
            routers: addresses(&options, code::ROUTERS),
            dns: addresses(&options, code::DNS),
            lease: options.fixed(code::LEASE_TIME).map(u32::from_be_bytes),
            mtu: options.fixed(code::MTU).map(u16::from_be_bytes),
            vendor_class: text(options.bytes(code::VENDOR_CLASS)),
            discovery_control: discovery_control(&options),
            server_name: text(options.bytes(code::TFTP_SERVER_NAME))
                .or_else(|| field(&fixed[SNAME], overload & 2 != 0)),
            bootfile: text(options.bytes(code::BOOTFILE))
                .or_else(|| field(&fixed[FILE], overload & 1 != 0)),
        })
    }

    /// Whether it is a proxy's: an offer of something to boot, without an address.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.yiaddr.is_unspecified()
    }
}

fn addresses(options: &Options<'_>, code: u8) -> Vec<Ipv4Addr> {
    let bytes = options.bytes(code).unwrap_or_default();
    let (addresses, _) = bytes.as_chunks::<4>();
    addresses.iter().copied().map(Ipv4Addr::from).collect()
}

fn text(value: Option<Vec<u8>>) -> Option<String> {
    Some(readable(&value?)).filter(|text| !text.is_empty())
}

/// A fixed field as far as its NUL, where it does not carry options.
fn field(bytes: &[u8], overloaded: bool) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0);
    let value = bytes.get(..end.unwrap_or(bytes.len()))?;
    text((!overloaded).then(|| value.to_vec()))
}

fn discovery_control(options: &Options<'_>) -> Option<u8> {
    let found = encapsulated(&options.bytes(code::VENDOR_INFO)?);
    let mut found = found.iter().filter(|(code, _)| *code == DISCOVERY_CONTROL);
    found.next()?.1.first().copied()
}
