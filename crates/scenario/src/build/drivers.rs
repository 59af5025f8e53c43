//! What firmware of virtual machines has no driver for, where it has to boot from it.

use std::ops::Range;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::matrix::Axis;
use crate::read::Text;
use crate::wire::TargetWire;
use crate::{BootPath, DiskBus, Driver, FirmwareProfile, NicLink, NicRom, Platform};

/// Models that U-Boot drives. It finds an e1000e, but reads no address from QEMU's (both seen with U-Boot 2023.01).
const UBOOT: [&str; 2] = ["virtio-net-pci", "e1000"];

/// Models that EDK2 drives on 64-bit Arm. On x86-64 QEMU's option ROMs bring a driver for each model; they hold nothing
/// for Arm.
const ARM64: [&str; 1] = ["virtio-net-pci"];

/// Complains about an interface on the segment that firmware cannot boot from. What boots from a stick leaves the
/// interfaces to iPXE, which has drivers of its own.
pub(super) fn nic(
    wire: &TargetWire,
    firmware: &FirmwareProfile,
    driver: &Driver,
    checks: &Checks<'_>,
) {
    let driven: &[&str] = match firmware.platform {
        Platform::Bios | Platform::UefiX64 => return,
        Platform::UefiArm64 => &ARM64,
        Platform::UbootArm64 => &UBOOT,
    };
    let Driver::Qemu(qemu) = driver else { return };
    let own = qemu
        .nics
        .iter()
        .position(|nic| matches!(nic.link, NicLink::Segment | NicLink::Tagged(_)));
    let Some((index, nic)) = own.and_then(|index| Some((index, qemu.nics.get(index)?))) else {
        return;
    };
    // A ROM of the operator's may be a driver. U-Boot starts none.
    let brought = matches!(nic.rom, NicRom::File(_)) && firmware.platform.is_uefi();
    if firmware.path == BootPath::Usb || brought || driven.contains(&nic.model.as_str()) {
        return;
    }
    let written = wire.nic.as_ref().and_then(|nics| nics.list.get(index));
    let span = written.map_or(wire.span.clone(), |nic| {
        nic.model.as_ref().map_or(nic.span.clone(), Text::span)
    });
    let words: Vec<String> = driven
        .iter()
        .map(|model| format!("\"{}\"", model.trim_end_matches("-pci")))
        .collect();
    let message = format!(
        "firmware `{firmware}` has no driver for a `{}` interface",
        nic.model
    );
    checks.fail(
        Problem::at(span, message)
            .label("boots from this one")
            .hint(format!("use nic = {}", words.join(" or ")))
            .between(&[Axis::Firmware, Axis::Nic]),
    );
}

/// Complains about a disk that firmware does not see. U-Boot looks at it first at every start.
pub(super) fn disk(
    wire: &TargetWire,
    firmware: &FirmwareProfile,
    driver: &Driver,
    checks: &Checks<'_>,
) {
    let Driver::Qemu(qemu) = driver else { return };
    let bus = qemu.disk.map(|disk| disk.bus);
    // Debian's U-Boot for QEMU has neither a driver for virtio's SCSI nor for xHCI.
    let undriven = bus.filter(|bus| matches!(bus, DiskBus::Scsi | DiskBus::Usb));
    let (Platform::UbootArm64, Some(bus)) = (firmware.platform, undriven) else {
        return;
    };
    let word = DiskBus::WORDS.iter().find(|(_, known)| *known == bus);
    let word = word.map_or("", |(word, _)| word);
    let message = format!("firmware `{firmware}` has no driver for a `{word}` disk");
    checks.fail(
        Problem::at(disk_span(wire), message)
            .hint("use bus = \"virtio\", \"nvme\" or \"sata\"")
            .between(&[Axis::Firmware, Axis::Disk]),
    );
}

fn disk_span(wire: &TargetWire) -> Range<usize> {
    let disk = wire.disk.as_ref();
    disk.map_or(wire.span.clone(), |disk| {
        disk.bus.as_ref().map_or(disk.span.clone(), Text::span)
    })
}
