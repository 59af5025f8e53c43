//! Volume descriptors, path tables and the one folder (ECMA-119, sections 6 to 9).

use std::ops::Range;

use super::{File, SECTOR, place, put, to_u32};

/// The first sector that is ISO 9660's.
const FIRST: u32 = 16;
/// El Torito's boot record must lie in this one (El Torito 1.0, section 2.0).
const BOOT_RECORD: u32 = 17;
const TERMINATOR: u32 = 18;
const PATHS_LITTLE: u32 = 19;
const PATHS_BIG: u32 = 20;
const ROOT: u32 = 21;
/// ECMA-119 has the size of a sector in 16 bits.
const SECTOR_SIZE: u16 = 2048;
/// The path table: one entry, for the root.
const PATHS_SIZE: u32 = 10;
/// 1980-01-01 00:00:00 UTC, as folders have it: years since 1900, month, day, hour, minute, second, zone.
const TIME: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];

/// Where a file lies.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number in the list of files.
    pub(super) index: usize,
    name: &'static str,
    /// Its first sector.
    pub(super) sector: u32,
    bytes: u32,
}

/// What lies where.
#[derive(Debug)]
pub(super) struct Layout {
    entries: Vec<Entry>,
    root_sectors: u32,
    end: u32,
}

impl Layout {
    pub(super) fn new(files: &[File]) -> Result<Self, String> {
        let records = files.iter().try_fold(2, |count: usize, file| {
            check_name(file.name)?;
            Ok::<_, String>(count + 1)
        })?;
        // A record has 70 bytes at most here, and none reaches over the end of a sector.
        let root_sectors = to_u32(records)?.div_ceil(SECTOR / 70);
        let catalog = ROOT + root_sectors;
        let mut sector = catalog + 1;
        let mut entries = Vec::new();
        for (index, file) in files.iter().enumerate() {
            let bytes = to_u32(file.content.len())?;
            let name = file.name;
            entries.push(Entry {
                index,
                name,
                sector,
                bytes,
            });
            sector += bytes.div_ceil(SECTOR);
        }
        Ok(Self {
            entries,
            root_sectors,
            end: sector,
        })
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All sectors.
    pub(super) fn sectors(&self) -> u32 {
        self.end
    }

    /// Where El Torito's catalog lies.
    pub(super) fn catalog(&self) -> u32 {
        ROOT + self.root_sectors
    }

    /// A file's first sector.
    pub(super) fn sector(&self, name: &str) -> Result<u32, String> {
        Ok(self.span(name)?.start)
    }

    /// A file's sectors.
    pub(super) fn span(&self, name: &str) -> Result<Range<u32>, String> {
        let entry = self.entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| format!("no file `{name}`"))?;
        Ok(entry.sector..entry.sector + entry.bytes.div_ceil(SECTOR))
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '.';
    if name.len() > 30 || !name.chars().all(plain) || name.matches('.').count() != 1 {
        return Err(format!("`{name}` is no name of ISO 9660"));
    }
    Ok(())
}

/// Writes all but the files and the catalog.
pub(super) fn write(
    out: &mut [u8],
    volume: &str,
    layout: &Layout,
    total: u32,
) -> Result<(), String> {
    let mut at = |sector: u32, bytes: &[u8]| put(out, place(sector), bytes);
    at(FIRST, &primary(volume, layout, total))?;
    at(BOOT_RECORD, &boot_record(layout.catalog()))?;
    at(TERMINATOR, b"\xffCD001\x01")?;
    at(
        PATHS_LITTLE,
        &path_table(ROOT.to_le_bytes(), 1u16.to_le_bytes()),
    )?;
    at(
        PATHS_BIG,
        &path_table(ROOT.to_be_bytes(), 1u16.to_be_bytes()),
    )?;
    at(ROOT, &root(layout))
}

/// Section 8.4.
fn primary(volume: &str, layout: &Layout, total: u32) -> Vec<u8> {
    let mut out = b"\x01CD001\x01\0".to_vec();
    text(&mut out, "", 32);
    text(&mut out, volume, 32);
    out.extend([0; 8]);
    both32(&mut out, total);
    out.extend([0; 32]);
    for one in [1, 1, SECTOR_SIZE] {
        both16(&mut out, one);
    }
    both32(&mut out, PATHS_SIZE);
    out.extend(PATHS_LITTLE.to_le_bytes());
    out.extend([0; 4]);
    out.extend(PATHS_BIG.to_be_bytes());
    out.extend([0; 4]);
    out.extend(record(&[0], ROOT, layout.root_sectors * SECTOR, true));
    text(&mut out, "", 128 * 4);
    text(&mut out, "", 37 * 3);
    for _ in 0..4 {
        // Section 8.4.26.1: digits and a zone of zero say that no time is given.
        out.extend([b'0'; 16]);
        out.push(0);
    }
    out.extend([1, 0]);
    out
}

/// El Torito 1.0, figure 7.
fn boot_record(catalog: u32) -> Vec<u8> {
    let mut out = b"\0CD001\x01EL TORITO SPECIFICATION".to_vec();
    out.resize(71, 0);
    out.extend(catalog.to_le_bytes());
    out
}

/// Section 9.4: one folder, its own parent.
fn path_table(root: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend(root);
    out.extend(parent);
    out.extend([0, 0]);
    out
}

/// Section 6.8: itself, its parent, its files.
fn root(layout: &Layout) -> Vec<u8> {
    let size = layout.root_sectors * SECTOR;
    let mut out = record(&[0], ROOT, size, true);
    out.extend(record(&[1], ROOT, size, true));
    for entry in &layout.entries {
        let name = format!("{};1", entry.name);
        let record = record(name.as_bytes(), entry.sector, entry.bytes, false);
        let sector = place(1);
        if out.len() % sector + record.len() > sector {
            out.resize(out.len().next_multiple_of(sector), 0);
        }
        out.extend(record);
    }
    out
}

/// Section 9.1.
fn record(name: &[u8], sector: u32, bytes: u32, folder: bool) -> Vec<u8> {
    let mut out = vec![0, 0];
    both32(&mut out, sector);
    both32(&mut out, bytes);
    out.extend(TIME);
    out.extend([if folder { 2 } else { 0 }, 0, 0]);
    both16(&mut out, 1);
    // Names have 32 bytes at most, with their version.
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend(name);
    out.resize(out.len().next_multiple_of(2), 0);
    out[0] = u8::try_from(out.len()).unwrap_or(u8::MAX);
    out
}

/// Section 7.2.3: a number in both orders of bytes.
fn both16(out: &mut Vec<u8>, value: u16) {
    out.extend(value.to_le_bytes());
    out.extend(value.to_be_bytes());
}

/// Section 7.3.3.
fn both32(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
    out.extend(value.to_be_bytes());
}

/// A text, filled with blanks.
fn text(out: &mut Vec<u8>, text: &str, size: usize) {
    let end = out.len() + size;
    out.extend(text.bytes().take(size));
    out.resize(end, b' ');
}
