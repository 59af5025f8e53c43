//! Disks and network interfaces on QEMU's command line.

use serde_json::json;

use super::argv::{Line, escape, text};
use super::{Disk, DiskBus, Firmware, FirmwareBoot, Nic, NicRom, QemuConfig};
use crate::BootSource;
use crate::discovery::Arch;

/// Number of the first interface's link in QEMU. Interface `n` has this plus `2n`, and for the far end of a cable that
/// leads nowhere the number after it.
const FIRST_LINK_FD: i32 = 12;
/// Where the first interface is on the first PCI bus; the others follow. The boot options in UEFI's variable store
/// name the slot.
pub(super) const FIRST_NIC_SLOT: u8 = 0x10;

/// How an interface is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkKind {
    Socket,
    Tap,
}

/// Numbers of both ends of interface `index`'s link in QEMU; the second is used where QEMU has both.
pub(super) fn link_fds(index: usize) -> (i32, i32) {
    let first = i32::try_from(index)
        .unwrap_or(i32::MAX / 4)
        .saturating_mul(2)
        .saturating_add(FIRST_LINK_FD);
    (first, first.saturating_add(1))
}

/// The disk, and the stick where the machine boots from one. The stick comes first then: SeaBIOS boots from the first of
/// all disks only, and where that is blank it does not try the next.
pub(super) fn storage(line: &mut Line, config: &QemuConfig, boot: BootSource) {
    let stick = match (&config.boot, boot) {
        (FirmwareBoot::Usb(image), BootSource::Network) => Some(image),
        _ => None,
    };
    let disk = config.disk.as_ref();
    if stick.is_some() || disk.is_some_and(|disk| disk.bus == DiskBus::Usb) {
        line.push("-device", "qemu-xhci,id=xhci0");
    }
    if let Some(disk) = disk {
        let order = if stick.is_some() { 2 } else { 1 };
        add_disk(line, disk, config.firmware.arch(), order);
    }
    if let Some(image) = stick {
        line.json(
            "-blockdev",
            &json!({
                "driver": "raw",
                "node-name": "stick0",
                "read-only": true,
                "file": { "driver": "file", "filename": text(image), "read-only": true },
            }),
        );
        line.push(
            "-device",
            "usb-storage,bus=xhci0.0,drive=stick0,serial=bootgate-stick,removable=on,bootindex=1",
        );
    }
}

fn add_disk(line: &mut Line, disk: &Disk, arch: Arch, order: u8) {
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
    let device = match disk.bus {
        DiskBus::Virtio => "virtio-blk-pci",
        DiskBus::Nvme => "nvme",
        // The first port of q35's own controller.
        DiskBus::Sata if arch == Arch::X86_64 => "ide-hd,bus=ide.0",
        DiskBus::Sata => {
            line.push("-device", "ich9-ahci,id=ahci0");
            "ide-hd,bus=ahci0.0"
        }
        DiskBus::Usb => "usb-storage,bus=xhci0.0",
        DiskBus::Scsi => {
            line.push("-device", "virtio-scsi-pci,id=scsi0");
            "scsi-hd,bus=scsi0.0"
        }
    };
    // An error of the host stops the guest and is told by QMP, instead of looking like a broken disk to the guest.
    // QEMU's NVMe cannot.
    let on_error = match disk.bus {
        DiskBus::Nvme => "",
        _ => ",werror=stop,rerror=stop",
    };
    let (size, serial) = (disk.sector_size, Disk::SERIAL);
    line.push(
        "-device",
        format!(
            "{device},drive=disk0,serial={serial},bootindex={order},logical_block_size={size},\
             physical_block_size={size}{on_error}"
        ),
    );
}

/// The interfaces, each with its link.
pub(super) fn network(line: &mut Line, config: &QemuConfig, boot: BootSource, links: &[LinkKind]) {
    for (index, (nic, link)) in config.nics.iter().zip(links).enumerate() {
        let (fd, _) = link_fds(index);
        let kind = match link {
            LinkKind::Socket => "socket",
            LinkKind::Tap => "tap",
        };
        line.push("-netdev", format!("{kind},id=net{index},fd={fd}"));
        line.push("-device", interface(config, nic, index, boot));
    }
}

fn interface(config: &QemuConfig, nic: &Nic, index: usize, boot: BootSource) -> String {
    let mut device = format!(
        "{},id=nic{index},netdev=net{index},mac={},addr={:#x}",
        nic.model,
        nic.mac,
        usize::from(FIRST_NIC_SLOT) + index
    );
    if boot == BootSource::Disk || matches!(config.boot, FirmwareBoot::Usb(_)) {
        device.push_str(",romfile=");
        return device;
    }
    device.push_str(&format!(",bootindex={}", index + 2));
    match (&nic.rom, &config.firmware) {
        (NicRom::File(path), _) => {
            device.push_str(&format!(",romfile={}", escape(&text(path))));
        }
        (NicRom::Standard, firmware) if has_driver(firmware, &nic.model) => {
            device.push_str(",romfile=");
        }
        (NicRom::Standard | NicRom::Qemu, _) => {}
    }
    device
}

/// Whether the firmware drives such an interface without an option ROM. QEMU's ROMs are for BIOS and x86-64 only.
fn has_driver(firmware: &Firmware, model: &str) -> bool {
    match firmware {
        Firmware::Bios => false,
        Firmware::Uefi(uefi) => uefi.arch == Arch::Aarch64 || model.starts_with("virtio-net"),
        Firmware::Uboot(_) => true,
    }
}
