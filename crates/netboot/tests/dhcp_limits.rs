//! Floods: strangers empty no pool, fill no memory, and lock nobody out.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::{DhcpConfig, DropReason, MESSAGE_MAX};
use common::*;

/// An invented hardware address.
fn stranger(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0xbb, a, b, c, d])
}

/// Of a hundred addresses strangers are offered fifty at once, and ten are never theirs.
fn hundred() -> DhcpConfig {
    DhcpConfig::new(SERVER, 24, ip(100)..=ip(199))
}

#[test]
fn a_flood_of_discovers_takes_half_of_the_pool_and_no_more() {
    let mut lab = Lab::new(hundred());
    let mut offered = 0;
    // Asking twice does not make a stranger known.
    for number in (0..20_000).chain(0..20_000) {
        let answer = lab.send(&discover(stranger(number)));
        match &answer.0.reply {
            Some(_) => offered += 1,
            None => answer.dropped(DropReason::PoolEmpty),
        }
    }
    assert_eq!(lab.server.tracked(), 50);
    assert_eq!(offered, 100, "each of the fifty was offered its own twice");
    for last in 1..10 {
        lab.lease(mac(last));
    }
    lab.at(61).server.poll(Duration::from_secs(61));
    assert_eq!(lab.server.tracked(), 9, "offers nobody took are forgotten");
}

#[test]
fn a_flood_that_takes_leases_leaves_a_part_for_known_machines() {
    let mut config = hundred();
    config.subnets[0].reservations.insert(mac(200), ip(150));
    let mut lab = Lab::new(config);
    let mut leased = 0;
    for number in 0..1000 {
        let answer = lab.send(&discover(stranger(number)));
        if answer.0.reply.is_some() {
            let own = answer.offered();
            lab.send(&select(stranger(number), own)).acks(own);
            leased += 1;
        }
        // Nor by asking for an address outright.
        let outright = request(stranger(number + 5000)).asks_for(ip(100 + (number % 100) as u8));
        leased += usize::from(lab.send(&outright).0.grant.is_some());
    }
    assert_eq!(leased, 90);
    assert_eq!(lab.lease(mac(200)), ip(150));
    for last in 1..10 {
        lab.lease(mac(last));
    }
    lab.send(&discover(stranger(9999)))
        .dropped(DropReason::PoolEmpty);
}

#[test]
fn a_known_machine_takes_the_place_of_a_strangers_offer() {
    let mut config = hundred();
    config.limits.stranger_offers = 100;
    config.limits.kept_for_known = 0;
    config.subnets[0].max_leases = 60;
    let mut lab = Lab::new(config);
    for number in 0..500 {
        lab.send(&discover(stranger(number)));
    }
    assert_eq!(lab.server.tracked(), 60, "the table is full of offers");
    for last in 1..10 {
        lab.lease(mac(last));
    }
    assert_eq!(lab.server.tracked(), 60);
    let mut small = config_of_two();
    small.limits.kept_for_known = 0;
    let mut lab = Lab::new(small);
    lab.send(&discover(stranger(1))).offered();
    lab.send(&discover(stranger(2))).offered();
    lab.lease(mac(1));
    lab.lease(mac(2));
    lab.send(&discover(mac(3))).dropped(DropReason::PoolEmpty);
}

fn config_of_two() -> DhcpConfig {
    DhcpConfig::new(SERVER, 24, ip(10)..=ip(11))
}

#[test]
fn one_client_is_answered_so_often_and_others_all_the_same() {
    let mut lab = Lab::new(config());
    let answered = |lab: &mut Lab, count| {
        let mut replies = 0;
        for _ in 0..count {
            let answer = lab.send(&discover(mac(1)));
            match &answer.0.reply {
                Some(_) => replies += 1,
                None => answer.dropped(DropReason::RateLimited),
            }
        }
        replies
    };
    assert_eq!(answered(&mut lab, 1000), 20);
    lab.send(&discover(mac(2))).offered();
    lab.at(2);
    assert_eq!(answered(&mut lab, 1000), 10, "five a second");
    lab.at(60);
    assert_eq!(answered(&mut lab, 1000), 20);
}

#[test]
fn the_limit_can_be_set_and_turned_off() {
    for (burst, expected) in [(1, 1), (3, 3), (0, 50)] {
        let mut config = config();
        config.limits.burst = burst;
        let mut lab = Lab::new(config);
        let replies = (0..50).filter(|_| lab.send(&discover(mac(1))).0.reply.is_some());
        assert_eq!(replies.count(), expected);
    }
}

#[test]
fn a_boot_in_a_flood_goes_through() {
    let mut lab = Lab::new(hundred());
    let mut number = 0;
    let mut flood = |lab: &mut Lab| {
        for _ in 0..2000 {
            number += 1;
            lab.send(&discover(stranger(number)));
        }
    };
    flood(&mut lab);
    for packet in [discover(mac(1)).pxe(7), discover(mac(1)).ipxe(7)] {
        let own = lab.send(&packet).offered();
        flood(&mut lab);
        lab.send(&select(mac(1), own)).acks(own);
        flood(&mut lab);
    }
}

#[test]
fn each_drop_has_a_reason_to_count_by() {
    let mut lab = Lab::new(config());
    let mut long = discover(mac(1)).bytes();
    long.resize(MESSAGE_MAX, 0);
    assert!(lab.send_bytes(&long).0.reply.is_some());
    long.push(0);
    lab.send_bytes(&long).dropped(DropReason::Oversized);
    lab.send_bytes(&[1; 239]).dropped(DropReason::Short);
    lab.send(&discover(mac(1)).byte(0, 2))
        .dropped(DropReason::NotRequest);
    lab.send(&discover(mac(1)).byte(28, 1))
        .dropped(DropReason::BadMac);
    lab.send(&discover(mac(1)).byte(236, 1))
        .dropped(DropReason::NotForServer);
    lab.send(&request(mac(1))).dropped(DropReason::Malformed);
    lab.send(&release(mac(1), ip(12)))
        .dropped(DropReason::NotOurs);
    for reason in DropReason::ALL {
        let slug = reason.slug();
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'-';
        assert!(slug.bytes().all(plain) && slug.len() <= 20, "{slug}");
    }
}
