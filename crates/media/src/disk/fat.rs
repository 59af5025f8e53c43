//! The EFI system partition.

use std::io::{self, Cursor, Write};

use fatfs::{
    Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider,
    format_volume,
};

/// A file system in memory.
type Volume<'a> = FileSystem<&'a mut Cursor<Vec<u8>>>;

/// FAT16 is what has at least this many clusters (Microsoft's FAT specification, section 3.5) and two more; a few are
/// lost to the tables.
const LEAST_CLUSTERS: usize = 4085 + 64;

/// Tells the earliest time that FAT knows, always, so that no clock gets into the image.
#[derive(Debug)]
struct Earliest;

const DATE: Date = Date {
    year: 1980,
    month: 1,
    day: 1,
};
const TIME: Time = Time {
    hour: 0,
    min: 0,
    sec: 0,
    millis: 0,
};

impl TimeProvider for Earliest {
    fn get_current_date(&self) -> Date {
        DATE
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: DATE,
            time: TIME,
        }
    }
}

/// The largest clusters that leave enough of them: GRUB and the firmware read a file cluster by cluster.
fn cluster_size(size: usize, sector_size: u16) -> u32 {
    let smallest = u32::from(sector_size);
    let sizes = (0..)
        .map(|shift| smallest << shift)
        .take_while(|cluster| *cluster <= 32 << 10);
    let fits = |cluster: &u32| size / *cluster as usize >= LEAST_CLUSTERS;
    sizes.filter(fits).last().unwrap_or(smallest)
}

/// The content of a FAT16 file system of `size` bytes with these files, by path. The sectors are those of the disk,
/// as UEFI asks.
///
/// # Errors
/// The files do not fit, or FAT16 does not reach so far or so little.
pub(crate) fn build(
    size: usize,
    sector_size: u16,
    volume_id: u32,
    files: &[(&str, &[u8])],
) -> io::Result<Vec<u8>> {
    let mut image = Cursor::new(vec![0; size]);
    let format = FormatVolumeOptions::new()
        .bytes_per_sector(sector_size)
        .bytes_per_cluster(cluster_size(size, sector_size))
        .fat_type(FatType::Fat16)
        .volume_id(volume_id)
        .volume_label(*b"BOOTGATE   ");
    format_volume(&mut image, format)?;
    image.set_position(0);
    let volume = FileSystem::new(&mut image, FsOptions::new().time_provider(&Earliest))?;
    for (path, content) in files {
        add(&volume, path, content)?;
    }
    volume.unmount()?;
    let mut bytes = image.into_inner();
    for folder in bytes.chunks_exact_mut(usize::from(sector_size)) {
        first_entries(folder);
    }
    Ok(bytes)
}

/// One entry of a folder.
const ENTRY: usize = 32;

/// Gives a folder's first two entries, `.` and `..`, the first two places, as the specification asks (section 6.5). The
/// writer puts entries for long names before them, which checkers and some readers refuse.
fn first_entries(sector: &mut [u8]) {
    let long = |at: usize| {
        let entry = &sector[at * ENTRY..(at + 1) * ENTRY];
        entry[..3] == *b"A.\0" && entry[11] == 0x0f
    };
    let short = |at: usize, name: &[u8; 11]| {
        let entry = &sector[at * ENTRY..(at + 1) * ENTRY];
        entry[..11] == *name && entry[11] == 0x10
    };
    let of_writer = long(0)
        && short(1, b".          ")
        && sector[2 * ENTRY..2 * ENTRY + 3] == *b"A.\0"
        && short(3, b"..         ");
    if !of_writer {
        return;
    }
    let end = sector.len() - ENTRY;
    // In a folder that goes on in other sectors, what is free must not look like its end.
    let free = if sector[end] == 0 { 0 } else { 0xe5 };
    sector.copy_within(ENTRY..2 * ENTRY, 0);
    sector.copy_within(3 * ENTRY..4 * ENTRY, ENTRY);
    sector.copy_within(4 * ENTRY.., 2 * ENTRY);
    sector[end - ENTRY..].fill(0);
    sector[end - ENTRY] = free;
    sector[end] = free;
}

fn add(volume: &Volume<'_>, path: &str, content: &[u8]) -> io::Result<()> {
    for (end, _) in path.match_indices('/') {
        volume.root_dir().create_dir(&path[..end])?;
    }
    let mut file = volume.root_dir().create_file(path)?;
    file.write_all(content)?;
    file.flush()
}
