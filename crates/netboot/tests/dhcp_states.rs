//! The conversations of RFC 2131 section 4.3, as scripts: at a time a client says something, and gets an answer.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use bootgate_api::LeaseState;
use bootgate_netboot::dhcp::{Destination, DhcpConfig};
use common::*;

#[test]
fn a_four_way_exchange_leases_an_address() {
    let mut lab = Lab::new(config());
    let ip = lab.send(&discover(mac(1))).offered();
    assert_eq!(lab.holder(ip), None, "an offer is no lease");
    let ack = lab.at(1).send(&select(mac(1), ip)).acks(ip);
    assert_eq!(lab.holder(ip), Some(mac(1)));
    assert_eq!(lab.server.address_of(lab.now(), &mac(1)), Some(ip));
    assert_eq!(ack.xid, [0xca, 0xfe, 0, 1]);
    for (code, value) in [
        (1, vec![255, 255, 255, 0]),
        (28, vec![10, 77, 0, 255]),
        (51, 3600u32.to_be_bytes().to_vec()),
        (58, 1800u32.to_be_bytes().to_vec()),
        (59, 3150u32.to_be_bytes().to_vec()),
    ] {
        assert_eq!(ack.option(code), Some(value.as_slice()), "option {code}");
    }
    assert_eq!(ack.option(3), None, "no gateway configured");
}

#[test]
fn a_machine_keeps_its_address_through_loaders_leases_and_servers() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    // iPXE and the operating system send other client identifiers from the same card.
    let ipxe = discover(mac(1))
        .ipxe(7)
        .with(61, [1, 0x52, 0x54, 0, 0, 0, 1]);
    assert_eq!(lab.at(5).send(&ipxe).offered(), ip);
    let os = discover(mac(1)).with(61, [255, 1, 2, 3, 4]);
    assert_eq!(lab.at(20).send(&os).offered(), ip);
    assert_eq!(
        lab.holder(ip),
        Some(mac(1)),
        "a DISCOVER does not end the lease"
    );
    assert_eq!(
        lab.at(10_000).send(&discover(mac(1))).offered(),
        ip,
        "after expiry"
    );
    let mut other = Lab::new(config());
    other.lease(mac(2));
    assert_eq!(other.lease(mac(1)), ip, "whoever came first");
}

#[test]
fn selecting_an_address_that_went_to_another_is_refused() {
    let mut lab = Lab::new(config());
    let ip = lab.send(&discover(mac(1))).offered();
    let taken = lab.at(61).send(&discover(mac(2)).asks_for(ip)).offered();
    assert_eq!(taken, ip, "the offer was not taken up in a minute");
    lab.send(&select(mac(2), ip)).acks(ip);
    lab.at(62).send(&select(mac(1), ip)).naks();
    lab.send(&select(mac(1), ip_outside_pool())).naks();
}

fn ip_outside_pool() -> std::net::Ipv4Addr {
    ip(200)
}

#[test]
fn a_late_request_is_granted_while_the_address_is_free() {
    let mut lab = Lab::new(config());
    let ip = lab.send(&discover(mac(1))).offered();
    lab.at(300).send(&select(mac(1), ip)).acks(ip);
}

#[test]
fn choosing_another_server_frees_the_offer_and_is_told() {
    let mut lab = Lab::new(config());
    let ip = lab.send(&discover(mac(1))).offered();
    let choice = request(mac(1)).asks_for(ip).names_server(OTHER_SERVER);
    lab.at(1)
        .send(&choice)
        .silent("client chose DHCP server `10.77.0.2`");
    assert_eq!(lab.send(&discover(mac(2)).asks_for(ip)).offered(), ip);
}

#[test]
fn init_reboot_of_a_known_machine_is_confirmed_or_corrected() {
    let mut lab = Lab::new(DhcpConfig {
        authoritative: false,
        ..config()
    });
    let own = lab.lease(mac(1));
    lab.at(10).send(&request(mac(1)).asks_for(own)).acks(own);
    let wrong = (10..14).map(ip).find(|ip| *ip != own).unwrap();
    lab.send(&request(mac(1)).asks_for(wrong)).naks();
    lab.send(&request(mac(1)).asks_for([192, 168, 1, 5].into()))
        .naks();
    assert_eq!(lab.holder(own), Some(mac(1)));
}

#[test]
fn init_reboot_of_an_unknown_machine_is_left_alone_unless_authoritative() {
    let mut lab = Lab::new(DhcpConfig {
        authoritative: false,
        ..config()
    });
    let wants = |ip| request(mac(1)).asks_for(ip);
    lab.send(&wants(ip(12))).silent("not leased by this server");
    lab.send(&wants([192, 168, 1, 5].into()))
        .silent("not leased by this server");

    let mut only = Lab::new(config());
    only.send(&wants([192, 168, 1, 5].into())).naks();
    only.send(&wants(ip(12))).acks(ip(12));
    assert_eq!(only.holder(ip(12)), Some(mac(1)));
    only.send(&request(mac(2)).asks_for(ip(12))).naks();
}

#[test]
fn renewing_extends_the_lease_and_goes_to_the_client_itself() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    let answer = lab.at(1800).send(&renew(mac(1), ip));
    assert_eq!(answer.acks(ip).ciaddr, ip);
    assert_eq!(answer.reply().to, Destination::Unicast { ip });
    lab.at(5399);
    assert_eq!(lab.holder(ip), Some(mac(1)));
    lab.at(5400);
    assert_eq!(lab.holder(ip), None);
}

#[test]
fn rebinding_of_what_another_holds_is_refused_by_the_only_server() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    let answer = lab.at(5).send(&renew(mac(2), ip));
    answer.naks();
    assert_eq!(answer.reply().to, Destination::Broadcast);
    let mut shy = Lab::new(DhcpConfig {
        authoritative: false,
        ..config()
    });
    shy.send(&renew(mac(2), ip))
        .silent("not leased by this server");
}

#[test]
fn after_a_restart_the_only_server_confirms_renewals() {
    let mut lab = Lab::new(config());
    lab.send(&renew(mac(1), ip(11))).acks(ip(11));
    assert_eq!(lab.holder(ip(11)), Some(mac(1)));
    lab.send(&renew(mac(2), ip(11))).naks();
}

#[test]
fn decline_keeps_the_address_from_everybody_for_a_time() {
    let mut lab = Lab::new(config());
    let bad = lab.lease(mac(1));
    lab.at(2)
        .send(&decline(mac(1), bad))
        .ended(LeaseState::Quarantined);
    assert_eq!(lab.holder(bad), None);
    let other = lab.send(&discover(mac(1)).asks_for(bad)).offered();
    assert_ne!(other, bad);
    lab.send(&select(mac(1), bad)).naks();
    let later = lab.at(602).send(&discover(mac(3)).asks_for(bad)).offered();
    assert_eq!(later, bad, "quarantine is over");
}

#[test]
fn decline_and_release_of_others_addresses_are_ignored() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    lab.send(&decline(mac(2), ip))
        .silent("does not hold: ignored");
    lab.send(&release(mac(2), ip))
        .silent("does not hold: ignored");
    lab.send(&decline(mac(1), ip_outside_pool()))
        .silent("ignored");
    assert_eq!(lab.holder(ip), Some(mac(1)));
}

#[test]
fn release_frees_the_address_and_remembers_the_machine() {
    let mut lab = Lab::new(config());
    let ip = lab.lease(mac(1));
    lab.at(5)
        .send(&release(mac(1), ip))
        .ended(LeaseState::Ended);
    assert_eq!(lab.holder(ip), None);
    assert_eq!(lab.at(9).send(&discover(mac(1))).offered(), ip);
}

#[test]
fn inform_gets_parameters_and_no_lease() {
    let mut lab = Lab::new(config());
    let answer = lab.send(&inform(mac(1), ip(99)));
    let ack = answer.acks([0, 0, 0, 0].into());
    assert_eq!(ack.ciaddr, ip(99));
    assert_eq!(ack.option(51), None, "no lease time");
    assert_eq!(ack.option(1), Some(&[255, 255, 255, 0][..]));
    assert_eq!(answer.reply().to, Destination::Unicast { ip: ip(99) });
    assert_eq!(lab.server.tracked(), 0);
    lab.send(&inform(mac(1), [192, 168, 0, 9].into()))
        .silent("not of this network");
    lab.send(&inform(mac(1), [0, 0, 0, 0].into()))
        .silent("not of this network");
}

#[test]
fn the_pool_ends_and_expired_leases_make_room() {
    let mut lab = Lab::new(config());
    let mut given: Vec<_> = (1..5).map(|last| lab.lease(mac(last))).collect();
    given.sort();
    assert_eq!(given, (10..14).map(ip).collect::<Vec<_>>());
    lab.at(100)
        .send(&discover(mac(5)))
        .silent("no free address");
    lab.at(3599)
        .send(&discover(mac(5)))
        .silent("no free address");
    let freed = lab.at(3600).send(&discover(mac(5))).offered();
    assert!(given.contains(&freed));
}

#[test]
fn the_lease_table_is_bounded_whatever_the_pool() {
    let pool = [10, 0, 0, 2].into()..=[10, 255, 255, 250].into();
    let mut big = DhcpConfig::new(SERVER, 8, pool);
    big.subnets[0].max_leases = 50;
    let mut lab = Lab::new(big);
    for low in 0..=255u8 {
        for high in 0..4u8 {
            let stranger = bootgate_events::MacAddr([2, 0, 0, 0, high, low]);
            let _ = lab.send(&discover(stranger));
        }
    }
    assert_eq!(lab.server.tracked(), 25, "half of it is for strangers");
    lab.at(61).send(&discover(mac(1))).offered();
    assert_eq!(lab.server.tracked(), 1, "offers nobody took are forgotten");
}

#[test]
fn reservations_hold_for_their_machine_alone() {
    let mut reserved = config();
    reserved.subnets[0].reservations.insert(mac(1), ip(50));
    reserved.subnets[0].reservations.insert(mac(2), ip(11));
    let mut lab = Lab::new(reserved);
    assert_eq!(lab.lease(mac(1)), ip(50), "outside the pool");
    let stranger = lab.send(&discover(mac(3)).asks_for(ip(11))).offered();
    assert_ne!(stranger, ip(11));
    assert_eq!(lab.lease(mac(2)), ip(11));
    lab.send(&select(mac(2), ip(12))).naks();
    lab.at(1)
        .send(&decline(mac(1), ip(50)))
        .ended(LeaseState::Quarantined);
    let instead = lab.send(&discover(mac(1))).offered();
    assert!(
        (10..14).map(ip).any(|ip| ip == instead),
        "another while it is taken"
    );
}

#[test]
fn servers_and_network_addresses_are_never_given_out() {
    let pool = ip(0)..=ip(255);
    let mut tiny = DhcpConfig::new(SERVER, 29, pool);
    tiny.subnets[0].router = Some(ip(254));
    let mut lab = Lab::new(tiny);
    let mut given: Vec<_> = (1..6).map(|last| lab.lease(mac(last))).collect();
    given.sort();
    assert_eq!(given, (2..7).map(ip).collect::<Vec<_>>());
    lab.send(&discover(mac(6))).silent("no free address");
    lab.send(&select(mac(6), SERVER)).naks();
}

#[test]
fn poll_at_tells_the_next_end() {
    let mut lab = Lab::new(config());
    assert_eq!(lab.server.poll_at(), None);
    let ip = lab.send(&discover(mac(1))).offered();
    assert_eq!(lab.server.poll_at(), Some(Duration::from_secs(60)));
    lab.at(10).send(&select(mac(1), ip)).acks(ip);
    assert_eq!(lab.server.poll_at(), Some(Duration::from_secs(3610)));
    lab.at(3610).server.poll(Duration::from_secs(3610));
    assert_eq!(lab.server.poll_at(), None);
}
