//! Which architecture a file is made for, as far as its first bytes tell.

use std::ops::Range;
use std::path::Path;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::matrix::Axis;
use crate::read::{Text, shorten};
use crate::wire::BootWire;
use crate::{FirmwareProfile, ImageFormat, ImagePlan, NetbootPlan, Payload};

/// Enough of a file for the headers of kernels and programs.
const HEAD: u64 = 4096;
/// Enough of an image for its partition table with sectors of 4096 bytes: protective MBR, header and 128 entries.
const TABLE: u64 = 2 * 4096 + 128 * 128;

/// Complains about files that are made for another architecture than the firmware's.
pub(super) fn same(
    wire: &BootWire,
    firmware: &FirmwareProfile,
    image: Option<&ImagePlan>,
    boot: Option<&NetbootPlan>,
    checks: &Checks<'_>,
) {
    let wanted = firmware.platform.arch();
    let other = |key: &str, text: &Text, path: &Path, arch: fn(&[u8]) -> Option<&'static str>| {
        let head = checks.files.head(path, HEAD.max(TABLE)).ok();
        let found = head.as_deref().and_then(arch);
        let Some(found) = found.filter(|found| *found != wanted) else {
            return;
        };
        let shown = shorten(text.get_ref());
        let message = format!(
            "`{key}` names `{shown}`, made for `{found}`: firmware `{firmware}` is `{wanted}`"
        );
        checks.fail(
            Problem::at(text.span(), message)
                .label(format!("for {found}"))
                .hint(format!(
                    "name the file for {wanted}; for some targets: [[boot.for]] with arch = \"{wanted}\" and its `{key}`"
                ))
                .between(&[Axis::Firmware]),
        );
    };
    if let Some(boot) = boot {
        if let (Some(text), Payload::Linux { kernel, .. }) = (&wire.kernel, &boot.payload) {
            other("kernel", text, kernel, program);
        }
        if let (Some(text), Some(file)) = (&wire.nbp, &boot.nbp.file) {
            other("nbp", text, file, program);
        }
    }
    let path = wire.image.as_ref().and_then(|image| image.path.as_ref());
    if let (Some(text), Some(image)) = (path, image)
        && image.format == ImageFormat::Raw
    {
        other("image", text, &image.path, partitions);
    }
}

/// The architecture of a kernel or of a UEFI program.
fn program(head: &[u8]) -> Option<&'static str> {
    let at = |range: Range<usize>| head.get(range);
    // Linux: Documentation/arch/arm64/booting.rst, "4. Call the kernel image".
    if at(0x38..0x3c) == Some(b"ARM\x64") {
        return Some("aarch64");
    }
    // Linux: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header".
    if at(0x202..0x206) == Some(b"HdrS") {
        return Some("x86_64");
    }
    // PE: at 0x3c the offset of the signature, behind which the machine stands (UEFI 2.10, 2.1.1).
    if at(0..2) != Some(b"MZ") {
        return None;
    }
    let offset = at(0x3c..0x40)?.try_into().ok().map(u32::from_le_bytes)?;
    let offset = usize::try_from(offset).ok()?;
    let end = offset.checked_add(6)?;
    let [b'P', b'E', 0, 0, low, high] = *at(offset..end)? else {
        return None;
    };
    match u16::from_le_bytes([low, high]) {
        0x8664 => Some("x86_64"),
        0xaa64 => Some("aarch64"),
        _ => None,
    }
}

/// Types of partitions that only one architecture has, as they stand in a GPT (the first three fields are
/// little-endian): a BIOS boot partition, and the roots of the Discoverable Partitions Specification.
const TYPES: [(&str, [u8; 16]); 3] = [
    (
        "x86_64",
        [
            0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45,
            0x46, 0x49,
        ],
    ),
    (
        "x86_64",
        [
            0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84,
            0xb7, 0x09,
        ],
    ),
    (
        "aarch64",
        [
            0x45, 0xb0, 0x21, 0xb9, 0xf0, 0x1d, 0xc3, 0x41, 0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d,
            0x3f, 0xae,
        ],
    ),
];

/// The architecture of an image's partitions, where they tell of one only.
fn partitions(head: &[u8]) -> Option<&'static str> {
    let sector = [512, 4096]
        .into_iter()
        .find(|size| head.get(*size..size + 8) == Some(b"EFI PART"))?;
    let entries = head.get(2 * sector..)?.chunks_exact(128).take(128);
    let mut found = entries.filter_map(|entry| {
        let kind = entry.get(..16)?;
        let known = TYPES.iter().find(|(_, bytes)| bytes == kind);
        known.map(|(arch, _)| *arch)
    });
    let first = found.next()?;
    found.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::{partitions, program};

    #[test]
    fn headers_name_their_architecture() {
        let mut head = vec![0; 4096];
        assert_eq!(program(&head), None);
        head[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert_eq!(program(&head), Some("aarch64"));
        head[0x38..0x3c].fill(0);
        head[..2].copy_from_slice(b"MZ");
        head[0x3c] = 0x80;
        head[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
        assert_eq!(program(&head), Some("x86_64"));
        head[0x84..0x86].copy_from_slice(&[0x64, 0xaa]);
        assert_eq!(program(&head), Some("aarch64"));
        head[0x3c..0x40].fill(0xff);
        assert_eq!(program(&head), None, "an offset behind the end");
    }

    #[test]
    fn a_bios_boot_partition_is_a_pcs() {
        for sector in [512, 4096] {
            let mut head = vec![0; 32768];
            head[sector..sector + 8].copy_from_slice(b"EFI PART");
            assert_eq!(partitions(&head), None);
            let entry = 2 * sector + 128;
            head[entry..entry + 16].copy_from_slice(b"Hah!IdontNeedEFI");
            assert_eq!(partitions(&head), Some("x86_64"));
        }
    }
}
