//! The sanitiser: from bytes off the wire to typed facts.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use bootgate_events::{DhcpFacts, MacAddr};

use super::options::{Options, address_at, classes, code, take_u16};
use super::relay::{self, Relay};
use crate::dhcp;
use crate::policy::Loader;

/// The message type and the transaction id.
const HEADER: usize = 4;
/// No client lists more architectures, wishes, identity associations or addresses in one than this.
const MAX_ARCHITECTURES: usize = 16;
const MAX_WANTED: usize = 64;
const MAX_IAS: usize = 8;
const MAX_ADDRESSES: usize = 8;
/// Bytes of a DUID with its type (RFC 8415 section 11.1).
const DUID: std::ops::RangeInclusive<usize> = 3..=130;
const HARDWARE_ETHERNET: u16 = 1;

/// A DHCPv6 message from a client, read with tolerance: what is malformed is left out and told in `oddities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFacts {
    /// Kind of message.
    pub message: MessageKind,
    /// Transaction id, 24 bits.
    pub xid: u32,
    /// The relays it came by, outermost first.
    pub relays: Vec<Relay>,
    /// Who sent it: the source address, or what the innermost relay says.
    pub peer: Ipv6Addr,
    /// The client's hardware address: see [`ClientFacts::parse`].
    pub mac: MacAddr,
    /// The client's DUID; `None` is allowed in an INFORMATION-REQUEST alone.
    pub duid: Option<Vec<u8>>,
    /// The DUID of the server it means (option 2).
    pub server: Option<Vec<u8>>,
    /// Addresses it has or wants (option 3).
    pub addresses: Vec<IdentityAssociation>,
    /// Identity associations for temporary addresses (option 4), which nobody here gives out.
    pub temporary: Vec<u32>,
    /// Identity associations for prefixes (option 25), which nobody here gives out.
    pub prefixes: Vec<u32>,
    /// Codes of the options it wants (option 6).
    pub wanted: Vec<u16>,
    /// Whether it takes a REPLY to its SOLICIT at once (option 14).
    pub rapid_commit: bool,
    /// User classes (option 15).
    pub user_classes: Vec<Vec<u8>>,
    /// Vendor class (option 16): the enterprise number and the first string.
    pub vendor_class: Option<(u32, Vec<u8>)>,
    /// Client architectures in the client's order (option 61; where it is missing, the one that the vendor class names
    /// as `PXEClient:Arch:00007:...`).
    pub architectures: Vec<u16>,
    /// Network interface identifier (option 62): type, major and minor revision.
    pub interface: Option<[u8; 3]>,
    /// What was malformed and left out, in words.
    pub oddities: Vec<String>,
}

/// An identity association for addresses (IA_NA): for one interface of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityAssociation {
    /// Its number; with the DUID it names the lease.
    pub iaid: u32,
    /// The addresses the client has or wants in it.
    pub addresses: Vec<Ipv6Addr>,
}

macro_rules! message_kinds {
    ($( $(#[$doc:meta])* $variant:ident = $number:literal $name:literal, )*) => {
        /// Kind of a DHCPv6 message that clients send.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MessageKind {
            $( $(#[$doc])* $variant, )*
        }

        impl MessageKind {
            /// The name that events use.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $( MessageKind::$variant => $name, )* }
            }

            fn from_number(number: u8) -> Option<Self> {
                match number { $( $number => Some(MessageKind::$variant), )* _ => None }
            }
        }
    };
}

message_kinds! {
    /// Which servers are there?
    Solicit = 1 "solicit",
    /// May I have these addresses?
    Request = 3 "request",
    /// Are my addresses still right for this link?
    Confirm = 4 "confirm",
    /// May I keep my addresses? To the server that gave them.
    Renew = 5 "renew",
    /// May I keep my addresses? To any server.
    Rebind = 6 "rebind",
    /// I no longer need these addresses.
    Release = 8 "release",
    /// These addresses are taken by somebody else.
    Decline = 9 "decline",
    /// I have addresses; tell me the rest.
    InformationRequest = 11 "information-request",
}

/// The datagram is not a message that a DHCPv6 server answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than a message's or a relay's fixed part.
    #[error("read DHCPv6 message: `{0}` bytes are too short")]
    Short(usize),
    /// Passed by more relays than the protocol allows.
    #[error("read DHCPv6 message: more than 8 relays")]
    TooManyHops,
    /// A relay's envelope with nothing in it.
    #[error("read DHCPv6 message: a relay's message has no message in it")]
    EmptyRelay,
    /// A server's message.
    #[error("read DHCPv6 message: message type `{0}` is a server's")]
    NotRequest(u8),
    /// A kind of message that is not for a server, or one for other purposes than configuration.
    #[error("read DHCPv6 message: message type `{0}` is not for a DHCPv6 server")]
    NotForServer(u8),
    /// No client identifier where one must be, or one that is none.
    #[error("read DHCPv6 message: {0}")]
    Malformed(&'static str),
}

impl ParseError {
    /// For counting.
    #[must_use]
    pub fn reason(&self) -> dhcp::DropReason {
        use dhcp::DropReason;
        match self {
            ParseError::Short(_) => DropReason::Short,
            ParseError::NotRequest(_) => DropReason::NotRequest,
            ParseError::NotForServer(_) => DropReason::NotForServer,
            ParseError::TooManyHops | ParseError::EmptyRelay | ParseError::Malformed(_) => {
                DropReason::Malformed
            }
        }
    }
}

impl ClientFacts {
    /// Reads a message from `source`. Total: every input gives facts or an error, and never a panic.
    ///
    /// The client's hardware address is the one that a relay saw (RFC 6939), the one that its link-local address was
    /// made from, as EDK2 and iPXE do, or the one in its DUID (types LLT and LL). The DUID comes last: an operating
    /// system keeps it, and a disk's image brings it to every machine that it is flashed to. Where none of these
    /// tells it, a locally administered one that follows from the DUID stands for it.
    ///
    /// # Errors
    /// The datagram is not a client's DHCPv6 message, or lacks what its kind must have (RFC 8415 section 16).
    pub fn parse(packet: &[u8], source: Ipv6Addr) -> Result<Self, ParseError> {
        let (relays, message) = relay::unwrap(packet)?;
        let header: &[u8; HEADER] = message
            .first_chunk()
            .ok_or(ParseError::Short(message.len()))?;
        let [number, xid @ ..] = *header;
        let kind = MessageKind::from_number(number).ok_or(match number {
            2 | 7 | 10 | 13 => ParseError::NotRequest(number),
            _ => ParseError::NotForServer(number),
        })?;
        let options = Options::read(message.get(HEADER..).unwrap_or_default());
        let mut oddities: Vec<String> = options.oddity.iter().cloned().collect();
        let duid = identifier(&options, code::CLIENT_ID)?;
        let server = identifier(&options, code::SERVER_ID)?;
        check(kind, duid.is_some(), server.is_some())?;
        let peer = relays.last().map_or(source, |relay| relay.peer);
        let vendor_class = options.first(code::VENDOR_CLASS).and_then(vendor_class);
        if vendor_class.is_none() && options.has(code::VENDOR_CLASS) {
            oddities.push("option 16 is malformed".to_owned());
        }
        Ok(Self {
            message: kind,
            xid: u32::from_be_bytes([0, xid[0], xid[1], xid[2]]),
            mac: hardware_address(duid.as_deref(), &relays, peer),
            peer,
            relays,
            duid,
            server,
            addresses: associations(&options, &mut oddities),
            temporary: iaids(&options, code::IA_TA),
            prefixes: iaids(&options, code::IA_PD),
            wanted: numbers(options.first(code::WANTED), MAX_WANTED),
            rapid_commit: options.has(code::RAPID_COMMIT),
            user_classes: options
                .first(code::USER_CLASS)
                .map_or_else(Vec::new, classes),
            architectures: architectures(&options, vendor_class.as_ref()),
            vendor_class,
            interface: options
                .first(code::NETWORK_INTERFACE)
                .and_then(|value| value.try_into().ok()),
            oddities,
        })
    }

    /// Whether the client wants an option.
    #[must_use]
    pub fn wants(&self, code: u16) -> bool {
        self.wanted.contains(&code)
    }

    /// Whether the vendor class begins with `prefix`.
    #[must_use]
    pub fn vendor_class_is(&self, prefix: &str) -> bool {
        self.vendor_class
            .as_ref()
            .is_some_and(|(_, class)| class.starts_with(prefix.as_bytes()))
    }

    /// The same client as the boot policy knows it: what a client boots is decided by one set of rules, in words of
    /// DHCPv4.
    #[must_use]
    pub fn for_policy(&self) -> dhcp::ClientFacts {
        dhcp::ClientFacts {
            vendor_class: self.vendor_class.as_ref().map(|(_, class)| class.clone()),
            user_classes: self.user_classes.clone(),
            architectures: self.architectures.clone(),
            ..dhcp::ClientFacts::blank(self.mac)
        }
    }

    /// The parts worth a line in a timeline.
    #[must_use]
    pub fn summary(&self, loader: Loader) -> DhcpFacts {
        let mut addresses = self.addresses.iter().flat_map(|ia| &ia.addresses);
        DhcpFacts {
            message: self.message.as_str().to_owned(),
            xid: self.xid,
            address: addresses.next().map(|ip| IpAddr::V6(*ip)),
            architectures: self.architectures.clone(),
            vendor_class: self
                .vendor_class
                .as_ref()
                .map(|(_, class)| dhcp::readable(class)),
            user_class: (!self.user_classes.is_empty())
                .then(|| dhcp::readable(&self.user_classes.join(&b", "[..]))),
            bootfile: None,
            loader: loader.as_str().to_owned(),
        }
    }
}

/// A lease's owner as the store writes it: `DUID/IAID` in hexadecimal.
#[must_use]
pub fn client_name(duid: &[u8], iaid: u32) -> String {
    let mut name = String::with_capacity(2 * duid.len() + 9);
    for byte in duid {
        let _ = write!(name, "{byte:02x}");
    }
    let _ = write!(name, "/{iaid:08x}");
    name
}

/// Reads what [`client_name`] wrote.
#[must_use]
pub fn parse_client_name(name: &str) -> Option<(Vec<u8>, u32)> {
    let (duid, iaid) = name.split_once('/')?;
    let iaid = u32::from_str_radix(iaid, 16).ok()?;
    let (pairs, rest) = duid.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let duid: Option<Vec<u8>> = pairs.iter().map(byte).collect();
    let duid = duid.filter(|duid| rest.is_empty() && DUID.contains(&duid.len()))?;
    Some((duid, iaid))
}

/// The hardware address that an address with an interface identifier of EUI-64 was made from (RFC 4291 appendix A).
#[must_use]
pub fn mac_of_address(address: Ipv6Addr) -> Option<MacAddr> {
    let [a, b, c, 0xff, 0xfe, d, e, f] = *address.octets().last_chunk::<8>()? else {
        return None;
    };
    station(MacAddr([a ^ 2, b, c, d, e, f]))
}

fn station(mac: MacAddr) -> Option<MacAddr> {
    (!mac.is_multicast() && mac.0 != [0; 6]).then_some(mac)
}

/// A hardware type and an Ethernet address, as DUIDs and option 79 have them.
pub(super) fn ethernet(bytes: &[u8]) -> Option<MacAddr> {
    let (HARDWARE_ETHERNET, address) = take_u16(bytes)? else {
        return None;
    };
    station(MacAddr(address.try_into().ok()?))
}

/// The hardware address in a DUID, where its type has one (RFC 8415 sections 11.2 and 11.4).
pub(super) fn mac_of_duid(duid: &[u8]) -> Option<MacAddr> {
    match take_u16(duid)? {
        (1, rest) => {
            // The time stands between the hardware type and the address.
            let address = rest.get(6..)?;
            ethernet(&[rest.get(..2)?, address].concat())
        }
        (3, rest) => ethernet(rest),
        _ => None,
    }
}

fn hardware_address(duid: Option<&[u8]>, relays: &[Relay], peer: Ipv6Addr) -> MacAddr {
    let made_from = || {
        let own = peer.is_unicast_link_local();
        own.then_some(peer).and_then(mac_of_address)
    };
    let seen = relays.last().and_then(|relay| relay.link_layer);
    seen.or_else(made_from)
        .or_else(|| duid.and_then(mac_of_duid))
        .unwrap_or_else(|| stand_in(duid.unwrap_or(&peer.octets())))
}

/// A locally administered address that follows from the bytes.
fn stand_in(bytes: &[u8]) -> MacAddr {
    let [_, _, _, b, c, d, e, f] = super::lease::place(bytes).to_be_bytes();
    MacAddr([0x02, b, c, d, e, f])
}

/// A DUID, if the option is there.
fn identifier(options: &Options<'_>, code: u16) -> Result<Option<Vec<u8>>, ParseError> {
    match options.first(code) {
        None => Ok(None),
        Some(duid) if DUID.contains(&duid.len()) => Ok(Some(duid.to_vec())),
        Some(_) => Err(ParseError::Malformed("an identifier has no DUID's length")),
    }
}

/// The server that sent an ADVERTISE or a REPLY.
pub(super) fn server_of_reply(packet: &[u8]) -> Option<Vec<u8>> {
    let ([2 | 7, ..], options) = packet.split_first_chunk::<HEADER>()? else {
        return None;
    };
    identifier(&Options::read(options), code::SERVER_ID).ok()?
}

/// What each kind of message must have, and must not (RFC 8415 sections 16.2 to 16.12).
fn check(kind: MessageKind, client: bool, server: bool) -> Result<(), ParseError> {
    use MessageKind::{
        Confirm, Decline, InformationRequest, Rebind, Release, Renew, Request, Solicit,
    };
    match kind {
        Solicit | Confirm | Rebind if server => Err(ParseError::Malformed(
            "a message to all servers names one (option 2)",
        )),
        Request | Renew | Release | Decline if !server => Err(ParseError::Malformed(
            "a message to one server names none (option 2)",
        )),
        InformationRequest => Ok(()),
        _ if !client => Err(ParseError::Malformed("the client does not say who it is")),
        _ => Ok(()),
    }
}

/// Vendor class: enterprise number, then strings with their lengths. The first that names a boot client counts, or else
/// the first.
fn vendor_class(value: &[u8]) -> Option<(u32, Vec<u8>)> {
    let (enterprise, rest) = value.split_first_chunk::<4>()?;
    let mut classes = classes(rest);
    let boot = classes
        .iter()
        .position(|class| class.starts_with(b"PXEClient") || class.starts_with(b"HTTPClient"));
    let index = boot.unwrap_or(0);
    (index < classes.len()).then(|| (u32::from_be_bytes(*enterprise), classes.swap_remove(index)))
}

fn architectures(options: &Options<'_>, class: Option<&(u32, Vec<u8>)>) -> Vec<u16> {
    if options.has(code::ARCHITECTURES) {
        return numbers(options.first(code::ARCHITECTURES), MAX_ARCHITECTURES);
    }
    class
        .and_then(|(_, class)| dhcp::architecture_of_class(class))
        .into_iter()
        .collect()
}

fn numbers(value: Option<&[u8]>, limit: usize) -> Vec<u16> {
    let (pairs, _) = value.unwrap_or_default().as_chunks::<2>();
    let numbers = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
    numbers.take(limit).collect()
}

fn iaids(options: &Options<'_>, code: u16) -> Vec<u32> {
    let iaids = options
        .all(code)
        .filter_map(|value| Some(u32::from_be_bytes(*value.first_chunk()?)));
    iaids.take(MAX_IAS).collect()
}

fn associations(options: &Options<'_>, oddities: &mut Vec<String>) -> Vec<IdentityAssociation> {
    let mut found: Vec<IdentityAssociation> = Vec::new();
    for value in options.all(code::IA_NA) {
        let (Some(iaid), Some(inner)) = (value.first_chunk::<4>(), value.get(12..)) else {
            oddities.push("option 3 is malformed".to_owned());
            continue;
        };
        let iaid = u32::from_be_bytes(*iaid);
        if found.len() == MAX_IAS || found.iter().any(|ia| ia.iaid == iaid) {
            oddities.push("an identity association too many".to_owned());
            break;
        }
        let inner = Options::read(inner);
        let addresses = inner.all(code::IA_ADDR);
        found.push(IdentityAssociation {
            iaid,
            addresses: addresses
                .filter_map(|value| address_at(value, 0))
                .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
                .take(MAX_ADDRESSES)
                .collect(),
        });
    }
    found
}
