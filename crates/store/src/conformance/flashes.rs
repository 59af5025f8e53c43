//! Flashes and inventories: what the agent tells, and what that does to its machine.

use bootgate_api::{Attempt, BootMode, DiskState, ExpectedFlash, Machine, Sha256Hex, UnixMicros};
use bootgate_events::Verdict;

use super::{Make, expected, inventory, mac, named_checks, nonce, order, refused, verdict};
use crate::{BeginFlash, Completed, MachineChange, NewAttempt, Store};

named_checks! {
    a_flash_that_begins_leaves_a_half_written_disk,
    a_flash_begins_only_by_the_current_nonce_of_an_open_attempt_that_flashes,
    a_completed_flash_is_not_begun_again,
    a_completed_flash_once_turns_local,
    a_completed_flash_always_boots_its_disk_next,
    a_mode_set_meanwhile_stays,
    only_what_was_expected_completes,
    a_completion_needs_the_current_nonce,
    a_completion_needs_a_begin,
    the_same_completion_again_is_known,
    a_completion_after_another_end_is_stale,
    a_flash_that_did_not_complete_counts_as_failed,
    a_power_on_that_got_no_nonce_is_no_failed_flash,
    a_failure_of_an_older_order_does_not_count,
    an_installation_that_was_not_reported_counts_as_failed,
    an_inventory_brings_back_the_mode_before,
    an_inventory_needs_an_open_attempt,
}

fn set(store: &dyn Store, boot: BootMode) -> Machine {
    let change = MachineChange {
        boot: Some(boot),
        ..MachineChange::default()
    };
    store
        .set_machine(&mac(1), &change, UnixMicros(1))
        .expect("set the machine")
}

fn get(store: &dyn Store) -> Machine {
    let machine = store.machine(&mac(1)).expect("machine");
    machine.expect("the machine is known")
}

/// Opens an attempt in the machine's mode, with a nonce.
fn open(store: &dyn Store, last: u8, number: u64) -> Attempt {
    let machine = store.machine(&mac(last)).expect("machine");
    let boot = machine.map(|machine| machine.boot).unwrap_or_default();
    let new = NewAttempt {
        mac: mac(last),
        local: false,
        expected: boot.flash().map(|_| expected(1)),
        boot,
        at: UnixMicros(10),
    };
    let attempt = store.open_attempt(&new).expect("open");
    let peer = [10, 0, 0, 1].into();
    let issued = store.issue_nonce(&attempt.id, &nonce(number), peer);
    issued.expect("give a nonce").attempt
}

fn finish(store: &dyn Store, attempt: &Attempt) {
    let verdict = verdict(Verdict::Interrupted {
        signal: "TERM".to_owned(),
    });
    store
        .finish_attempt(&attempt.id, &verdict, UnixMicros(30))
        .expect("finish");
}

fn complete(store: &dyn Store, number: u64, written: &ExpectedFlash) -> Completed {
    store
        .complete_flash(&nonce(number), written, UnixMicros(20))
        .expect("complete")
}

fn begin(store: &dyn Store, number: u64) -> BeginFlash {
    store.begin_flash(&nonce(number)).expect("begin")
}

/// A whole attempt in the machine's mode whose flash does not complete.
pub(super) fn fail_a_flash(store: &dyn Store, last: u8, number: u64) {
    let attempt = open(store, last, number);
    finish(store, &attempt);
}

/// A whole attempt in the machine's mode whose flash completes.
pub(super) fn complete_a_flash(store: &dyn Store, last: u8, number: u64) {
    let attempt = open(store, last, number);
    assert_eq!(begin(store, number), BeginFlash::Begun);
    assert_eq!(complete(store, number, &expected(1)), Completed::Yes);
    finish(store, &attempt);
}

fn a_flash_that_begins_leaves_a_half_written_disk(make: Make<'_>) {
    let store = make();
    let before = set(&*store, BootMode::FlashOnce(order("a")));
    let attempt = open(&*store, 1, 1);
    for _ in 0..2 {
        assert_eq!(begin(&*store, 1), BeginFlash::Begun);
        let dirty = Machine {
            disk: DiskState::Dirty {
                attempt: attempt.id.clone(),
            },
            ..before.clone()
        };
        assert_eq!(get(&*store), dirty);
    }
    finish(&*store, &attempt);
    assert!(matches!(get(&*store).disk, DiskState::Dirty { .. }));
}

fn a_flash_begins_only_by_the_current_nonce_of_an_open_attempt_that_flashes(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashAlways(order("a")));
    assert_eq!(begin(&*store, 1), BeginFlash::Stale);
    let attempt = open(&*store, 1, 1);
    let peer = [10, 0, 0, 1].into();
    store
        .issue_nonce(&attempt.id, &nonce(2), peer)
        .expect("give a nonce");
    assert_eq!(begin(&*store, 1), BeginFlash::Stale);
    finish(&*store, &attempt);
    assert_eq!(begin(&*store, 2), BeginFlash::Stale);
    // Its disk boots, whatever the mode says.
    let local = NewAttempt {
        mac: mac(1),
        boot: BootMode::FlashAlways(order("a")),
        local: true,
        expected: Some(expected(1)),
        at: UnixMicros(10),
    };
    let attempt = store.open_attempt(&local).expect("open");
    store
        .issue_nonce(&attempt.id, &nonce(3), peer)
        .expect("give a nonce");
    assert_eq!(begin(&*store, 3), BeginFlash::Stale);
    assert_eq!(complete(&*store, 3, &expected(1)), Completed::Stale);
    finish(&*store, &attempt);
    // Nothing to flash.
    set(&*store, BootMode::Inventory);
    open(&*store, 1, 4);
    assert_eq!(begin(&*store, 4), BeginFlash::Stale);
    assert_eq!(complete(&*store, 4, &expected(1)), Completed::Stale);
    assert_eq!(get(&*store).disk, DiskState::Unknown);
}

fn a_completed_flash_is_not_begun_again(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashOnce(order("a")));
    let attempt = open(&*store, 1, 1);
    begin(&*store, 1);
    complete(&*store, 1, &expected(1));
    let after = get(&*store);
    assert_eq!(begin(&*store, 1), BeginFlash::Stale);
    let peer = [10, 0, 0, 1].into();
    store
        .issue_nonce(&attempt.id, &nonce(2), peer)
        .expect("give a nonce");
    assert_eq!(begin(&*store, 2), BeginFlash::Stale);
    assert_eq!(get(&*store), after);
}

fn a_completed_flash_once_turns_local(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashOnce(order("a")));
    fail_a_flash(&*store, 1, 1);
    assert_eq!(get(&*store).failed_flashes, 1);
    complete_a_flash(&*store, 1, 2);
    let machine = get(&*store);
    assert_eq!(machine.boot, BootMode::Local);
    assert_eq!(machine.failed_flashes, 0);
    assert!(!machine.local_next);
    assert_eq!(
        machine.disk,
        DiskState::Flashed {
            image: "a".to_owned(),
            sha256: expected(1).image_sha256,
            at: UnixMicros(20),
        }
    );
}

fn a_completed_flash_always_boots_its_disk_next(make: Make<'_>) {
    let store = make();
    let always = BootMode::FlashAlways(order("a"));
    set(&*store, always.clone());
    complete_a_flash(&*store, 1, 1);
    let machine = get(&*store);
    assert_eq!(machine.boot, always);
    assert!(machine.local_next);
    let local = NewAttempt {
        mac: mac(1),
        boot: always.clone(),
        local: true,
        expected: None,
        at: UnixMicros(40),
    };
    let attempt = store.open_attempt(&local).expect("open");
    assert!(attempt.local);
    assert!(get(&*store).local_next);
    finish(&*store, &attempt);
    let machine = get(&*store);
    assert!(!machine.local_next);
    assert_eq!(machine.boot, always);
    assert_eq!(machine.failed_flashes, 0);
}

fn a_mode_set_meanwhile_stays(make: Make<'_>) {
    for ordered in [BootMode::FlashOnce, BootMode::FlashAlways] {
        let store = make();
        set(&*store, ordered(order("a")));
        open(&*store, 1, 1);
        begin(&*store, 1);
        let new = ordered(order("b"));
        set(&*store, new.clone());
        assert_eq!(complete(&*store, 1, &expected(1)), Completed::Yes);
        let machine = get(&*store);
        assert_eq!(machine.boot, new);
        assert!(!machine.local_next);
        let DiskState::Flashed { image, .. } = machine.disk else {
            panic!("it was flashed: {:?}", machine.disk);
        };
        assert_eq!(image, "a");
    }
}

fn only_what_was_expected_completes(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashOnce(order("a")));
    open(&*store, 1, 1);
    begin(&*store, 1);
    let before = get(&*store);
    let right = expected(1);
    let zero = Sha256Hex([0; 32]);
    let wrong = |change: fn(&mut ExpectedFlash, Sha256Hex)| {
        let mut written = right.clone();
        change(&mut written, zero);
        written
    };
    for written in [
        wrong(|written, zero| written.image_sha256 = zero),
        wrong(|written, zero| written.chunks_sha256 = zero),
        wrong(|written, _| written.size -= 1),
    ] {
        let expected = right.clone();
        let outcome = complete(&*store, 1, &written);
        assert_eq!(outcome, Completed::Wrong { expected });
        assert_eq!(get(&*store), before);
    }
    assert_eq!(complete(&*store, 1, &right), Completed::Yes);
}

fn a_completion_needs_the_current_nonce(make: Make<'_>) {
    let store = make();
    assert_eq!(complete(&*store, 1, &expected(1)), Completed::Stale);
    set(&*store, BootMode::FlashOnce(order("a")));
    let attempt = open(&*store, 1, 1);
    begin(&*store, 1);
    let peer = [10, 0, 0, 1].into();
    store
        .issue_nonce(&attempt.id, &nonce(2), peer)
        .expect("give a nonce");
    let before = get(&*store);
    assert_eq!(complete(&*store, 1, &expected(1)), Completed::Stale);
    assert_eq!(get(&*store), before);
    assert_eq!(complete(&*store, 2, &expected(1)), Completed::Yes);
}

fn a_completion_needs_a_begin(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashAlways(order("a")));
    // The second time, the disk holds the image since the first.
    for number in 1..3 {
        let attempt = open(&*store, 1, number);
        let before = get(&*store);
        assert_eq!(complete(&*store, number, &expected(1)), Completed::NotBegun);
        assert_eq!(get(&*store), before);
        assert_eq!(begin(&*store, number), BeginFlash::Begun);
        assert_eq!(complete(&*store, number, &expected(1)), Completed::Yes);
        finish(&*store, &attempt);
    }
}

fn the_same_completion_again_is_known(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashAlways(order("a")));
    let attempt = open(&*store, 1, 1);
    begin(&*store, 1);
    assert_eq!(complete(&*store, 1, &expected(1)), Completed::Yes);
    let after = get(&*store);
    assert_eq!(complete(&*store, 1, &expected(1)), Completed::Again);
    let wrong = complete(&*store, 1, &expected(2));
    assert!(matches!(wrong, Completed::Wrong { .. }), "{wrong:?}");
    finish(&*store, &attempt);
    assert_eq!(complete(&*store, 1, &expected(1)), Completed::Again);
    assert_eq!(get(&*store), after);
}

fn a_completion_after_another_end_is_stale(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashOnce(order("a")));
    let attempt = open(&*store, 1, 1);
    begin(&*store, 1);
    finish(&*store, &attempt);
    let before = get(&*store);
    assert_eq!(complete(&*store, 1, &expected(1)), Completed::Stale);
    assert_eq!(get(&*store), before);
    // Nor where the machine was forgotten.
    open(&*store, 1, 2);
    assert!(store.forget_machine(&mac(1)).expect("forget"));
    assert_eq!(complete(&*store, 2, &expected(1)), Completed::Stale);
}

fn a_flash_that_did_not_complete_counts_as_failed(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashOnce(order("a")));
    for failures in 1..=3 {
        let attempt = open(&*store, 1, failures.into());
        if failures == 2 {
            begin(&*store, 2);
        }
        finish(&*store, &attempt);
        finish(&*store, &attempt);
        let machine = get(&*store);
        assert_eq!(machine.failed_flashes, failures);
        assert_eq!(machine.boot, BootMode::FlashOnce(order("a")));
    }
}

fn a_power_on_that_got_no_nonce_is_no_failed_flash(make: Make<'_>) {
    let store = make();
    let boot = BootMode::FlashOnce(order("a"));
    let before = set(&*store, boot.clone());
    let new = NewAttempt {
        mac: mac(1),
        boot,
        local: false,
        expected: Some(expected(1)),
        at: UnixMicros(10),
    };
    let attempt = store.open_attempt(&new).expect("open");
    finish(&*store, &attempt);
    assert_eq!(get(&*store), before);
}

fn an_installation_that_was_not_reported_counts_as_failed(make: Make<'_>) {
    let store = make();
    let boot = BootMode::Install {
        installer: "a".to_owned(),
    };
    let begin = |number| {
        let new = NewAttempt {
            mac: mac(1),
            boot: boot.clone(),
            local: false,
            expected: None,
            at: UnixMicros(10),
        };
        let attempt = store.open_attempt(&new).expect("open");
        let peer = [10, 0, 0, 1].into();
        store
            .issue_nonce(&attempt.id, &nonce(number), peer)
            .expect("give a nonce");
        attempt
    };
    set(&*store, boot.clone());
    for failures in 1..=2 {
        let attempt = begin(failures.into());
        finish(&*store, &attempt);
        assert_eq!(get(&*store).failed_flashes, failures);
    }
    let attempt = begin(3);
    let passed = verdict(Verdict::Passed);
    store
        .finish_attempt(&attempt.id, &passed, UnixMicros(30))
        .expect("finish");
    assert_eq!(get(&*store).failed_flashes, 2, "this one did not fail");
    assert_eq!(set(&*store, boot.clone()).failed_flashes, 0);
}

fn a_failure_of_an_older_order_does_not_count(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::FlashOnce(order("a")));
    let attempt = open(&*store, 1, 1);
    set(&*store, BootMode::FlashOnce(order("b")));
    finish(&*store, &attempt);
    assert_eq!(get(&*store).failed_flashes, 0);
}

fn an_inventory_brings_back_the_mode_before(make: Make<'_>) {
    let store = make();
    let before = BootMode::FlashOnce(order("a"));
    set(&*store, before.clone());
    set(&*store, BootMode::Inventory);
    open(&*store, 1, 1);
    for disks in [2, 3] {
        store
            .record_inventory(&nonce(1), &inventory(disks))
            .expect("record");
        let machine = get(&*store);
        assert_eq!(machine.inventory, Some(inventory(disks)));
        assert_eq!(machine.boot, before);
        assert_eq!(machine.after_inventory, None);
    }
    // Discovered into it, there is no mode before.
    let new = crate::Discovery {
        mac: mac(2),
        boot: BootMode::Inventory,
        architecture: None,
        at: UnixMicros(1),
        limit: 10,
    };
    store.discover_machine(&new).expect("discover");
    open(&*store, 2, 2);
    store
        .record_inventory(&nonce(2), &inventory(1))
        .expect("record");
    let machine = store.machine(&mac(2)).expect("machine");
    assert_eq!(machine.map(|machine| machine.boot), Some(BootMode::Local));
}

fn an_inventory_needs_an_open_attempt(make: Make<'_>) {
    let store = make();
    set(&*store, BootMode::Inventory);
    refused(store.record_inventory(&nonce(1), &inventory(1)));
    let attempt = open(&*store, 1, 1);
    finish(&*store, &attempt);
    let before = get(&*store);
    refused(store.record_inventory(&nonce(1), &inventory(1)));
    assert_eq!(get(&*store), before);
}
