//! `--accel auto` on hosts whose KVM is not what it seems.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A QEMU whose KVM passes the probe and breaks down in every other guest, with the words of a real one. The probe and
/// everything without KVM are done by the real QEMU, with TCG.
const BROKEN_KVM: &str = r#"#!/bin/sh
case "$*" in
*-bios*) ;;
*kvm*) echo 'KVM internal error. Suberror: 1' >&2; echo 'emulation failure' >&2; exit 1 ;;
esac
count=$#
while [ $count -gt 0 ]; do
    arg=$1
    shift
    case $arg in
    *accel=kvm*) arg=type=pc,accel=tcg ;;
    host*) arg=max ;;
    esac
    set -- "$@" "$arg"
    count=$((count - 1))
done
exec /usr/bin/qemu-system-x86_64 "$@"
"#;

/// Runs the BIOS scenario where the CPU claims to have VMX, with `programs` first in the search path.
fn with_vmx(programs: Option<&Path>) -> support::Finished {
    let stage = tempfile::tempdir().expect("a temporary folder");
    let real = std::fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
    let cpuinfo = stage.path().join("cpuinfo");
    std::fs::write(&cpuinfo, real.replace("\nflags\t\t:", "\nflags\t\t: vmx")).expect("a file");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec"]);
    let mut bootgate = support::program(command);
    let path = std::env::var("PATH").expect("PATH");
    let path = programs.map_or(path.clone(), |folder| {
        format!("{}:{path}", folder.display())
    });
    let script = format!(
        "mount --bind {} /proc/cpuinfo\nexec {} run {} --out {}",
        cpuinfo.display(),
        env!("CARGO_BIN_EXE_bootgate"),
        support::scenario("bios-flash.toml").display(),
        bootgate.folder.display(),
    );
    bootgate
        .command
        .arg(script)
        .env("XDG_CACHE_HOME", stage.path())
        .env("PATH", path);
    bootgate.finish()
}

/// Skips where the claim of a CPU flag would not lead to KVM.
macro_rules! require_kvm_device {
    () => {
        require_gate!();
        bootgate_testkit::require_root!();
        bootgate_testkit::require_commands!("unshare", "mount");
        if std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
        {
            bootgate_testkit::skip!("/dev/kvm cannot be opened");
        }
    };
}

#[test]
fn a_kvm_that_breaks_down_in_a_boot_is_no_boot_failure_and_is_retried_with_tcg() {
    require_kvm_device!();
    let programs = tempfile::tempdir().expect("a temporary folder");
    let qemu = programs.path().join("qemu-system-x86_64");
    std::fs::write(&qemu, BROKEN_KVM).expect("a program");
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).expect("a program");
    let run = with_vmx(Some(programs.path()));
    run.assert_code(0);
    assert!(run.stdout.contains("kvm-error"), "{}", run.told());
    assert!(
        run.stderr.contains("KVM failed in the middle of a boot"),
        "{}",
        run.told()
    );
    assert_eq!(run.verdict()["accel"], "tcg");
}

/// Here the probe decides: a KVM that hangs or fails is not used at all, a sound one is.
#[test]
fn a_kvm_is_used_only_where_the_probe_guest_runs() {
    require_kvm_device!();
    let run = with_vmx(None);
    run.assert_code(0);
    let started = &run.events()[0];
    let reason = started["host"]["accel_reason"].as_str().expect("a reason");
    match started["host"]["accel"].as_str() {
        Some("kvm") => assert!(reason.contains("proven"), "{reason}"),
        Some("tcg") if run.stderr.contains("KVM failed") => {}
        Some("tcg") => assert!(
            reason.contains("the probe guest does not run under KVM"),
            "{reason}"
        ),
        other => panic!("{other:?}: {reason}"),
    }
}
