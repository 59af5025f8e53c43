//! Leases.

use std::net::IpAddr;

use bootgate_api::{Lease, LeaseState, UnixMicros};
use bootgate_events::MacAddr;

use super::{Make, mac, named_checks};
use crate::{Granted, LeaseEnd, LeaseGrant, Store};

named_checks! {
    a_grant_is_listed,
    grants_have_outcomes_in_order,
    a_later_grant_of_a_batch_sees_the_earlier,
    no_grants_are_no_change,
    a_held_address_is_taken_until_its_end,
    the_same_machine_renews,
    a_machine_has_one_address_in_a_subnet,
    a_machine_has_addresses_in_several_subnets,
    a_dhcpv6_client_stands_for_its_machine,
    a_released_address_is_free,
    a_release_of_what_one_does_not_hold_changes_nothing,
    a_declined_address_is_kept_from_everybody_for_a_while,
    a_decline_of_what_another_holds_changes_nothing,
    an_address_that_was_never_leased_is_declined,
    addresses_are_ordered,
    an_address_is_forgotten,
    what_ended_before_is_pruned,
    never_is_a_moment,
}

const SUBNET: &str = "10.0.0.0/24";

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn grant(last: u8, mac: MacAddr, at: u64, ends: u64) -> LeaseGrant {
    LeaseGrant {
        ip: ip(last),
        mac,
        subnet: SUBNET.to_owned(),
        ends: UnixMicros(ends),
        at: UnixMicros(at),
        client: None,
    }
}

fn end(last: u8, mac: MacAddr, state: LeaseState, at: u64, ends: u64) -> LeaseEnd {
    LeaseEnd {
        ip: ip(last),
        mac,
        state,
        ends: UnixMicros(ends),
        at: UnixMicros(at),
    }
}

fn lease(last: u8, mac: MacAddr, state: LeaseState, ends: u64, changed: u64) -> Lease {
    Lease {
        ip: ip(last),
        mac,
        state,
        ends: UnixMicros(ends),
        changed: UnixMicros(changed),
        client: None,
    }
}

fn taken(mac: MacAddr, state: LeaseState, ends: u64) -> Granted {
    Granted::Taken {
        mac,
        state,
        ends: UnixMicros(ends),
    }
}

fn give(store: &dyn Store, grant: LeaseGrant) -> Granted {
    let mut outcomes = store.grant_leases(&[grant]).expect("grant");
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn leases(store: &dyn Store) -> Vec<Lease> {
    store.leases().expect("leases")
}

fn a_grant_is_listed(make: Make<'_>) {
    let store = make();
    assert_eq!(leases(&*store), []);
    assert_eq!(give(&*store, grant(5, mac(1), 10, 20)), Granted::Yes);
    assert_eq!(
        leases(&*store),
        [lease(5, mac(1), LeaseState::Leased, 20, 10)]
    );
}

fn grants_have_outcomes_in_order(make: Make<'_>) {
    let store = make();
    give(&*store, grant(2, mac(9), 10, 20));
    let batch: Vec<_> = (1..=3).map(|n| grant(n, mac(n), 11, 30)).collect();
    assert_eq!(
        store.grant_leases(&batch).expect("grant"),
        [
            Granted::Yes,
            taken(mac(9), LeaseState::Leased, 20),
            Granted::Yes
        ]
    );
    let held: Vec<_> = leases(&*store).iter().map(|l| (l.ip, l.mac)).collect();
    assert_eq!(held, [(ip(1), mac(1)), (ip(2), mac(9)), (ip(3), mac(3))]);
}

fn a_later_grant_of_a_batch_sees_the_earlier(make: Make<'_>) {
    let store = make();
    let batch = [
        grant(1, mac(1), 10, 20),
        grant(1, mac(2), 10, 20),
        grant(2, mac(1), 10, 20),
        grant(1, mac(2), 10, 20),
    ];
    assert_eq!(
        store.grant_leases(&batch).expect("grant"),
        [
            Granted::Yes,
            taken(mac(1), LeaseState::Leased, 20),
            Granted::Yes,
            Granted::Yes
        ]
    );
}

fn no_grants_are_no_change(make: Make<'_>) {
    let store = make();
    assert_eq!(store.grant_leases(&[]).expect("grant"), []);
    assert_eq!(leases(&*store), []);
}

fn a_held_address_is_taken_until_its_end(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 20));
    let before = leases(&*store);
    assert_eq!(
        give(&*store, grant(1, mac(2), 19, 40)),
        taken(mac(1), LeaseState::Leased, 20)
    );
    assert_eq!(leases(&*store), before);
    assert_eq!(give(&*store, grant(1, mac(2), 20, 40)), Granted::Yes);
    assert_eq!(
        leases(&*store),
        [lease(1, mac(2), LeaseState::Leased, 40, 20)]
    );
}

fn the_same_machine_renews(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 20));
    assert_eq!(give(&*store, grant(1, mac(1), 15, 25)), Granted::Yes);
    assert_eq!(
        leases(&*store),
        [lease(1, mac(1), LeaseState::Leased, 25, 15)]
    );
    assert_eq!(give(&*store, grant(1, mac(1), 35, 45)), Granted::Yes);
    assert_eq!(
        leases(&*store),
        [lease(1, mac(1), LeaseState::Leased, 45, 35)]
    );
}

fn a_machine_has_one_address_in_a_subnet(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 20));
    give(&*store, grant(2, mac(1), 15, 25));
    give(&*store, grant(3, mac(1), 30, 40));
    assert_eq!(
        leases(&*store),
        [
            lease(1, mac(1), LeaseState::Ended, 15, 15),
            // It had run out before.
            lease(2, mac(1), LeaseState::Ended, 25, 30),
            lease(3, mac(1), LeaseState::Leased, 40, 30),
        ]
    );
    assert_eq!(give(&*store, grant(1, mac(2), 16, 30)), Granted::Yes);
    assert_eq!(give(&*store, grant(1, mac(2), 17, 31)), Granted::Yes);
    let (one, two) = (leases(&*store).remove(0), leases(&*store).remove(1));
    assert_eq!(one, lease(1, mac(2), LeaseState::Leased, 31, 17));
    assert_eq!(two, lease(2, mac(1), LeaseState::Ended, 25, 30));
}

fn a_machine_has_addresses_in_several_subnets(make: Make<'_>) {
    let store = make();
    let elsewhere = |at, ends| LeaseGrant {
        subnet: "10.0.0.128/25".to_owned(),
        ..grant(200, mac(1), at, ends)
    };
    give(&*store, grant(1, mac(1), 10, 20));
    give(&*store, elsewhere(11, 21));
    assert_eq!(
        leases(&*store),
        [
            lease(1, mac(1), LeaseState::Leased, 20, 10),
            lease(200, mac(1), LeaseState::Leased, 21, 11),
        ]
    );
    // The address is of the other subnet now, as are the machine's others there.
    let moved = LeaseGrant {
        subnet: "10.0.0.128/25".to_owned(),
        ..grant(1, mac(1), 12, 22)
    };
    give(&*store, moved);
    assert_eq!(
        leases(&*store),
        [
            lease(1, mac(1), LeaseState::Leased, 22, 12),
            lease(200, mac(1), LeaseState::Ended, 12, 12),
        ]
    );
}

fn a_dhcpv6_client_stands_for_its_machine(make: Make<'_>) {
    let store = make();
    let of = |last, mac, client: &str, at| LeaseGrant {
        client: Some(client.to_owned()),
        ..grant(last, mac, at, 100)
    };
    // One network card with two identity associations, and one client on two cards.
    assert_eq!(give(&*store, of(1, mac(1), "aa/1", 10)), Granted::Yes);
    assert_eq!(give(&*store, of(2, mac(1), "aa/2", 11)), Granted::Yes);
    assert_eq!(give(&*store, grant(3, mac(1), 12, 100)), Granted::Yes);
    assert_eq!(
        give(&*store, of(1, mac(1), "bb/1", 13)),
        taken(mac(1), LeaseState::Leased, 100)
    );
    assert_eq!(
        give(&*store, grant(1, mac(1), 13, 100)),
        taken(mac(1), LeaseState::Leased, 100)
    );
    assert_eq!(
        give(&*store, of(3, mac(1), "aa/3", 13)),
        taken(mac(1), LeaseState::Leased, 100)
    );
    assert_eq!(give(&*store, of(1, mac(2), "aa/1", 14)), Granted::Yes);
    assert_eq!(give(&*store, of(4, mac(3), "aa/2", 15)), Granted::Yes);
    let with = |client: &str, lease| Lease {
        client: Some(client.to_owned()),
        ..lease
    };
    assert_eq!(
        leases(&*store),
        [
            with("aa/1", lease(1, mac(2), LeaseState::Leased, 100, 14)),
            with("aa/2", lease(2, mac(1), LeaseState::Ended, 15, 15)),
            lease(3, mac(1), LeaseState::Leased, 100, 12),
            with("aa/2", lease(4, mac(3), LeaseState::Leased, 100, 15)),
        ]
    );
}

fn a_released_address_is_free(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 100));
    store
        .end_lease(&end(1, mac(1), LeaseState::Ended, 20, 20))
        .expect("release");
    assert_eq!(
        leases(&*store),
        [lease(1, mac(1), LeaseState::Ended, 20, 20)]
    );
    assert_eq!(give(&*store, grant(1, mac(2), 15, 100)), Granted::Yes);
}

fn a_release_of_what_one_does_not_hold_changes_nothing(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 100));
    let before = leases(&*store);
    let ended = |last, mac| end(last, mac, LeaseState::Ended, 20, 20);
    store.end_lease(&ended(1, mac(2))).expect("release");
    store.end_lease(&ended(2, mac(1))).expect("release");
    let nothing = end(1, mac(1), LeaseState::Leased, 20, 20);
    store.end_lease(&nothing).expect("no end");
    assert_eq!(leases(&*store), before);
    let declined = end(3, mac(1), LeaseState::Quarantined, 20, 60);
    store.end_lease(&declined).expect("decline");
    let before = leases(&*store);
    store.end_lease(&ended(3, mac(1))).expect("release");
    assert_eq!(leases(&*store), before);
}

fn a_declined_address_is_kept_from_everybody_for_a_while(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 100));
    let declined = end(1, mac(1), LeaseState::Quarantined, 20, 60);
    store.end_lease(&declined).expect("decline");
    assert_eq!(
        leases(&*store),
        [lease(1, mac(1), LeaseState::Quarantined, 60, 20)]
    );
    for who in [1, 2] {
        assert_eq!(
            give(&*store, grant(1, mac(who), 59, 100)),
            taken(mac(1), LeaseState::Quarantined, 60)
        );
    }
    assert_eq!(give(&*store, grant(1, mac(2), 60, 100)), Granted::Yes);
}

fn a_decline_of_what_another_holds_changes_nothing(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 100));
    let before = leases(&*store);
    let decline = |at| end(1, mac(2), LeaseState::Quarantined, at, 200);
    store.end_lease(&decline(99)).expect("decline");
    assert_eq!(leases(&*store), before);
    // It has run out.
    store.end_lease(&decline(100)).expect("decline");
    assert_eq!(
        leases(&*store),
        [lease(1, mac(2), LeaseState::Quarantined, 200, 100)]
    );
}

fn an_address_that_was_never_leased_is_declined(make: Make<'_>) {
    let store = make();
    let declined = end(7, mac(1), LeaseState::Quarantined, 20, 60);
    store.end_lease(&declined).expect("decline");
    assert_eq!(
        leases(&*store),
        [lease(7, mac(1), LeaseState::Quarantined, 60, 20)]
    );
    assert_eq!(give(&*store, grant(7, mac(1), 61, 100)), Granted::Yes);
    assert_eq!(give(&*store, grant(8, mac(1), 62, 100)), Granted::Yes);
    assert_eq!(leases(&*store)[0].state, LeaseState::Ended);
}

fn addresses_are_ordered(make: Make<'_>) {
    let store = make();
    let mut addresses: Vec<IpAddr> = ["10.0.0.9", "9.255.0.1", "10.0.0.10", "fd00::2", "::1"]
        .map(|text| text.parse().expect("an address"))
        .to_vec();
    for (number, address) in (1..).zip(&addresses) {
        let grant = LeaseGrant {
            ip: *address,
            ..grant(0, mac(number), 10, 20)
        };
        give(&*store, grant);
    }
    addresses.sort();
    let listed: Vec<_> = leases(&*store).iter().map(|lease| lease.ip).collect();
    assert_eq!(listed, addresses);
}

fn an_address_is_forgotten(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, 100));
    assert!(store.forget_lease(ip(1)).expect("forget"));
    assert!(!store.forget_lease(ip(1)).expect("forget"));
    assert_eq!(leases(&*store), []);
    assert_eq!(give(&*store, grant(1, mac(2), 11, 100)), Granted::Yes);
}

fn what_ended_before_is_pruned(make: Make<'_>) {
    let store = make();
    for (last, ends) in [(1, 49), (2, 50), (3, 51)] {
        give(&*store, grant(last, mac(last), 10, ends));
    }
    give(&*store, grant(4, mac(4), 10, 100));
    let released = end(4, mac(4), LeaseState::Ended, 20, 20);
    store.end_lease(&released).expect("release");
    let declined = end(5, mac(5), LeaseState::Quarantined, 20, 30);
    store.end_lease(&declined).expect("decline");
    assert_eq!(store.prune_leases(UnixMicros(50)).expect("prune"), 3);
    let left: Vec<_> = leases(&*store).iter().map(|lease| lease.ip).collect();
    assert_eq!(left, [ip(2), ip(3)]);
    assert_eq!(store.prune_leases(UnixMicros(50)).expect("prune"), 0);
}

fn never_is_a_moment(make: Make<'_>) {
    let store = make();
    give(&*store, grant(1, mac(1), 10, u64::MAX));
    assert_eq!(
        leases(&*store),
        [lease(1, mac(1), LeaseState::Leased, u64::MAX, 10)]
    );
    assert_eq!(
        give(&*store, grant(1, mac(2), 1 << 62, u64::MAX)),
        taken(mac(1), LeaseState::Leased, u64::MAX)
    );
    assert_eq!(store.prune_leases(UnixMicros(u64::MAX)).expect("prune"), 0);
}
