//! IPv6 of a subnet.

use std::net::Ipv6Addr;

use bootgate_scenario::file::{Checks, Problem, Text, shorten};

use super::Ipv6;
use super::wire::Ipv6Wire;

fn relays(wire: &Ipv6Wire, checks: &Checks<'_>) -> Vec<Ipv6Addr> {
    let texts = wire.relays.as_ref();
    let texts = texts.map_or(&[][..], |texts| texts.get_ref());
    let mut relays = Vec::new();
    for text in texts {
        match text.get_ref().parse::<Ipv6Addr>() {
            Ok(ip) if !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local() => {
                relays.push(ip);
            }
            _ => {
                let shown = shorten(text.get_ref());
                let message = format!("`relays` has `{shown}`: not a relay's IPv6 address");
                let hint =
                    "the address that the relay has on the machines' link, like \"fd00:99::1\"";
                checks.fail(Problem::at(text.span(), message).hint(hint));
            }
        }
    }
    relays
}

pub(super) fn ipv6(wire: &Ipv6Wire, checks: &Checks<'_>) -> Option<Ipv6> {
    let Some(text) = &wire.prefix else {
        let hint = "add the network's prefix: prefix = \"fd00:77::/64\"";
        checks.missing(wire.span.clone(), "`prefix`", hint);
        return None;
    };
    let fail = |text: &Text, key: &str, problem: &str, hint: &str| {
        let message = format!("`{key}` is `{}`: {problem}", shorten(text.get_ref()));
        checks.fail(Problem::at(text.span(), message).hint(hint));
        None
    };
    let parts = text.get_ref().split_once('/');
    let parsed = parts.and_then(|(ip, len)| Some((ip.parse().ok()?, len.parse().ok()?)));
    let Some((prefix, prefix_len)): Option<(Ipv6Addr, u8)> = parsed else {
        return fail(
            text,
            "prefix",
            "not an IPv6 prefix",
            "like \"fd00:77::/64\"",
        );
    };
    if prefix_len != 64 {
        let hint =
            "like \"fd00:77::/64\": hosts make addresses of their own in a prefix of 64 bits only";
        return fail(text, "prefix", "its length is not 64", hint);
    }
    let high = |ip: Ipv6Addr| ip.to_bits() >> 64;
    let bits = prefix.to_bits();
    if bits << 64 != 0
        || prefix.is_multicast()
        || prefix.is_unspecified()
        || prefix.is_unicast_link_local()
    {
        return fail(
            text,
            "prefix",
            "not a network of stations",
            "like \"fd00:77::/64\", all zeros behind the 64 bits",
        );
    }
    // Out of the way of short numbers given by hand.
    let usual = Ipv6Addr::from_bits(bits | 0x1_0000)..=Ipv6Addr::from_bits(bits | 0x1_ffff);
    let pool = match &wire.pool {
        None => usual,
        Some(text) => {
            let ends = text.get_ref().split_once('-');
            let parsed = ends.and_then(|(start, end)| {
                Some((start.trim().parse().ok()?, end.trim().parse().ok()?))
            });
            let Some((start, end)): Option<(Ipv6Addr, Ipv6Addr)> = parsed else {
                return fail(
                    text,
                    "pool",
                    "not a range of IPv6 addresses",
                    "like \"fd00:77::100-fd00:77::1ff\"",
                );
            };
            if start > end {
                return fail(
                    text,
                    "pool",
                    "the first address is behind the last",
                    "turn them round",
                );
            }
            if high(start) != high(prefix) || high(end) != high(prefix) {
                return fail(
                    text,
                    "pool",
                    "it lies outside of the prefix",
                    "its addresses begin as the prefix does",
                );
            }
            start..=end
        }
    };
    Some(Ipv6 {
        prefix,
        prefix_len,
        pool,
        relays: relays(wire, checks),
        dns: Vec::new(),
    })
}
