//! The boot gate on real firmware: what must pass, passes, and leaves the evidence it promises.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{assert_flashed_and_booted, stages};

/// The evidence of a run is whole, and a replay of the log gives the same verdict and JUnit.
fn assert_evidence(run: &support::Finished) {
    for file in [
        "events.jsonl",
        "verdict.json",
        "junit.xml",
        "report.html",
        "capture.pcapng",
    ] {
        let size = run
            .folder
            .join(file)
            .metadata()
            .map_or(0, |meta| meta.len());
        assert!(size > 500, "`{file}` has {size} bytes");
    }
    assert!(
        !run.folder.join("work").exists(),
        "disks are left in the run folder"
    );
    let read = |name: &str| std::fs::read_to_string(run.folder.join(name)).expect("a report");
    let before = (read("verdict.json"), read("junit.xml"), read("report.html"));
    let replay = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(["report", "--replay"])
        .arg(&run.folder)
        .output()
        .expect("bootgate runs");
    assert_eq!(
        replay.status.code(),
        run.code,
        "{}",
        String::from_utf8_lossy(&replay.stderr)
    );
    let after = (read("verdict.json"), read("junit.xml"), read("report.html"));
    assert!(before == after, "the replay's reports differ");
    let html = &before.2;
    assert!(
        !html.contains("src=\"http") && !html.contains("href=\"http"),
        "the report needs a network"
    );
}

#[test]
fn a_bios_client_boots_flashes_and_boots_its_disk() {
    require_gate!();
    let before = support::host_network();
    let run = support::run(&support::scenario("bios-flash.toml")).finish();
    run.assert_code(0);
    let verdict = run.verdict();
    assert_eq!(verdict["scenario"], "bios-flash");
    assert_eq!(verdict["verdict"], "passed");
    assert!(
        matches!(verdict["accel"].as_str(), Some("tcg" | "kvm")),
        "{verdict:#}"
    );
    assert!(verdict["duration_ms"].as_u64().is_some_and(|ms| ms > 1000));
    assert_flashed_and_booted(&verdict["targets"][0]);
    assert_evidence(&run);
    assert_eq!(
        support::host_network(),
        before,
        "the run left something on the host's network"
    );
    support::assert_none_left(&run.folder.display().to_string());
}

#[test]
fn a_uefi_client_boots_flashes_and_boots_its_disk() {
    require_gate!();
    let run = support::run(&support::scenario("uefi-flash.toml")).finish();
    run.assert_code(0);
    let target = &run.verdict()["targets"][0];
    assert_flashed_and_booted(target);
    assert!(
        stages(target).contains(&"nbp".to_owned()),
        "UEFI firmware fetches a boot program: {target:#}"
    );
    assert_evidence(&run);
}

#[test]
fn a_bios_and_a_uefi_client_share_a_segment() {
    require_gate!();
    let run = support::run(&support::scenario("pair.toml")).finish();
    run.assert_code(0);
    let verdict = run.verdict();
    let targets = verdict["targets"].as_array().expect("targets");
    assert_eq!(targets.len(), 2);
    targets.iter().for_each(assert_flashed_and_booted);
    assert_evidence(&run);
}

/// Two sandboxes with the same addresses in them, side by side: neither sees the other's packets.
#[test]
fn two_scenarios_run_side_by_side() {
    require_gate!();
    let run = support::run(&support::scenario("bios-flash.toml"))
        .arg(support::scenario("uefi-flash.toml"))
        .arg("--jobs")
        .arg("2")
        .finish();
    run.assert_code(0);
    let mut began = Vec::new();
    for (name, firmware) in [("bios-flash", "bios"), ("uefi-flash", "uefi")] {
        let own = run.folder.join(name);
        let verdict = support::verdict_in(&own).expect("a verdict");
        assert_eq!(verdict["scenario"], name);
        let targets = verdict["targets"].as_array().expect("targets");
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0]["firmware"], firmware);
        assert_flashed_and_booted(&targets[0]);
        let events = support::events_in(&own);
        let macs: std::collections::BTreeSet<_> = events
            .iter()
            .filter(|event| event["kind"] == "dhcp-received")
            .map(|event| event["target"].to_string())
            .collect();
        assert_eq!(macs.len(), 1, "somebody else's packets: {macs:?}");
        let wall = |event: &Value| event["wall_us"].as_u64().expect("wall_us");
        began.push((wall(&events[0]), wall(events.last().expect("events"))));
    }
    assert!(
        began[0].0 < began[1].1 && began[1].0 < began[0].1,
        "one ran after the other"
    );
    for line in run.stdout.lines().filter(|line| !line.is_empty()) {
        assert!(
            line.starts_with("bios-flash |") || line.starts_with("uefi-flash |"),
            "whose line is {line:?}?"
        );
    }
    let last: Vec<&str> = run.stdout.lines().rev().take(2).collect();
    assert_eq!(last, ["uefi-flash | passed", "bios-flash | passed"]);
}

/// Frames of both directions are in the capture, and a stranger's program reads it.
#[test]
fn the_capture_shows_the_boot() {
    require_gate!();
    bootgate_testkit::require_commands!("tshark");
    let run = support::run(&support::scenario("bios-flash.toml")).finish();
    run.assert_code(0);
    let tshark = Command::new("tshark")
        .arg("-r")
        .arg(run.folder.join("capture.pcapng"))
        .args(["-T", "fields", "-e", "_ws.col.Protocol"])
        .output()
        .expect("tshark runs");
    let protocols = String::from_utf8_lossy(&tshark.stdout);
    for protocol in ["DHCP", "HTTP", "TCP", "ICMPv6"] {
        assert!(
            protocols.lines().any(|line| line.contains(protocol)),
            "no {protocol} in the capture"
        );
    }
}
