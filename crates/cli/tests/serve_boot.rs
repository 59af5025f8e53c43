//! Machines with real firmware boot through `bootgate serve`: flash once, then the disk; a flasher that dies midway is
//! flashed again; an inventory.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;

use bootgate_testkit::in_namespaces;
use lab::{Lab, MAC, Vm, pc, root, serving, tap};
use serde_json::Value;

/// A lab that can flash the image of the default scenarios.
fn flash_lab() -> Lab {
    let media = root().join("target/media");
    let media = media.display();
    let more = format!(
        r#"
[live]
kernel = "{media}/live/vmlinuz"
initrd = ["{media}/live/initrd.img"]
cmdline = "console=ttyS0 quiet"

[[image]]
name = "small"
folder = "@/small"
"#
    );
    let lab = Lab::new(&serving(24, "10.77.0.100-10.77.0.150", &more));
    let out = lab.path("small");
    lab.bootgate(&[
        "media",
        "chunks",
        &format!("{media}/disk/disk.img"),
        "--out",
        out.to_str().expect("text"),
    ]);
    let disk = fs::File::create(lab.path("disk.raw")).expect("a disk");
    disk.set_len(256 << 20).expect("a blank disk");
    lab
}

fn machine(lab: &Lab, firmware: &str) -> Vm {
    let disk = lab.path("disk.raw");
    let line = pc(firmware, lab.folder.path(), "")
        + &format!(
            " -drive if=none,id=d,format=raw,file={} -device virtio-blk-pci,drive=d,serial=DISK-1,bootindex=2",
            disk.display()
        );
    Vm::start("qemu-system-x86_64", &line)
}

fn modes(attempts: &[Value]) -> Vec<(String, String)> {
    let mode = |attempt: &Value| match attempt["local"].as_bool() {
        Some(true) => "local".to_owned(),
        _ => attempt["boot"]["mode"].as_str().expect("a mode").to_owned(),
    };
    attempts
        .iter()
        .map(|attempt| (mode(attempt), Lab::verdict(attempt)))
        .collect()
}

fn passed(mode: &str) -> (String, String) {
    (mode.to_owned(), "passed".to_owned())
}

fn flashes_once_then_boots_its_disk(firmware: &'static str) {
    let ran = in_namespaces(|| {
        tap();
        let mut lab = flash_lab();
        lab.serve();
        lab.bootgate(&[
            "machine",
            "arm",
            MAC,
            "--image",
            "small",
            "--disk",
            "serial=DISK-1",
        ]);
        let mut vm = machine(&lab, firmware);
        vm.wait_for("flash complete");
        // The machine restarts by itself, asks the network first, and is sent to its disk.
        vm.wait_for("bootgate-image: bootgate-demo-1");
        // UEFI may have further network entries before its disk; each is sent to the disk again.
        let attempts = modes(&lab.finished_attempts(2));
        assert_eq!(attempts[0], passed("flash-once"), "{}", lab.log());
        assert!(
            attempts[1..].iter().all(|attempt| attempt.0 == "local"),
            "{}",
            lab.log()
        );
        assert_eq!(attempts[1], passed("local"), "{}", lab.log());
        let machine = lab.json(&["machine", "show", MAC]);
        assert_eq!(machine["boot"]["mode"], "local", "{machine:#}");
        assert_eq!(machine["disk"]["state"], "flashed", "{machine:#}");
        lab.stop();
    });
    assert!(ran);
}

#[test]
fn a_bios_machine_flashes_once_then_boots_its_disk() {
    require_flashing!();
    flashes_once_then_boots_its_disk("bios");
}

#[test]
fn a_uefi_machine_flashes_once_then_boots_its_disk() {
    require_flashing!();
    flashes_once_then_boots_its_disk("uefi");
}

#[test]
fn a_flasher_that_dies_midway_is_flashed_again_and_not_booted() {
    require_flashing!();
    let ran = in_namespaces(|| {
        tap();
        let mut lab = flash_lab();
        lab.serve();
        lab.bootgate(&[
            "machine",
            "arm",
            MAC,
            "--image",
            "small",
            "--disk",
            "serial=DISK-1",
        ]);
        let mut vm = machine(&lab, "bios");
        vm.wait_for("bootgate-agent: flash ");
        vm.kill();
        let machine_now = lab.json(&["machine", "show", MAC]);
        assert_eq!(machine_now["disk"]["state"], "dirty", "{machine_now:#}");
        // Half a disk is not booted, even if somebody says so without knowing.
        let refused = lab.try_bootgate(&["machine", "set", MAC, "--mode", "local"]);
        assert!(!refused.status.success(), "{}", lab::told(&refused));
        // The server dies as well; nothing of this is forgotten.
        lab.kill();
        lab.serve();
        let mut vm = machine(&lab, "bios");
        vm.wait_for("flash complete");
        vm.wait_for("bootgate-image: bootgate-demo-1");
        let attempts = lab.finished_attempts(3);
        assert_eq!(
            modes(&attempts),
            [
                ("flash-once".to_owned(), "failed".to_owned()),
                passed("flash-once"),
                passed("local")
            ],
            "{}",
            lab.log()
        );
        lab.stop();
    });
    assert!(ran);
}

#[test]
fn a_discovered_machine_tells_what_it_is_made_of() {
    require_flashing!();
    let ran = in_namespaces(|| {
        tap();
        let mut lab = flash_lab();
        let config = lab.path("serve.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(&config, text + "\n[discovery]\nmode = \"inventory\"\n")
            .expect("the configuration");
        lab.serve();
        let _vm = machine(&lab, "bios");
        let attempts = lab.finished_attempts(1);
        assert_eq!(modes(&attempts)[0], passed("inventory"), "{}", lab.log());
        let machine = lab.json(&["machine", "show", MAC]);
        assert_eq!(machine["discovered"], true);
        let disk = &machine["inventory"]["disks"][0];
        assert_eq!(
            (disk["serial"].as_str(), disk["size"].as_u64()),
            (Some("DISK-1"), Some(256 << 20))
        );
        assert_eq!(machine["inventory"]["nics"][0]["mac"], MAC);
        assert_eq!(machine["inventory"]["firmware"], "bios");
        lab.stop();
    });
    assert!(ran);
}
