//! What comes in and what goes out.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use bootgate_api::LeaseState;
use bootgate_events::{DhcpFacts, MacAddr};

use super::lease::Undo;
use super::{CLIENT_PORT, InterfaceId, PXE_PORT, SERVER_PORT, SubnetId};
use crate::Time;
use crate::policy::Loader;

/// The port a message came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Port {
    /// 67: DHCP.
    #[default]
    Dhcp,
    /// 4011: PXE's boot server discovery (PXE 2.1 section 2.2.5).
    Pxe,
}

impl Port {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Port::Dhcp => SERVER_PORT,
            Port::Pxe => PXE_PORT,
        }
    }
}

/// One datagram, and where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The UDP payload.
    pub bytes: &'a [u8],
    /// The interface it came to.
    pub interface: InterfaceId,
    /// The port it came to.
    pub port: Port,
    /// Who sent it.
    pub from: SocketAddrV4,
}

impl<'a> Datagram<'a> {
    /// A datagram that a client without an address sent to port 67 of the first interface.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            interface: InterfaceId(0),
            port: Port::Dhcp,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
        }
    }
}

/// What became of one datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Who sent it and what it said, where it was readable at all.
    pub received: Option<(MacAddr, DhcpFacts)>,
    /// Who asks: firmware, iPXE or an operating system; `None` where the message was not readable.
    pub loader: Option<Loader>,
    /// The reply to send. Where `grant` is given too, only after the grant was made durable.
    pub reply: Option<Reply>,
    /// The lease that the reply grants or extends. Make it durable, then send the reply; where that fails, send nothing
    /// and call [`Responder::undo`](super::Responder::undo). A client that heard of a lease which a crash then
    /// forgets shares its address with the next one.
    pub grant: Option<Grant>,
    /// The lease that the message ended.
    pub ended: Option<Ended>,
    /// Another DHCP server that the message told of.
    pub foreign: Option<ForeignServer>,
    /// Why there is no reply. Not given for RELEASE and DECLINE that were heeded, which have none.
    pub dropped: Option<Dropped>,
}

/// A lease that an ACK grants or extends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The address.
    pub ip: Ipv4Addr,
    /// Who gets it.
    pub mac: MacAddr,
    /// The subnet it is of.
    pub subnet: SubnetId,
    /// When it ends.
    pub ends: Time,
    /// What was before it.
    pub(super) undo: Undo,
}

/// A lease that ended, by RELEASE or DECLINE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The address.
    pub ip: Ipv4Addr,
    /// Who had it.
    pub mac: MacAddr,
    /// The subnet it is of.
    pub subnet: SubnetId,
    /// [`LeaseState::Ended`] after a RELEASE, [`LeaseState::Quarantined`] after a DECLINE.
    pub state: LeaseState,
    /// When the lease ended, or when the quarantine will.
    pub ends: Time,
}

/// An address in mind: what [`Responder::leases`](super::Responder::leases) tells and
/// [`Responder::restore`](super::Responder::restore) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseEntry {
    /// The address.
    pub ip: Ipv4Addr,
    /// Who has it, or who found it taken.
    pub mac: MacAddr,
    /// What it is.
    pub state: LeaseState,
    /// When it ends, or ended.
    pub ends: Time,
}

/// Another DHCP server on a segment of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ForeignServer {
    /// Its address.
    pub address: Ipv4Addr,
    /// The client whose message told of it, where one did.
    pub mac: Option<MacAddr>,
    /// The interface it was noticed on.
    pub interface: InterfaceId,
    /// How it was noticed.
    pub by: Sighting,
}

/// How another DHCP server was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sighting {
    /// A client named it in its REQUEST, RELEASE or DECLINE (option 54).
    ClientChoseIt,
    /// A reply of its came in.
    ItsReply,
}

impl fmt::Display for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sighting::ClientChoseIt => "a client took its offer",
            Sighting::ItsReply => "a reply of its came in",
        })
    }
}

/// Why a message gets no reply, for counting and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// For counting.
    pub reason: DropReason,
    /// In words.
    pub detail: Cow<'static, str>,
}

impl Dropped {
    pub(super) fn new(reason: DropReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

macro_rules! drop_reasons {
    ($( $(#[$doc:meta])* $variant:ident = $slug:literal, )*) => {
        /// Why a message gets no reply.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum DropReason {
            $( $(#[$doc])* $variant, )*
        }

        impl DropReason {
            /// Every reason.
            pub const ALL: &'static [DropReason] = &[$( DropReason::$variant, )*];

            /// Its name in counters: short, lower case, words joined by `-`.
            #[must_use]
            pub fn slug(self) -> &'static str {
                match self { $( DropReason::$variant => $slug, )* }
            }
        }
    };
}

drop_reasons! {
    /// Not a DHCP message, or one without what its kind must have.
    Malformed = "malformed",
    /// Shorter than a DHCP message.
    Short = "short",
    /// Longer than any client's message.
    Oversized = "oversized",
    /// A reply, not a request.
    NotRequest = "not-request",
    /// The hardware address is no station's, or not Ethernet's.
    BadMac = "bad-mac",
    /// A BOOTP request, or a kind of message that is not for a server.
    NotForServer = "not-for-server",
    /// No subnet here is the client's.
    NoSubnet = "no-subnet",
    /// The client sends too much.
    RateLimited = "rate-limited",
    /// No free address.
    PoolEmpty = "pool-empty",
    /// The client talks to another server.
    ForeignServer = "foreign-server",
    /// About an address that is not leased here.
    NotOurs = "not-ours",
    /// Nothing for this client: it wants no boot from a proxy, or could not use what there is.
    NotForUs = "not-for-us",
    /// The interface's mode is `off`.
    Off = "off",
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

/// A DHCP message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The UDP payload, at least 300 bytes long.
    pub bytes: Vec<u8>,
    /// The interface to send it from.
    pub interface: InterfaceId,
    /// The address to send it from.
    pub from: Ipv4Addr,
    /// The port to send it from: the one the request came to.
    pub from_port: u16,
    /// Where it goes.
    pub to: Destination,
    /// The client it is for.
    pub mac: MacAddr,
    /// What it says.
    pub facts: DhcpFacts,
    /// Why the client gets this, in words.
    pub reason: Cow<'static, str>,
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
    /// Back to where the request came from: the answer on port 4011.
    Back(SocketAddrV4),
}

impl Destination {
    /// The UDP port that the reply goes to.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Destination::Relay(_) => SERVER_PORT,
            Destination::Back(to) => to.port(),
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
            Destination::Back(to) => *to.ip(),
        }
    }
}

/// How much of a subnet is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The subnet, as `10.0.0.0/24`.
    pub subnet: String,
    /// Addresses that can be taken at once.
    pub size: u64,
    /// Leased ones.
    pub leased: u64,
    /// Offered ones that wait for their REQUEST.
    pub offered: u64,
    /// Those that somebody else was found on.
    pub quarantined: u64,
}
