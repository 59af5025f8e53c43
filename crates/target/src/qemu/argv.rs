//! QEMU's command line.

use std::path::Path;

use serde_json::{Value, json};

use super::{Disk, Firmware, NicRom, QemuConfig};
use crate::BootSource;
use crate::accel::Accel;

/// Number of the serial console's socket in QEMU.
pub(crate) const SERIAL_FD: i32 = 10;
/// Number of the control channel's socket in QEMU.
pub(crate) const QMP_FD: i32 = 11;
/// Number of the network link in QEMU.
pub(crate) const LINK_FD: i32 = 12;
/// Number of the far end of a link that goes nowhere.
pub(crate) const LINK_PEER_FD: i32 = 13;

/// How the interface is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Socket,
    Tap,
}

/// The program and arguments for one power-on. `vars` is the machine's own copy of the variable store (UEFI).
pub(crate) fn build(
    config: &QemuConfig,
    boot: BootSource,
    link: LinkKind,
    vars: &Path,
) -> Vec<String> {
    let mut line = Line(vec![text(&config.binary.path)]);
    line.push("-name", format!("guest={}", escape(config.name.as_str())));
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.push("-display", "none");
    line.push("-machine", machine(config));
    line.push("-accel", accelerator(config.accel));
    line.push("-cpu", cpu(config.accel));
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
    line.push("-device", "virtio-rng-pci,rng=rng0");
    firmware(&mut line, config, boot, vars);
    if let Some(disk) = &config.disk {
        add_disk(&mut line, disk);
    }
    network(&mut line, config, boot, link);
    line.0.extend(config.extra_args.iter().cloned());
    line.0
}

fn machine(config: &QemuConfig) -> String {
    // `graphics=off` makes SeaBIOS and the option ROMs print to the serial line.
    let mut machine = "type=q35,graphics=off,vmport=off".to_owned();
    if matches!(config.firmware, Firmware::Uefi(_)) {
        machine.push_str(",pflash0=code0,pflash1=vars0");
    }
    machine
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
pub(crate) fn cpu(accel: Accel) -> &'static str {
    match accel {
        Accel::Kvm => "host",
        // Systems built for x86-64-v2 or v3 need more than `qemu64` has, and `max` is as fast. Page tables of five
        // levels only cost: no guest here has more than 64 TiB.
        Accel::Tcg => "max,la57=off",
    }
}

fn firmware(line: &mut Line, config: &QemuConfig, boot: BootSource, vars: &Path) {
    // Only devices with a boot index are tried: no floppy, no leftover option ROM.
    line.push("-boot", "menu=off,strict=on");
    let Firmware::Uefi(files) = &config.firmware else {
        return;
    };
    line.json(
        "-blockdev",
        &json!({ "driver": "file", "node-name": "code0", "filename": text(&files.code), "read-only": true }),
    );
    line.json(
        "-blockdev",
        &json!({ "driver": "file", "node-name": "vars0", "filename": text(vars), "cache": { "direct": false, "no-flush": true } }),
    );
    // OVMF tries PXEv4, then PXEv6, which waits for more than a minute where nobody answers.
    line.push("-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n");
    if boot == BootSource::Disk {
        line.push("-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n");
    }
}

fn add_disk(line: &mut Line, disk: &Disk) {
    // The disk lives for one run, and the host reads it after QEMU has ended: flushing to the medium would only cost.
    line.json(
        "-blockdev",
        &json!({
            "driver": "raw",
            "node-name": "disk0",
            "discard": "unmap",
            "file": {
                "driver": "file",
                "filename": text(&disk.path),
                "discard": "unmap",
                "cache": { "direct": false, "no-flush": true },
            },
        }),
    );
    // An error of the host stops the guest and is told by QMP, instead of looking like a broken disk to the guest.
    let size = disk.sector_size;
    line.push(
        "-device",
        format!(
            "virtio-blk-pci,drive=disk0,bootindex=1,logical_block_size={size},physical_block_size={size},\
             werror=stop,rerror=stop"
        ),
    );
}

fn network(line: &mut Line, config: &QemuConfig, boot: BootSource, link: LinkKind) {
    match link {
        LinkKind::Socket => line.push("-netdev", format!("socket,id=net0,fd={LINK_FD}")),
        LinkKind::Tap => line.push("-netdev", format!("tap,id=net0,fd={LINK_FD}")),
    }
    let mut device = format!("{},netdev=net0,mac={}", config.nic_model, config.mac);
    match boot {
        BootSource::Network => {
            device.push_str(",bootindex=2");
            match (&config.nic_rom, &config.firmware) {
                (NicRom::File(path), _) => {
                    device.push_str(&format!(",romfile={}", escape(&text(path))));
                }
                (NicRom::Standard, Firmware::Uefi(_)) => device.push_str(",romfile="),
                (NicRom::Standard | NicRom::Qemu, _) => {}
            }
        }
        BootSource::Disk => device.push_str(",romfile="),
    }
    line.push("-device", device);
}

struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn push(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }

    fn json(&mut self, name: &str, value: &Value) {
        self.push(name, value.to_string());
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// In QEMU's option lists a comma in a value is written twice.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}
