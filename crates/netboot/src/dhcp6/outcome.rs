//! What comes in and what goes out.

use std::borrow::Cow;
use std::net::{Ipv6Addr, SocketAddrV6};

use bootgate_api::LeaseState;
use bootgate_events::{DhcpFacts, MacAddr};

use super::facts::mac_of_duid;
use super::lease::Binding;
use crate::Time;
use crate::dhcp::{Dropped, InterfaceId, Sighting, SubnetId};
use crate::policy::Loader;

/// One datagram, and where it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The UDP payload.
    pub bytes: &'a [u8],
    /// The interface it came to.
    pub interface: InterfaceId,
    /// Who sent it.
    pub from: SocketAddrV6,
}

/// What became of one datagram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Who sent it and what it said, where it was readable at all.
    pub received: Option<(MacAddr, DhcpFacts)>,
    /// Who asks: firmware, iPXE or an operating system; `None` where the message was not readable.
    pub loader: Option<Loader>,
    /// The reply to send. Where there are `grants`, only after they were made durable.
    pub reply: Option<Reply>,
    /// The leases that the reply grants or extends. Make them durable, then send the reply; where that fails, send nothing
    /// and give each to [`Responder::undo`](super::Responder::undo).
    pub grants: Vec<Grant>,
    /// The leases that the message ended.
    pub ended: Vec<Ended>,
    /// Another DHCPv6 server that the message told of.
    pub foreign: Option<ForeignServer>,
    /// Why there is no reply.
    pub dropped: Option<Dropped>,
}

/// Another DHCPv6 server on a link of ours. Servers are told apart by their DUID; a client that chose one says no more
/// of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForeignServer {
    /// Its address, where a reply of its came in.
    pub address: Option<Ipv6Addr>,
    /// Its DUID.
    pub duid: Vec<u8>,
    /// The interface it was noticed on.
    pub interface: InterfaceId,
    /// How it was noticed.
    pub by: Sighting,
}

impl ForeignServer {
    /// The hardware address in its DUID, where that has one: of a card of the server, not always of the one on this link.
    #[must_use]
    pub fn mac(&self) -> Option<MacAddr> {
        mac_of_duid(&self.duid)
    }
}

/// A lease that a REPLY grants or extends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The address.
    pub ip: Ipv6Addr,
    /// Who gets it.
    pub mac: MacAddr,
    /// Who gets it, as the store writes it: `DUID/IAID` in hexadecimal.
    pub client: String,
    /// The subnet it is of.
    pub subnet: SubnetId,
    /// When it ends.
    pub ends: Time,
    /// What the table had for the address and for the client before.
    pub(super) before: Vec<(Ipv6Addr, Binding)>,
}

/// A lease that ended, by RELEASE or DECLINE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The address.
    pub ip: Ipv6Addr,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEntry {
    /// The address.
    pub ip: Ipv6Addr,
    /// Who has it, or who found it taken.
    pub mac: MacAddr,
    /// The same as `DUID/IAID` in hexadecimal.
    pub client: String,
    /// What it is.
    pub state: LeaseState,
    /// When it ends, or ended.
    pub ends: Time,
}

/// A DHCPv6 message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// The interface to send it from, port 547.
    pub interface: InterfaceId,
    /// Where it goes: the client (port 546) or the outermost relay.
    pub to: SocketAddrV6,
    /// The client it is for.
    pub mac: MacAddr,
    /// What it says.
    pub facts: DhcpFacts,
    /// Why the client gets this, in words.
    pub reason: Cow<'static, str>,
}
