//! Messages that came by relay agents, one inside the other (RFC 8415 sections 9 and 19).

use std::net::Ipv6Addr;

use bootgate_events::MacAddr;

use super::ParseError;
use super::facts::ethernet;
use super::options::{Options, Writer, address_at, code};

/// Relays that a message passes at most (`HOP_COUNT_LIMIT`, RFC 8415 section 7.6).
pub(super) const MAX_HOPS: usize = 8;
const RELAY_FORWARD: u8 = 12;
const RELAY_REPLY: u8 = 13;
/// Message type, hop count, link address and peer address.
const HEADER: usize = 34;

/// One relay agent that a message came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Relays that the message had passed before.
    pub hops: u8,
    /// An address of the link it came in by; unspecified or link-local where the relay named none.
    pub link: Ipv6Addr,
    /// Who it came from: the client, or the relay before.
    pub peer: Ipv6Addr,
    /// The relay's own name for the interface it came in by (option 18).
    pub interface_id: Option<Vec<u8>>,
    /// The relay's name for the client (option 37, RFC 4649), with its enterprise number.
    pub remote_id: Option<Vec<u8>>,
    /// The client's hardware address as the relay saw it (option 79, RFC 6939).
    pub link_layer: Option<MacAddr>,
    /// Whether the relay sends from another port than 547 and wants its answer there (option 135, RFC 8357).
    pub relay_port: bool,
}

/// Takes the relays' envelopes off: they come outermost first. Gives the client's own message.
pub(super) fn unwrap(mut message: &[u8]) -> Result<(Vec<Relay>, &[u8]), ParseError> {
    let mut relays = Vec::new();
    while let [RELAY_FORWARD, hops, ..] = message {
        if relays.len() == MAX_HOPS {
            return Err(ParseError::TooManyHops);
        }
        let options = message.get(HEADER..);
        let options = Options::read(options.ok_or(ParseError::Short(message.len()))?);
        let own = |code| options.first(code).map(<[u8]>::to_vec);
        relays.push(Relay {
            hops: *hops,
            link: address_at(message, 2).ok_or(ParseError::Short(message.len()))?,
            peer: address_at(message, 18).ok_or(ParseError::Short(message.len()))?,
            interface_id: own(code::INTERFACE_ID),
            remote_id: own(code::REMOTE_ID),
            link_layer: options.first(code::CLIENT_LINK_LAYER).and_then(ethernet),
            relay_port: options.has(code::RELAY_PORT),
        });
        let inner = options.first(code::RELAY_MESSAGE);
        message = inner.ok_or(ParseError::EmptyRelay)?;
    }
    Ok((relays, message))
}

/// A client's message as the first relay hands it on (RFC 8415 section 19.1.1).
pub(super) fn forwarded(link: Ipv6Addr, client: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut writer = Writer(vec![RELAY_FORWARD, 0]);
    writer.0.extend(link.octets());
    writer.0.extend(client.octets());
    writer.put(code::RELAY_MESSAGE, message);
    writer.0
}

/// Puts the envelopes back on, each with what its relay needs to pass the message on (RFC 8415 section 19.3).
pub(super) fn wrap(relays: &[Relay], message: Vec<u8>) -> Vec<u8> {
    relays.iter().rev().fold(message, |inner, relay| {
        let mut writer = Writer(vec![RELAY_REPLY, relay.hops]);
        writer.0.extend(relay.link.octets());
        writer.0.extend(relay.peer.octets());
        let own = [
            (code::INTERFACE_ID, &relay.interface_id),
            (code::REMOTE_ID, &relay.remote_id),
        ];
        for (code, value) in own {
            if let Some(value) = value {
                writer.put(code, value);
            }
        }
        if relay.relay_port {
            writer.put(code::RELAY_PORT, &[0, 0]);
        }
        writer.put(code::RELAY_MESSAGE, &inner);
        writer.0
    })
}
