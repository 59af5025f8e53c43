//! However a run ends, nothing of it is left, and faults of the host are named as such.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::process::Command;

use serde_json::Value;

fn entered(stage: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["kind"] == "stage-entered" && event["stage"] == stage
}

/// A run that has come as far as its firmware.
fn booting() -> support::Started {
    let started = support::run(&support::scenario("bios-flash.toml")).start();
    started.wait_for("firmware", entered("firmware"));
    started
}

#[test]
fn ctrl_c_ends_a_run_with_130_and_a_report() {
    require_gate!();
    let run = booting();
    let folder = run.folder().display().to_string();
    run.signal("INT");
    let run = run.finish();
    run.assert_code(130);
    assert_eq!(run.verdict()["verdict"], "interrupted");
    assert!(
        !run.folder.join("work").exists(),
        "disks are left in the run folder"
    );
    support::assert_none_left(&folder);
}

#[test]
fn sigterm_ends_a_run_with_130() {
    require_gate!();
    let run = booting();
    let folder = run.folder().display().to_string();
    run.signal("TERM");
    run.finish().assert_code(130);
    support::assert_none_left(&folder);
}

#[test]
fn a_killed_supervisor_takes_everything_with_it() {
    require_gate!();
    let before = support::host_network();
    let run = booting();
    let folder = run.folder().display().to_string();
    assert!(support::processes_with(&folder).len() > 1, "QEMU runs");
    run.signal("KILL");
    assert_eq!(run.finish().code, None);
    support::assert_none_left(&folder);
    assert_eq!(support::host_network(), before);
}

#[test]
fn a_killed_qemu_is_an_infrastructure_fault() {
    require_gate!();
    let run = booting();
    let folder = run.folder().display().to_string();
    let qemu = support::processes_with(&folder).into_iter().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|comm| comm.starts_with("qemu-system"))
    });
    support::signal(qemu.expect("QEMU runs"), "KILL");
    let run = run.finish();
    run.assert_code(3);
    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "infra");
    assert_eq!(verdict["cause"], "qemu-killed", "{verdict:#}");
    support::assert_none_left(&folder);
}

#[test]
fn a_host_without_qemu_is_told_what_to_install() {
    if !support::media_is_built() {
        bootgate_testkit::skip!("target/media is not built: run ./ci/gate once");
    }
    let mut run = support::run(&support::scenario("bios-flash.toml"));
    run.command.env("PATH", "/nonexistent");
    let run = run.finish();
    run.assert_code(3);
    let verdict = run.verdict();
    assert_eq!(verdict["cause"], "qemu-missing", "{verdict:#}");
    assert!(run.stdout.contains("qemu-system-x86"), "{}", run.told());
}

/// Runs in a private mount namespace after `setup`, a shell command that may mount what it likes.
fn in_mount_namespace(setup: &str, scenario: &str) -> support::Finished {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec"]);
    let mut bootgate = support::program(command);
    let script = format!(
        "{setup}\nexec {} run {} --out {}",
        env!("CARGO_BIN_EXE_bootgate"),
        support::scenario(scenario).display(),
        bootgate.folder.display(),
    );
    std::fs::create_dir(&bootgate.folder).expect("the run folder");
    bootgate
        .command
        .arg(script)
        .env("RUN_FOLDER", &bootgate.folder);
    bootgate.finish()
}

#[test]
fn a_host_without_ovmf_is_told_what_to_install() {
    require_gate!();
    bootgate_testkit::require_root!();
    let hide = "for folder in /usr/share/OVMF /usr/share/ovmf /usr/share/edk2 /usr/share/qemu; do \
        test ! -d $folder || mount -t tmpfs none $folder; done";
    let run = in_mount_namespace(hide, "uefi-flash.toml");
    run.assert_code(3);
    assert_eq!(run.verdict()["cause"], "ovmf-missing", "{}", run.told());
}

#[test]
fn a_full_disk_is_an_infrastructure_fault() {
    require_gate!();
    bootgate_testkit::require_root!();
    // Room for the log and the reports, not for what the client writes to its disk. The file system goes away with the
    // namespace, so the verdict is read from the exit code and the output.
    let run = in_mount_namespace(
        "mount -t tmpfs -o size=6m none \"$RUN_FOLDER\"",
        "bios-flash.toml",
    );
    run.assert_code(3);
    assert!(
        run.stdout.contains("disk-full") || run.stderr.contains("No space left"),
        "{}",
        run.told()
    );
}
