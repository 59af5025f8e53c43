//! Machines.

use std::collections::BTreeMap;

use bootgate_api::{BootMode, DiskState, LocalBoot, Machine, UnixMicros};

use super::{Make, expected, inventory, mac, named_checks, nonce, order, refused};
use crate::{BeginFlash, Discovered, Discovery, MachineChange, NewAttempt, Store};

named_checks! {
    nobody_is_known_at_first,
    a_contact_makes_a_machine_known,
    a_contact_of_a_known_machine_is_noted,
    only_so_many_machines_are_discovered,
    a_change_makes_a_machine_known,
    what_is_not_named_stays,
    a_name_is_one_machines,
    labels_are_set_and_taken_away,
    a_mode_forgets_failures_and_the_local_boot_due,
    an_inventory_remembers_the_mode_before,
    a_half_written_disk_does_not_boot_without_force,
    a_change_of_an_order_leaves_another_order_alone,
    arming_orders_a_flash,
    a_forgotten_machine_is_unknown,
    machines_are_ordered,
}

fn change(boot: BootMode) -> MachineChange {
    MachineChange {
        boot: Some(boot),
        ..MachineChange::default()
    }
}

fn named(name: Option<&str>) -> MachineChange {
    MachineChange {
        name: Some(name.map(str::to_owned)),
        ..MachineChange::default()
    }
}

fn discovery(last: u8, at: u64) -> Discovery {
    Discovery {
        mac: mac(last),
        boot: BootMode::Inventory,
        architecture: Some(7),
        at: UnixMicros(at),
        limit: 100,
    }
}

fn set(store: &dyn Store, last: u8, change: &MachineChange, at: u64) -> Machine {
    store
        .set_machine(&mac(last), change, UnixMicros(at))
        .expect("set the machine")
}

fn get(store: &dyn Store, last: u8) -> Machine {
    let machine = store.machine(&mac(last)).expect("machine");
    machine.expect("the machine is known")
}

/// Leaves the disk of the machine half written by an open attempt.
fn half_write(store: &dyn Store, last: u8) {
    let new = NewAttempt {
        mac: mac(last),
        boot: BootMode::FlashOnce(order("a")),
        local: false,
        expected: Some(expected(1)),
        at: UnixMicros(1),
    };
    let attempt = store.open_attempt(&new).expect("open");
    let peer = [10, 0, 0, 1].into();
    let nonce = nonce(last.into());
    store
        .issue_nonce(&attempt.id, &nonce, peer)
        .expect("give a nonce");
    assert_eq!(store.begin_flash(&nonce).expect("begin"), BeginFlash::Begun);
}

fn nobody_is_known_at_first(make: Make<'_>) {
    let store = make();
    assert_eq!(store.machine(&mac(1)).expect("machine"), None);
    assert_eq!(store.machines().expect("machines"), []);
}

fn a_contact_makes_a_machine_known(make: Make<'_>) {
    let store = make();
    let Discovered::New(machine) = store.discover_machine(&discovery(1, 5)).expect("discover")
    else {
        panic!("it was not known");
    };
    assert_eq!(
        machine,
        Machine {
            mac: mac(1),
            name: None,
            boot: BootMode::Inventory,
            after_inventory: None,
            local: LocalBoot::Auto,
            disk: DiskState::Unknown,
            local_next: false,
            failed_flashes: 0,
            labels: BTreeMap::new(),
            architecture: Some(7),
            inventory: None,
            discovered: true,
            first_seen: UnixMicros(5),
            last_seen: UnixMicros(5),
        }
    );
    assert_eq!(get(&*store, 1), machine);
}

fn a_contact_of_a_known_machine_is_noted(make: Make<'_>) {
    let store = make();
    let before = set(&*store, 1, &change(BootMode::FlashOnce(order("a"))), 3);
    let Discovered::Known(machine) = store.discover_machine(&discovery(1, 5)).expect("discover")
    else {
        panic!("it was known");
    };
    let after = Machine {
        architecture: Some(7),
        last_seen: UnixMicros(5),
        ..before
    };
    assert_eq!(machine, after);
    // The architecture may be unknown, and clocks go back; both take nothing away.
    let less = Discovery {
        architecture: None,
        ..discovery(1, 4)
    };
    let again = store.discover_machine(&less).expect("discover");
    assert_eq!(again, Discovered::Known(after.clone()));
    assert_eq!(get(&*store, 1), after);
}

fn only_so_many_machines_are_discovered(make: Make<'_>) {
    let store = make();
    set(&*store, 9, &named(Some("known")), 1);
    let limited = |last| Discovery {
        limit: 2,
        ..discovery(last, 5)
    };
    for last in [1, 2] {
        let outcome = store.discover_machine(&limited(last)).expect("discover");
        assert!(matches!(outcome, Discovered::New(_)), "{outcome:?}");
    }
    let full = store.discover_machine(&limited(3)).expect("discover");
    assert_eq!(full, Discovered::Full);
    assert_eq!(store.machine(&mac(3)).expect("machine"), None);
    let known = store.discover_machine(&limited(2)).expect("discover");
    assert!(matches!(known, Discovered::Known(_)), "{known:?}");
    assert!(store.forget_machine(&mac(1)).expect("forget"));
    let room = store.discover_machine(&limited(3)).expect("discover");
    assert!(matches!(room, Discovered::New(_)), "{room:?}");
}

fn a_change_makes_a_machine_known(make: Make<'_>) {
    let store = make();
    let machine = set(&*store, 1, &named(Some("rack1")), 5);
    assert_eq!(machine.name.as_deref(), Some("rack1"));
    assert_eq!(machine.boot, BootMode::Local);
    assert_eq!(machine.first_seen, UnixMicros(5));
    assert_eq!(machine.last_seen, UnixMicros(0));
    assert!(!machine.discovered);
    assert_eq!(get(&*store, 1), machine);
}

fn what_is_not_named_stays(make: Make<'_>) {
    let store = make();
    store.discover_machine(&discovery(1, 5)).expect("discover");
    let all = MachineChange {
        name: Some(Some("m".to_owned())),
        boot: Some(BootMode::Install {
            installer: "debian".to_owned(),
        }),
        local: Some(LocalBoot::Drive(0x81)),
        labels: BTreeMap::from([("a".to_owned(), Some("1".to_owned()))]),
        force: false,
        only_from: None,
    };
    let machine = set(&*store, 1, &all, 6);
    assert_eq!(machine.local, LocalBoot::Drive(0x81));
    assert_eq!(machine.boot.name(), "install");
    assert_eq!(set(&*store, 1, &MachineChange::default(), 7), machine);
    assert_eq!(get(&*store, 1), machine);
}

fn a_change_of_an_order_leaves_another_order_alone(make: Make<'_>) {
    let store = make();
    let from = |boot| MachineChange {
        only_from: Some(boot),
        force: true,
        ..change(BootMode::Local)
    };
    refused(store.set_machine(&mac(1), &from(BootMode::Local), UnixMicros(1)));
    assert_eq!(store.machine(&mac(1)).expect("machine"), None);
    let ordered = set(&*store, 1, &change(BootMode::FlashOnce(order("a"))), 2);
    for other in [BootMode::Inventory, BootMode::FlashOnce(order("b"))] {
        refused(store.set_machine(&mac(1), &from(other), UnixMicros(3)));
        assert_eq!(get(&*store, 1), ordered);
    }
    let same = from(BootMode::FlashOnce(order("a")));
    assert_eq!(set(&*store, 1, &same, 4).boot, BootMode::Local);
}

fn a_name_is_one_machines(make: Make<'_>) {
    let store = make();
    set(&*store, 1, &named(Some("a")), 1);
    let both = MachineChange {
        boot: Some(BootMode::Inventory),
        ..named(Some("a"))
    };
    let why = refused(store.set_machine(&mac(2), &both, UnixMicros(2)));
    assert!(
        why.contains("`a`") && why.contains(&mac(1).to_string()),
        "{why}"
    );
    assert_eq!(store.machine(&mac(2)).expect("machine"), None);
    // To the machine that has it, and to another once it is free.
    set(&*store, 1, &named(Some("a")), 3);
    set(&*store, 1, &named(None), 4);
    assert_eq!(get(&*store, 1).name, None);
    set(&*store, 2, &named(Some("a")), 5);
    assert!(store.forget_machine(&mac(2)).expect("forget"));
    set(&*store, 1, &named(Some("a")), 6);
}

fn labels_are_set_and_taken_away(make: Make<'_>) {
    let store = make();
    let labels = |pairs: &[(&str, Option<&str>)]| MachineChange {
        labels: pairs
            .iter()
            .map(|(label, value)| ((*label).to_owned(), value.map(str::to_owned)))
            .collect(),
        ..MachineChange::default()
    };
    set(
        &*store,
        1,
        &labels(&[("a", Some("1")), ("b", Some("'\"ö\n"))]),
        1,
    );
    set(
        &*store,
        1,
        &labels(&[("a", None), ("c", Some("")), ("d", None)]),
        2,
    );
    let kept: Vec<_> = get(&*store, 1).labels.into_iter().collect();
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    assert_eq!(kept, [pair("b", "'\"ö\n"), pair("c", "")]);
}

fn a_mode_forgets_failures_and_the_local_boot_due(make: Make<'_>) {
    let store = make();
    let always = BootMode::FlashAlways(order("a"));
    set(&*store, 1, &change(always.clone()), 1);
    super::flashes::fail_a_flash(&*store, 1, 11);
    super::flashes::complete_a_flash(&*store, 1, 12);
    super::flashes::fail_a_flash(&*store, 1, 13);
    let before = get(&*store, 1);
    assert!(
        before.local_next && before.failed_flashes == 1,
        "{before:?}"
    );
    set(&*store, 1, &named(Some("m")), 2);
    let named = get(&*store, 1);
    assert!(named.local_next && named.failed_flashes == 1, "{named:?}");
    // Also by the mode of before.
    set(&*store, 1, &change(always), 3);
    let after = get(&*store, 1);
    assert!(!after.local_next && after.failed_flashes == 0, "{after:?}");
}

fn an_inventory_remembers_the_mode_before(make: Make<'_>) {
    let store = make();
    let before = BootMode::FlashOnce(order("a"));
    set(&*store, 1, &change(before.clone()), 1);
    for at in [2, 3] {
        let machine = set(&*store, 1, &change(BootMode::Inventory), at);
        assert_eq!(machine.boot, BootMode::Inventory);
        assert_eq!(machine.after_inventory.as_ref(), Some(&before));
    }
    let machine = set(&*store, 1, &change(BootMode::Local), 4);
    assert_eq!(machine.after_inventory, None);
}

fn a_half_written_disk_does_not_boot_without_force(make: Make<'_>) {
    let store = make();
    set(&*store, 1, &change(BootMode::FlashOnce(order("a"))), 1);
    half_write(&*store, 1);
    let before = get(&*store, 1);
    assert!(matches!(before.disk, DiskState::Dirty { .. }), "{before:?}");
    let local = MachineChange {
        boot: Some(BootMode::Local),
        ..named(Some("m"))
    };
    let why = refused(store.set_machine(&mac(1), &local, UnixMicros(2)));
    assert!(why.contains("half written"), "{why}");
    assert_eq!(get(&*store, 1), before);
    let again = set(&*store, 1, &change(BootMode::FlashOnce(order("b"))), 3);
    assert_eq!(again.disk, before.disk);
    let forced = MachineChange {
        force: true,
        ..local
    };
    let machine = set(&*store, 1, &forced, 4);
    assert_eq!(machine.boot, BootMode::Local);
    assert_eq!(machine.disk, DiskState::Unknown);
}

fn arming_orders_a_flash(make: Make<'_>) {
    let store = make();
    let arm = |always, at| {
        let order = order("a");
        store.arm_flash(&mac(1), &order, always, UnixMicros(at))
    };
    let machine = arm(false, 1).expect("arm");
    assert_eq!(machine.boot, BootMode::FlashOnce(order("a")));
    assert_eq!(machine.first_seen, UnixMicros(1));
    super::flashes::fail_a_flash(&*store, 1, 11);
    assert_eq!(get(&*store, 1).failed_flashes, 1);
    let machine = arm(true, 2).expect("arm");
    assert_eq!(machine.boot, BootMode::FlashAlways(order("a")));
    assert_eq!(machine.failed_flashes, 0);
    assert_eq!(get(&*store, 1), machine);
}

fn a_forgotten_machine_is_unknown(make: Make<'_>) {
    let store = make();
    store.discover_machine(&discovery(1, 5)).expect("discover");
    half_write(&*store, 1);
    assert!(store.forget_machine(&mac(1)).expect("forget"));
    assert!(!store.forget_machine(&mac(1)).expect("forget"));
    assert_eq!(store.machine(&mac(1)).expect("machine"), None);
    // Its attempt stays, and cannot write any more.
    let attempt = store.attempt_by_nonce(&nonce(1)).expect("attempt");
    assert_eq!(attempt.map(|attempt| attempt.mac), Some(mac(1)));
    assert_eq!(
        store.begin_flash(&nonce(1)).expect("begin"),
        BeginFlash::Stale
    );
    refused(store.record_inventory(&nonce(1), &inventory(1)));
}

fn machines_are_ordered(make: Make<'_>) {
    let store = make();
    for last in [200, 3, 100] {
        set(&*store, last, &MachineChange::default(), 1);
    }
    let listed: Vec<_> = store.machines().expect("machines");
    let macs: Vec<_> = listed.iter().map(|machine| machine.mac).collect();
    assert_eq!(macs, [mac(3), mac(100), mac(200)]);
    assert_eq!(listed[0], get(&*store, 3));
}
