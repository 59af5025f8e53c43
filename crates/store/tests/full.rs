//! A full disk: nothing half, an error that says so, and on again when there is room.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::Path;
use std::process::Command;

use bootgate_api::UnixMicros;
use bootgate_events::MacAddr;
use bootgate_store::conformance::{event, mac, order};
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{LeaseGrant, NewAttempt, Store, StoreError};
use bootgate_testkit::{in_namespaces, require_commands, skip};
use common::contents;

const BATCH: u16 = 64;

fn batch(number: u16) -> Vec<LeaseGrant> {
    let grant = |number: u16| {
        let [high, low] = number.to_be_bytes();
        LeaseGrant {
            ip: [10, 1, high, low].into(),
            mac: MacAddr([2, 0, 0, 0, high, low]),
            subnet: "10.1.0.0/16".to_owned(),
            ends: UnixMicros(2_000_000),
            at: UnixMicros(1_000_000),
            client: None,
        }
    };
    (number * BATCH..(number + 1) * BATCH).map(grant).collect()
}

fn full<T: std::fmt::Debug>(outcome: Result<T, StoreError>) {
    match outcome {
        Err(error @ StoreError::Full { .. }) => {
            assert!(error.to_string().contains("no space left"), "{error}");
        }
        other => panic!("the disk was not full: {other:?}"),
    }
}

#[test]
fn a_full_disk_takes_nothing_half_and_goes_on_when_there_is_room() {
    require_commands!("mount", "unshare");
    if !in_namespaces(fill_a_disk) {
        skip!("needs root");
    }
}

fn fill_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=3m", "none"])
        .arg(folder.path())
        .status()
        .expect("run mount");
    assert!(mounted.success());
    // Something else takes the room, first a part and then all of it.
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let state = folder.path().join("state");
    let store = Sqlite::open(&state).unwrap();
    let attempt = open_attempt(&store);
    let granted = grant_until_full(&store, 0);
    assert!(granted > 10, "only {granted} batches");
    let before = contents(&store);

    nothing_is_changed(&store, granted, &attempt);
    assert_eq!(contents(&store), before);
    // No half backup either.
    let backup = folder.path().join("backup");
    full(store.backup(&backup));
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names(), 2, "state and ballast");

    std::fs::remove_file(&ballast).unwrap();
    store.grant_leases(&batch(granted)).expect("there is room");
    let more = grant_until_full(&store, granted + 1);
    assert!(more > granted + 1, "the room was used");
    let before = contents(&store);
    assert_eq!(before.len(), usize::from(more * BATCH) + 1);
    drop(store);
    opens_again(&state, &before);
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.expect("run umount").success());
}

fn open_attempt(store: &Sqlite) -> bootgate_events::AttemptId {
    let new = NewAttempt {
        mac: mac(1),
        boot: bootgate_api::BootMode::Local,
        local: false,
        expected: None,
        at: UnixMicros(1),
    };
    store.open_attempt(&new).unwrap().id
}

/// The number of the first batch that there was no room for.
fn grant_until_full(store: &Sqlite, from: u16) -> u16 {
    for number in from..1000 {
        match store.grant_leases(&batch(number)) {
            Ok(granted) => assert_eq!(granted.len(), usize::from(BATCH)),
            error => {
                full(error);
                let leases = store.leases().unwrap().len();
                assert_eq!(leases, usize::from(number * BATCH));
                return number;
            }
        }
    }
    panic!("it is never full");
}

fn nothing_is_changed(store: &Sqlite, granted: u16, attempt: &bootgate_events::AttemptId) {
    for _ in 0..3 {
        full(store.grant_leases(&batch(granted)));
    }
    let big = "x".repeat(400 << 10);
    let events: Vec<_> = (0..10).map(|seq| event(attempt, seq, &big)).collect();
    full(store.append_events(&events));
    let mut large = order("a");
    large.image = big;
    full(store.arm_flash(&mac(1), &large, false, UnixMicros(1)));
}

/// A state that was closed on a full disk has everything.
fn opens_again(state: &Path, before: &[String]) {
    let store = Sqlite::open(state).expect("open with little room");
    assert_eq!(contents(&store), before);
}
