//! Leases that outlive the server: grants, what happens when they cannot be kept, and what is taken over at start.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bootgate_api::LeaseState;
use bootgate_netboot::dhcp::{Destination, Grant, LeaseEntry};
use common::*;
use proptest::prelude::*;

fn grant(lab: &mut Lab, packet: &Packet) -> Grant {
    lab.send(packet).0.grant.expect("a grant")
}

/// What the table says, for comparing.
fn table(lab: &Lab) -> BTreeMap<Ipv4Addr, (LeaseState, Duration)> {
    let leases = lab.server.leases(lab.now());
    leases
        .into_iter()
        .map(|l| (l.ip, (l.state, l.ends)))
        .collect()
}

#[test]
fn every_ack_that_leases_is_a_grant_and_nothing_else_is() {
    let mut lab = Lab::new(config());
    let own = lab.send(&discover(mac(1))).offered();
    let first = grant(&mut lab, &select(mac(1), own));
    assert_eq!((first.ip, first.ends.as_secs()), (own, 3600));
    lab.at(100);
    let again = grant(&mut lab, &renew(mac(1), own));
    assert_eq!(again.ends.as_secs(), 3700);
    let rebooted = grant(&mut lab, &request(mac(1)).asks_for(own));
    assert_eq!(rebooted.ip, own);
    for packet in [
        discover(mac(1)),
        inform(mac(1), own),
        select(mac(2), own),
        release(mac(2), own),
    ] {
        assert_eq!(lab.send(&packet).0.grant, None);
    }
}

#[test]
fn an_undone_grant_leaves_what_was_before() {
    let mut lab = Lab::new(config());
    let own = lab.send(&discover(mac(1))).offered();
    let first = grant(&mut lab, &select(mac(1), own));
    lab.server.undo(&first);
    assert_eq!(lab.holder(own), None);
    assert_eq!(lab.send(&discover(mac(1))).offered(), own, "still offered");
    grant(&mut lab, &select(mac(1), own));
    let before = table(&lab);
    lab.at(1000);
    let renewal = grant(&mut lab, &renew(mac(1), own));
    assert_ne!(table(&lab), before);
    lab.server.undo(&renewal);
    assert_eq!(table(&lab), before, "the lease ends when it did before");
}

#[test]
fn undoing_gives_back_the_address_a_machine_had_and_the_machine_an_address_had() {
    let mut lab = Lab::new(config());
    let own = lab.lease(mac(1));
    let free = (10..14).map(ip).find(|ip| *ip != own).expect("four");
    let moved = grant(&mut lab, &select(mac(1), free));
    assert_eq!((lab.holder(own), lab.holder(free)), (None, Some(mac(1))));
    lab.server.undo(&moved);
    assert_eq!((lab.holder(own), lab.holder(free)), (Some(mac(1)), None));

    lab.send(&release(mac(1), own)).ended(LeaseState::Ended);
    let taken = grant(&mut lab, &select(mac(2), own));
    lab.server.undo(&taken);
    let entry = lab.server.leases(lab.now())[0];
    assert_eq!((entry.mac, entry.state), (mac(1), LeaseState::Ended));
}

#[test]
fn grants_built_on_each_other_are_undone_in_any_order() {
    for order in [
        [0, 1, 2],
        [2, 1, 0],
        [1, 0, 2],
        [1, 2, 0],
        [0, 2, 1],
        [2, 0, 1],
    ] {
        let mut lab = Lab::new(config());
        let own = lab.lease(mac(1));
        let before = table(&lab);
        let grants = [10, 20, 30].map(|at| grant(lab.at(at), &renew(mac(1), own)));
        for which in order {
            lab.server.undo(&grants[which]);
        }
        assert_eq!(table(&lab), before, "{order:?}");
    }
    // The middle one alone changes nothing: a later one was kept.
    let mut lab = Lab::new(config());
    let own = lab.lease(mac(1));
    let middle = grant(lab.at(10), &renew(mac(1), own));
    grant(lab.at(20), &renew(mac(1), own));
    lab.server.undo(&middle);
    assert_eq!(table(&lab)[&own].1.as_secs(), 3620);
}

#[test]
fn an_undone_grant_does_not_take_what_another_has_since() {
    let mut lab = Lab::new(config());
    let own = lab.send(&discover(mac(1))).offered();
    let first = grant(&mut lab, &select(mac(1), own));
    lab.send(&release(mac(1), own)).ended(LeaseState::Ended);
    grant(&mut lab, &select(mac(2), own));
    lab.server.undo(&first);
    assert_eq!(lab.holder(own), Some(mac(2)));
}

#[test]
fn a_refused_ack_becomes_a_nak() {
    let mut lab = Lab::new(config());
    let id = [255, 1, 2, 3];
    let relay = [1, 2, b'p', b'7'];
    let own = lab.send(&discover(mac(1))).offered();
    let direct = lab.send(&select(mac(1), own).with(61, id));
    let nak = direct.reply().nak("address is taken").expect("an ACK");
    let fields = Answer::of(nak.clone()).naks();
    assert_eq!(nak.to, Destination::Broadcast);
    assert_eq!(fields.xid, Fields::read(&direct.reply().bytes).xid);
    assert_eq!(fields.option(56), Some(&b"address is taken"[..]));
    assert_eq!(fields.option(61), Some(&id[..]));
    assert_eq!((nak.mac, nak.facts.message.as_str()), (mac(1), "nak"));
    let relayed = select(mac(1), own).giaddr(ip(250)).with(82, relay);
    let nak = lab.send(&relayed).reply().nak("taken").expect("an ACK");
    assert_eq!(nak.to, Destination::Relay(ip(250)));
    let fields = Fields::read(&nak.bytes);
    assert_eq!((fields.flags, fields.giaddr), (0x8000, ip(250)));
    assert_eq!(fields.options.last(), Some(&(82, relay.to_vec())));
    assert!(nak.nak("again").is_none());
    assert!(lab.send(&discover(mac(2))).reply().nak("offer").is_none());
    assert!(
        lab.send(&inform(mac(2), ip(9)))
            .reply()
            .nak("inform")
            .is_none()
    );
}

#[test]
fn a_restart_takes_over_what_was_in_mind() {
    let mut before = Lab::new(config());
    let kept = before.lease(mac(1));
    let released = before.lease(mac(2));
    let declined = before.lease(mac(3));
    before.at(10);
    before
        .send(&release(mac(2), released))
        .ended(LeaseState::Ended);
    before
        .send(&decline(mac(3), declined))
        .ended(LeaseState::Quarantined);
    before.send(&discover(mac(4))).offered();
    let entries = before.server.leases(before.now());
    assert_eq!(entries.len(), 3, "an offer is not kept");

    let mut after = Lab::new(config());
    let now = after.at(20).now();
    after.server.restore(now, entries.clone());
    assert_eq!(after.server.leases(now), entries);
    assert_eq!(after.holder(kept), Some(mac(1)));
    after.send(&renew(mac(1), kept)).acks(kept);
    assert_eq!(after.send(&discover(mac(2))).offered(), released);
    after.send(&select(mac(9), kept)).naks();
    after.send(&select(mac(9), declined)).naks();
    after.at(700).send(&select(mac(9), declined)).acks(declined);
}

#[test]
fn a_restart_leaves_out_what_does_not_fit_and_ends_what_is_due() {
    let mut lab = Lab::new(config());
    let now = lab.at(1000).now();
    let entry = |ip, mac, state, ends| LeaseEntry {
        ip,
        mac,
        state,
        ends: Duration::from_secs(ends),
    };
    lab.server.restore(
        now,
        [
            entry([192, 168, 0, 9].into(), mac(1), LeaseState::Leased, 5000),
            entry(ip(11), mac(2), LeaseState::Leased, 900),
            entry(ip(12), mac(3), LeaseState::Quarantined, 900),
            entry(ip(10), mac(4), LeaseState::Leased, 5000),
            entry(ip(10), mac(5), LeaseState::Ended, 6000),
            entry(ip(13), mac(4), LeaseState::Ended, 100),
        ],
    );
    let left: Vec<_> = lab.server.leases(now);
    assert_eq!(
        left,
        [
            entry(ip(10), mac(4), LeaseState::Leased, 5000),
            entry(ip(11), mac(2), LeaseState::Ended, 900),
        ]
    );
}

#[test]
fn a_forgotten_address_is_free_for_anybody() {
    let mut lab = Lab::new(config());
    let own = lab.lease(mac(1));
    assert!(lab.server.forget(own));
    assert!(!lab.server.forget(own));
    assert!(!lab.server.forget([192, 168, 0, 1].into()));
    lab.send(&select(mac(2), own)).acks(own);
}

#[test]
fn another_configuration_keeps_leases_and_offers_and_gives_out_its_own() {
    let mut lab = Lab::new(config());
    let leased = lab.lease(mac(1));
    let offered = lab.send(&discover(mac(2))).0.reply.expect("an offer");
    let offered = offered.facts.address.expect("an address");
    let mut other = config();
    other.subnets[0].ranges = vec![ip(200)..=ip(210)];
    other.subnets[0].reservations.insert(mac(4), ip(220));
    let now = lab.now();
    lab.server.reconfigure(now, other);
    assert_eq!(
        lab.holder(leased),
        Some(mac(1)),
        "a lease stays until its end"
    );
    assert_ne!(lab.lease(mac(3)), offered);
    let address = lab.lease(mac(3));
    assert!((ip(200)..=ip(210)).contains(&address), "{address}");
    assert_eq!(lab.lease(mac(4)), ip(220));
    let usage = &lab.server.usage(lab.now())[0];
    assert_eq!(
        (usage.size, usage.leased, usage.offered),
        (12, 3, 1),
        "{usage:?}"
    );
    let mut elsewhere = config();
    elsewhere.subnets[0].network = Ipv4Addr::new(192, 168, 7, 0);
    lab.server.reconfigure(now, elsewhere);
    assert_eq!(lab.server.tracked(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Discover(u8),
    Select(u8, u8),
    Renew(u8, u8),
    Release(u8, u8),
    Decline(u8, u8),
    Undo(prop::sample::Index),
    Wait(u64),
    Reconfigure,
}

fn step() -> impl Strategy<Value = Step> {
    let (machine, address) = (1..8u8, 10..14u8);
    prop_oneof![
        machine.clone().prop_map(Step::Discover),
        (machine.clone(), address.clone()).prop_map(|(m, a)| Step::Select(m, a)),
        (machine.clone(), address.clone()).prop_map(|(m, a)| Step::Renew(m, a)),
        (machine.clone(), address.clone()).prop_map(|(m, a)| Step::Release(m, a)),
        (machine, address).prop_map(|(m, a)| Step::Decline(m, a)),
        any::<prop::sample::Index>().prop_map(Step::Undo),
        (1..2000u64).prop_map(Step::Wait),
        Just(Step::Reconfigure),
    ]
}

proptest! {
    /// Whatever happens: no address has two machines, no machine two addresses, and what is durable (grants not undone,
    /// in order) is what the table says.
    #[test]
    fn a_store_that_refuses_some_grants_agrees_with_the_table(steps in proptest::collection::vec(step(), 1..60)) {
        let mut lab = Lab::new(config());
        let mut grants: Vec<Grant> = Vec::new();
        let mut now = 0;
        for step in steps {
            let packet = match step {
                Step::Discover(m) => discover(mac(m)),
                Step::Select(m, a) => select(mac(m), ip(a)),
                Step::Renew(m, a) => renew(mac(m), ip(a)),
                Step::Release(m, a) => release(mac(m), ip(a)),
                Step::Decline(m, a) => decline(mac(m), ip(a)),
                Step::Undo(which) => {
                    if !grants.is_empty() {
                        let grant = grants.remove(which.index(grants.len()));
                        lab.server.undo(&grant);
                    }
                    continue;
                }
                // Nothing of what is in mind, or can be taken back, may be lost by that.
                Step::Reconfigure => {
                    let now = lab.now();
                    lab.server.reconfigure(now, config());
                    continue;
                }
                Step::Wait(seconds) => {
                    now += seconds;
                    lab.at(now);
                    continue;
                }
            };
            let outcome = lab.send(&packet).0;
            grants.extend(outcome.grant);
            let leases = lab.server.leases(lab.now());
            let holders: std::collections::BTreeSet<_> = leases
                .iter()
                .filter(|l| l.state == LeaseState::Leased)
                .map(|l| l.mac)
                .collect();
            let leased = leases.iter().filter(|l| l.state == LeaseState::Leased).count();
            prop_assert_eq!(holders.len(), leased, "{:?}", leases);
            for lease in leases.iter().filter(|l| l.state == LeaseState::Leased) {
                let kept = grants.iter().any(|g| (g.ip, g.mac, g.ends) == (lease.ip, lease.mac, lease.ends));
                prop_assert!(kept, "{:?} was never kept", lease);
            }
            prop_assert!(lab.server.tracked() <= 4);
        }
    }
}
