//! The sanitiser: from bytes off the wire to typed facts.

use std::net::{IpAddr, Ipv4Addr};

use bootgate_events::{DhcpFacts, MacAddr};

use super::ParseError;
use super::options::{Options, code, encapsulated, message, user_classes};
use super::wire::{FIXED, MAGIC, REPLY, REQUEST};
use crate::policy::Loader;

const HTYPE_ETHERNET: u8 = 1;
const HLEN_ETHERNET: u8 = 6;
/// No client lists more architectures than this; the rest is left out.
const MAX_ARCHITECTURES: usize = 16;
/// Longest text taken over into an event, in characters.
const MAX_TEXT: usize = 255;

/// A DHCP message from a client, read with tolerance: what is malformed is left out and told in `oddities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// Kind of message (option 53).
    pub message: MessageKind,
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// The flags field as it came; the highest bit asks for broadcast replies.
    pub flags: u16,
    /// The client's hardware address.
    pub mac: MacAddr,
    /// The address the client has, or 0.0.0.0.
    pub ciaddr: Ipv4Addr,
    /// The relay that passed the message on, or 0.0.0.0.
    pub giaddr: Ipv4Addr,
    /// The address it asks for (option 50).
    pub requested: Option<Ipv4Addr>,
    /// The server it means (option 54).
    pub server_id: Option<Ipv4Addr>,
    /// Client identifier (option 61), raw.
    pub client_id: Option<Vec<u8>>,
    /// Codes of the options it wants (option 55).
    pub wanted: Vec<u8>,
    /// Longest DHCP message it takes, in bytes (option 57).
    pub max_size: Option<u16>,
    /// Vendor class (option 60), raw.
    pub vendor_class: Option<Vec<u8>>,
    /// User classes (option 77): one where the client does not use RFC 3004's length prefixes, as iPXE.
    pub user_classes: Vec<Vec<u8>>,
    /// Client architectures in the client's order (option 93; where it is missing, the one that the vendor class
    /// names as `PXEClient:Arch:00007:...`).
    pub architectures: Vec<u16>,
    /// Client machine identifier (option 97) with its type byte, where well formed (17 bytes, type 0).
    pub machine_id: Option<[u8; 17]>,
    /// Vendor-specific information (option 43), raw.
    pub vendor_info: Option<Vec<u8>>,
    /// Relay agent information (option 82), raw.
    pub relay_info: Option<Vec<u8>>,
    /// The subnet that the relay says the client is on (option 82, sub-option 5, RFC 3527).
    pub link: Option<Ipv4Addr>,
    /// The subnet that the client asks for an address of (option 118, RFC 3011).
    pub subnet: Option<Ipv4Addr>,
    /// iPXE's encapsulated options (option 175), code and value.
    pub ipxe: Vec<(u8, Vec<u8>)>,
    /// What was malformed and left out, in words.
    pub oddities: Vec<String>,
}

/// Kind of a DHCP message that clients send (option 53).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Who can give me an address?
    Discover,
    /// May I have, or keep, this address?
    Request,
    /// This address is taken by somebody else.
    Decline,
    /// I no longer need this address.
    Release,
    /// I have an address; tell me the rest.
    Inform,
}

impl MessageKind {
    /// Its number (option 53).
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            MessageKind::Discover => message::DISCOVER,
            MessageKind::Request => message::REQUEST,
            MessageKind::Decline => message::DECLINE,
            MessageKind::Release => message::RELEASE,
            MessageKind::Inform => message::INFORM,
        }
    }

    /// The name that events use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::Discover => "discover",
            MessageKind::Request => "request",
            MessageKind::Decline => "decline",
            MessageKind::Release => "release",
            MessageKind::Inform => "inform",
        }
    }
}

impl ClientFacts {
    /// Reads a message. Total: every input gives facts or an error, and never a panic.
    ///
    /// # Errors
    /// The datagram is not a client's DHCP message over Ethernet.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseError> {
        let fixed: &[u8; FIXED] = packet
            .first_chunk()
            .ok_or(ParseError::Short(packet.len()))?;
        if fixed[0] != REQUEST {
            return Err(ParseError::NotRequest(fixed[0]));
        }
        let mac = client_mac(fixed)?;
        let options = read_options(packet, fixed)?;
        let message = message_kind(&options)?;
        let mut reader = Reader { options };
        let relay_info = reader.options.bytes(code::RELAY_INFO);
        let link = relay_info.as_deref().and_then(link_selection);
        Ok(Self {
            message,
            xid: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            secs: u16::from_be_bytes([fixed[8], fixed[9]]),
            flags: u16::from_be_bytes([fixed[10], fixed[11]]),
            mac,
            ciaddr: address_at(fixed, 12),
            giaddr: address_at(fixed, 24),
            requested: reader.address(code::REQUESTED_ADDRESS),
            server_id: reader.address(code::SERVER_ID),
            client_id: reader.options.bytes(code::CLIENT_ID),
            wanted: reader.options.bytes(code::WANTED).unwrap_or_default(),
            max_size: reader.fixed(code::MAX_SIZE).map(u16::from_be_bytes),
            architectures: reader.architectures(),
            vendor_class: reader.options.bytes(code::VENDOR_CLASS),
            user_classes: reader
                .options
                .bytes(code::USER_CLASS)
                .map_or_else(Vec::new, |bytes| user_classes(&bytes)),
            machine_id: reader.machine_id(),
            vendor_info: reader.options.bytes(code::VENDOR_INFO),
            relay_info,
            link,
            subnet: reader.address(code::SUBNET_SELECTION),
            ipxe: reader
                .options
                .bytes(code::IPXE)
                .map_or_else(Vec::new, |bytes| encapsulated(&bytes)),
            oddities: reader.options.oddities,
        })
    }

    /// A DISCOVER that says nothing but who sends it.
    pub(crate) fn blank(mac: MacAddr) -> Self {
        Self {
            message: MessageKind::Discover,
            xid: 0,
            secs: 0,
            flags: 0,
            mac,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            giaddr: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server_id: None,
            client_id: None,
            wanted: Vec::new(),
            max_size: None,
            vendor_class: None,
            user_classes: Vec::new(),
            architectures: Vec::new(),
            machine_id: None,
            vendor_info: None,
            relay_info: None,
            link: None,
            subnet: None,
            ipxe: Vec::new(),
            oddities: Vec::new(),
        }
    }

    /// Whether the client asks for replies by broadcast.
    #[must_use]
    pub fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Whether the vendor class begins with `prefix`.
    #[must_use]
    pub fn vendor_class_is(&self, prefix: &str) -> bool {
        self.vendor_class
            .as_ref()
            .is_some_and(|class| class.starts_with(prefix.as_bytes()))
    }

    /// The parts worth a line in a timeline.
    #[must_use]
    pub fn summary(&self, loader: Loader) -> DhcpFacts {
        let address = [Some(self.ciaddr), self.requested]
            .into_iter()
            .flatten()
            .find(|ip| !ip.is_unspecified());
        DhcpFacts {
            message: self.message.as_str().to_owned(),
            xid: self.xid,
            address: address.map(IpAddr::V4),
            architectures: self.architectures.clone(),
            vendor_class: self.vendor_class.as_deref().map(readable),
            user_class: (!self.user_classes.is_empty())
                .then(|| readable(&self.user_classes.join(&b", "[..]))),
            bootfile: None,
            loader: loader.as_str().to_owned(),
        }
    }
}

/// Bytes as text for people: control characters replaced, length bounded.
pub(crate) fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\0')
        .chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

pub(super) fn address_at(fixed: &[u8; FIXED], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3])
}

/// The hardware address of the client that a message is from, or for.
pub(super) fn client_mac(fixed: &[u8; FIXED]) -> Result<MacAddr, ParseError> {
    let [htype, hlen] = [fixed[1], fixed[2]];
    if htype != HTYPE_ETHERNET || hlen != HLEN_ETHERNET {
        return Err(ParseError::NotEthernet { htype, hlen });
    }
    let mut mac = MacAddr([0; 6]);
    mac.0.copy_from_slice(&fixed[28..34]);
    if mac.is_multicast() || mac.0 == [0; 6] {
        return Err(ParseError::BadMac(mac));
    }
    Ok(mac)
}

/// The options, where there is a magic cookie before them.
fn read_options<'a>(packet: &'a [u8], fixed: &[u8; FIXED]) -> Result<Options<'a>, ParseError> {
    if fixed[236..240] != MAGIC {
        return Err(ParseError::NoMessageType);
    }
    Ok(Options::read(packet))
}

/// A server's message: its fixed part, the client it is for, its options.
pub(super) fn reply_parts(
    packet: &[u8],
) -> Result<(&[u8; FIXED], MacAddr, Options<'_>), ParseError> {
    let fixed: &[u8; FIXED] = packet
        .first_chunk()
        .ok_or(ParseError::Short(packet.len()))?;
    if fixed[0] != REPLY {
        return Err(ParseError::NotReply(fixed[0]));
    }
    let mac = client_mac(fixed)?;
    Ok((fixed, mac, read_options(packet, fixed)?))
}

fn message_kind(options: &Options<'_>) -> Result<MessageKind, ParseError> {
    let [kind] = options
        .fixed(code::MESSAGE_TYPE)
        .ok_or(ParseError::NoMessageType)?;
    match kind {
        message::DISCOVER => Ok(MessageKind::Discover),
        message::REQUEST => Ok(MessageKind::Request),
        message::DECLINE => Ok(MessageKind::Decline),
        message::RELEASE => Ok(MessageKind::Release),
        message::INFORM => Ok(MessageKind::Inform),
        _ => Err(ParseError::NotForServer(kind)),
    }
}

/// Sub-option 5 of the relay agent information.
fn link_selection(relay_info: &[u8]) -> Option<Ipv4Addr> {
    const LINK_SELECTION: u8 = 5;
    let mut rest = relay_info;
    // Unlike options, sub-options have neither padding nor an end (RFC 3046 section 2.0).
    while let [code, length, after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        if *code == LINK_SELECTION {
            let octets: [u8; 4] = value.try_into().ok()?;
            return Some(Ipv4Addr::from(octets)).filter(|ip| !ip.is_unspecified());
        }
        rest = after;
    }
    None
}

/// Options read as what they should be; what they are not becomes an oddity.
struct Reader<'a> {
    options: Options<'a>,
}

impl Reader<'_> {
    fn odd(&mut self, code: u8) {
        self.options
            .oddities
            .push(format!("option {code} is malformed"));
    }

    fn fixed<const N: usize>(&mut self, code: u8) -> Option<[u8; N]> {
        let value = self.options.fixed(code);
        if value.is_none() && self.options.has(code) {
            self.odd(code);
        }
        value
    }

    /// An address; 0.0.0.0 counts as absent.
    fn address(&mut self, code: u8) -> Option<Ipv4Addr> {
        self.fixed::<4>(code)
            .map(Ipv4Addr::from)
            .filter(|ip| !ip.is_unspecified())
    }

    /// Option 97: absent, or a type byte of 0 and a UUID (RFC 4578 section 2.3).
    fn machine_id(&mut self) -> Option<[u8; 17]> {
        let id = self.fixed::<17>(code::MACHINE_ID)?;
        if id[0] != 0 {
            self.odd(code::MACHINE_ID);
            return None;
        }
        Some(id)
    }

    fn architectures(&mut self) -> Vec<u16> {
        if let Some(bytes) = self.options.bytes(code::ARCHITECTURES) {
            if bytes.len() % 2 != 0 {
                self.odd(code::ARCHITECTURES);
            }
            let (pairs, _) = bytes.as_chunks::<2>();
            return pairs
                .iter()
                .take(MAX_ARCHITECTURES)
                .map(|pair| u16::from_be_bytes(*pair))
                .collect();
        }
        self.options
            .bytes(code::VENDOR_CLASS)
            .and_then(|class| architecture_of_class(&class))
            .into_iter()
            .collect()
    }
}

/// The architecture in `PXEClient:Arch:xxxxx:UNDI:yyyzzz` (PXE 2.1 section 2.2.3).
pub(crate) fn architecture_of_class(class: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(class).ok()?;
    let mut parts = text.split(':');
    let known = matches!(parts.next(), Some("PXEClient" | "HTTPClient"));
    if !known || parts.next() != Some("Arch") {
        return None;
    }
    parts.next()?.parse().ok()
}
