//! Reading a GUID partition table (UEFI specification, section 5.3): as much as finding one partition takes.

use std::io::{self, Read, Seek, SeekFrom};

/// Smallest and largest size of an entry that is read, and how many are.
const ENTRY_SIZES: std::ops::RangeInclusive<u32> = 128..=4096;
const MOST_ENTRIES: u32 = 1024;

/// Number, from 1, of the partition with this GUID, on a disk with logical sectors of `sector` bytes. `None` where
/// there is no partition table, or no such partition in it.
///
/// # Errors
/// The disk cannot be read.
pub(crate) fn find(
    disk: &mut (impl Read + Seek),
    sector: u64,
    guid: [u8; 16],
) -> io::Result<Option<u32>> {
    let mut header = [0; 92];
    disk.seek(SeekFrom::Start(sector))?;
    if let Err(error) = disk.read_exact(&mut header) {
        // A disk of one sector is a disk without partitions.
        return if error.kind() == io::ErrorKind::UnexpectedEof {
            Ok(None)
        } else {
            Err(error)
        };
    }
    let word = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let first = u64::from(word(72)) | u64::from(word(76)) << 32;
    let (count, size) = (word(80), word(84));
    if !header.starts_with(b"EFI PART") || !ENTRY_SIZES.contains(&size) {
        return Ok(None);
    }
    let Some(start) = first.checked_mul(sector) else {
        return Ok(None);
    };
    disk.seek(SeekFrom::Start(start))?;
    let mut entry = vec![0; size as usize];
    for number in 1..=count.min(MOST_ENTRIES) {
        disk.read_exact(&mut entry)?;
        if entry[16..32] == guid {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// The bytes of a GUID as the table has them: the first three groups little endian.
pub(crate) fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut guid = [0; 16];
    for (index, pair) in digits.chunks(2).enumerate() {
        let place = [3, 2, 1, 0, 5, 4, 7, 6]
            .get(index)
            .copied()
            .unwrap_or(index);
        guid[place] = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(guid)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const GUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

    fn disk(sector: usize) -> Vec<u8> {
        let mut disk = vec![0; sector * 4];
        disk[sector..sector + 8].copy_from_slice(b"EFI PART");
        disk[sector + 72..sector + 80].copy_from_slice(&2u64.to_le_bytes());
        disk[sector + 80..sector + 84].copy_from_slice(&4u32.to_le_bytes());
        disk[sector + 84..sector + 88].copy_from_slice(&128u32.to_le_bytes());
        let guid = parse_guid(GUID).unwrap();
        disk[sector * 2 + 128 * 2 + 16..sector * 2 + 128 * 2 + 32].copy_from_slice(&guid);
        disk
    }

    #[test]
    fn guid_bytes_are_in_the_order_of_the_table() {
        let guid = parse_guid(GUID).unwrap();
        assert_eq!(guid[..8], [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66]);
        assert_eq!(guid[8..], [0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        assert_eq!(parse_guid("0011"), None);
        assert_eq!(parse_guid("g0112233-4455-6677-8899-aabbccddeeff"), None);
    }

    #[test]
    fn partition_is_found_by_guid_with_either_sector_size() {
        let guid = parse_guid(GUID).unwrap();
        for sector in [512, 4096] {
            let mut disk = Cursor::new(disk(sector));
            assert_eq!(find(&mut disk, sector as u64, guid).unwrap(), Some(3));
            assert_eq!(find(&mut disk, sector as u64, [7; 16]).unwrap(), None);
        }
    }

    #[test]
    fn disk_without_a_table_has_no_partition() {
        for size in [0, 100, 512, 4096] {
            let mut disk = Cursor::new(vec![0; size]);
            assert_eq!(find(&mut disk, 512, [7; 16]).unwrap(), None);
        }
    }

    #[test]
    fn hostile_table_is_no_partition() {
        let mut bytes = disk(512);
        bytes[512 + 84..512 + 88].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(find(&mut Cursor::new(bytes), 512, [7; 16]).unwrap(), None);
        let mut bytes = disk(512);
        bytes[512 + 72..512 + 80].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(find(&mut Cursor::new(bytes), 512, [7; 16]).unwrap(), None);
    }
}
