//! States of every released schema open in this version, with all that is in them.
//!
//! A new migration needs a dump of its schema in `fixtures/store`; these tests say so, and write it when they are run
//! with `BOOTGATE_WRITE_DUMP=1`. Dumps and released migrations never change.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::path::{Path, PathBuf};

use bootgate_api::UnixMicros;
use bootgate_store::conformance::mac;
use bootgate_store::sqlite::{DATABASE, SCHEMA, Sqlite, migrations, restore};
use bootgate_store::{AttemptFilter, LeaseGrant, MachineChange, NewAttempt, Store, StoreError};
use common::sample;
use rusqlite::Connection;

fn dump_path(schema: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/store")
        .join(format!("schema-{schema}.sql"))
}

/// A state of a released schema.
fn state_of(schema: u32, file: &Path) {
    let path = dump_path(schema);
    let sql = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
    let db = Connection::open(file).unwrap();
    db.execute_batch(&sql).expect("load the dump");
    assert_eq!(version(&db), schema);
}

fn version(db: &Connection) -> u32 {
    db.pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap()
}

/// Tables and indices as they were made, by name.
fn schema_of(db: &Connection) -> Vec<String> {
    let sql = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn every_released_schema_has_a_dump() {
    let path = dump_path(SCHEMA);
    if path.exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sample::fill(&Sqlite::open(folder.path()).unwrap());
    let db = Connection::open(folder.path().join(DATABASE)).unwrap();
    if std::env::var_os("BOOTGATE_WRITE_DUMP").is_some() {
        std::fs::write(&path, dump(&db)).unwrap();
    }
    panic!("schema {SCHEMA} has no dump; run this test with BOOTGATE_WRITE_DUMP=1 to write it");
}

/// SQL that makes the database again.
fn dump(db: &Connection) -> String {
    let strings = |sql: &str| -> Vec<String> {
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let mut lines = vec!["BEGIN;".to_owned()];
    for pragma in ["application_id", "user_version"] {
        let value: i64 = db
            .pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap();
        lines.push(format!("PRAGMA {pragma} = {value};"));
    }
    let objects = "FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'";
    for sql in strings(&format!("SELECT sql {objects} ORDER BY type DESC, rowid")) {
        lines.push(format!("{sql};"));
    }
    for table in [
        "leases",
        "machines",
        "attempts",
        "events",
        "blobs",
        "artifacts",
        "aliases",
        "images",
        "uploads",
        "sqlite_sequence",
    ] {
        let columns = strings(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted: Vec<_> = columns
            .iter()
            .map(|name| format!("quote({name})"))
            .collect();
        let values = quoted.join(" || ', ' || ");
        for row in strings(&format!("SELECT {values} FROM {table} ORDER BY 1")) {
            let names = columns.join(", ");
            lines.push(format!("INSERT INTO {table} ({names}) VALUES ({row});"));
        }
    }
    // The inserts above counted too.
    let first = lines
        .iter()
        .position(|line| line.contains("INTO sqlite_sequence"));
    lines.insert(first.unwrap(), "DELETE FROM sqlite_sequence;".to_owned());
    lines.push("COMMIT;\n".to_owned());
    lines.join("\n")
}

#[test]
fn released_migrations_never_change() {
    for schema in 1..=SCHEMA {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dump");
        state_of(schema, &file);
        let dumped = schema_of(&Connection::open(&file).unwrap());
        let db = Connection::open_in_memory().unwrap();
        for sql in &migrations()[..schema as usize] {
            db.execute_batch(sql).unwrap();
        }
        assert_eq!(schema_of(&db), dumped, "migrations up to {schema}");
    }
}

#[test]
fn every_released_schema_opens_with_its_data() {
    for schema in 1..=SCHEMA {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(DATABASE);
        state_of(schema, &file);
        let store = Sqlite::open(folder.path()).expect("open");
        sample::is_there(&store, schema);
        goes_on(&store);
        drop(store);
        let db = Connection::open(&file).unwrap();
        assert_eq!(version(&db), SCHEMA);
        let verdict: String = db
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok");
        drop(db);
        // The second time there is nothing to do.
        Sqlite::open(folder.path()).expect("open again");
    }
}

/// What indices and counters are for.
fn goes_on(store: &Sqlite) {
    let ids: Vec<_> = store
        .attempts(&AttemptFilter::default())
        .unwrap()
        .into_iter()
        .map(|attempt| attempt.id)
        .collect();
    let new = NewAttempt {
        mac: mac(77),
        boot: bootgate_api::BootMode::Local,
        local: false,
        expected: None,
        at: UnixMicros(1),
    };
    assert!(store.open_attempt(&new).unwrap().id > ids[0]);
    assert!(matches!(
        store.open_attempt(&new),
        Err(StoreError::Refused { .. })
    ));
    let name = MachineChange {
        name: Some(Some(sample::NAME.to_owned())),
        ..MachineChange::default()
    };
    let taken = store.set_machine(&mac(77), &name, UnixMicros(1));
    assert!(matches!(taken, Err(StoreError::Refused { .. })));
    // The machine moves to another address of its subnet.
    let held = sample::leases()[0].clone();
    let grant = LeaseGrant {
        ip: [10, 0, 0, 99].into(),
        at: held.at,
        ..held.clone()
    };
    store.grant_leases(&[grant]).unwrap();
    let leases = store.leases().unwrap();
    let before = leases.iter().find(|lease| lease.ip == held.ip).unwrap();
    assert_eq!(before.state, bootgate_api::LeaseState::Ended);
}

#[test]
fn a_backup_of_every_released_schema_is_restored() {
    for schema in 1..=SCHEMA {
        let folder = tempfile::tempdir().unwrap();
        let backup = folder.path().join("backup");
        state_of(schema, &backup);
        let before = std::fs::read(&backup).unwrap();
        let state = folder.path().join("state");
        restore(&backup, &state).expect("restore");
        sample::is_there(&Sqlite::open(&state).unwrap(), schema);
        assert_eq!(std::fs::read(&backup).unwrap(), before);
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    sample::fill(&Sqlite::open(folder.path()).unwrap());
    let file = folder.path().join(DATABASE);
    let db = Connection::open(&file).unwrap();
    db.pragma_update(None, "user_version", SCHEMA + 1).unwrap();
    db.pragma_update(None, "journal_mode", "delete").unwrap();
    drop(db);
    let before = std::fs::read(&file).unwrap();
    let newer = |outcome: Result<(), StoreError>| match outcome {
        Err(StoreError::Newer { found, known, .. }) => {
            assert_eq!((found, known), (SCHEMA + 1, SCHEMA));
        }
        other => panic!("not refused: {other:?}"),
    };
    newer(Sqlite::open(folder.path()).map(drop));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    newer(restore(&file, &folder.path().join("other")));
    assert!(!folder.path().join("other").join(DATABASE).exists());
}

#[test]
fn what_is_no_state_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(DATABASE);
    let refused = |what: &str| {
        let before = std::fs::read(&file).unwrap();
        let error = Sqlite::open(folder.path()).err().expect(what);
        assert!(matches!(error, StoreError::Storage { .. }), "{error}");
        assert!(error.to_string().contains("open the state"), "{error}");
        assert_eq!(std::fs::read(&file).unwrap(), before);
    };
    std::fs::write(
        &file,
        "this is no database, and long enough to be sure of it".repeat(99),
    )
    .unwrap();
    refused("garbage");
    std::fs::remove_file(&file).unwrap();
    let db = Connection::open(&file).unwrap();
    db.execute_batch("CREATE TABLE t (c)").unwrap();
    drop(db);
    refused("a database of another program");
}
