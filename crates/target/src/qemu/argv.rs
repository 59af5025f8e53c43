//! QEMU's command line.

use std::path::Path;

use serde_json::{Value, json};

use super::absent_tpm;
use super::devices::{self, LinkKind};
use super::flash::Flash;
use super::{Firmware, FirmwareBoot, QemuConfig, UefiFirmware};
use crate::BootSource;
use crate::accel::Accel;
use crate::discovery::Arch;

/// Number of the serial console's socket in QEMU.
pub(crate) const SERIAL_FD: i32 = 10;
/// Number of the control channel's socket in QEMU.
pub(crate) const QMP_FD: i32 = 11;
/// The program and arguments for one power-on. `links` are as many as the machine has interfaces.
pub(crate) fn build(
    config: &QemuConfig,
    boot: BootSource,
    links: &[LinkKind],
    flash: &Flash,
) -> Vec<String> {
    let mut line = Line(vec![text(&config.binary.path)]);
    line.push("-name", format!("guest={}", escape(config.name.as_str())));
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.push("-display", "none");
    line.push("-machine", machine(config));
    line.push("-accel", accelerator(config.accel));
    line.push("-cpu", cpu(config.firmware.arch(), config.accel));
    line.push("-m", format!("{}M", config.memory_mib));
    line.push("-smp", config.cpus.to_string());
    // The CPU waits for `cont`, so that the console is drained from its first byte.
    line.flag("-S");
    line.push("-chardev", format!("socket,id=serial0,fd={SERIAL_FD}"));
    line.push("-serial", "chardev:serial0");
    line.push("-chardev", format!("socket,id=qmp0,fd={QMP_FD}"));
    line.push("-mon", "chardev=qmp0,mode=control");
    // A guest that reboots after the flash ends QEMU here: then its disk is closed and can be compared. After a boot
    // from disk a reboot is only told.
    let reboot = match boot {
        BootSource::Network => "shutdown",
        BootSource::Disk => "reset",
    };
    line.push(
        "-action",
        format!("reboot={reboot},shutdown=poweroff,panic=none"),
    );
    // EDK2 since 2024 refuses network boot without an entropy source.
    line.push("-object", "rng-random,id=rng0,filename=/dev/urandom");
    line.push("-device", entropy(config));
    firmware(&mut line, config, boot, flash);
    devices::storage(&mut line, config, boot);
    devices::network(&mut line, config, boot, links);
    line.0.extend(config.extra_args.iter().cloned());
    line.0
}

fn entropy(config: &QemuConfig) -> String {
    let mut device = "virtio-rng-pci,rng=rng0".to_owned();
    if let Some((slot, rom)) = absent_tpm::device(config) {
        device.push_str(&format!(",addr={slot:#x},romfile={}", escape(&text(&rom))));
    }
    device
}

fn machine(config: &QemuConfig) -> String {
    let mut machine = match config.firmware.arch() {
        // `graphics=off` makes SeaBIOS and the option ROMs print to the serial line.
        Arch::X86_64 => "type=q35,graphics=off,vmport=off",
        Arch::Aarch64 => "type=virt,gic-version=3",
    }
    .to_owned();
    match &config.firmware {
        Firmware::Bios => {}
        Firmware::Uefi(uefi) => {
            if needs_smm(uefi) {
                machine.push_str(",smm=on");
            }
            machine.push_str(",pflash0=code0,pflash1=vars0");
        }
        Firmware::Uboot(_) => machine.push_str(",pflash1=vars0"),
    }
    machine
}

/// Whether only code in system management mode may write to the variable store.
fn needs_smm(uefi: &UefiFirmware) -> bool {
    uefi.secure_boot && uefi.arch == Arch::X86_64
}

fn accelerator(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "kvm",
        // Translated code may fill a gigabyte by default. 64 MiB hold firmware and kernel (48 MiB at PID 1), and keep
        // the whole of QEMU below the guest's memory and 150 MiB.
        Accel::Tcg => "tcg,tb-size=64",
    }
}

/// The CPU model for an accelerator.
pub(crate) fn cpu(arch: Arch, accel: Accel) -> &'static str {
    match (arch, accel) {
        (_, Accel::Kvm) => "host",
        // Systems built for x86-64-v2 or v3 need more than `qemu64` has, and `max` is as fast. Page tables of five
        // levels only cost: no guest here has more than 64 TiB.
        (Arch::X86_64, Accel::Tcg) => "max,la57=off",
        // `max` signs every return address, which costs more than anything else that it has.
        (Arch::Aarch64, Accel::Tcg) => "cortex-a57",
    }
}

fn firmware(line: &mut Line, config: &QemuConfig, boot: BootSource, flash: &Flash) {
    // Only devices with a boot index are tried: no floppy, no leftover option ROM.
    // Over IPv6, EDK2's HTTP Boot gives up at once while the interface's link-local address is not ready, a second or two
    // after its driver was started. The wait for a key comes between the two.
    line.push(
        "-boot",
        match config.boot {
            FirmwareBoot::Http6 => "menu=on,splash-time=4000,strict=on",
            _ => "menu=off,strict=on",
        },
    );
    let mut chip = |node: &str, path: &Path, options: Value| {
        let mut chip = json!({ "driver": "file", "node-name": node, "filename": text(path) });
        merge(&mut chip, options);
        line.json("-blockdev", &chip);
    };
    let kept = json!({ "cache": { "direct": false, "no-flush": true } });
    match &config.firmware {
        Firmware::Bios => {}
        Firmware::Uefi(uefi) => {
            chip(
                "code0",
                flash.code(&uefi.files),
                json!({ "read-only": true }),
            );
            chip("vars0", flash.vars(), kept);
            if needs_smm(uefi) {
                line.push("-global", "driver=cfi.pflash01,property=secure,value=on");
            }
            kinds_of_boot(line, &config.boot, boot);
        }
        Firmware::Uboot(path) => {
            chip("vars0", flash.vars(), kept);
            line.push("-bios", text(path));
        }
    }
}

/// EDK2 tries PXE over IPv4, PXE over IPv6 and HTTP Boot over both in this order, and waits for a minute or more where
/// nobody answers (OvmfPkg's PxeBcPcdProducerLib reads the switches). HTTP Boot has no switch.
fn kinds_of_boot(line: &mut Line, kind: &FirmwareBoot, boot: BootSource) {
    for (name, wanted) in [("IPv4", FirmwareBoot::Pxe4), ("IPv6", FirmwareBoot::Pxe6)] {
        if boot == BootSource::Disk || *kind != wanted {
            line.push(
                "-fw_cfg",
                format!("name=opt/org.tianocore/{name}PXESupport,string=n"),
            );
        }
    }
}

fn merge(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

/// A command line that grows.
pub(super) struct Line(Vec<String>);

impl Line {
    pub(super) fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(super) fn push(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }

    pub(super) fn json(&mut self, name: &str, value: &Value) {
        self.push(name, value.to_string());
    }
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// In QEMU's option lists a comma in a value is written twice.
pub(super) fn escape(value: &str) -> String {
    value.replace(',', ",,")
}
