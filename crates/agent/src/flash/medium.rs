//! What is flashed: a block device, or a file in its place.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};

/// A disk to flash. Offsets and lengths are multiples of its sector size, memory is page-aligned.
pub trait Medium: Send + Sync {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// The device's error, or the end of the disk.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The device's error.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written durable, and forgets copies of it in memory, so that the next read asks the device.
    ///
    /// # Errors
    /// The device's error, possibly of an earlier write.
    fn sync(&self) -> io::Result<()>;
}

/// A block device opened for us alone, past the page cache; or a regular file, through it.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    size: u64,
    direct: bool,
}

impl DiskFile {
    /// Opens for reading and writing. A block device that is mounted or held by another driver is busy (`O_EXCL`,
    /// open(2)).
    ///
    /// # Errors
    /// Not there, busy, or not writable.
    pub fn open(path: &Path) -> io::Result<Self> {
        let block = std::fs::metadata(path)?.file_type().is_block_device();
        let with = |flags: OFlags| {
            let mut options = OpenOptions::new();
            options.read(true).write(true);
            options.custom_flags(flags.bits().cast_signed()).open(path)
        };
        let (mut file, direct) = if block {
            match with(OFlags::EXCL | OFlags::DIRECT) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    (with(OFlags::EXCL)?, false)
                }
                opened => (opened?, true),
            }
        } else {
            (with(OFlags::empty())?, false)
        };
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size, direct })
    }
}

impl Medium for DiskFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        if !self.direct {
            fadvise(&self.file, 0, None, Advice::DontNeed)?;
        }
        Ok(())
    }
}
