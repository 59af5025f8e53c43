//! The archive that the kernel unpacks as its first root file system.
//!
//! Format: `newc` of cpio(5), as the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` reads it.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;

use crate::MediaError;

const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// How an archive is packed. The kernel needs the matching `CONFIG_RD_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// zstd, level 19, one frame (`CONFIG_RD_ZSTD`, Linux 5.9 and later).
    #[default]
    Zstd,
}

/// A file system tree that becomes an archive. Paths have no leading `/`; folders on the way to a file are made.
/// Everything belongs to user and group 0, has the one time given, and stands in the order of the paths' bytes.
#[derive(Clone, Debug)]
pub struct Archive {
    epoch: u32,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Archive {
    /// An empty archive whose files all have the time `epoch`, in seconds since 1970.
    #[must_use]
    pub fn new(epoch: u32) -> Self {
        Self {
            epoch,
            entries: BTreeMap::new(),
        }
    }

    /// Adds a file with permission bits `mode`.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.insert(path, REGULAR | mode, (0, 0), content);
    }

    /// Adds a folder that everybody may read.
    pub fn folder(&mut self, path: &str) {
        self.insert(path, FOLDER | 0o755, (0, 0), &[]);
    }

    /// Adds a character device that only root may use.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.insert(path, CHARACTER_DEVICE | 0o600, (major, minor), &[]);
    }

    fn insert(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        for (end, _) in path.match_indices('/') {
            let folder = Entry {
                mode: FOLDER | 0o755,
                device: (0, 0),
                content: Vec::new(),
            };
            self.entries.entry(path[..end].to_owned()).or_insert(folder);
        }
        let entry = Entry {
            mode,
            device,
            content: content.to_vec(),
        };
        self.entries.insert(path.to_owned(), entry);
    }

    /// The packed archive.
    ///
    /// # Errors
    /// A file of 4 GiB or more, which the format cannot hold, or a fault of the compressor.
    pub fn finish(&self, compression: Compression) -> Result<Vec<u8>, MediaError> {
        let bytes = self.newc()?;
        match compression {
            Compression::None => Ok(bytes),
            Compression::Zstd => {
                zstd::bulk::compress(&bytes, 19).map_err(|error| MediaError::Tool {
                    program: "zstd".to_owned(),
                    message: error.to_string(),
                })
            }
        }
    }

    fn newc(&self) -> Result<Vec<u8>, MediaError> {
        let mut out = Vec::new();
        let mut inode = 0;
        for (path, entry) in &self.entries {
            inode += 1;
            header(&mut out, path, entry, inode, self.epoch)?;
        }
        let end = Entry {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        header(&mut out, "TRAILER!!!", &end, 0, 0)?;
        Ok(out)
    }
}

fn header(
    out: &mut Vec<u8>,
    path: &str,
    entry: &Entry,
    inode: u32,
    time: u32,
) -> Result<(), MediaError> {
    use io::Write;
    let too_large = |_| MediaError::TooLarge {
        what: format!("the archive entry `{path}`"),
        size: entry.content.len() as u64,
        limit: u64::from(u32::MAX),
    };
    let size = u32::try_from(entry.content.len()).map_err(too_large)?;
    let name_size = u32::try_from(path.len() + 1).map_err(too_large)?;
    let links = if entry.mode & FOLDER != 0 { 2 } else { 1 };
    let (major, minor) = entry.device;
    out.extend_from_slice(b"070701");
    for field in [
        inode, entry.mode, 0, 0, links, time, size, 0, 0, major, minor, name_size, 0,
    ] {
        // Writing to memory does not fail.
        let _ = write!(out, "{field:08x}");
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(&entry.content);
    pad(out);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
