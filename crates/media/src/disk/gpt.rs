//! The GUID partition table (UEFI specification, sections 5.2 and 5.3).

use std::ops::Range;

use super::Guid;

/// Holds GRUB's core. Its bytes spell "Hah!IdontNeedEFI".
pub(super) const BIOS_BOOT: Guid = Guid::of(0x21686148_6449_6e6f_744e_656564454649);
/// EFI system partition.
pub(super) const EFI_SYSTEM: Guid = Guid::of(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
/// Root of an x86-64 system, as the Discoverable Partitions Specification has it.
pub(super) const ROOT_X86_64: Guid = Guid::of(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709);

/// Root of an arm64 system, by the same.
pub(super) const ROOT_ARM64: Guid = Guid::of(0xb921b045_1df0_41c3_af44_4c6f280d3fae);

/// What the specification asks for at least: 128 entries of 128 bytes.
const ENTRIES: u32 = 128;
const ENTRY_SIZE: u32 = 128;
const TABLE_BYTES: u64 = 16 << 10;
const HEADER_SIZE: u32 = 92;
const REVISION: u32 = 0x0001_0000;

/// A partition.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub(super) kind: Guid,
    pub(super) guid: Guid,
    /// Sectors; the end is not part of it.
    pub(super) sectors: Range<u64>,
    pub(super) name: &'static str,
}

/// A partition table of a disk.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) disk: Guid,
    pub(super) sector_size: u64,
    /// Size of the disk in sectors.
    pub(super) sectors: u64,
    pub(super) partitions: Vec<Partition>,
}

impl Table {
    fn table_sectors(&self) -> u64 {
        TABLE_BYTES.div_ceil(self.sector_size)
    }

    /// What goes to the start of the disk, from byte 0: protective MBR, header and entries. The first 440 bytes are
    /// for boot code, and zero.
    pub(super) fn primary(&self) -> Vec<u8> {
        let mut out = self.protective_mbr();
        let last = self.sectors - 1;
        out.extend(self.header(1, last, 2));
        out.extend(self.entries());
        out
    }

    /// What goes to the end of the disk, and at which byte: entries and header.
    pub(super) fn backup(&self) -> (u64, Vec<u8>) {
        let last = self.sectors - 1;
        let start = last - self.table_sectors();
        let mut out = self.entries();
        out.extend(self.header(last, 1, start));
        (start * self.sector_size, out)
    }

    fn protective_mbr(&self) -> Vec<u8> {
        let mut sector = self.blank(1);
        let size = u32::try_from(self.sectors - 1).unwrap_or(u32::MAX);
        // Not bootable, from C/H/S 0/0/2, type 0xee, to the largest C/H/S.
        sector[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        sector[454..458].copy_from_slice(&1u32.to_le_bytes());
        sector[458..462].copy_from_slice(&size.to_le_bytes());
        sector[510..512].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn header(&self, own: u64, other: u64, table: u64) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(b"EFI PART");
        for word in [REVISION, HEADER_SIZE, 0, 0] {
            out.extend(word.to_le_bytes());
        }
        let first_usable = 2 + self.table_sectors();
        let last_usable = self.sectors - 2 - self.table_sectors();
        for sector in [own, other, first_usable, last_usable] {
            out.extend(sector.to_le_bytes());
        }
        out.extend(self.disk.0);
        out.extend(table.to_le_bytes());
        for word in [ENTRIES, ENTRY_SIZE, crc32fast::hash(&self.entries())] {
            out.extend(word.to_le_bytes());
        }
        // Over the header itself, with zero in its place.
        let checksum = crc32fast::hash(&out);
        out[16..20].copy_from_slice(&checksum.to_le_bytes());
        let mut sector = self.blank(1);
        sector[..out.len()].copy_from_slice(&out);
        sector
    }

    fn entries(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for partition in &self.partitions {
            out.extend(partition.kind.0);
            out.extend(partition.guid.0);
            out.extend(partition.sectors.start.to_le_bytes());
            out.extend((partition.sectors.end - 1).to_le_bytes());
            out.extend(0u64.to_le_bytes());
            let mut name = [0; 72];
            for (unit, place) in partition.name.encode_utf16().zip(name.chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
            out.extend(name);
        }
        // The checksum is over all entries, and not over what follows them in their last sector.
        out.resize((ENTRIES * ENTRY_SIZE) as usize, 0);
        out
    }

    fn blank(&self, sectors: u64) -> Vec<u8> {
        vec![0; usize::try_from(sectors * self.sector_size).unwrap_or_default()]
    }
}
