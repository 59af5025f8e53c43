//! The disk of a virtual machine.

use super::image;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::matrix::Axis;
use crate::read::{Text, shorten};
use crate::units::show_size;
use crate::wire::DiskWire;
use crate::{DiskBus, DiskPlan, ImagePlan};

/// A disk is rounded up to whole units of this where the scenario does not say its size: 1 MiB.
const DISK_STEP: u64 = 1 << 20;

/// The disk where nothing is said about it: the image fits into it.
pub(super) fn of_image(image: &ImagePlan) -> DiskPlan {
    DiskPlan {
        size: rounded(image),
        sector_size: image.sector_size,
        bus: DiskBus::Virtio,
    }
}

fn rounded(image: &ImagePlan) -> u64 {
    image.size.div_ceil(DISK_STEP).saturating_mul(DISK_STEP)
}

pub(super) fn disk(
    wire: &DiskWire,
    image: Option<&ImagePlan>,
    checks: &Checks<'_>,
) -> Option<DiskPlan> {
    let sector_size = sector_size(wire, image, checks)?;
    let bus = match &wire.bus {
        Some(bus) => checks.word("bus", bus, &DiskBus::WORDS)?,
        None => DiskBus::Virtio,
    };
    // QEMU's IDE disks, which an AHCI controller has, know sectors of 512 bytes only (its hw/ide/ide-dev.c).
    if bus == DiskBus::Sata && sector_size != 512 {
        let span = wire.bus.as_ref().map_or(wire.span.clone(), Text::span);
        checks.fail(
            Problem::at(
                span,
                format!("a SATA disk has no sectors of `{sector_size}` bytes"),
            )
            .hint("use bus = \"nvme\", \"virtio\", \"scsi\" or \"usb\"")
            .between(&[Axis::Disk]),
        );
    }
    Some(DiskPlan {
        size: size(wire, sector_size, image, checks)?,
        sector_size,
        bus,
    })
}

fn sector_size(wire: &DiskWire, image: Option<&ImagePlan>, checks: &Checks<'_>) -> Option<u32> {
    let written = match (&wire.sector_size, image) {
        (Some(written), _) => written,
        (None, Some(image)) => return Some(image.sector_size),
        (None, None) => return Some(512),
    };
    let size = image::known_sector_size(written, checks)?;
    match image {
        Some(image) if image.sector_size != size => {
            let message = format!(
                "the disk's `sector_size` is `{size}`, the image's is `{}`",
                image.sector_size
            );
            checks.fail(
                Problem::at(written.span(), message)
                    .label("not the image's")
                    .hint(format!("an image boots only from a disk of its own sector size; leave the key out to get that, or add [[boot.for]] with sector_size = {size} and an image made for it"))
                    .between(&[Axis::Disk]),
            );
            None
        }
        _ => Some(size),
    }
}

fn size(
    wire: &DiskWire,
    sector_size: u32,
    image: Option<&ImagePlan>,
    checks: &Checks<'_>,
) -> Option<u64> {
    let Some(text) = &wire.size else {
        let Some(image) = image else {
            let hint = "add the size of the disk: disk = { size = \"64MiB\" }";
            checks.missing(wire.span.clone(), "the disk's `size`", hint);
            return None;
        };
        return Some(rounded(image));
    };
    let size = checks.size("size", text)?;
    let fail = |problem: String, hint: &str| {
        let shown = shorten(text.get_ref());
        let message = format!("the disk's `size` is `{shown}`: {problem}");
        checks.fail(Problem::at(text.span(), message).hint(hint));
        None
    };
    if size == 0 || !size.is_multiple_of(u64::from(sector_size)) {
        let problem = format!("no multiple of its sector size, {sector_size}");
        return fail(problem, "use whole sectors, like \"64MiB\"");
    }
    match image {
        Some(image) if image.size > size => {
            let problem = format!("smaller than the image, {}", show_size(image.size));
            fail(
                problem,
                "make the disk larger, or leave `size` out to get the image's",
            )
        }
        _ => Some(size),
    }
}
