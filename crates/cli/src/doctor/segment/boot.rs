//! What boot clients are offered, and whether they get it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use bootgate_netboot::dhcp::{CLIENT_PORT, PXE_PORT, ServerFacts, probe};

use super::{BIOS, CLIENTS, Findings, HTTP, Segment, UEFI, fetch};
use crate::segment::{Answer, answer, random};

/// Looks at what each kind of firmware is offered.
pub(super) fn offers(segment: &Segment<'_>, findings: &mut Findings) -> io::Result<()> {
    let mut nothing = Vec::new();
    for client in [BIOS, UEFI, HTTP] {
        let name = CLIENTS[client].0;
        let offers: Vec<(Ipv4Addr, &Answer)> = segment
            .servers
            .iter()
            .filter_map(|(address, server)| Some((*address, server.answers.get(&client)?)))
            .filter(|(_, answer)| boots(&answer.facts))
            .collect();
        if let [one, other, ..] = offers.as_slice() {
            findings.fault(
                "boot",
                format!(
                    "{name} machines are offered a boot by two servers: {} and {}",
                    one.0, other.0
                ),
                "a machine takes the first it hears: take the boot file out of one of them",
            );
        }
        if offers.is_empty() {
            nothing.push(name);
        }
        for (server, answer) in offers {
            offer(segment, client, server, answer, findings)?;
        }
    }
    if !nothing.is_empty() && !segment.servers.is_empty() {
        let text = format!("nobody offers a boot to {} machines", nothing.join(", "));
        findings.note("boot", text, "");
    }
    Ok(())
}

/// Whether an answer is about booting: it names a file, or says that port 4011 will.
fn boots(facts: &ServerFacts) -> bool {
    facts.bootfile.is_some() || pxe(facts)
}

fn pxe(facts: &ServerFacts) -> bool {
    facts
        .vendor_class
        .as_deref()
        .is_some_and(|class| class.starts_with("PXEClient"))
}

fn offer(
    segment: &Segment<'_>,
    client: usize,
    server: Ipv4Addr,
    answer: &Answer,
    findings: &mut Findings,
) -> io::Result<()> {
    let name = CLIENTS[client].0;
    let facts = &answer.facts;
    if client == HTTP {
        let class = facts.vendor_class.as_deref().unwrap_or_default();
        if !class.starts_with("HTTPClient") {
            let text = format!(
                "{server} answers {name} machines without the class (option 60) `HTTPClient`"
            );
            findings.fault("boot", text, "firmware drops such an offer: send option 60 = HTTPClient; bootgate serve --dhcp-settings shows how");
        }
    }
    // EDK2 goes to port 4011 where an offer has the class and does not say by option 43 that it need not.
    let asks_4011 = client == UEFI
        && pxe(facts)
        && facts
            .discovery_control
            .is_none_or(|control| control & 8 == 0);
    let mut told = facts.clone();
    if asks_4011 {
        let Some(own) = segment.own else {
            return Ok(());
        };
        match port_4011(segment, own, answer)? {
            Some(reply) => {
                findings.good("4011", format!("{server} answers on port 4011"));
                told = reply;
            }
            None => {
                findings.fault(
                    "4011",
                    format!("{server} offers {name} machines a boot, and does not answer on port 4011"),
                    "let UDP port 4011 through to it, and back from port 4011: its firewall, or a filter between",
                );
                return Ok(());
            }
        }
    }
    match &told.bootfile {
        Some(file) => {
            findings.good("boot", format!("{server} offers {name} machines `{file}`"));
            file_comes(segment, server, &told, file, findings)
        }
        None => {
            findings.note(
                "boot",
                format!("{server} offers {name} machines no file"),
                "",
            );
            Ok(())
        }
    }
}

/// Asks a boot server what to load, as UEFI does. Its reply must come from port 4011.
fn port_4011(
    segment: &Segment<'_>,
    own: Ipv4Addr,
    offer: &Answer,
) -> io::Result<Option<ServerFacts>> {
    let station = segment.station;
    let xid = random();
    let client = offer.facts.mac;
    let message = probe::request_4011(xid, client, 7, own, offer.server());
    let from = SocketAddrV4::new(own, CLIENT_PORT);
    let to = SocketAddrV4::new(*offer.from.ip(), PXE_PORT);
    let mut reply = None;
    let start = Instant::now();
    for round in 1..=2 {
        station.send(station.interface.mac, from, offer.mac, to, &message)?;
        station.listen(start + segment.wait * round / 2, |datagram| {
            let found = answer(datagram)
                .filter(|answer| answer.facts.xid == xid && answer.from.port() == PXE_PORT);
            reply = found.map(|answer| answer.facts);
            reply.is_some()
        })?;
        if reply.is_some() {
            break;
        }
    }
    Ok(reply)
}

/// Whether the file is really given out.
fn file_comes(
    segment: &Segment<'_>,
    server: Ipv4Addr,
    facts: &ServerFacts,
    file: &str,
    findings: &mut Findings,
) -> io::Result<()> {
    let Some(own) = segment.own else {
        return Ok(());
    };
    if file.contains("://") {
        fetch::http(file, segment.wait, findings);
        return Ok(());
    }
    let named = facts
        .server_name
        .as_deref()
        .and_then(|name| name.parse().ok());
    let from = if !facts.siaddr.is_unspecified() {
        facts.siaddr
    } else {
        named.unwrap_or(server)
    };
    fetch::tftp(segment, own, from, file, findings)
}
