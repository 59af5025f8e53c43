//! Interfaces, and addresses of stations.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use bootgate_netboot::dhcp::DhcpMode;
use bootgate_scenario::file::{Checks, Problem, Spanned, Text, shorten};

use super::wire::InterfaceWire;
use super::{Interface, number};

pub(super) fn interfaces(wires: &[InterfaceWire], checks: &Checks<'_>) -> Option<Vec<Interface>> {
    if wires.is_empty() {
        checks.fail(
            Problem::at(0..0, "no interface is to be served")
                .label("no `[[interface]]` in this file")
                .hint("add one: [[interface]] with name = \"eth1\" and dhcp = \"proxy\"")
                .absence(),
        );
    }
    let mut names: HashMap<&str, ()> = HashMap::new();
    for name in wires.iter().filter_map(|wire| wire.name.as_ref()) {
        if names.insert(name.get_ref(), ()).is_some() {
            let message = format!("interface `{}` is there twice", shorten(name.get_ref()));
            checks.fail(
                Problem::at(name.span(), message)
                    .label("the second one")
                    .hint("put all that holds for an interface into one [[interface]]"),
            );
        }
    }
    let interfaces: Vec<_> = wires
        .iter()
        .filter_map(|wire| interface(wire, checks))
        .collect();
    (interfaces.len() == wires.len() && !wires.is_empty()).then_some(interfaces)
}

fn interface(wire: &InterfaceWire, checks: &Checks<'_>) -> Option<Interface> {
    let name = match &wire.name {
        Some(name) => checks.interface("name", name),
        None => {
            let hint = "add the interface's name as `ip link` shows it: name = \"eth1\"";
            checks.missing(wire.span.clone(), "`name`", hint);
            None
        }
    };
    let modes = [
        ("full", DhcpMode::Full),
        ("proxy", DhcpMode::Proxy),
        ("off", DhcpMode::Off),
    ];
    let dhcp = match &wire.dhcp {
        Some(text) => checks.word("dhcp", text, &modes),
        None => Some(DhcpMode::Proxy),
    };
    let address = match &wire.address {
        Some(text) => Some(host("address", text, checks)?),
        None => None,
    };
    let tftp_ports = match &wire.tftp_ports {
        Some(text) => Some(ports(text, checks)?),
        None => None,
    };
    if let (Some(beside), Some(mode)) = (&wire.beside_others, dhcp)
        && mode != DhcpMode::Full
    {
        let message = format!("`beside_others` says nothing where `dhcp` is `{mode}`");
        checks.fail(
            Problem::at(beside.span(), message)
                .hint("take it away: only dhcp = \"full\" gives out addresses"),
        );
    }
    Some(Interface {
        name: name?,
        dhcp: dhcp?,
        address,
        http_port: number("http_port", wire.http_port.as_ref(), 1..=65535, 80, checks),
        tftp: wire.tftp.as_ref().is_none_or(|flag| *flag.get_ref()),
        tftp_ports,
        tftp_single_port: wire
            .tftp_single_port
            .as_ref()
            .is_some_and(|flag| *flag.get_ref()),
        beside_others: wire
            .beside_others
            .as_ref()
            .is_some_and(|flag| *flag.get_ref()),
    })
}

/// A range of ports that a program may choose from.
fn ports(text: &Text, checks: &Checks<'_>) -> Option<RangeInclusive<u16>> {
    let parsed = text
        .get_ref()
        .split_once('-')
        .and_then(|(start, end)| Some((start.trim().parse().ok()?, end.trim().parse().ok()?)));
    let good = parsed.filter(|(start, end): &(u16, u16)| *start >= 1024 && start <= end);
    if good.is_none() {
        let message = format!(
            "`tftp_ports` is `{}`: not a range of ports",
            shorten(text.get_ref())
        );
        let hint =
            "give the first and the last, from 1024 on: \"50000-50999\"; each transfer takes one";
        checks.fail(Problem::at(text.span(), message).hint(hint));
    }
    good.map(|(start, end)| start..=end)
}

/// An address that a station can have.
pub(super) fn host(key: &str, text: &Text, checks: &Checks<'_>) -> Option<Ipv4Addr> {
    let shown = shorten(text.get_ref());
    let fail = |problem: &str, hint: &str| {
        let message = format!("`{key}` is `{shown}`: {problem}");
        checks.fail(Problem::at(text.span(), message).hint(hint));
        None
    };
    match text.get_ref().parse::<Ipv4Addr>() {
        Err(_) if text.get_ref().contains('/') => fail(
            "an address without the length of a prefix is wanted",
            "like \"10.0.0.1\"",
        ),
        Err(_) => fail("not an IPv4 address", "like \"10.0.0.1\""),
        Ok(ip)
            if ip.is_loopback()
                || ip.is_multicast()
                || ip.octets()[0] == 0
                || ip.octets()[0] >= 240 =>
        {
            fail("no station has such an address", "like \"10.0.0.1\"")
        }
        Ok(ip) => Some(ip),
    }
}

/// Addresses that stations can have, of IPv4 and of IPv6. Unlike [`hosts`], what is not IPv4 may be IPv6.
pub(super) fn mixed_hosts(
    key: &str,
    texts: Option<&Spanned<Vec<Text>>>,
    checks: &Checks<'_>,
) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let texts = texts.map_or(&[][..], |texts| texts.get_ref());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for text in texts {
        match text.get_ref().parse::<Ipv6Addr>() {
            Err(_) => v4.extend(host(key, text, checks)),
            Ok(ip) if ip.is_multicast() || ip.is_unspecified() || ip.is_loopback() => {
                let message = format!("`{key}` is `{ip}`: no station has such an address");
                checks.fail(Problem::at(text.span(), message).hint("like \"fd00:77::53\""));
            }
            Ok(ip) => v6.push(ip),
        }
    }
    (v4, v6)
}

pub(super) fn hosts(
    key: &str,
    texts: Option<&Spanned<Vec<Text>>>,
    checks: &Checks<'_>,
) -> Vec<Ipv4Addr> {
    let texts = texts.map_or(&[][..], |texts| texts.get_ref());
    texts
        .iter()
        .filter_map(|text| host(key, text, checks))
        .collect()
}
