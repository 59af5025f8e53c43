//! Why a datagram is no message.

use bootgate_events::MacAddr;

use super::DropReason;

/// The datagram is not a message that a DHCP server answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than the fixed part and the magic cookie.
    #[error("read DHCP message: `{0}` bytes are too short")]
    Short(usize),
    /// A reply: another server's, come here by a relay or a broadcast.
    #[error("read DHCP message: op `{0}` is not a client's request")]
    NotRequest(u8),
    /// Not Ethernet. An `hlen` above 16 makes decoders read past `chaddr`.
    #[error(
        "read DHCP message: hardware type `{htype}` with address length `{hlen}` is not Ethernet"
    )]
    NotEthernet {
        /// Hardware type.
        htype: u8,
        /// Length of a hardware address.
        hlen: u8,
    },
    /// The hardware address is all zeros or a group address: no station has it.
    #[error("read DHCP message: `{0}` is no station's address")]
    BadMac(MacAddr),
    /// No magic cookie, or no option 53: plain BOOTP.
    #[error("read DHCP message: no DHCP message type (a BOOTP client?)")]
    NoMessageType,
    /// A kind of message that clients do not send to servers, or one for other purposes than configuration.
    #[error("read DHCP message: message type `{0}` is not for a DHCP server")]
    NotForServer(u8),
    /// A request where a server's reply is read.
    #[error("read DHCP reply: op `{0}` is not a server's reply")]
    NotReply(u8),
    /// A kind of message that servers do not send.
    #[error("read DHCP reply: message type `{0}` is not a server's")]
    NotFromServer(u8),
}

impl ParseError {
    /// What it counts as.
    #[must_use]
    pub fn drop_reason(&self) -> DropReason {
        match self {
            ParseError::Short(_) => DropReason::Short,
            ParseError::NotRequest(_) => DropReason::NotRequest,
            ParseError::NotEthernet { .. } | ParseError::BadMac(_) => DropReason::BadMac,
            ParseError::NoMessageType | ParseError::NotForServer(_) => DropReason::NotForServer,
            ParseError::NotReply(_) | ParseError::NotFromServer(_) => DropReason::Malformed,
        }
    }
}
