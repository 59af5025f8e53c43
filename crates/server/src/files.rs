//! Files on their way out.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use rustix::fs::{Advice, CWD, FsWord, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};

/// Distance between the bytes that are looked for in the page cache. The kernel reads and forgets files by pieces of a like
/// size; at half of this, the looking takes a fifteenth of the time of sending.
const PROBED: usize = 256 << 10;
/// What the disk is asked for ahead of what is read now.
const AHEAD: u64 = 4 << 20;
/// Bytes copied at once, on the stack of whoever copies.
const COPIED: usize = 16 << 10;

/// Kinds of file systems that are on this host's own disks or memory, as `statfs(2)` numbers them: ext2 to ext4, XFS, Btrfs,
/// tmpfs, F2FS, SquashFS, EROFS. A server somewhere else may be asked for each opening, and may not answer.
const LOCAL: [FsWord; 7] = [
    0xef53,
    0x5846_5342,
    0x9123_683e,
    0x0102_1994,
    0xf2f5_2010,
    0x7371_7368,
    0xe0f5_e1e2,
];

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
        if is_at_hand(path) {
            return Self::open_now(path, corrupt);
        }
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

    /// Whether the kernel can send these bytes by itself: they are a file's, and none is flipped.
    pub(crate) fn is_sendable(&self, start: u64, end: u64) -> bool {
        matches!(self.content, Content::Disk(_)) && !self.corrupts(start, end)
    }

    /// Whether `len` bytes from `offset` on are in the page cache, as far as a look at some of them tells. Never waits.
    pub(crate) fn is_cached(&self, offset: u64, len: usize) -> bool {
        let Content::Disk(file) = &self.content else {
            return true;
        };
        let last = len.saturating_sub(1);
        let mut places = (0..len).step_by(PROBED).chain([last]);
        places.all(|at| {
            let mut byte = [0];
            let mut into = [IoSliceMut::new(&mut byte)];
            let at = offset.saturating_add(at as u64);
            // A file system that cannot say so is one that may wait.
            rustix::io::preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT).is_ok()
        })
    }

    /// Reads `len` bytes from `offset` on into the page cache, and asks the disk for what follows. What is not there
    /// because the file became shorter is no error here. Waits for the disk.
    pub(crate) fn warm_now(&self, offset: u64, len: usize) -> io::Result<()> {
        let Content::Disk(file) = &self.content else {
            return Ok(());
        };
        // It is advice: where it is not taken, the file is read all the same.
        let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(AHEAD), Advice::WillNeed);
        let mut copy = [0; COPIED];
        let mut done = 0;
        while done < len {
            let some = copy.len().min(len - done);
            match file.read_at(&mut copy[..some], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the kernel send up to `len` bytes from `offset` on; how many it took. Ends with `WouldBlock` where the
    /// socket is full, and with `UnexpectedEof` where the file ended. Only for what [`Self::is_sendable`].
    pub(crate) fn send(&self, socket: impl AsFd, offset: u64, len: usize) -> io::Result<usize> {
        if let Content::Disk(file) = &self.content {
            let mut from = offset;
            match rustix::fs::sendfile(&socket, file, Some(&mut from), len) {
                Ok(0) => {
                    let ended = format!("the file became shorter: it ends before byte {offset}");
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, ended));
                }
                // A file system that cannot.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                sent => return Ok(sent?),
            }
        }
        self.send_copied(socket, offset, len)
    }

    /// As [`Self::send`], by way of this process.
    fn send_copied(&self, socket: impl AsFd, offset: u64, len: usize) -> io::Result<usize> {
        let mut copy = [0; COPIED];
        let copy = &mut copy[..len.min(COPIED)];
        self.read_into(offset, copy)?;
        let flags = rustix::net::SendFlags::NOSIGNAL;
        Ok(rustix::net::send(socket, copy, flags)?)
    }
}

/// Whether a file can be opened without waiting: the kernel has all of its path in memory, and nobody else to ask.
fn is_at_hand(path: &Path) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let seen = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED);
    let system = seen.and_then(|seen| rustix::fs::fstatfs(&seen));
    system.is_ok_and(|system| LOCAL.contains(&system.f_type))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn file(content: &[u8], corrupt: bool) -> (tempfile::NamedTempFile, ServedFile) {
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&named, content).unwrap();
        let served = ServedFile::open_now(named.path(), corrupt).unwrap();
        (named, served)
    }

    /// What arrives where all of a file is sent by one of the two ways.
    fn sent(
        served: &ServedFile,
        send: impl Fn(&UnixStream, u64, usize) -> io::Result<usize>,
    ) -> Vec<u8> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut got = Vec::new();
        let mut offset = 0;
        while offset < served.size() {
            let left = usize::try_from(served.size() - offset).unwrap();
            match send(&ours, offset, left) {
                Ok(count) => offset += count as u64,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let mut some = vec![0; 100_000];
                    let count = theirs.read(&mut some).unwrap();
                    got.extend_from_slice(&some[..count]);
                }
            }
        }
        drop(ours);
        theirs.read_to_end(&mut got).unwrap();
        got
    }

    #[test]
    fn only_what_is_there_is_at_hand() {
        let (named, _served) = file(b"here", false);
        assert!(is_at_hand(named.path()), "it was opened a moment ago");
        assert!(!is_at_hand(&named.path().join("none")));
        // A file system that is none of this host's disks.
        assert!(!is_at_hand(Path::new("/proc/self/status")));
    }

    #[test]
    fn both_ways_send_the_same() {
        let content: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
        let (_named, served) = file(&content, false);
        assert!(sent(&served, |socket, at, len| served.send(socket, at, len)) == content);
        assert!(
            sent(&served, |socket, at, len| served
                .send_copied(socket, at, len))
                == content
        );
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error_by_both_ways() {
        let (named, served) = file(&[7; 10_000], false);
        named.as_file().set_len(4096).unwrap();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = served.send(&ours, 4096, 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let error = served.send_copied(&ours, 4096, 100).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        served.warm_now(0, 10_000).unwrap();
    }

    #[test]
    fn what_is_read_is_in_the_cache() {
        let (named, served) = file(&vec![1; 3 << 20], false);
        named.as_file().sync_all().unwrap();
        rustix::fs::fadvise(named.as_file(), 0, None, Advice::DontNeed).unwrap();
        // On a file system that keeps everything in memory it is there from the start.
        served.warm_now(1 << 20, 1 << 20).unwrap();
        assert!(served.is_cached(1 << 20, 1 << 20));
    }

    #[test]
    fn a_flipped_bit_is_not_for_the_kernel_to_send() {
        let (_named, served) = file(&[0; 100], true);
        assert!(!served.is_sendable(0, 100) && !served.is_sendable(50, 51));
        assert!(served.is_sendable(0, 50) && served.is_sendable(51, 100));
        let made = ServedFile::from_memory(Bytes::from_static(b"made"), false);
        assert!(!made.is_sendable(0, 4));
    }
}
