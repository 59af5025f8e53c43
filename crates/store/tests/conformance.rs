//! Every backend does what the operations' documentation says, and the same as every other.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bootgate_store::Store;
use bootgate_store::conformance::{Check, artifact_checks, checks};
use bootgate_store::sqlite::Sqlite;
use common::{Model, Operation, contents};
use proptest::prelude::*;

fn conforms(checks: &[Check], make: &dyn Fn() -> Box<dyn Store>) {
    let failed: Vec<_> = checks
        .iter()
        .filter(|check| catch_unwind(AssertUnwindSafe(|| (check.run)(make))).is_err())
        .map(|check| check.name)
        .collect();
    assert!(failed.is_empty(), "these checks failed: {failed:?}");
}

#[test]
fn the_model_conforms() {
    conforms(&checks(), &|| Box::new(Model::default()));
}

#[test]
fn sqlite_conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = std::cell::Cell::new(0);
    let checks = [checks(), artifact_checks()].concat();
    conforms(&checks, &|| {
        count.set(count.get() + 1);
        let state = folder.path().join(count.get().to_string());
        Box::new(Sqlite::open(&state).expect("open"))
    });
}

#[test]
fn every_check_has_a_name_of_its_own() {
    let checks = [checks(), artifact_checks()].concat();
    let mut names: Vec<_> = checks.iter().map(|check| check.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

/// Otherwise the comparison below would compare little.
#[test]
fn random_operations_come_to_every_outcome() {
    let model = Model::default();
    let mut outcomes = String::new();
    // A linear congruential generator (Knuth's MMIX), its high bits first.
    let mut number = 1_u64;
    for _ in 0..20_000 {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        outcomes += &Operation(number.swap_bytes()).perform(&model);
    }
    for outcome in [
        "Taken",
        "Yes",
        "New(",
        "Known(",
        "Full",
        "Begun",
        "Again",
        "Wrong",
        "Stale",
        "still open",
        "is finished",
        "given out before",
        "half written",
        "that of",
        "of no open attempt",
        "was forgotten",
        "Dirty",
        "Flashed",
        "local: true",
        "local_next: true",
        "failed_flashes: 2",
    ] {
        assert!(outcomes.contains(outcome), "never: {outcome}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_does_what_the_model_does(
        numbers in proptest::collection::vec(any::<u64>(), 1..120),
        reopen in any::<prop::sample::Index>(),
    ) {
        // Memory, since nothing is killed here: the same code without the disk's time.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut sqlite = Sqlite::open(folder.path()).unwrap();
        let model = Model::default();
        let reopen = reopen.index(numbers.len());
        for (position, number) in numbers.iter().enumerate() {
            if position == reopen {
                drop(sqlite);
                sqlite = Sqlite::open(folder.path()).unwrap();
            }
            let operation = Operation(*number);
            prop_assert_eq!(operation.perform(&sqlite), operation.perform(&model));
        }
        prop_assert_eq!(contents(&sqlite), contents(&model));
    }
}
