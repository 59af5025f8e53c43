//! The disk image booted by real firmware in QEMU, without acceleration, so that it runs wherever QEMU does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a helper that fails fails its test"
)]

mod common;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bootgate_media::disk::{DiskMedia, DiskRecipe};

/// Ten times what it takes here.
const LIMIT: Duration = Duration::from_secs(100);
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
const AAVMF_CODE: &str = "/usr/share/AAVMF/AAVMF_CODE.fd";
const AAVMF_VARS: &str = "/usr/share/AAVMF/AAVMF_VARS.fd";

#[derive(Clone, Copy, PartialEq)]
enum Firmware {
    Bios,
    Uefi,
}

/// Ends QEMU with the test, however the test ends.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn power_on(firmware: Firmware, disk: &DiskMedia, folder: &Path) -> Machine {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-machine",
        "q35,accel=tcg,graphics=off",
        "-m",
        "512",
        "-nographic",
        "-no-reboot",
    ]);
    qemu.args(["-nic", "none", "-monitor", "none", "-serial", "stdio"]);
    let image = disk.image.display();
    qemu.arg("-drive").arg(format!(
        "file={image},if=none,id=disk,format=raw,snapshot=on"
    ));
    let sector = disk.sector_size;
    qemu.arg("-device").arg(format!(
        "virtio-blk-pci,drive=disk,logical_block_size={sector},physical_block_size={sector}"
    ));
    if firmware == Firmware::Uefi {
        let vars = folder.join("vars.fd");
        fs::copy(OVMF_VARS, &vars).unwrap();
        let flash = |unit, path: &Path, options| {
            format!(
                "if=pflash,format=raw,unit={unit},file={}{options}",
                path.display()
            )
        };
        qemu.arg("-drive")
            .arg(flash(0, Path::new(OVMF_CODE), ",readonly=on"));
        qemu.arg("-drive").arg(flash(1, &vars, ""));
    }
    start(qemu)
}

fn start(mut qemu: Command) -> Machine {
    let qemu = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    Machine(qemu.expect("start QEMU"))
}

/// A 64-bit Arm machine with UEFI.
fn power_on_arm64(image: &Path, folder: &Path) -> Machine {
    let vars = folder.join("vars.fd");
    fs::copy(AAVMF_VARS, &vars).unwrap();
    let mut qemu = Command::new("qemu-system-aarch64");
    qemu.args(["-machine", "virt,accel=tcg", "-cpu", "cortex-a57"]);
    qemu.args(["-m", "512", "-nographic", "-no-reboot", "-nic", "none"]);
    qemu.args(["-monitor", "none", "-serial", "stdio"]);
    for (file, options) in [(Path::new(AAVMF_CODE), ",readonly=on"), (&vars, "")] {
        let file = file.display();
        qemu.arg("-drive")
            .arg(format!("if=pflash,format=raw,file={file}{options}"));
    }
    let image = image.display();
    qemu.arg("-drive").arg(format!(
        "file={image},if=none,id=disk,format=raw,snapshot=on"
    ));
    qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
    start(qemu)
}

/// The console until the machine is off or `enough` is content with it.
fn console(machine: &mut Machine, enough: impl Fn(&str) -> bool) -> String {
    let mut serial = machine.0.stdout.take().unwrap();
    let (send, chunks) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = serial.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + LIMIT;
    let mut seen = String::new();
    while !enough(&seen) {
        match chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(chunk) => seen.push_str(&String::from_utf8_lossy(&chunk)),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("nothing after {LIMIT:?}, console:\n{seen}"),
        }
    }
    seen
}

fn boots(firmware: Firmware, recipe: &str, change: impl FnOnce(&mut DiskRecipe)) {
    bootgate_testkit::require_commands!("qemu-system-x86_64");
    let real = real!();
    if firmware == Firmware::Uefi && !Path::new(OVMF_CODE).is_file() {
        bootgate_testkit::skip!("`{OVMF_CODE}` is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = DiskRecipe::load(&common::recipe(recipe)).unwrap();
    change(&mut recipe);
    let disk = real.disk(&recipe, folder.path());
    let mut machine = power_on(firmware, &disk, folder.path());
    let line = format!("bootgate-image: {}", recipe.image_id);
    let told = |seen: &str| seen.lines().filter(|found| *found == line).count();
    // One that switches off is waited for to do so.
    let stays = !recipe.cmdline.contains("bootgate.poweroff");
    let seen = console(&mut machine, |seen| {
        stays && seen.ends_with('\n') && told(seen) == 2
    });
    assert_eq!(told(&seen), 2, "{seen}");
    assert!(seen.contains("bootgate-disk: loading Linux"), "{seen}");
    assert!(!seen.contains("error"), "{seen}");
}

#[test]
fn arm64_boots_the_disk_and_says_which_image() {
    bootgate_testkit::require_commands!("qemu-system-aarch64");
    let Some(media) = std::env::var_os("BOOTGATE_MEDIA") else {
        bootgate_testkit::skip!("BOOTGATE_MEDIA is not set");
    };
    let image = Path::new(&media).join("disk-arm64/disk.img");
    for file in [image.as_path(), Path::new(AAVMF_CODE)] {
        if !file.is_file() {
            bootgate_testkit::skip!("there is no `{}`", file.display());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let recipe = DiskRecipe::load(&common::recipe("disk-arm64.toml")).unwrap();
    let mut machine = power_on_arm64(&image, folder.path());
    let line = format!("bootgate-image: {}", recipe.image_id);
    let seen = console(&mut machine, |seen| seen.contains(&line));
    assert!(seen.contains("bootgate-disk: loading Linux"), "{seen}");
}

#[test]
fn bios_boots_the_disk_and_says_which_image() {
    boots(Firmware::Bios, "disk.toml", |_| {});
}

#[test]
fn uefi_boots_the_disk_and_says_which_image() {
    boots(Firmware::Uefi, "disk.toml", |_| {});
}

#[test]
fn uefi_boots_a_disk_with_large_sectors_which_then_switches_off() {
    boots(Firmware::Uefi, "disk-4k.toml", |recipe| {
        recipe.cmdline.push_str(" bootgate.poweroff");
    });
}
