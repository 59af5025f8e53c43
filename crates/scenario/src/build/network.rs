//! The segment.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::wire::NetworkWire;
use crate::{DhcpPlan, LanServer, NetworkPlan};

/// Address of the servers where the scenario names none.
const DEFAULT_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 77, 0, 1), 24);

/// DHCP servers that a run can start beside itself.
const LAN_SERVERS: [(&str, LanServer); 2] =
    [("dnsmasq", LanServer::Dnsmasq), ("kea", LanServer::Kea)];

/// The segment for so many targets.
pub(crate) fn network(
    wire: &NetworkWire,
    targets: usize,
    checks: &Checks<'_>,
) -> Option<NetworkPlan> {
    let interface = wire
        .interface
        .as_ref()
        .and_then(|text| checks.interface("interface", text));
    let (server_ip, prefix_len) = match &wire.address {
        Some(text) => address(text, checks)?,
        None => DEFAULT_ADDRESS,
    };
    let subnet = Subnet::of(server_ip, prefix_len);
    let pool = match &wire.pool {
        Some(text) => pool(text, server_ip, &subnet, checks)?,
        None => subnet.default_pool(server_ip),
    };
    let room =
        u64::from(u32::from(*pool.end())).saturating_sub(u64::from(u32::from(*pool.start()))) + 1;
    if room < targets as u64 {
        let written = wire.pool.as_ref().or(wire.address.as_ref());
        let span = written.map_or(0..0, Text::span);
        let shown = written.map_or_else(
            || format!("{server_ip}/{prefix_len}"),
            |text| shorten(text.get_ref()),
        );
        checks.fail(
            Problem::at(
                span,
                format!("the network `{shown}` has `{room}` addresses for `{targets}` targets"),
            )
            .label("too small")
            .hint("use a shorter prefix, like 10.77.0.1/24"),
        );
    }
    Some(NetworkPlan {
        server_ip,
        prefix_len,
        pool,
        dhcp: dhcp(wire, checks)?,
        interface,
    })
}

/// Who gives out addresses, as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dhcp {
    Full,
    Proxy,
    Off,
}

/// Who gives out addresses, and the server that is not ours.
fn dhcp(wire: &NetworkWire, checks: &Checks<'_>) -> Option<DhcpPlan> {
    let words = [
        ("full", Dhcp::Full),
        ("proxy", Dhcp::Proxy),
        ("off", Dhcp::Off),
    ];
    let dhcp = match &wire.dhcp {
        Some(word) => checks.word("dhcp", word, &words)?,
        None => Dhcp::Full,
    };
    let server = match &wire.lan {
        Some(lan) => {
            let server = checks.word("lan", lan, &LAN_SERVERS)?;
            lan_is_wanted(lan, dhcp, wire, checks);
            server
        }
        None if wire.interface.is_some() => LanServer::Existing,
        None => LanServer::Dnsmasq,
    };
    Some(match dhcp {
        Dhcp::Full => DhcpPlan::Full,
        Dhcp::Proxy => DhcpPlan::Proxy(server),
        Dhcp::Off => DhcpPlan::Off(server),
    })
}

fn lan_is_wanted(lan: &Text, dhcp: Dhcp, wire: &NetworkWire, checks: &Checks<'_>) {
    if dhcp == Dhcp::Full {
        checks.fail(
            Problem::at(lan.span(), "`lan` without `dhcp`")
                .label("a second DHCP server")
                .hint("add dhcp = \"proxy\" or dhcp = \"off\": with \"full\", bootgate is the segment's DHCP server"),
        );
    }
    if let Some(interface) = &wire.interface {
        let shown = shorten(interface.get_ref());
        checks.fail(
            Problem::at(lan.span(), format!("`lan` beside `interface`, `{shown}`"))
                .hint("leave `lan` out: on a real network the DHCP server is there already"),
        );
    }
}

fn address(text: &Text, checks: &Checks<'_>) -> Option<(Ipv4Addr, u8)> {
    let shown = shorten(text.get_ref());
    let fail = |problem: &str, hint: String| {
        checks.fail(
            Problem::at(text.span(), format!("`address` is `{shown}`: {problem}")).hint(hint),
        );
        None
    };
    let form =
        "give the servers' address and the length of the prefix, like 10.77.0.1/24".to_owned();
    let Some((ip, prefix)) = text.get_ref().split_once('/') else {
        return fail("the length of the prefix is missing", form);
    };
    let (Ok(ip), Ok(prefix)) = (ip.parse::<Ipv4Addr>(), prefix.parse::<u8>()) else {
        return fail("not an IPv4 address with a prefix", form);
    };
    if !(8..=30).contains(&prefix) {
        let hint = "use a prefix from /8 to /30; /24 has room for 245 targets".to_owned();
        return fail("the prefix cannot hold a server and its targets", hint);
    }
    if ip.is_loopback() || ip.is_multicast() || ip.octets()[0] == 0 || ip.octets()[0] >= 240 {
        return fail("not an address of a host", form);
    }
    let subnet = Subnet::of(ip, prefix);
    if u32::from(ip) == subnet.first || u32::from(ip) == subnet.last {
        let host = Ipv4Addr::from(subnet.first + 1);
        return fail(
            "the network's own address, not one of a host",
            format!("did you mean `{host}/{prefix}`?"),
        );
    }
    Some((ip, prefix))
}

/// First (network) and last (broadcast) address.
struct Subnet {
    first: u32,
    last: u32,
}

impl Subnet {
    fn of(ip: Ipv4Addr, prefix: u8) -> Self {
        let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        let first = u32::from(ip) & !host_bits;
        Self {
            first,
            last: first | host_bits,
        }
    }

    /// The larger part beside the server's address; from the tenth address where there is room, so that the
    /// low ones stay free for fixed machines.
    fn default_pool(&self, server: Ipv4Addr) -> RangeInclusive<Ipv4Addr> {
        let server = u32::from(server);
        let low = if self.last - self.first >= 31 {
            self.first + 10
        } else {
            self.first + 1
        };
        let high = self.last - 1;
        let below = (low, server.saturating_sub(1));
        let above = (low.max(server + 1), high);
        let length =
            |(start, end): (u32, u32)| (u64::from(end) + 1).saturating_sub(u64::from(start));
        let (start, end) = if length(below) > length(above) {
            below
        } else {
            above
        };
        Ipv4Addr::from(start)..=Ipv4Addr::from(end)
    }
}

fn pool(
    text: &Text,
    server: Ipv4Addr,
    subnet: &Subnet,
    checks: &Checks<'_>,
) -> Option<RangeInclusive<Ipv4Addr>> {
    let shown = shorten(text.get_ref());
    let fail = |problem: &str| {
        checks.fail(
            Problem::at(text.span(), format!("`pool` is `{shown}`: {problem}"))
                .hint("give the first and the last address, like 10.77.0.100-10.77.0.199"),
        );
        None
    };
    let parsed = text
        .get_ref()
        .split_once('-')
        .and_then(|(start, end)| Some((start.trim().parse().ok()?, end.trim().parse().ok()?)));
    let Some((start, end)): Option<(Ipv4Addr, Ipv4Addr)> = parsed else {
        return fail("not a range of IPv4 addresses");
    };
    let range = u32::from(start)..=u32::from(end);
    if range.is_empty() {
        return fail("the first address is behind the last");
    }
    if *range.start() <= subnet.first || *range.end() >= subnet.last {
        return fail("it lies outside of the network");
    }
    if range.contains(&u32::from(server)) {
        return fail("the servers' own address is in it");
    }
    Some(start..=end)
}
