//! Several interfaces and subnets, relays, and which subnet a client is on.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::Ipv4Addr;

use bootgate_netboot::dhcp::{
    Destination, DhcpConfig, DhcpMode, DropReason, InterfaceConfig, InterfaceId, SubnetConfig,
    SubnetId,
};
use common::*;

const FAR_RELAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

fn at(third: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, third, 0, last)
}

/// Interface 0 has 10.77.0.0/24 and 10.78.0.0/24, interface 1 has 10.79.0.0/24, 10.80.0.0/24 is behind relays, interface
/// 2 is a proxy.
fn campus() -> DhcpConfig {
    let mut config = config();
    let interface = |name: &str, address, mode| InterfaceConfig {
        name: name.to_owned(),
        address,
        prefix_len: 24,
        mode,
        http_port: 80,
    };
    config.interfaces[0].name = "lab0".to_owned();
    config
        .interfaces
        .push(interface("lab1", at(79, 1), DhcpMode::Full));
    config
        .interfaces
        .push(interface("lab2", at(90, 1), DhcpMode::Proxy));
    for (third, interface) in [(78, Some(0)), (79, Some(1)), (80, None)] {
        let network = at(third, 0);
        let mut subnet = SubnetConfig::new(network, 24, at(third, 10)..=at(third, 19));
        subnet.interfaces.extend(interface.map(InterfaceId));
        subnet.router = Some(at(third, 254));
        config.subnets.push(subnet);
    }
    config.subnets[3].relays.push(FAR_RELAY);
    config
}

fn third(ip: Ipv4Addr) -> u8 {
    ip.octets()[1]
}

#[test]
fn each_interface_gives_addresses_of_its_own_subnet_under_its_own_name() {
    let mut lab = Lab::new(campus());
    for (interface, server, subnet) in [(0, SERVER, 77), (1, at(79, 1), 79)] {
        let answer = lab.send_on(interface, &discover(mac(1)).ipxe(7));
        let fields = Fields::read(&answer.reply().bytes);
        assert_eq!(third(fields.yiaddr), subnet);
        assert_eq!(fields.option(54), Some(&server.octets()[..]));
        assert_eq!(fields.siaddr, server);
        assert_eq!(answer.reply().from, server);
        assert_eq!(answer.reply().interface, InterfaceId(interface));
        let url = format!("http://{server}/boot/52-54-00-00-00-01/boot.ipxe");
        assert_eq!(answer.bootfile(), Some(url.as_str()));
    }
}

#[test]
fn a_machine_may_have_an_address_in_each_subnet() {
    let mut lab = Lab::new(campus());
    let here = lab.lease(mac(1));
    let there = lab.send_on(1, &discover(mac(1)));
    let there = Fields::read(&there.reply().bytes).yiaddr;
    let select = request(mac(1)).asks_for(there).names_server(at(79, 1));
    let grant = lab.send_on(1, &select).0.grant.expect("a lease");
    assert_eq!((grant.ip, grant.subnet), (there, SubnetId(2)));
    let name = lab.server.subnet_name(grant.subnet);
    assert_eq!(name.as_deref(), Some("10.79.0.0/24"));
    assert_eq!(lab.holder(here), Some(mac(1)));
    assert_eq!(lab.holder(there), Some(mac(1)));
    let all: Vec<_> = lab.server.leases(lab.now()).iter().map(|l| l.ip).collect();
    assert_eq!(all, [here, there]);
}

#[test]
fn of_two_subnets_on_one_segment_the_one_that_knows_the_client_is_chosen() {
    let mut config = campus();
    config.subnets[1].reservations.insert(mac(1), at(78, 50));
    let mut lab = Lab::new(config);
    assert_eq!(lab.send(&discover(mac(1))).offered(), at(78, 50));
    assert_eq!(third(lab.send(&discover(mac(2))).offered()), 77);
    let asks = discover(mac(3)).asks_for(at(78, 12));
    assert_eq!(lab.send(&asks).offered(), at(78, 12));
    lab.send(&select(mac(3), at(78, 12))).acks(at(78, 12));
    assert_eq!(lab.send(&discover(mac(3))).offered(), at(78, 12));
}

#[test]
fn a_relay_is_told_by_its_network_or_by_its_mention() {
    let mut lab = Lab::new(campus());
    for relay in [at(80, 254), FAR_RELAY] {
        let answer = lab.send_on(1, &discover(mac(1)).giaddr(relay));
        let fields = Fields::read(&answer.reply().bytes);
        assert_eq!(third(fields.yiaddr), 80);
        assert_eq!(fields.option(54), Some(&at(79, 1).octets()[..]));
        assert_eq!(fields.option(3), Some(&at(80, 254).octets()[..]));
        assert_eq!(answer.reply().to, Destination::Relay(relay));
        assert_eq!((answer.reply().to.port(), fields.giaddr), (67, relay));
    }
    let unknown = discover(mac(2)).giaddr([192, 0, 2, 10].into());
    lab.send(&unknown).dropped(DropReason::NoSubnet);
}

#[test]
fn link_selection_goes_before_the_clients_choice_and_that_before_giaddr() {
    let mut lab = Lab::new(campus());
    let link = |third: u8| [1, 2, b'p', b'1', 5, 4, 10, third, 0, 0];
    let relayed = || discover(mac(1)).giaddr(at(77, 250));
    let yiaddr = |answer: &Answer| third(Fields::read(&answer.reply().bytes).yiaddr);

    let by_giaddr = lab.send(&relayed());
    let by_option = lab.send(&relayed().with(118, at(79, 0).octets()));
    let both = relayed().with(118, at(79, 0).octets()).with(82, link(80));
    let by_link = lab.send(&both);
    assert_eq!(
        [yiaddr(&by_giaddr), yiaddr(&by_option), yiaddr(&by_link)],
        [77, 79, 80]
    );
    for answer in [by_giaddr, by_option, by_link] {
        let to = answer.reply().to;
        assert_eq!(to, Destination::Relay(at(77, 250)), "whatever the subnet");
    }
    let fields = Fields::read(&lab.send(&both).reply().bytes);
    assert_eq!(fields.option(118), Some(&at(79, 0).octets()[..]));
    assert_eq!(fields.options.last(), Some(&(82, link(80).to_vec())));
    lab.send(&relayed().with(82, link(99)))
        .silent("link selection `10.99.0.0` is of no subnet");
    lab.send(&relayed().with(118, at(99, 0).octets()))
        .silent("subnet selection `10.99.0.0` is of no subnet");
    // Cut short, it says nothing.
    let cut = lab.send(&relayed().with(82, [5, 4, 10, 80]));
    assert_eq!(yiaddr(&cut), 77);
}

#[test]
fn a_renewal_is_about_the_address_the_client_has() {
    let mut lab = Lab::new(campus());
    let offer = lab.send_on(1, &discover(mac(1)).giaddr(at(80, 254)));
    let own = Fields::read(&offer.reply().bytes).yiaddr;
    let select = request(mac(1)).asks_for(own).names_server(at(79, 1));
    let answer = lab.send_on(1, &select.giaddr(at(80, 254)));
    assert!(answer.0.grant.is_some());
    // Straight from the client, past the relay.
    let renewed = lab.at(60).send_on(1, &renew(mac(1), own));
    let grant = renewed.0.grant.expect("extended");
    assert_eq!((grant.ip, grant.ends.as_secs()), (own, 3660));
    assert_eq!(
        renewed.0.reply.expect("an ACK").to,
        Destination::Unicast { ip: own }
    );
}

#[test]
fn a_client_carried_to_another_segment_is_told_that_its_address_is_wrong() {
    let mut lab = Lab::new(campus());
    let own = lab.lease(mac(1));
    let moved = lab.send_on(1, &renew(mac(1), own));
    let nak = Fields::read(&moved.reply().bytes);
    assert_eq!(nak.option(53), Some(&[6][..]));
    assert_eq!(lab.holder(own), Some(mac(1)));
    let rebooted = lab.send_on(1, &request(mac(1)).asks_for(own));
    assert!(rebooted.reply().reason.contains("not on this network"));
}

#[test]
fn any_of_our_addresses_is_ours_and_is_answered_under() {
    let mut lab = Lab::new(campus());
    let own = lab.send(&discover(mac(1))).offered();
    let select = request(mac(1)).asks_for(own).names_server(at(79, 1));
    let answer = lab.send(&select);
    let fields = Fields::read(&answer.reply().bytes);
    assert_eq!(fields.option(54), Some(&at(79, 1).octets()[..]));
    assert_eq!(answer.0.foreign, None);
}

#[test]
fn an_interface_without_a_subnet_gives_no_address_and_a_proxy_needs_none() {
    let mut config = campus();
    config.subnets[2].interfaces.clear();
    let mut lab = Lab::new(config);
    lab.send_on(1, &discover(mac(1)))
        .silent("interface `lab1` has no subnet of its own");
    let offer = lab.send_on(2, &discover(mac(1)).pxe(0));
    let fields = Fields::read(&offer.reply().bytes);
    assert!(fields.yiaddr.is_unspecified());
    assert_eq!(fields.siaddr, at(90, 1));
}

#[test]
fn ranges_are_joined_and_the_servers_addresses_left_out() {
    let mut config = DhcpConfig::new(SERVER, 28, ip(0)..=ip(3));
    let more = [ip(3)..=ip(5), ip(12)..=ip(200), ip(9)..=ip(8)];
    config.subnets[0].ranges.extend(more);
    config.subnets[0].router = Some(ip(14));
    let mut lab = Lab::new(config);
    let mut given: Vec<_> = (1..8)
        .map_while(|last| {
            let offer = lab.send(&discover(mac(last)));
            offer.0.reply.as_ref().map(|_| offer.offered())
        })
        .collect();
    given.sort();
    let expected: Vec<_> = [2, 3, 4, 5, 12, 13].map(ip).to_vec();
    assert_eq!(given, expected);
}
