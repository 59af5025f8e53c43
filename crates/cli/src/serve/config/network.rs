//! Subnets and reservations.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use bootgate_netboot::dhcp::{DhcpMode, InterfaceId, SubnetConfig};
use bootgate_scenario::file::{Checks, DAY_MS, Problem, Text, shorten, word_hint};

use super::interface::{host, hosts, mixed_hosts};
use super::ipv6::ipv6;
use super::wire::{ReservationWire, ServeWire, SubnetWire};
use super::{Interface, Subnet, number};

/// The longest lease that can be asked for: a year.
const LEASE_MAX_MS: u64 = 365 * DAY_MS;
/// The shortest one that clients put up with: they renew it after half of it.
const LEASE_MIN_MS: u64 = 60_000;

/// Whether a station of the subnet can have the address: not the network's own, nor its broadcast address.
fn has_host(net: &SubnetConfig, ip: Ipv4Addr) -> bool {
    net.contains(ip) && ip != net.first() && ip != net.broadcast()
}

fn overlap(one: &SubnetConfig, other: &SubnetConfig) -> bool {
    one.contains(other.first()) || other.contains(one.first())
}

pub(super) fn subnets(
    wire: &ServeWire,
    interfaces: &[Interface],
    checks: &Checks<'_>,
) -> Option<Vec<Subnet>> {
    let max_leases = number(
        "leases",
        wire.limits.leases.as_ref(),
        1..=1_000_000,
        4096,
        checks,
    );
    let mut subnets: Vec<Subnet> = Vec::new();
    let mut spans: Vec<Range<usize>> = Vec::new();
    for wire in &wire.subnets {
        let Some(mut subnet) = subnet(wire, interfaces, checks) else {
            continue;
        };
        subnet.v4.max_leases = max_leases;
        let span = wire.network.as_ref().map_or(wire.span.clone(), Text::span);
        if let Some(other) = subnets.iter().find(|other| overlap(&other.v4, &subnet.v4)) {
            let message = format!("subnets `{}` and `{}` overlap", other.v4, subnet.v4);
            checks.fail(Problem::at(span.clone(), message).label("the second one"));
        }
        subnets.push(subnet);
        spans.push(span);
    }
    let complete = subnets.len() == wire.subnets.len();
    if complete {
        full_has_a_subnet(wire, interfaces, &subnets, checks);
        unused_subnets(interfaces, &subnets, &spans, checks);
    }
    reservations(&wire.reservations, &mut subnets, complete, checks);
    complete.then_some(subnets)
}

/// A DHCP server that makes up which addresses are free would take those of other stations.
fn full_has_a_subnet(
    wire: &ServeWire,
    interfaces: &[Interface],
    subnets: &[Subnet],
    checks: &Checks<'_>,
) {
    for (index, (interface, wire)) in interfaces.iter().zip(&wire.interfaces).enumerate() {
        let serves = |subnet: &Subnet| {
            let named = &subnet.v4.interfaces;
            let inside = |address| subnet.v4.contains(address);
            named.contains(&InterfaceId(index))
                || (named.is_empty() && interface.address.is_none_or(inside))
        };
        if interface.dhcp != DhcpMode::Full || subnets.iter().any(serves) {
            continue;
        }
        let span = wire.dhcp.as_ref().map_or(wire.span.clone(), Text::span);
        let message = format!(
            "interface `{}` has no addresses to give out",
            interface.name
        );
        let hint = "add [[subnet]] with its network and the ranges that are free: network = \"10.0.0.0/24\" and ranges = \"10.0.0.100-10.0.0.199\"";
        let problem = Problem::at(span, message).label("no `[[subnet]]` is for it");
        checks.fail(problem.hint(hint));
    }
}

fn unused_subnets(
    interfaces: &[Interface],
    subnets: &[Subnet],
    spans: &[Range<usize>],
    checks: &Checks<'_>,
) {
    let gives = |interface: &Interface| interface.dhcp == DhcpMode::Full;
    if interfaces.is_empty() || interfaces.iter().any(gives) {
        return;
    }
    for (subnet, span) in subnets.iter().zip(spans) {
        let message = format!("nobody gives out addresses of `{}`", subnet.v4);
        checks.fail(
            Problem::at(span.clone(), message)
                .label("no interface has `dhcp = \"full\"`")
                .hint("set dhcp = \"full\" on its interface, or take the subnet away: a proxy gives out no addresses"),
        );
    }
}

fn subnet(wire: &SubnetWire, interfaces: &[Interface], checks: &Checks<'_>) -> Option<Subnet> {
    let Some(network) = &wire.network else {
        let hint = "add its address and the length of its prefix: network = \"10.0.0.0/24\"";
        checks.missing(wire.span.clone(), "`network`", hint);
        return None;
    };
    let (ip, prefix_len) = prefix(network, checks)?;
    let mut v4 = SubnetConfig::new(ip, prefix_len, ip..=ip);
    v4.ranges = ranges(wire, &v4, checks);
    if let Some(text) = &wire.router
        && let Some(router) = host("router", text, checks)
    {
        if !has_host(&v4, router) {
            let message = format!("`router` is `{router}`: not an address of `{v4}`");
            checks.fail(Problem::at(text.span(), message).label("outside of the subnet"));
        }
        v4.router = Some(router);
    }
    let (dns, dns6) = mixed_hosts("dns", wire.dns.as_ref(), checks);
    v4.dns = dns;
    v4.ntp = hosts("ntp", wire.ntp.as_ref(), checks);
    v4.domain = wire.domain.as_ref().and_then(|text| domain(text, checks));
    if let Some(text) = &wire.lease {
        v4.lease = Duration::from_millis(lease_ms(text, checks)?);
    }
    v4.interfaces = named(wire, interfaces, checks);
    v4.relays = hosts("relays", wire.relays.as_ref(), checks);
    let mut v6 = wire.ipv6.as_ref().and_then(|wire| ipv6(wire, checks));
    match &mut v6 {
        Some(v6) => v6.dns = dns6,
        None => {
            if let (Some(ip), Some(texts), None) = (dns6.first(), &wire.dns, &wire.ipv6) {
                let message = format!("`dns` has `{ip}`, and the subnet has no IPv6");
                let hint = "add its prefix, ipv6 = { prefix = \"fd00:77::/64\" }, or take the address away";
                checks.fail(Problem::at(texts.span(), message).hint(hint));
            }
        }
    }
    Some(Subnet { v4, v6 })
}

fn ranges(
    wire: &SubnetWire,
    net: &SubnetConfig,
    checks: &Checks<'_>,
) -> Vec<RangeInclusive<Ipv4Addr>> {
    let texts = wire
        .ranges
        .as_ref()
        .map_or(&[][..], |texts| texts.get_ref());
    let mut ranges: Vec<RangeInclusive<Ipv4Addr>> = Vec::new();
    for text in texts {
        let Some(range) = range(text, net, checks) else {
            continue;
        };
        let same = |other: &&RangeInclusive<Ipv4Addr>| {
            other.start() <= range.end() && range.start() <= other.end()
        };
        if let Some(other) = ranges.iter().find(same) {
            let show =
                |range: &RangeInclusive<Ipv4Addr>| format!("{}-{}", range.start(), range.end());
            let message = format!("ranges `{}` and `{}` overlap", show(other), show(&range));
            checks.fail(Problem::at(text.span(), message).label("the second one"));
        }
        ranges.push(range);
    }
    ranges
}

fn lease_ms(text: &Text, checks: &Checks<'_>) -> Option<u64> {
    let ms = checks.duration_within("lease", text, LEASE_MAX_MS)?;
    if ms < LEASE_MIN_MS {
        let message = format!("`lease` is `{}`: too short", shorten(text.get_ref()));
        checks.fail(
            Problem::at(text.span(), message)
                .hint("from \"1m\" to \"365d\"; clients renew a lease when half of it is over"),
        );
        return None;
    }
    Some(ms)
}

fn prefix(text: &Text, checks: &Checks<'_>) -> Option<(Ipv4Addr, u8)> {
    let shown = shorten(text.get_ref());
    let fail = |problem: &str, hint: String| {
        let message = format!("`network` is `{shown}`: {problem}");
        checks.fail(Problem::at(text.span(), message).hint(hint));
        None
    };
    let form = "give its address and the length of its prefix, like \"10.0.0.0/24\"";
    let parts = text.get_ref().split_once('/');
    let parsed = parts.and_then(|(ip, len)| Some((ip.parse().ok()?, len.parse().ok()?)));
    let Some((ip, len)): Option<(Ipv4Addr, u8)> = parsed else {
        return fail("not an IPv4 network", form.to_owned());
    };
    if !(8..=30).contains(&len) {
        return fail(
            "the prefix cannot hold a server and its clients",
            "use a prefix from /8 to /30".to_owned(),
        );
    }
    let first = SubnetConfig::new(ip, len, ip..=ip).first();
    if first != ip {
        return fail(
            "an address in the network, not the network's own",
            format!("did you mean `{first}/{len}`?"),
        );
    }
    Some((ip, len))
}

fn range(text: &Text, net: &SubnetConfig, checks: &Checks<'_>) -> Option<RangeInclusive<Ipv4Addr>> {
    let shown = shorten(text.get_ref());
    let fail = |problem: String| {
        let message = format!("`ranges` has `{shown}`: {problem}");
        let hint = "give the first and the last address, like \"10.0.0.100-10.0.0.199\"";
        checks.fail(Problem::at(text.span(), message).hint(hint));
        None
    };
    let parsed = text
        .get_ref()
        .split_once('-')
        .and_then(|(start, end)| Some((start.trim().parse().ok()?, end.trim().parse().ok()?)));
    let Some((start, end)): Option<(Ipv4Addr, Ipv4Addr)> = parsed else {
        return fail("not a range of IPv4 addresses".to_owned());
    };
    if start > end {
        return fail("the first address is behind the last".to_owned());
    }
    if !has_host(net, start) || !has_host(net, end) {
        return fail(format!("it lies outside of the stations of `{net}`"));
    }
    Some(start..=end)
}

fn domain(text: &Text, checks: &Checks<'_>) -> Option<String> {
    let name = text.get_ref();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() <= 253 && name.split('.').all(label) {
        return Some(name.clone());
    }
    let message = format!("`domain` cannot be `{}`", shorten(name));
    checks.fail(Problem::at(text.span(), message).hint("a DNS name, like \"lab.example\""));
    None
}

/// The interfaces that the subnet names.
fn named(wire: &SubnetWire, interfaces: &[Interface], checks: &Checks<'_>) -> Vec<InterfaceId> {
    let texts = wire
        .interface
        .as_ref()
        .map_or(&[][..], |texts| texts.get_ref());
    let find = |text: &Text| {
        let found = interfaces
            .iter()
            .position(|interface| interface.name == *text.get_ref());
        if found.is_none() && !interfaces.is_empty() {
            let known: Vec<&str> = interfaces
                .iter()
                .map(|interface| interface.name.as_str())
                .collect();
            let message = format!("no `[[interface]]` is named `{}`", shorten(text.get_ref()));
            checks.fail(Problem::at(text.span(), message).hint(word_hint(text.get_ref(), &known)));
        }
        found.map(InterfaceId)
    };
    texts.iter().filter_map(find).collect()
}

fn reservations(
    wires: &[ReservationWire],
    subnets: &mut [Subnet],
    complete: bool,
    checks: &Checks<'_>,
) {
    let mut taken: HashMap<Ipv4Addr, ()> = HashMap::new();
    for wire in wires {
        for (key, text) in [("mac", &wire.mac), ("address", &wire.address)] {
            if text.is_none() {
                let hint = "add both: mac = \"52:54:00:12:34:56\" and address = \"10.0.0.10\"";
                checks.missing(wire.span.clone(), &format!("`{key}`"), hint);
            }
        }
        let mac = wire
            .mac
            .as_ref()
            .and_then(|text| Some((text, checks.mac("mac", text)?)));
        let address = wire
            .address
            .as_ref()
            .and_then(|text| Some((text, host("address", text, checks)?)));
        let (Some((mac_text, mac)), Some((text, ip))) = (mac, address) else {
            continue;
        };
        if taken.insert(ip, ()).is_some() {
            let message = format!("two machines have `{ip}` reserved");
            checks.fail(Problem::at(text.span(), message).label("the second one"));
            continue;
        }
        let subnet = subnets.iter_mut().find(|subnet| has_host(&subnet.v4, ip));
        let Some(subnet) = subnet else {
            if complete {
                let message = format!("`{ip}` is in no subnet of this file");
                checks.fail(
                    Problem::at(text.span(), message)
                        .hint("a reservation is for an address of one of the `[[subnet]]`s"),
                );
            }
            continue;
        };
        if subnet.v4.reservations.insert(mac, ip).is_some() {
            let message = format!("`{mac}` has two addresses of one subnet reserved");
            checks.fail(Problem::at(mac_text.span(), message).label("the second one"));
        }
    }
}
