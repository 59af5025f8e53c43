//! Boots that must fail, each at its stage and with its cause.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use serde_json::Value;

/// Runs a scenario of `fixtures/scenarios/failing` and gives its verdict and its one target's entry.
fn failing(name: &str) -> (support::Finished, Value) {
    let run = support::run(&support::scenario(&format!("failing/{name}.toml"))).finish();
    run.assert_code(1);
    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "failed", "{verdict:#}");
    (run, verdict)
}

#[test]
fn a_wrong_bootfile_fails_at_nbp() {
    require_gate!();
    let (_, verdict) = failing("wrong-bootfile");
    assert_eq!(verdict["stage"], "nbp", "{verdict:#}");
    assert_eq!(verdict["cause"], "file-refused");
}

#[test]
fn a_missing_kernel_fails_at_kernel() {
    require_gate!();
    let (_, verdict) = failing("missing-kernel");
    assert_eq!(verdict["stage"], "kernel", "{verdict:#}");
    assert_eq!(verdict["cause"], "file-refused");
}

#[test]
fn a_corrupt_image_fails_at_flash_and_never_looks_finished() {
    require_gate!();
    let run = support::run(&support::scenario("failing/corrupt-image.toml"))
        .arg("--keep-work")
        .finish();
    run.assert_code(1);
    let verdict = run.verdict();
    assert!(
        matches!(verdict["stage"].as_str(), Some("flash" | "verify")),
        "{verdict:#}"
    );
    assert_eq!(verdict["cause"], "agent-failed");
    let disk = walk(&run.folder.join("work"))
        .into_iter()
        .find(|path| path.ends_with("disk.raw"))
        .expect("the disk");
    let bytes = std::fs::read(disk).expect("the disk");
    assert_ne!(
        &bytes[510..512],
        &[0x55, 0xaa],
        "a boot sector is on the disk"
    );
    assert_ne!(
        &bytes[512..520],
        b"EFI PART",
        "a partition table is on the disk"
    );
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_forbidden_marker_fails_where_it_appears() {
    require_gate!();
    let (run, verdict) = failing("forbidden-marker");
    assert_eq!(verdict["cause"], "forbidden-marker", "{verdict:#}");
    let stage = verdict["stage"].as_str().expect("a stage").to_owned();
    let junit = std::fs::read_to_string(run.folder.join("junit.xml")).expect("junit.xml");
    assert!(
        junit.contains("<failure") && junit.contains(&stage),
        "{junit}"
    );
}

#[test]
fn markers_out_of_order_fail() {
    require_gate!();
    let (_, verdict) = failing("out-of-order");
    assert_eq!(verdict["cause"], "markers-out-of-order", "{verdict:#}");
}

#[test]
fn a_client_that_loses_power_fails_at_that_stage() {
    require_gate!();
    let (_, verdict) = failing("powered-off");
    assert_eq!(verdict["stage"], "flash", "{verdict:#}");
    assert_eq!(verdict["cause"], "powered-off");
}
