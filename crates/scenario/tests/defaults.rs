//! The shipped forbidden markers, on recorded consoles.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop so")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bootgate_events::Stage;
use bootgate_scenario::console::Cleaner;
use bootgate_scenario::defaults::default_forbidden;
use bootgate_scenario::marker::{Finding, Matcher};

/// The shipped markers that a console shows if the target is in `stage` all the time, in their order.
fn seen(transcript: &str, stage: Stage) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/transcripts")
        .join(format!("{transcript}.raw"));
    shown(&fs::read(path).unwrap(), stage)
}

fn shown(console: &[u8], stage: Stage) -> Vec<String> {
    let mut cleaner = Cleaner::new();
    let mut matcher = Matcher::new(&[], &default_forbidden()).unwrap();
    let mut lines = cleaner.push(console);
    lines.extend(cleaner.partial());
    let found = lines.iter().flat_map(|line| matcher.look(line, stage));
    found
        .map(|finding| match finding {
            Finding::Forbidden { name, .. } => name,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn healthy_boots_show_none_in_any_stage_of_a_network_boot() {
    for transcript in ["bios-boot", "uefi-boot"] {
        for stage in Stage::ALL
            .into_iter()
            .filter(|stage| *stage < Stage::DiskBoot)
        {
            assert_eq!(
                seen(transcript, stage),
                Vec::<String>::new(),
                "{transcript} in {stage}"
            );
        }
    }
}

#[test]
fn a_blank_disk_is_normal_before_the_network_boot_and_fatal_after_the_flash() {
    assert_eq!(seen("uefi-boot", Stage::Firmware), Vec::<String>::new());
    assert_eq!(seen("uefi-boot", Stage::DiskBoot), ["uefi-load-failed"]);
    assert_eq!(
        seen("uefi-blank-disk", Stage::DiskBoot),
        ["uefi-load-failed", "uefi-shell"]
    );
    assert_eq!(
        seen("bios-blank-disk", Stage::DiskBoot).first().unwrap(),
        "bios-boot-failed"
    );
}

#[test]
fn failures_are_named_by_their_first_line() {
    let first = |transcript, stage| seen(transcript, stage).into_iter().next();
    assert_eq!(
        first("bios-no-server", Stage::Dhcp).as_deref(),
        Some("ipxe-no-address")
    );
    assert_eq!(
        first("bios-missing-kernel", Stage::Script).as_deref(),
        Some("ipxe-file-missing")
    );
    assert_eq!(
        first("uefi-missing-kernel", Stage::Script).as_deref(),
        Some("ipxe-file-missing")
    );
    assert_eq!(
        first("uefi-missing-nbp", Stage::Nbp).as_deref(),
        Some("pxe-no-bootfile")
    );
    assert_eq!(
        first("uefi-no-bootfile", Stage::Dhcp).as_deref(),
        Some("pxe-no-offer")
    );
    assert_eq!(
        first("uefi-no-server", Stage::Firmware).as_deref(),
        Some("pxe-no-offer")
    );
    assert_eq!(
        first("bios-panic", Stage::Kernel).as_deref(),
        Some("no-root-fs")
    );
}

#[test]
fn what_systems_and_loaders_say_is_known() {
    let cases: &[(&str, Stage, Option<&str>)] = &[
        (
            "[ 1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b",
            Stage::Live,
            Some("init-died"),
        ),
        (
            "[ 1.0] ---[ end Kernel panic - not syncing: sysrq ]---",
            Stage::DiskBoot,
            Some("kernel-panic"),
        ),
        (
            "[ 0.5] Initramfs unpacking failed: write error",
            Stage::Live,
            Some("initramfs-broken"),
        ),
        (
            "bootgate-agent: error: no disk",
            Stage::Flash,
            Some("agent-error"),
        ),
        (
            "error: file `/boot/grub/i386-pc/normal.mod' not found.",
            Stage::DiskBoot,
            Some("grub-error"),
        ),
        (
            "error: ../../grub-core/kern/fs.c:123:unknown filesystem.",
            Stage::DiskBoot,
            Some("grub-error"),
        ),
        (
            "error: no suitable video mode found.",
            Stage::DiskBoot,
            None,
        ),
        ("error: no such partition.", Stage::Live, None),
        ("grub rescue> ", Stage::DiskBoot, Some("grub-rescue")),
        (
            "No bootable option or device was found.",
            Stage::Firmware,
            Some("no-bootable-device"),
        ),
        (
            "  PXE-E16: No valid offer received.",
            Stage::Dhcp,
            Some("pxe-no-offer"),
        ),
        (
            "  PXE-E99: Unexpected network error.",
            Stage::Nbp,
            Some("pxe-error"),
        ),
        (
            "tftp://10.0.0.1/autoexec.ipxe... Not found (https://ipxe.org/2d126001)",
            Stage::Nbp,
            None,
        ),
        (
            "Could not boot: Exec format error (https://ipxe.org/2e008081)",
            Stage::Live,
            Some("ipxe-not-executable"),
        ),
        (
            "Could not boot image: Connection timed out (http://ipxe.org/4c0a6035)",
            Stage::Script,
            Some("ipxe-timeout"),
        ),
        (
            "Could not boot image: Input/output error (http://ipxe.org/1d0c6139)",
            Stage::Script,
            Some("ipxe-failed"),
        ),
        (
            "Nothing to boot: No such file or directory (http://ipxe.org/2d03e13b)",
            Stage::Ipxe,
            Some("ipxe-file-missing"),
        ),
        ("iPXE> ", Stage::Script, Some("ipxe-shell")),
        ("(initramfs) ", Stage::DiskBoot, Some("emergency-shell")),
        (
            "BdsDxe: failed to load Boot0002 \"UEFI PXEv4\" from PciRoot(0x0): Access Denied",
            Stage::Nbp,
            Some("secure-boot"),
        ),
    ];
    for (line, stage, name) in cases {
        assert_eq!(
            shown(line.as_bytes(), *stage).first().map(String::as_str),
            *name,
            "{line} in {stage}"
        );
    }
}

#[test]
fn names_are_unique_and_every_rule_helps() {
    let rules = default_forbidden();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), rules.len());
    for rule in &rules {
        assert!(
            !rule.hint.is_empty() && !rule.stages.is_empty(),
            "{}",
            rule.name
        );
        assert!(!rule.stages.contains(&Stage::Done), "{}", rule.name);
    }
}
