//! Relay agents: those on the segment, and whether servers answer one.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use bootgate_netboot::dhcp::SERVER_PORT;

use super::{CLIENTS, Findings, Segment, Server};
use crate::segment::{Answer, Question, answer};

/// Where the options begin: behind the fixed part and the magic cookie.
const OPTIONS: usize = 240;
/// Relay agent information (RFC 3046).
const RELAY_INFO: u8 = 82;
const PAD: u8 = 0;
const END: u8 = 255;
/// A relay's circuit (sub-option 1) that no real one has.
const CIRCUIT: &[u8] = b"\x01\x0fbootgate-doctor";

/// Looks at the answers that came by a relay.
pub(super) fn answers(segment: &Segment<'_>, findings: &mut Findings) {
    for (address, server) in &segment.servers {
        for (client, answer) in &server.answers {
            let facts = &answer.facts;
            if option(&answer.bytes, RELAY_INFO).is_some() {
                findings.fault(
                    "relay",
                    format!("answers of {address} come with a relay's option 82"),
                    "the relay must take it out before the client gets the answer: some ROMs choke on it",
                );
            }
            if facts.giaddr.is_unspecified() {
                continue;
            }
            let relay = facts.giaddr;
            let mask = facts.netmask.unwrap_or(Ipv4Addr::BROADCAST).to_bits();
            let same = relay.to_bits() & mask == facts.yiaddr.to_bits() & mask;
            if facts.is_proxy() || same {
                let text = format!("{address} answers by the relay {relay}");
                findings.good("relay", text);
            } else {
                let text = format!(
                    "by the relay {relay}, {address} offers {} machines `{}`, which is of another network",
                    CLIENTS[*client].0, facts.yiaddr
                );
                findings.fault("relay", text, "the relay must put its address on this segment into `giaddr`, by which the server chooses the subnet");
            }
        }
    }
}

/// Plays a relay: asks each DHCP server in the name of a client, with option 82, and looks at what comes back.
pub(super) fn as_relay(segment: &Segment<'_>, findings: &mut Findings) -> io::Result<()> {
    let Some(own) = segment.own else {
        return Ok(());
    };
    for (address, server) in segment.servers.iter().filter(|(_, server)| server.full) {
        let direct = server
            .answers
            .values()
            .any(|answer| answer.facts.giaddr.is_unspecified());
        if !direct {
            continue;
        }
        match ask(segment, own, *address, server)? {
            None => findings.note(
                "relay",
                format!("{address} does not answer relays of this segment"),
                "none is needed here; servers of other segments are asked by theirs",
            ),
            Some(answer) if answer.facts.giaddr != own => findings.fault(
                "relay",
                format!("{address} answers the relay {own} with another `giaddr`, `{}`", answer.facts.giaddr),
                "a relay hands on only answers that carry its address: the server must return `giaddr` unchanged",
            ),
            Some(answer) => match option(&answer.bytes, RELAY_INFO) {
                Some(info) if info == CIRCUIT => {
                    findings.good("relay", format!("{address} answers relays, and returns option 82"));
                }
                _ => findings.fault(
                    "relay",
                    format!("{address} answers relays without their option 82"),
                    "relays that add option 82 drop such answers: the server must return it unchanged (RFC 3046)",
                ),
            },
        }
    }
    Ok(())
}

fn ask(
    segment: &Segment<'_>,
    own: Ipv4Addr,
    address: Ipv4Addr,
    server: &Server,
) -> io::Result<Option<Answer>> {
    let station = segment.station;
    let question = Question::new(station.made_up(0), None, None);
    let message = relayed(&question.message, own);
    let from = SocketAddrV4::new(own, SERVER_PORT);
    let to = SocketAddrV4::new(address, SERVER_PORT);
    let mut reply = None;
    let start = Instant::now();
    for round in 1..=2 {
        station.send(station.interface.mac, from, server.mac, to, &message)?;
        station.listen(start + segment.wait * round / 2, |datagram| {
            let found = answer(datagram).filter(|answer| {
                answer.facts.xid == question.xid && datagram.destination.port() == SERVER_PORT
            });
            reply = found;
            reply.is_some()
        })?;
        if reply.is_some() {
            break;
        }
    }
    Ok(reply)
}

/// The message as a relay with this address passes it on (RFC 1542 section 4.1.1, RFC 3046 section 2.1).
fn relayed(message: &[u8], relay: Ipv4Addr) -> Vec<u8> {
    let end = end_of_options(message);
    let mut relayed = message[..end].to_vec();
    if let Some(hops) = relayed.get_mut(3) {
        *hops = 1;
    }
    if let Some(giaddr) = relayed.get_mut(24..28) {
        giaddr.copy_from_slice(&relay.octets());
    }
    relayed.push(RELAY_INFO);
    relayed.push(u8::try_from(CIRCUIT.len()).unwrap_or(u8::MAX));
    relayed.extend(CIRCUIT);
    relayed.push(END);
    relayed.resize(relayed.len().max(300), PAD);
    relayed
}

/// Where the end option stands, or the end of the message.
fn end_of_options(message: &[u8]) -> usize {
    let mut at = OPTIONS;
    while let Some(code) = message.get(at) {
        at += match (*code, message.get(at + 1)) {
            (END, _) => return at,
            (PAD, _) => 1,
            (_, Some(length)) => 2 + usize::from(*length),
            (_, None) => break,
        };
    }
    message.len()
}

/// An option's bytes.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut at = OPTIONS;
    loop {
        let code = *message.get(at)?;
        match code {
            END => return None,
            PAD => at += 1,
            code => {
                let length = usize::from(*message.get(at + 1)?);
                let value = message.get(at + 2..at + 2 + length)?;
                if code == wanted {
                    return Some(value);
                }
                at += 2 + length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootgate_events::MacAddr;
    use bootgate_netboot::dhcp::{ClientFacts, probe};

    #[test]
    fn a_relayed_message_carries_the_relay_and_its_circuit() {
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let message = probe::discover(9, mac, Some(7), Some("PXEClient"));
        let relay = Ipv4Addr::new(10, 0, 0, 1);
        let facts = ClientFacts::parse(&relayed(&message, relay));
        let facts = facts.map(|facts| {
            (
                facts.mac,
                facts.giaddr,
                facts.relay_info,
                facts.architectures,
            )
        });
        let expected = (mac, relay, Some(CIRCUIT.to_vec()), vec![7]);
        assert_eq!(facts, Ok(expected));
    }

    #[test]
    fn options_are_found_and_cut_ones_are_not() {
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        let message = relayed(&probe::discover(9, mac, None, None), Ipv4Addr::LOCALHOST);
        assert_eq!(option(&message, RELAY_INFO), Some(CIRCUIT));
        assert_eq!(option(&message, 81), None);
        for length in 0..message.len() {
            let _ = option(&message[..length], RELAY_INFO);
            let _ = end_of_options(&message[..length]);
        }
    }
}
