//! Files on their way out.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::{Bytes, BytesMut};

/// An open file that is given out, or one that was made for whoever asked. What is read of it may differ from its
/// content in one bit, where a fault asks for it.
#[derive(Debug)]
pub(crate) struct ServedFile {
    content: Content,
    size: u64,
    /// Changes when the file is replaced or written to.
    version: String,
    corrupt_at: Option<u64>,
}

#[derive(Debug)]
enum Content {
    Disk(File),
    Memory(Bytes),
}

impl ServedFile {
    /// Opens a regular file. Directories, pipes and devices are refused before they are opened.
    pub(crate) async fn open(path: &Path, corrupt: bool) -> io::Result<Self> {
        let path = path.to_owned();
        blocking(move || Self::open_now(&path, corrupt)).await
    }

    /// As [`Self::open`], on this thread. Waits for the disk.
    pub(crate) fn open_now(path: &Path, corrupt: bool) -> io::Result<Self> {
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let file = File::open(path)?;
        let meta = file.metadata()?;
        let mut version = format!(
            "{:x}-{:x}-{:x}.{:x}",
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        if corrupt {
            version.push_str("-corrupt");
        }
        Ok(Self {
            size: meta.size(),
            content: Content::Disk(file),
            version,
            corrupt_at: corrupt_at(corrupt, meta.size()),
        })
    }

    /// A file that is nowhere on the disk. It has no version: it is made anew for each request.
    pub(crate) fn from_memory(bytes: Bytes, corrupt: bool) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self {
            content: Content::Memory(bytes),
            size,
            version: String::new(),
            corrupt_at: corrupt_at(corrupt, size),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Whether the flipped bit is in these bytes.
    pub(crate) fn corrupts(&self, start: u64, end: u64) -> bool {
        self.corrupt_at.is_some_and(|at| (start..end).contains(&at))
    }

    /// Reads exactly `len` bytes from `offset` on. Waits for the disk.
    pub(crate) fn read_now(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(len);
        self.read_into(offset, &mut bytes)?;
        Ok(bytes.freeze())
    }

    /// Fills `bytes` from `offset` on. Waits for the disk.
    pub(crate) fn read_into(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.content {
            Content::Disk(file) => file.read_exact_at(bytes, offset)?,
            Content::Memory(content) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(bytes.len());
                let part = content.get(start..end);
                bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            }
        }
        let within = self.corrupt_at.and_then(|at| at.checked_sub(offset));
        let within = within.and_then(|at| usize::try_from(at).ok());
        if let Some(byte) = within.and_then(|at| bytes.get_mut(at)) {
            *byte ^= 1;
        }
        Ok(())
    }
}

/// Where the flipped bit is.
fn corrupt_at(corrupt: bool, size: u64) -> Option<u64> {
    (corrupt && size > 0).then_some(size / 2)
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other).and_then(|result| result)
}
