//! The boot gate beside a real DHCP server that is not ours: as a proxy, and with none of ours at all.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use bootgate_testkit::{require_commands, require_full};
use serde_json::Value;
use support::Finished;

/// The machine flashed and booted its disk, which the host has compared.
fn assert_done(target: &Value) {
    assert_eq!(target["verdict"], "passed", "{target:#}");
    assert_eq!(target["disk_proof"], "host");
    assert_eq!(target["disk_sha256"], target["image_sha256"]);
    let stages = support::stages(target);
    for stage in [
        "script",
        "kernel",
        "initrd",
        "live",
        "flash",
        "disk-boot",
        "done",
    ] {
        assert!(
            stages.iter().any(|name| name == stage),
            "no `{stage}` in {stages:?}"
        );
    }
}

/// Runs a shipped scenario, in which a BIOS and a UEFI machine must both flash and boot.
fn passes(name: &str) -> Finished {
    let run = support::run(&support::scenario(name)).finish();
    run.assert_code(0);
    let verdict = run.verdict();
    let targets = verdict["targets"].as_array().expect("targets");
    assert_eq!(targets.len(), 2);
    targets.iter().for_each(assert_done);
    support::assert_none_left(&run.folder.display().to_string());
    run
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found = events.iter().filter(|event| event["kind"] == kind);
    found.collect()
}

/// The LAN's server answered, by its own log, and every transfer is told of the machine that asked.
fn assert_foreign(run: &Finished, server: &str, lease: &str) {
    let events = run.events();
    let ready = of_kind(&events, "server-ready");
    let name = format!("lan-{server}");
    assert!(
        ready.iter().any(|event| event["service"] == *name),
        "{ready:#?}"
    );
    let log = run.folder.join(format!("lan/{server}.log"));
    let log = std::fs::read_to_string(log).expect("the LAN server's log");
    assert!(log.contains(lease), "no `{lease}` in {log}");
    for event in of_kind(&events, "transfer-started") {
        assert!(event["target"].is_string(), "whose is {event}?");
    }
}

/// No reply of ours gives out an address.
fn assert_proxy(run: &Finished) {
    let events = run.events();
    let sent = of_kind(&events, "dhcp-sent");
    assert!(!sent.is_empty(), "the proxy said nothing");
    for event in sent {
        let address = &event["facts"]["yiaddr"];
        assert!(address.is_null() || address == "0.0.0.0", "{event}");
    }
}

#[test]
fn machines_boot_by_proxy_beside_dnsmasq() {
    require_gate!();
    require_commands!("dnsmasq");
    let run = passes("proxy.toml");
    assert_foreign(&run, "dnsmasq", "DHCPACK");
    assert_proxy(&run);
}

#[test]
fn machines_boot_by_proxy_beside_kea() {
    require_gate!();
    require_full!();
    require_commands!("kea-dhcp4");
    let run = passes("proxy-kea.toml");
    assert_foreign(&run, "kea", "DHCP4_LEASE_ALLOC");
    assert_proxy(&run);
}

#[test]
fn machines_boot_with_a_dnsmasq_that_is_set_as_the_documentation_says() {
    require_gate!();
    require_commands!("dnsmasq");
    let run = passes("off.toml");
    assert_foreign(&run, "dnsmasq", "DHCPACK");
    assert!(
        of_kind(&run.events(), "dhcp-sent").is_empty(),
        "our DHCP server answered"
    );
}

#[test]
fn machines_boot_with_a_kea_that_is_set_as_the_documentation_says() {
    require_gate!();
    require_full!();
    require_commands!("kea-dhcp4");
    let run = passes("off-kea.toml");
    assert_foreign(&run, "kea", "DHCP4_LEASE_ALLOC");
    assert!(
        of_kind(&run.events(), "dhcp-sent").is_empty(),
        "our DHCP server answered"
    );
}
