//! The hybrid image: one file that boots as a CD and as a USB stick.
//!
//! A BIOS finds isolinux, by El Torito on a CD and by the boot sector on a stick, which starts `ipxe.lkrn` with the script.
//! UEFI finds a FAT file system, by El Torito or as a partition, with iPXE under the names for removable media (UEFI 2.10,
//! section 3.5.1.1); iPXE finds `autoexec.ipxe` beside itself or at the root.

use super::source::{Parts, Role};
use super::{LOADER_CONFIG, SCRIPT};
use crate::digest;
use crate::disk::fat;
use crate::iso::{Boot, File, Image, Platform};

const VOLUME: &str = "BOOTGATE";
const LOADER: &str = "ISOLINUX.BIN";
const ESP: &str = "EFI.IMG";
const MIB: usize = 1 << 20;

/// The image, where anything of it can be made. What is left out is noted.
pub(super) fn build(
    parts: &Parts,
    script: &str,
    notes: &mut Vec<String>,
) -> Result<Option<Vec<u8>>, String> {
    let bios = bios(parts, script, notes);
    let esp = esp(parts, script, notes)?;
    let mut image = Image {
        volume: VOLUME,
        files: Vec::new(),
        boot: Vec::new(),
        mbr: None,
        esp: None,
    };
    // BIOS first: firmware that reads no further takes the first entry.
    if let Some(files) = bios {
        image.files.extend(files);
        image.boot.push(Boot {
            platform: Platform::Bios,
            file: LOADER,
            info_table: true,
        });
        let code = parts.bytes(Role::IsolinuxMbr).unwrap_or_default().to_vec();
        image.mbr = Some((code, LOADER));
    }
    if let Some(content) = esp {
        image.files.push(File { name: ESP, content });
        image.boot.push(Boot {
            platform: Platform::Efi,
            file: ESP,
            info_table: false,
        });
        image.esp = Some(ESP);
    }
    if image.boot.is_empty() {
        return Ok(None);
    }
    image.build().map(Some)
}

/// What a BIOS boots.
fn bios(parts: &Parts, script: &str, notes: &mut Vec<String>) -> Option<Vec<File>> {
    let lkrn = parts.bytes(Role::BiosLkrn)?;
    for role in [Role::Isolinux, Role::IsolinuxMbr, Role::Ldlinux] {
        if parts.bytes(role).is_none() {
            let (name, package) = (role.file_name(), role.package());
            notes.push(format!(
                "bootgate.iso does not boot with BIOS: {name} was not found (apt-get install {package})"
            ));
            return None;
        }
    }
    let loader = parts.bytes(Role::Isolinux)?;
    let module = parts.bytes(Role::Ldlinux)?;
    let file = |name, content: &[u8]| File {
        name,
        content: content.to_vec(),
    };
    Some(vec![
        file(LOADER, loader),
        file("LDLINUX.C32", module),
        file("ISOLINUX.CFG", LOADER_CONFIG.as_bytes()),
        file("IPXE.LKRN", lkrn),
        file("AUTOEXEC.IPXE", script.as_bytes()),
    ])
}

/// What UEFI boots: a FAT file system with room for it and little more.
fn esp(parts: &Parts, script: &str, notes: &mut Vec<String>) -> Result<Option<Vec<u8>>, String> {
    // A stick is no network card: iPXE needs drivers of its own, or the firmware's of all cards.
    let x64 = parts.bytes(Role::UefiX64);
    if x64.is_none() && parts.bytes(Role::UefiX64Snp).is_some() {
        notes.push(
            "bootgate.iso does not boot with x64 UEFI: ipxe-amd64.efi was not found, and snponly.efi drives only the card \
             that loaded it"
                .to_owned(),
        );
    }
    let programs = [
        ("EFI/BOOT/BOOTX64.EFI", x64, "x64"),
        (
            "EFI/BOOT/BOOTAA64.EFI",
            parts.bytes(Role::UefiArm64),
            "arm64",
        ),
    ];
    let mut files: Vec<(&str, &[u8])> = Vec::new();
    for (path, bytes, name) in programs {
        let Some(bytes) = bytes else { continue };
        match super::inspect(bytes) {
            Ok(seen) if seen.autoexec == Some(true) => files.push((path, bytes)),
            _ => notes.push(format!(
                "bootgate.iso does not boot with {name} UEFI: its iPXE is too old for {SCRIPT}"
            )),
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    // Beside the programs for iPXE since 2022, which otherwise tells of an error first; at the root for older ones.
    files.push(("EFI/BOOT/autoexec.ipxe", script.as_bytes()));
    files.push((SCRIPT, script.as_bytes()));
    let content: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    // FAT16 begins at about 2 MiB with the smallest clusters; a MiB is for its tables and for what clusters waste.
    let size = (content + MIB).next_multiple_of(MIB).max(4 * MIB);
    let all: Vec<u8> = files
        .iter()
        .flat_map(|(_, bytes)| *bytes)
        .copied()
        .collect();
    let hash = digest::sha256(&all).0;
    let volume_id = u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]);
    fat::build(size, 512, volume_id, &files)
        .map(Some)
        .map_err(|error| format!("make the EFI system partition: {error}"))
}
