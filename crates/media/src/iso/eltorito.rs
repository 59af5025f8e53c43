//! What a CD boots (El Torito 1.0; UEFI specification, section 13.3.2).

use super::SECTOR;
use super::volume::Layout;

/// Whose boot entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Platform {
    /// A BIOS: the file is loaded to 0000:7c00.
    Bios,
    /// UEFI: the file is a FAT file system.
    Efi,
}

/// A boot entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    /// Whose.
    pub(crate) platform: Platform,
    /// The file.
    pub(crate) file: &'static str,
    /// Whether the file wants to be told where it lies: isolinux does.
    pub(crate) info_table: bool,
}

/// Blocks of 512 bytes of a loader without emulation that a BIOS loads; it loads the rest itself.
const BIOS_BLOCKS: u16 = 4;

/// The catalog: one sector.
pub(super) fn catalog(boot: &[Boot], layout: &Layout) -> Result<Vec<u8>, String> {
    let mut out = validation();
    for (index, one) in boot.iter().enumerate() {
        let sectors = layout.span(one.file)?;
        let blocks = match one.platform {
            Platform::Bios => BIOS_BLOCKS,
            // The field is too small for larger ones; firmware then goes by the file system's own size.
            Platform::Efi => u16::try_from((sectors.end - sectors.start) * 4).unwrap_or(u16::MAX),
        };
        if index > 0 {
            // A section of one entry; 0x91 says that it is the last.
            let last = index + 1 == boot.len();
            out.extend([if last { 0x91 } else { 0x90 }, platform(one.platform), 1, 0]);
            out.extend([0; 28]);
        }
        // Bootable, no emulation, at the usual place.
        out.extend([0x88, 0, 0, 0, 0, 0]);
        out.extend(blocks.to_le_bytes());
        out.extend(sectors.start.to_le_bytes());
        out.extend([0; 20]);
    }
    if let Some(first) = boot.first() {
        out[1] = platform(first.platform);
        let sum = checksum(&out[..32]);
        out[28..30].copy_from_slice(&sum.to_le_bytes());
    }
    if out.len() > SECTOR as usize {
        return Err("too many boot entries".to_owned());
    }
    Ok(out)
}

fn platform(platform: Platform) -> u8 {
    match platform {
        Platform::Bios => 0,
        Platform::Efi => 0xef,
    }
}

/// The first entry, with a checksum of zero.
fn validation() -> Vec<u8> {
    let mut out = vec![0; 32];
    out[0] = 1;
    out[30..].copy_from_slice(&[0x55, 0xaa]);
    out
}

/// What makes the sum of all 16-bit words zero.
fn checksum(entry: &[u8]) -> u16 {
    let words = entry
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]));
    words.fold(0u16, u16::wrapping_add).wrapping_neg()
}

/// Where isolinux finds itself: the volume descriptor, its own place, its length, and the sum of what follows (mkisofs'
/// `-boot-info-table`).
pub(super) fn write_info_table(loader: &mut [u8], sector: u32) -> Result<(), String> {
    const BEGIN: usize = 8;
    const END: usize = 64;
    let length = super::to_u32(loader.len())?;
    let rest = loader.get(END..).ok_or("the boot loader is too short")?;
    let sum = rest.chunks(4).fold(0u32, |sum, part| {
        let mut word = [0; 4];
        word[..part.len()].copy_from_slice(part);
        sum.wrapping_add(u32::from_le_bytes(word))
    });
    let mut table = Vec::new();
    for word in [16, sector, length, sum] {
        table.extend(word.to_le_bytes());
    }
    table.resize(END - BEGIN, 0);
    loader[BEGIN..END].copy_from_slice(&table);
    Ok(())
}
