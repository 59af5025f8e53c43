//! DHCPv6 on the wire: what boot clients ask, and what they must get (RFC 8415, RFC 5970, UEFI 2.10 section 24).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "common/lab6.rs"]
mod lab6;

use std::net::Ipv6Addr;
use std::time::Duration;

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::Sighting;
use bootgate_netboot::dhcp6::{self, mac_of_address};
use lab6::*;

#[test]
fn pxe_firmware_gets_a_tftp_url_with_the_address_in_brackets() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&solicit(1).pxe(7)).advertised();
    assert_eq!(offer.text(59), "tftp://[fd00:77::1]/snponly.efi");
    assert_eq!(offer.option(16), None, "no vendor class for PXE");
    assert_eq!(offer.option(7), Some(&[255][..]), "preference");
    assert_eq!(offer.option(1), Some(&duid(1)[..]));
    assert_eq!(offer.option(2), Some(&server_duid()[..]));
    assert_eq!(offer.option(23).unwrap(), DNS.octets());
    let ip = offer.address(1).unwrap();
    let reply = lab.send(&request(1, ip).pxe(7)).replied();
    assert_eq!(reply.address(1), Some(ip));
    assert_eq!(reply.text(59), "tftp://[fd00:77::1]/snponly.efi");
}

#[test]
fn http_boot_gets_an_http_url_and_its_vendor_class_back() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&solicit(1).http(16)).advertised();
    assert_eq!(
        offer.text(59),
        "http://[fd00:77::1]:8080/artifacts/snponly.efi"
    );
    let class = [&[0, 0, 1, 87, 0, 10][..], b"HTTPClient"].concat();
    assert_eq!(offer.option(16), Some(&class[..]), "enterprise 343");
}

#[test]
fn ipxe_gets_its_script_by_url() {
    let mut lab = Lab::new(config());
    let offer = lab
        .send(&solicit(1).pxe(7).with(15, b"\0\x04iPXE"))
        .advertised();
    let script = "http://[fd00:77::1]:8080/boot/52-54-00-00-00-01/boot.ipxe";
    assert_eq!(offer.text(59), script);
}

#[test]
fn an_operating_system_gets_an_address_and_nothing_to_boot() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&solicit(1)).advertised();
    assert!(offer.address(1).is_some());
    assert_eq!(offer.option(59), None);
    assert_eq!(offer.option(23), None, "DNS only where asked for");
    let asked = lab.send(&solicit(1).with(6, [0, 23])).advertised();
    assert_eq!(asked.option(23).unwrap(), DNS.octets());
}

#[test]
fn boot_parameters_go_with_the_url() {
    let mut config = config();
    config.boot_params = vec!["346".to_owned(), "x".to_owned()];
    let mut lab = Lab::new(config);
    let offer = lab.send(&solicit(1).pxe(7)).advertised();
    assert_eq!(offer.option(60), Some(&b"\0\x03346\0\x01x"[..]));
    assert_eq!(lab.send(&solicit(1)).advertised().option(60), None);
}

#[test]
fn an_architecture_without_a_program_is_told_nothing() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&solicit(1).pxe(11)).advertised();
    assert!(offer.address(1).is_some());
    assert_eq!(offer.option(59), None);
}

#[test]
fn an_advertise_leases_nothing_and_a_request_does() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&solicit(1));
    assert!(offer.0.grants.is_empty());
    let ip = offer.advertised().address(1).unwrap();
    assert_eq!(lab.server.tracked(), 0);
    let reply = lab.send(&request(1, ip));
    let [grant] = &reply.0.grants[..] else {
        panic!("{reply:?}")
    };
    assert_eq!((grant.ip, grant.mac), (ip, mac(1)));
    assert_eq!(
        grant.client,
        "0003000152540000000 1/00000001".replace(' ', "")
    );
    assert_eq!(lab.server.lease_of(lab.now, ip), Some(mac(1)));
    // T1, T2 and the lifetimes are those of the lease: an hour.
    let ia = reply.replied().option(3).unwrap().to_vec();
    assert_eq!(
        ia[4..12],
        [1800u32.to_be_bytes(), 2880u32.to_be_bytes()].concat()
    );
    assert_eq!(ia[32..40], [3600u32.to_be_bytes(); 2].concat());
}

#[test]
fn rapid_commit_leases_at_once_where_this_is_the_only_server() {
    let mut lab = Lab::new(config());
    let reply = lab.send(&solicit(1).with(14, []));
    assert_eq!(reply.0.grants.len(), 1);
    assert_eq!(reply.replied().option(14), Some(&[][..]));
    let mut config = config();
    config.authoritative = false;
    let offer = Lab::new(config).send(&solicit(1).with(14, []));
    assert!(offer.0.grants.is_empty());
    offer.advertised();
}

#[test]
fn each_identity_association_gets_its_own_address() {
    let mut lab = Lab::new(config());
    let offer = lab.send(&solicit(1).ia(2, &[])).advertised();
    let (one, two) = (offer.address(1).unwrap(), offer.address(2).unwrap());
    assert_ne!(one, two);
}

#[test]
fn a_client_gets_the_same_address_in_every_run() {
    let first = Lab::new(config()).lease(1);
    let mut other = Lab::new(config());
    other.lease(2);
    assert_eq!(other.lease(1), first);
}

#[test]
fn renew_and_rebind_extend_and_unknown_leases_are_granted_or_refused() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(1);
    lab.now += HOUR / 2;
    assert_eq!(lab.send(&renew(1, ip)).replied().address(1), Some(ip));
    lab.now += HOUR * 3 / 4;
    assert_eq!(lab.server.lease_of(lab.now, ip), Some(mac(1)));
    assert_eq!(lab.send(&rebind(1, ip)).replied().address(1), Some(ip));
    // Forgotten by this server: granted again, since it is the only one.
    assert!(lab.server.forget(ip));
    assert_eq!(lab.send(&renew(1, ip)).replied().address(1), Some(ip));
    // Another's address: NoBinding (3).
    let refused = lab.send(&renew(2, ip)).replied();
    assert_eq!((refused.address(1), refused.ia_status(1)), (None, Some(3)));
    // Beside other servers, REBIND of an unknown address is theirs to answer, RENEW is not.
    let mut config = config();
    config.authoritative = false;
    let mut beside = Lab::new(config);
    beside.send(&rebind(1, ip)).silent("not-ours");
    assert_eq!(beside.send(&renew(1, ip)).replied().ia_status(1), Some(3));
}

#[test]
fn a_rebind_off_link_is_told_to_give_the_address_up() {
    let mut lab = Lab::new(config());
    let foreign: Ipv6Addr = "fd00:99::5".parse().unwrap();
    let reply = lab.send(&rebind(1, foreign)).replied();
    assert_eq!(reply.lifetime(1, foreign), Some(0));
}

#[test]
fn a_request_off_link_is_refused_by_not_on_link() {
    let mut lab = Lab::new(config());
    let reply = lab
        .send(&request(1, "fd00:99::5".parse().unwrap()))
        .replied();
    assert_eq!((reply.address(1), reply.ia_status(1)), (None, Some(4)));
}

#[test]
fn confirm_asks_about_the_link() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(1);
    assert_eq!(lab.send(&confirm(1, ip)).replied().status(), Some(0));
    let off = "fd00:99::5".parse().unwrap();
    assert_eq!(lab.send(&confirm(1, off)).replied().status(), Some(4));
    lab.send(&Packet::new(4, 1).ia(1, &[])).silent("malformed");
}

#[test]
fn release_ends_a_lease_and_decline_keeps_the_address_from_all() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(1);
    // Not the client's own: NoBinding, and nothing happens.
    let stranger = lab.send(&release(2, ip));
    assert!(stranger.0.ended.is_empty());
    assert_eq!(stranger.replied().ia_status(1), Some(3));
    let released = lab.send(&release(1, ip));
    assert_eq!(released.0.ended[0].state, LeaseState::Ended);
    assert_eq!(released.replied().status(), Some(0));
    assert_eq!(lab.server.lease_of(lab.now, ip), None);
    assert_eq!(lab.lease(1), ip, "the same address again");
    let declined = lab.send(&decline(1, ip));
    assert_eq!(declined.0.ended[0].state, LeaseState::Quarantined);
    assert_ne!(lab.lease(1), ip);
}

#[test]
fn information_request_gets_parameters_and_no_lease() {
    let mut lab = Lab::new(config());
    let packet = Packet::bare(11).with(6, [0, 23, 0, 32]);
    let answer = lab.send(&packet);
    assert!(answer.0.grants.is_empty());
    let reply = answer.replied();
    assert_eq!(reply.option(23).unwrap(), DNS.octets());
    assert_eq!(reply.option(32), Some(&86_400u32.to_be_bytes()[..]));
    assert_eq!(reply.option(3), None);
    let known = lab.send(&Packet::new(11, 1).pxe(7)).replied();
    assert_eq!(known.text(59), "tftp://[fd00:77::1]/snponly.efi");
}

#[test]
fn a_subnet_without_a_range_answers_information_requests_alone() {
    let mut config = config();
    config.subnets[0].range = None;
    let mut lab = Lab::new(config);
    lab.send(&solicit(1)).silent("not-for-us");
    lab.send(&Packet::new(11, 1)).replied();
}

#[test]
fn another_servers_clients_are_left_alone() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(1);
    let other = Packet::new(3, 1)
        .with(2, [0, 3, 0, 1, 2, 2, 2, 2, 2, 2])
        .ia(1, &[ip]);
    let answer = lab.send(&other);
    answer.silent("foreign-server");
    let foreign = answer.0.foreign.expect("the other server is named");
    assert_eq!(foreign.duid, [0, 3, 0, 1, 2, 2, 2, 2, 2, 2]);
    assert_eq!(foreign.mac(), Some(MacAddr([2; 6])));
    assert_eq!(foreign.by, Sighting::ClientChoseIt);
    lab.send(&Packet::new(3, 1).ia(1, &[ip]))
        .silent("malformed");
    lab.send(&solicit(1).with(2, server_duid()))
        .silent("malformed");
    lab.send(&Packet::bare(1).ia(1, &[])).silent("malformed");
    for kind in [2, 7, 10, 13] {
        lab.send(&Packet::new(kind, 1)).silent("not-request");
    }
    lab.send(&Packet::new(200, 1)).silent("not-for-server");
}

#[test]
fn a_reply_of_another_server_names_it_and_our_own_does_not() {
    let mut lab = Lab::new(config());
    let other = [0, 2, 0, 0, 0, 9, 1, 2, 3];
    for kind in [2, 7] {
        let answer = lab.send(&Packet::new(kind, 1).with(2, other));
        answer.silent("not-request");
        let foreign = answer.0.foreign.expect("the other server is named");
        assert_eq!(foreign.duid, other);
        assert_eq!(foreign.address, Some(link_local(1)));
        assert_eq!((foreign.mac(), foreign.by), (None, Sighting::ItsReply));
        let own = lab.send(&Packet::new(kind, 1).with(2, server_duid()));
        assert_eq!(own.0.foreign, None);
    }
    // Where addresses come from elsewhere, another server is meant to be there.
    let mut config = config();
    config.subnets[0].range = None;
    let answer = Lab::new(config).send(&Packet::new(2, 1).with(2, other));
    assert_eq!(answer.0.foreign, None);
}

#[test]
fn a_client_that_sends_too_much_is_answered_to_its_rate() {
    let mut config = config();
    config.limits.burst = 4;
    config.limits.every = Duration::from_secs(1);
    let mut lab = Lab::new(config);
    for _ in 0..4 {
        lab.send(&solicit(1)).advertised();
    }
    lab.send(&solicit(1)).silent("rate-limited");
    lab.send(&solicit(2)).advertised();
    lab.now += Duration::from_secs(1);
    lab.send(&solicit(1)).advertised();
    lab.send(&solicit(1)).silent("rate-limited");
}

#[test]
fn a_full_pool_says_no_addrs_avail() {
    let mut config = config();
    config.subnets[0].range = Some(ip6(0x100)..=ip6(0x100));
    let mut lab = Lab::new(config);
    assert_eq!(lab.lease(1), ip6(0x100));
    let reply = lab.send(&solicit(2)).advertised();
    assert_eq!((reply.address(1), reply.ia_status(1)), (None, Some(2)));
}

#[test]
fn strangers_leave_room_for_known_machines() {
    let mut config = config();
    config.subnets[0].max_leases = 10;
    config.limits.kept_for_known = 20;
    let mut lab = Lab::new(config);
    for stranger in 100..108 {
        lab.lease(stranger);
    }
    let refused = lab.send(&solicit(108)).advertised();
    assert_eq!(refused.ia_status(1), Some(2));
    lab.lease(1);
    assert!(lab.server.tracked() <= 10);
}

#[test]
fn a_reserved_address_is_its_machines_whichever_loader_asks() {
    let mut config = config();
    config.subnets[0].reservations.insert(mac(1), ip6(5));
    let mut lab = Lab::new(config);
    assert_eq!(lab.lease(1), ip6(5));
    // Another client of the same machine: a DUID of type UUID, from the same link-local address.
    let uuid = [&[0, 4][..], &[7; 16]].concat();
    let packet = Packet::bare(1).with(1, uuid).ia(9, &[]);
    let offer = lab.send_from(&packet, link_local(1)).advertised();
    assert_eq!(offer.address(9), Some(ip6(5)));
    assert_ne!(lab.lease(2), ip6(5));
}

#[test]
fn temporary_addresses_and_prefixes_are_refused_in_their_own_terms() {
    let mut lab = Lab::new(config());
    let packet = solicit(1)
        .with(4, [0, 0, 0, 7])
        .with(25, [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    let offer = lab.send(&packet).advertised();
    assert_eq!(offer.option(4).unwrap()[8..10], [0, 2], "NoAddrsAvail");
    assert_eq!(offer.option(25).unwrap()[16..18], [0, 6], "NoPrefixAvail");
}

#[test]
fn replies_go_back_by_the_same_relays_with_their_own_options() {
    let mut lab = Lab::new(config());
    let link: Ipv6Addr = "fd00:88::1".parse().unwrap();
    let inner = relayed(
        &solicit(1).pxe(7).bytes(),
        0,
        link,
        link_local(1),
        &[(18, b"eth3".to_vec()), (37, b"\0\0\0\x09port".to_vec())],
    );
    let outer = relayed(
        &inner,
        1,
        Ipv6Addr::UNSPECIFIED,
        "fd00:88::1".parse().unwrap(),
        &[(18, vec![7])],
    );
    let relay: Ipv6Addr = "fd00:77::99".parse().unwrap();
    let answer = lab.send_bytes(&outer, relay);
    let reply = answer.0.reply.as_ref().expect("a reply");
    assert_eq!((*reply.to.ip(), reply.to.port()), (relay, 547));
    assert_eq!(reply.bytes[..2], [13, 1]);
    let outer = Fields::relay(&reply.bytes);
    assert_eq!(outer.option(18), Some(&[7][..]));
    let inner = outer.option(9).expect("a relayed message");
    assert_eq!(inner[..2], [13, 0]);
    assert_eq!(inner[2..18], link.octets());
    assert_eq!(inner[18..34], link_local(1).octets());
    let inner = Fields::relay(inner);
    assert_eq!(inner.option(18), Some(&b"eth3"[..]));
    assert_eq!(inner.option(37), Some(&b"\0\0\0\x09port"[..]));
    let offer = Fields::message(inner.option(9).unwrap(), 2);
    let ip = offer.address(1).unwrap();
    assert_eq!(ip.segments()[1], 0x88, "an address of the relay's link");
}

#[test]
fn up_to_eight_relays() {
    let mut lab = Lab::new(config());
    let mut message = solicit(1).bytes();
    for hops in 0..8 {
        message = relayed(&message, hops, Ipv6Addr::UNSPECIFIED, link_local(1), &[]);
    }
    assert!(lab.send_bytes(&message, link_local(9)).0.reply.is_some());
    let message = relayed(&message, 8, Ipv6Addr::UNSPECIFIED, link_local(1), &[]);
    lab.send_bytes(&message, link_local(9)).silent("malformed");
}

#[test]
fn the_hardware_address_comes_from_relay_link_local_address_or_duid() {
    let mut lab = Lab::new(config());
    let mut told = |packet: &Packet, from| lab.send_from(packet, from).0.received.unwrap().0;
    let private: Ipv6Addr = "fe80::1234".parse().unwrap();
    assert_eq!(
        told(&solicit(3), link_local(9)),
        mac(9),
        "the card that asks, whatever DUID an image brought along"
    );
    assert_eq!(told(&solicit(3), private), mac(3), "DUID-LL");
    let llt = [&[0, 1, 0, 1, 1, 2, 3, 4][..], &mac(4).0].concat();
    assert_eq!(
        told(&Packet::bare(1).with(1, llt), private),
        mac(4),
        "DUID-LLT"
    );
    let uuid = [&[0, 4][..], &[7; 16]].concat();
    let by_uuid = Packet::bare(1).with(1, uuid).ia(1, &[]);
    let stand_in = told(&by_uuid, private);
    assert_eq!(stand_in.0[0], 2, "locally administered");
    let link = [&[0, 1][..], &mac(6).0].concat();
    let none = Ipv6Addr::UNSPECIFIED;
    let relayed = relayed(&by_uuid.bytes(), 0, none, link_local(5), &[(79, link)]);
    let (from_relay, _) = lab.send_bytes(&relayed, link_local(8)).0.received.unwrap();
    assert_eq!(from_relay, mac(6), "option 79 of the relay");
    assert_eq!(mac_of_address(link_local(5)), Some(mac(5)));
    assert_eq!(mac_of_address("fd00::1".parse().unwrap()), None);
}

#[test]
fn a_grant_that_could_not_be_written_is_taken_back() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(1);
    lab.now += HOUR / 2;
    let before = lab.server.leases(lab.now);
    let renewed = lab.send(&renew(1, ip)).0;
    for grant in renewed.grants {
        lab.server.undo(grant);
    }
    assert_eq!(lab.server.leases(lab.now), before);
    let fresh = lab.send(&request(2, ip6(0x1234))).0;
    for grant in fresh.grants {
        lab.server.undo(grant);
    }
    assert_eq!(lab.server.leases(lab.now), before);
}

#[test]
fn leases_survive_a_restart() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(1);
    let gone = lab.lease(2);
    lab.send(&decline(2, gone));
    let kept = lab.server.leases(lab.now);
    assert_eq!(kept.len(), 2);
    let mut after = Lab::new(config());
    after.now = lab.now;
    after.server.restore(after.now, kept.clone());
    assert_eq!(after.server.leases(after.now), kept);
    assert_eq!(after.server.lease_of(after.now, ip), Some(mac(1)));
    assert_ne!(after.lease(2), gone, "still in quarantine");
}

#[test]
fn names_of_clients_are_read_back() {
    let name = dhcp6::client_name(&duid(1), 0x0102_0304);
    assert_eq!(
        dhcp6::parse_client_name(&name),
        Some((duid(1), 0x0102_0304))
    );
    for bad in [
        "",
        "/",
        "00/1",
        "0003000/00000001",
        "xx0300/00000001",
        "000300/x",
    ] {
        assert_eq!(dhcp6::parse_client_name(bad), None, "`{bad}`");
    }
}
