//! The folder of the state: whose it is, backups of it, and the way back.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bootgate_api::{Lease, UnixMicros};
use bootgate_store::conformance::mac;
use bootgate_store::sqlite::{DATABASE, Sqlite, restore};
use bootgate_store::{LeaseGrant, MachineChange, Store, StoreError};
use common::{contents, sample};

fn grant(number: u16) -> LeaseGrant {
    let [high, low] = number.to_be_bytes();
    LeaseGrant {
        ip: [10, 1, high, low].into(),
        mac: bootgate_events::MacAddr([2, 0, 0, 0, high, low]),
        subnet: "10.1.0.0/16".to_owned(),
        ends: UnixMicros(2_000_000),
        at: UnixMicros(1_000_000),
        client: None,
    }
}

fn files(folder: &Path) -> BTreeMap<String, u32> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    // Blobs are in folders of their own, which a restore leaves alone.
    let entries = entries.filter(|entry| entry.path().is_file());
    let mode = |entry: &std::fs::DirEntry| entry.metadata().unwrap().permissions().mode() & 0o777;
    let named = |entry: std::fs::DirEntry| {
        let mode = mode(&entry);
        (entry.file_name().into_string().unwrap(), mode)
    };
    entries.map(named).collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn everything_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("a/state");
    let store = Sqlite::open(&state).unwrap();
    store.grant_leases(&[grant(1)]).unwrap();
    assert_eq!(mode(&state), 0o700);
    let open = files(&state);
    assert!(open.contains_key("bootgate.db-wal"), "{open:?}");
    assert!(open.values().all(|mode| *mode == 0o600), "{open:?}");
    let backup = folder.path().join("backup");
    store.backup(&backup).unwrap();
    assert_eq!(mode(&backup), 0o600);
    drop(store);
    // The log is merged when the store closes.
    let closed: Vec<_> = files(&state).into_keys().collect();
    assert_eq!(closed, [DATABASE, "lock"]);
}

#[test]
fn a_state_has_one_user_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path()).unwrap();
    let backup = folder.path().join("backup");
    store.backup(&backup).unwrap();
    let in_use = |outcome: Result<(), StoreError>| match outcome {
        Err(error @ StoreError::InUse { .. }) => {
            let pid = format!("process `{}`", std::process::id());
            assert!(error.to_string().contains(&pid), "{error}");
        }
        other => panic!("not refused: {other:?}"),
    };
    in_use(Sqlite::open(folder.path()).map(drop));
    in_use(restore(&backup, folder.path()));
    store.grant_leases(&[grant(1)]).unwrap();
    drop(store);
    let store = Sqlite::open(folder.path()).unwrap();
    assert_eq!(store.leases().unwrap().len(), 1);
}

#[test]
fn a_backup_brings_back_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let backup = folder.path().join("backup");
    let store = Sqlite::open(&state).unwrap();
    sample::fill(&store);
    let before = contents(&store);
    store.backup(&backup).unwrap();
    store.forget_machine(&mac(1)).unwrap();
    store.prune_attempts(0).unwrap();
    store.grant_leases(&[grant(1)]).unwrap();
    assert_ne!(contents(&store), before);
    drop(store);
    for state in [state, folder.path().join("new/state")] {
        restore(&backup, &state).unwrap();
        assert_eq!(
            files(&state),
            [(DATABASE.to_owned(), 0o600), ("lock".to_owned(), 0o600)].into()
        );
        assert_eq!(contents(&Sqlite::open(&state).unwrap()), before);
    }
}

#[test]
fn a_log_that_was_left_is_not_taken_for_the_backups() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let killed = folder.path().join("killed");
    let backup = folder.path().join("backup");
    let store = Sqlite::open(&state).unwrap();
    store.grant_leases(&[grant(1)]).unwrap();
    store.backup(&backup).unwrap();
    store.grant_leases(&[grant(2)]).unwrap();
    // What a kill would leave: a database, and a log with the rest.
    std::fs::create_dir(&killed).unwrap();
    for file in files(&state).into_keys() {
        std::fs::copy(state.join(&file), killed.join(&file)).unwrap();
    }
    assert!(killed.join("bootgate.db-wal").metadata().unwrap().len() > 0);
    restore(&backup, &killed).unwrap();
    let leases: Vec<Lease> = Sqlite::open(&killed).unwrap().leases().unwrap();
    assert_eq!(leases.len(), 1);
    // The same where the database itself is broken.
    for file in ["bootgate.db", "bootgate.db-wal"] {
        std::fs::write(killed.join(file), [7; 20_000]).unwrap();
    }
    assert!(Sqlite::open(&killed).is_err());
    restore(&backup, &killed).unwrap();
    assert_eq!(Sqlite::open(&killed).unwrap().leases().unwrap(), leases);
    assert!(!files(&killed).keys().any(|file| file.contains("former")));
}

#[test]
fn what_is_no_backup_leaves_the_state_alone() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let backup = folder.path().join("backup");
    let store = Sqlite::open(&state).unwrap();
    let batch: Vec<_> = (0..2000).map(grant).collect();
    store.grant_leases(&batch).unwrap();
    store.backup(&backup).unwrap();
    store
        .set_machine(&mac(1), &MachineChange::default(), UnixMicros(1))
        .unwrap();
    let before = contents(&store);
    drop(store);
    let files_before = files(&state);
    let good = std::fs::read(&backup).unwrap();
    let mut damaged = good.clone();
    for byte in &mut damaged[8192..12_000] {
        *byte ^= 0x55;
    }
    let half = good[..good.len() / 2].to_vec();
    for (what, bytes) in [
        ("damaged", damaged),
        ("half", half),
        ("empty", Vec::new()),
        ("garbage", vec![7; 20_000]),
    ] {
        std::fs::write(&backup, bytes).unwrap();
        let error = restore(&backup, &state).expect_err(what);
        assert!(error.to_string().starts_with("restore `"), "{error}");
        assert_eq!(files(&state), files_before, "{what}");
    }
    let missing = folder.path().join("missing");
    assert!(restore(&missing, &state).is_err());
    assert!(!missing.exists());
    assert_eq!(contents(&Sqlite::open(&state).unwrap()), before);
}

#[test]
fn a_backup_while_leases_are_granted_has_whole_batches() {
    const BATCH: u16 = 50;
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("state")).unwrap();
    let stop = AtomicBool::new(false);
    let copies: Vec<_> = (0..4)
        .map(|n| folder.path().join(format!("copy{n}")))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) && number < 60_000 {
                let batch: Vec<_> = (number..number + BATCH).map(grant).collect();
                store.grant_leases(&batch).unwrap();
                number += BATCH;
            }
        });
        for copy in &copies {
            store.backup(copy).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let mut least = 0;
    for copy in copies {
        let state = copy.with_extension("state");
        restore(&copy, &state).unwrap();
        let count = Sqlite::open(&state).unwrap().leases().unwrap().len();
        assert_eq!(count % usize::from(BATCH), 0);
        assert!(count >= least);
        least = count;
    }
    assert!(store.leases().unwrap().len() >= least);
}

#[test]
fn many_threads_read_and_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u16 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..20 {
                    let grant = grant(thread * 100 + number);
                    store.grant_leases(std::slice::from_ref(&grant)).unwrap();
                    // Each sees what it wrote at once.
                    let leases = store.leases().unwrap();
                    assert!(leases.iter().any(|lease| lease.ip == grant.ip));
                }
            });
        }
    });
    assert_eq!(store.leases().unwrap().len(), 80);
}
