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
fn scenarios_still_to_come_are_not_run_after_a_signal() {
    require_gate!();
    let run = support::run(&support::scenario("bios-flash.toml"))
        .arg(support::scenario("uefi-flash.toml"))
        .start();
    support::wait_for_in(
        &run.folder().join("bios-flash"),
        "firmware",
        entered("firmware"),
    );
    run.signal("INT");
    let run = run.finish();
    run.assert_code(130);
    let end = "bios-flash | interrupted\nuefi-flash | not run\n";
    assert!(run.stdout.ends_with(end), "{}", run.told());
    assert!(!run.folder.join("uefi-flash").exists());
    support::assert_none_left(&run.folder.display().to_string());
}

/// A terminal sends Ctrl-C to all of its foreground processes; those of the sandbox are none of them.
#[test]
fn a_signal_to_the_whole_process_group_is_an_interruption_too() {
    use std::os::unix::process::CommandExt;
    require_gate!();
    let mut run = support::run(&support::scenario("bios-flash.toml"));
    run.command.process_group(0);
    let run = run.start();
    run.wait_for("firmware", entered("firmware"));
    let group = format!("-{}", run.pid());
    let sent = Command::new("kill")
        .args(["-s", "INT", "--", &group])
        .status();
    assert!(sent.expect("kill runs").success());
    let run = run.finish();
    run.assert_code(130);
    assert_eq!(run.verdict()["verdict"], "interrupted");
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
fn a_killed_holder_takes_everything_with_it_and_is_named() {
    require_gate!();
    let before = support::host_network();
    let run = booting();
    let folder = run.folder().display().to_string();
    let pid = run.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the kernel tells a process's children");
    let [holder] = children.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("not one child but: {children}");
    };
    support::signal(holder.parse().expect("a process"), "KILL");
    let run = run.finish();
    run.assert_code(3);
    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "infra");
    assert_eq!(verdict["cause"], "sandbox-lost", "{verdict:#}");
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

/// Runs in a private mount namespace after `setup`, a shell command that may mount what it likes, and keeps the
/// verdict where the run folder goes away with the namespace.
fn in_mount_namespace(setup: &str, scenario: &str) -> (support::Finished, Value) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec"]);
    let mut bootgate = support::program(command);
    let kept = tempfile::NamedTempFile::new().expect("a temporary file");
    let script = format!(
        "{setup}\ncode=0\n{} run {} --out {folder} || code=$?\ncat {folder}/verdict.json >{}\nexit $code",
        env!("CARGO_BIN_EXE_bootgate"),
        support::scenario(scenario).display(),
        kept.path().display(),
        folder = bootgate.folder.display(),
    );
    std::fs::create_dir(&bootgate.folder).expect("the run folder");
    bootgate
        .command
        .arg(script)
        .env("RUN_FOLDER", &bootgate.folder);
    let run = bootgate.finish();
    let verdict = std::fs::read(kept.path()).expect("the verdict");
    let verdict =
        serde_json::from_slice(&verdict).unwrap_or_else(|_| panic!("no verdict; {}", run.told()));
    (run, verdict)
}

#[test]
fn a_host_without_ovmf_is_told_what_to_install() {
    require_gate!();
    bootgate_testkit::require_root!();
    let hide = "for folder in /usr/share/OVMF /usr/share/ovmf /usr/share/edk2 /usr/share/qemu; do \
        test ! -d $folder || mount -t tmpfs none $folder; done";
    let (run, verdict) = in_mount_namespace(hide, "uefi-flash.toml");
    run.assert_code(3);
    assert_eq!(verdict["cause"], "ovmf-missing", "{}", run.told());
}

#[test]
fn a_disk_too_small_for_the_run_is_refused_before_anything_starts() {
    require_gate!();
    bootgate_testkit::require_root!();
    let (run, verdict) = in_mount_namespace(
        "mount -t tmpfs -o size=6m none \"$RUN_FOLDER\"",
        "bios-flash.toml",
    );
    run.assert_code(3);
    assert_eq!(verdict["cause"], "disk-full", "{}", run.told());
    assert_eq!(
        verdict["targets"][0]["stages"].as_array().map(Vec::len),
        Some(0),
        "{verdict:#}"
    );
}

#[test]
fn a_disk_that_fills_up_in_the_middle_is_an_infrastructure_fault() {
    require_gate!();
    bootgate_testkit::require_root!();
    let fill = "mount -t tmpfs -o size=80m none \"$RUN_FOLDER\"\n\
        (until grep -qs '\"stage\":\"kernel\"' \"$RUN_FOLDER/events.jsonl\"; do :; done; \
        cat /dev/zero >\"$RUN_FOLDER/filler\" 2>/dev/null) &";
    let (run, verdict) = in_mount_namespace(fill, "bios-flash.toml");
    run.assert_code(3);
    assert_eq!(verdict["cause"], "disk-full", "{}", run.told());
}
