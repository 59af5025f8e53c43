//! An ISO 9660 image (ECMA-119) with El Torito boot entries and a partition table: a CD and a USB stick in one.
//!
//! One folder, plain files, no Rock Ridge and no Joliet: boot loaders read it, and nobody else has to. Every field that
//! could hold a time holds the earliest one that FAT knows, or says that there is none.

mod eltorito;
mod volume;

pub(crate) use eltorito::{Boot, Platform};

use std::ops::Range;

use volume::{Entry, Layout};

/// ISO 9660's unit, in bytes.
pub(crate) const SECTOR: u32 = 2048;
/// The partition table's unit, in bytes.
const BLOCK: u32 = 512;
/// Blocks of a sector.
const BLOCKS: u32 = SECTOR / BLOCK;
/// Sizes are rounded to this, as USB sticks written by `isohybrid` are: some BIOS computes its geometry (64 heads, 32
/// sectors) from it.
const MIB: usize = 1 << 20;

/// A file of the image.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its name: capitals, digits, `_` and one `.`, 30 characters at most (ECMA-119, interchange level 2).
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) content: Vec<u8>,
}

/// What an image is made of.
#[derive(Debug)]
pub(crate) struct Image {
    /// The volume's name: capitals, digits and `_`, 32 at most.
    pub(crate) volume: &'static str,
    /// Its files.
    pub(crate) files: Vec<File>,
    /// What is booted from a CD, in this order.
    pub(crate) boot: Vec<Boot>,
    /// Boot code for a USB stick, 432 bytes at most, and the file whose place it must know: `isohdpfx.bin`, `isolinux.bin`.
    pub(crate) mbr: Option<(Vec<u8>, &'static str)>,
    /// The file that is a partition of type EFI system for a USB stick.
    pub(crate) esp: Option<&'static str>,
}

impl Image {
    /// The bytes.
    ///
    /// # Errors
    /// A name is too long, a boot entry or partition names a file that is not there, or something is too large.
    pub(crate) fn build(mut self) -> Result<Vec<u8>, String> {
        self.files.sort_by_key(|file| file.name);
        let layout = Layout::new(&self.files)?;
        for boot in &self.boot {
            if boot.info_table {
                let sector = layout.sector(boot.file)?;
                let file = self.files.iter_mut().find(|file| file.name == boot.file);
                let file = file.ok_or_else(|| format!("no file `{}`", boot.file))?;
                eltorito::write_info_table(&mut file.content, sector)?;
            }
        }
        let mut out = vec![0; place(layout.sectors())];
        out.resize(out.len().next_multiple_of(MIB), 0);
        let total = to_u32(out.len())? / SECTOR;
        volume::write(&mut out, self.volume, &layout, total)?;
        let catalog = eltorito::catalog(&self.boot, &layout)?;
        put(&mut out, place(layout.catalog()), &catalog)?;
        for Entry { index, sector, .. } in layout.entries() {
            let content = &self.files.get(*index).ok_or("a file is missing")?.content;
            put(&mut out, place(*sector), content)?;
        }
        self.partitions(&mut out, &layout)?;
        Ok(out)
    }

    /// The master boot record. It lies in the first of 16 sectors that ISO 9660 leaves to others.
    fn partitions(&self, out: &mut [u8], layout: &Layout) -> Result<(), String> {
        if self.mbr.is_none() && self.esp.is_none() {
            return Ok(());
        }
        if let Some((code, loader)) = &self.mbr {
            if code.len() > 432 {
                return Err(format!(
                    "the boot code has `{}` bytes, more than 432",
                    code.len()
                ));
            }
            put(out, 0, code)?;
            // Syslinux, mbr/isohdpfx.S: the loader's first block, 64 bits, behind the code.
            let block = u64::from(layout.sector(loader)?) * u64::from(BLOCKS);
            put(out, 432, &block.to_le_bytes())?;
        }
        if let Some(esp) = self.esp {
            let sectors = layout.span(esp)?;
            // Some BIOS starts only disks with an active partition; UEFI does not look at that (UEFI 2.10, table 5.1).
            put(out, 446, &partition(0xef, &sectors)?)?;
        }
        put(out, 510, &[0x55, 0xaa])
    }
}

/// An active entry of the partition table. The places in cylinders are the largest there are, for "by block number".
fn partition(kind: u8, sectors: &Range<u32>) -> Result<[u8; 16], String> {
    let mul = |sector: u32| sector.checked_mul(BLOCKS).ok_or("a partition is too large");
    let (start, end) = (mul(sectors.start)?, mul(sectors.end)?);
    let mut entry = [
        0x80, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    entry[8..12].copy_from_slice(&start.to_le_bytes());
    entry[12..].copy_from_slice(&(end - start).to_le_bytes());
    Ok(entry)
}

/// A sector's place in bytes.
fn place(sector: u32) -> usize {
    sector as usize * SECTOR as usize
}

/// Copies bytes to a place of the image.
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), String> {
    let place = out.get_mut(at..at + bytes.len());
    place
        .ok_or("something lies behind the image's end")?
        .copy_from_slice(bytes);
    Ok(())
}

fn to_u32(value: usize) -> Result<u32, String> {
    u32::try_from(value).map_err(|_| format!("`{value}` does not fit 32 bits"))
}
