//! The boot gate on the firmware and with the loaders that a lab meets: each way to a kernel is the one that was asked for, and
//! no other.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::Path;

use bootgate_testkit::{require_full, skip};
use serde_json::Value;
use support::{Finished, assert_flashed_and_booted};

/// Runs a shipped scenario, which must pass.
fn passes(name: &str) -> Finished {
    let run = support::run(&support::scenario(name)).finish();
    run.assert_code(0);
    run
}

fn target(run: &Finished) -> Value {
    run.verdict()["targets"][0].clone()
}

/// The events of one kind.
fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let found = events.iter().filter(|event| event["kind"] == kind);
    found.collect()
}

/// The services that answered.
fn services(events: &[Value]) -> Vec<String> {
    let ready = of_kind(events, "server-ready").into_iter();
    ready
        .map(|event| event["service"].as_str().expect("a service").to_owned())
        .collect()
}

/// Whether a file whose name ends so was fetched as a whole, by this protocol.
fn fetched(events: &[Value], protocol: &str, name: &str) -> bool {
    let started = of_kind(events, "transfer-started").into_iter();
    let mut started = started.filter(|event| {
        let path = event["path"].as_str().expect("a path");
        event["protocol"] == protocol && path.ends_with(name)
    });
    let done = of_kind(events, "transfer-completed");
    started.any(|event| done.iter().any(|done| done["id"] == event["id"]))
}

fn assert_fetched(events: &[Value], files: &[(&str, &str)]) {
    for (protocol, name) in files {
        assert!(
            fetched(events, protocol, name),
            "`{name}` did not come by {protocol}: {:#?}",
            of_kind(events, "transfer-started")
        );
    }
}

macro_rules! require_files {
    ($($path:literal from $package:literal),+ $(,)?) => {
        $( if !Path::new($path).exists() {
            skip!("{} is not installed", $package);
        } )+
    };
}

macro_rules! require_prepared_ipxe {
    () => {
        if std::env::var_os("BOOTGATE_IPXE").is_none() {
            skip!("BOOTGATE_IPXE names no folder of `bootgate ipxe prepare`");
        }
    };
}

#[test]
fn uefi_boots_by_http_alone() {
    require_gate!();
    let run = passes("uefi-http.toml");
    assert_flashed_and_booted(&target(&run));
    let events = run.events();
    assert!(
        !services(&events).contains(&"tftp".to_owned()),
        "a TFTP server was there"
    );
    assert_fetched(&events, &[("http", "snponly.efi"), ("http", "boot.ipxe")]);
    let sent = of_kind(&events, "dhcp-sent");
    assert!(
        sent.iter().any(|event| event["facts"]["bootfile"]
            .as_str()
            .is_some_and(|file| file.starts_with("http://"))),
        "no offer names a URL: {sent:#?}"
    );
}

#[test]
fn uefi_boots_over_ipv6_alone() {
    require_gate!();
    require_full!();
    let run = passes("uefi-ipv6.toml");
    assert_flashed_and_booted(&target(&run));
    let events = run.events();
    let services = services(&events);
    assert!(services.contains(&"dhcp6".to_owned()), "{services:?}");
    for service in ["dhcp", "tftp"] {
        assert!(!services.contains(&service.to_owned()), "{services:?}");
    }
    for event in of_kind(&events, "transfer-started") {
        let peer = event["peer"].as_str().expect("a peer");
        assert!(peer.contains(':'), "not over IPv6: {event}");
    }
}

#[test]
fn secure_boot_starts_what_is_signed() {
    require_gate!();
    require_files!(
        "/usr/share/OVMF/OVMF_CODE_4M.ms.fd" from "ovmf",
        "/usr/lib/shim/shimx64.efi.signed" from "shim-signed",
        "/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed" from "grub-efi-amd64-signed",
    );
    let run = passes("uefi-secureboot.toml");
    let events = run.events();
    assert_fetched(&events, &[("tftp", "shimx64.efi"), ("tftp", "grubx64.efi")]);
    let markers = of_kind(&events, "marker-matched").into_iter();
    let names: Vec<_> = markers.map(|event| event["name"].clone()).collect();
    assert!(names.contains(&"secure-boot-on".into()), "{names:?}");
}

#[test]
fn secure_boot_refuses_what_is_not_signed() {
    require_gate!();
    require_files!("/usr/share/OVMF/OVMF_CODE_4M.ms.fd" from "ovmf");
    let run = passes("uefi-secureboot-unsigned.toml");
    let events = run.events();
    assert_fetched(&events, &[("tftp", "snponly.efi")]);
    assert!(
        of_kind(&events, "script-served").is_empty(),
        "the boot program ran"
    );
    let stages = support::stages(&target(&run));
    let mut booting = stages.iter().filter(|stage| *stage != "done");
    assert_eq!(booting.next_back().map(String::as_str), Some("nbp"));
}

/// The same machine with the default markers: the failure names its cause.
#[test]
fn a_refusal_of_secure_boot_is_told_as_such() {
    require_gate!();
    require_full!();
    require_files!("/usr/share/OVMF/OVMF_CODE_4M.ms.fd" from "ovmf");
    let run = support::run(&support::scenario("failing/secure-boot.toml")).finish();
    run.assert_code(1);
    let target = target(&run);
    assert_eq!(target["stage"], "nbp", "{target:#}");
    assert!(
        target.to_string().contains("Secure Boot does not trust"),
        "{target:#}"
    );
}

#[test]
fn grub_boots_by_its_own_configuration() {
    require_gate!();
    require_files!("/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi" from "grub-efi-amd64-bin");
    let run = passes("grub.toml");
    assert_flashed_and_booted(&target(&run));
    let events = run.events();
    assert_fetched(&events, &[("tftp", "grubnetx64.efi"), ("tftp", "grub.cfg")]);
    assert!(
        !fetched(&events, "http", "boot.ipxe"),
        "iPXE booted it after all"
    );
}

#[test]
fn pxelinux_boots_by_its_own_configuration() {
    require_gate!();
    require_files!("/usr/lib/PXELINUX/pxelinux.0" from "pxelinux");
    let run = passes("pxelinux.toml");
    assert_flashed_and_booted(&target(&run));
    let events = run.events();
    assert_fetched(&events, &[("tftp", "pxelinux.0"), ("tftp", "ldlinux.c32")]);
    assert!(
        !fetched(&events, "http", "boot.ipxe"),
        "iPXE booted it after all"
    );
}

#[test]
fn u_boot_boots_by_its_own_configuration() {
    require_gate!();
    require_full!();
    require_files!("/usr/lib/u-boot/qemu_arm64/u-boot.bin" from "u-boot-qemu");
    if !support::root()
        .join("target/media/live-arm64/vmlinuz")
        .exists()
    {
        skip!("target/media/live-arm64 is not built");
    }
    let run = passes("uboot.toml");
    let target = target(&run);
    let mac = target["mac"].as_str().expect("a MAC").replace(':', "-");
    let own = format!("pxelinux.cfg/01-{mac}");
    assert_fetched(&run.events(), &[("tftp", &own), ("tftp", "initrd.img")]);
}

#[test]
fn a_uefi_machine_starts_from_the_usb_stick() {
    require_gate!();
    require_full!();
    require_prepared_ipxe!();
    let run = passes("uefi-usb.toml");
    assert_flashed_and_booted(&target(&run));
    assert!(
        !support::stages(&target(&run)).contains(&"nbp".to_owned()),
        "it booted over the network"
    );
}

#[test]
fn a_bios_machine_starts_from_the_usb_stick() {
    require_gate!();
    require_full!();
    require_prepared_ipxe!();
    let run = passes("bios-usb.toml");
    assert_flashed_and_booted(&target(&run));
    assert!(
        !support::stages(&target(&run)).contains(&"nbp".to_owned()),
        "it booted over the network"
    );
}

/// The interface that nobody answers is tried first, and its failure is not the machine's.
fn passes_by_the_second_interface(name: &str, given_up: &[u8]) {
    let run = passes(name);
    let console = std::fs::read(run.folder.join("console/client.log")).expect("a console log");
    assert!(
        console
            .windows(given_up.len())
            .any(|words| words == given_up),
        "{}",
        String::from_utf8_lossy(&console)
    );
}

#[test]
fn a_bios_machine_whose_first_interface_is_dead_boots_by_the_second() {
    require_gate!();
    passes_by_the_second_interface("bios-dead-nic.toml", b"No configuration methods");
}

#[test]
fn a_uefi_machine_whose_first_interface_has_no_cable_boots_by_the_second() {
    require_gate!();
    require_full!();
    passes_by_the_second_interface("uefi-no-cable.toml", b"Link:down");
}
