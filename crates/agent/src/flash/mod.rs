//! Makes a disk equal to an image, fetching only what differs.
//!
//! The order is what keeps an interrupted or failed flash from looking finished. Before the first change the disk's
//! start (boot code and partition table) and its last sector (the GPT's second header, from which firmware repairs
//! the first) are wiped. All chunks between the first and the last are written and read back. Only when every one
//! of them is right are the ends written: first and last chunk without the wiped places, then, when these were read
//! back too, the last sector and, after it is durable, the start. So no partition table is there, nor can one be
//! restored, before all that it points to is right.

mod buffer;
mod check;
mod ends;
mod error;
mod fetch;
mod medium;
mod runs;
mod verify;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use bootgate_api::{Chunk, ChunkIndex, Sha256Hex};
use bootgate_events::FlashPhase;
use sha2::{Digest, Sha256};

pub use buffer::{Buffer, is_zero};
pub use error::FlashError;
pub use medium::{DiskFile, Medium};

use crate::halt::{Halt, Retry};
use crate::progress::Meter;
use fetch::Fetcher;
use runs::Piece;

/// Where the compressed image comes from. Several threads read it at once.
pub trait Source: Send + Sync {
    /// Begins to read `length` bytes (at least 1) at `offset` of the compressed file.
    ///
    /// # Errors
    /// The bytes are not to be had, now or at all. The reader's own errors all count as passing ones.
    fn open(&self, offset: u64, length: u64) -> Result<Box<dyn Read + '_>, SourceError>;
}

/// Bytes of the compressed image could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SourceError {
    /// Why.
    pub reason: String,
    /// Whether another try may succeed.
    pub transient: bool,
}

/// How the flash is done, beside what.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads that compare, fetch and write, each with a connection of its own; at least 1.
    pub connections: usize,
    /// What to do about broken connections. Counted anew when bytes came in between.
    pub retry: Retry,
}

/// A finished flash.
#[derive(Clone, Debug)]
pub struct Flashed {
    /// Digest over the chunks read back, as [`ChunkIndex::chunks_sha256`] defines it.
    pub chunks_sha256: Sha256Hex,
    /// Bytes read back, from byte 0.
    pub size: u64,
    /// Compressed bytes that came from the source.
    pub bytes_fetched: u64,
    /// Bytes written to the disk.
    pub bytes_written: u64,
    /// When the first bytes were asked for; nothing when the disk was equal already.
    pub first_fetch: Option<Instant>,
}

/// Bytes that one thread compares before it fetches: what may become one request.
const SEGMENT: usize = 8 << 20;
/// Memory for buffers of all threads; chunks may have up to 64 MiB.
const BUFFERS: usize = 128 << 20;
/// What is wiped at the start: boot code, the GPT's header and entries, and the superblocks of file systems that
/// begin without a partition table (the farthest, Btrfs, at 64 KiB, ends a kilobyte later and is in the first chunk).
const WIPED_START: usize = 68 << 10;

/// Makes the disk's first `index.size` bytes equal to the image.
///
/// # Errors
/// [`FlashError`]; the disk is then as it was (nothing had been written yet) or does not look finished.
pub fn flash(
    index: &ChunkIndex,
    disk: &dyn Medium,
    source: &dyn Source,
    meter: &Meter,
    options: Options,
) -> Result<Flashed, FlashError> {
    check::check_index(index, disk.size())?;
    let job = Job::new(index, disk, source, meter, options);
    meter.enter(FlashPhase::Compare, 0, index.size);
    job.hold_ends()?;
    job.on_all_threads(|| job.write_segments())?;
    if job.dirty() {
        job.sync()?;
    }
    meter.enter(FlashPhase::Verify, 0, index.size);
    let readback = verify::Readback::new(&job);
    let ends = job.ends();
    job.on_all_threads(|| readback.read_all_but(&ends))?;
    job.commit_and_read(&readback)?;
    Ok(Flashed {
        chunks_sha256: readback.digest(),
        size: index.size,
        bytes_fetched: job.fetched.load(Ordering::Relaxed),
        bytes_written: job.written.load(Ordering::Relaxed),
        first_fetch: job.first_fetch.get().copied(),
    })
}

/// One flash while it runs; shared by its threads.
struct Job<'a> {
    index: &'a ChunkIndex,
    disk: &'a dyn Medium,
    source: &'a dyn Source,
    meter: &'a Meter,
    options: Options,
    /// Told when a thread failed, so that the others end.
    halt: Halt,
    zeros: Buffer,
    next: AtomicUsize,
    /// Content of the first and the last chunk, kept from the disk until all else is right.
    held: Mutex<BTreeMap<usize, Buffer>>,
    /// Whether the disk's start is wiped and bytes may be written.
    wiped: Mutex<bool>,
    start_is_zero: AtomicBool,
    written: AtomicU64,
    fetched: AtomicU64,
    first_fetch: OnceLock<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Job<'a> {
    fn new(
        index: &'a ChunkIndex,
        disk: &'a dyn Medium,
        source: &'a dyn Source,
        meter: &'a Meter,
        options: Options,
    ) -> Self {
        Self {
            index,
            disk,
            source,
            meter,
            options,
            halt: Halt::default(),
            zeros: Buffer::new(index.span(0).1),
            next: AtomicUsize::new(0),
            held: Mutex::default(),
            wiped: Mutex::new(false),
            start_is_zero: AtomicBool::new(false),
            written: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            first_fetch: OnceLock::new(),
        }
    }

    /// Numbers of the chunks that are written last, in the order in which they are written.
    fn ends(&self) -> Vec<usize> {
        match self.index.chunks.len() - 1 {
            0 => vec![0],
            last => vec![last, 0],
        }
    }

    fn dirty(&self) -> bool {
        *lock(&self.wiped)
    }

    fn sync(&self) -> Result<(), FlashError> {
        self.disk.sync().map_err(FlashError::Sync)
    }

    /// Runs `work` on every thread; the first error halts the others.
    fn on_all_threads(
        &self,
        work: impl Fn() -> Result<(), FlashError> + Sync,
    ) -> Result<(), FlashError> {
        let chunk = self.index.chunk_size as usize;
        let threads = self.options.connections.min(BUFFERS / (2 * chunk)).max(1);
        let first: Mutex<Option<FlashError>> = Mutex::new(None);
        let guarded = || {
            if let Err(error) = work() {
                // Who was halted does not know why; who failed says so before the others can be halted.
                lock(&first).get_or_insert(error);
                self.halt.halt();
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(guarded);
            }
            guarded();
        });
        match lock(&first).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), FlashError> {
        let read = self.disk.read_at(offset, bytes);
        read.map_err(|error| FlashError::Read { offset, error })
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), FlashError> {
        let written = self.disk.write_at(offset, bytes);
        written.map_err(|error| FlashError::Write { offset, error })?;
        self.written
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the first and the last chunk before anything may change them; what is right already is kept.
    fn hold_ends(&self) -> Result<(), FlashError> {
        for number in self.ends() {
            let (offset, length) = self.index.span(number);
            let mut buffer = Buffer::new(length);
            self.read(offset, buffer.bytes_mut())?;
            if number == 0 {
                let start = &buffer.bytes()[..length.min(WIPED_START)];
                self.start_is_zero.store(is_zero(start), Ordering::Relaxed);
            }
            if self.is_right(number, buffer.bytes()) {
                lock(&self.held).insert(number, buffer);
            }
        }
        Ok(())
    }

    fn is_right(&self, number: usize, bytes: &[u8]) -> bool {
        match &self.index.chunks[number] {
            Chunk::Zero => is_zero(bytes),
            Chunk::Data { sha256, .. } => {
                !is_zero(bytes) && Sha256::digest(bytes).as_slice() == sha256.0
            }
        }
    }

    /// The work of one thread: take some chunks, compare them, fetch and write those that differ, until none is left.
    fn write_segments(&self) -> Result<(), FlashError> {
        let mut fetcher = Fetcher::new(self)?;
        let mut buffer = Buffer::new(self.index.span(0).1);
        while let Some(segment) = self.next_segment() {
            let wanted = self.compare(segment, &mut buffer)?;
            for run in runs::runs(wanted) {
                fetcher.fetch(&run, &mut buffer)?;
            }
        }
        Ok(())
    }

    /// The first segment is one chunk, so that fetching begins at once.
    fn next_segment(&self) -> Option<Range<usize>> {
        let count = self.index.chunks.len();
        let most = (SEGMENT / self.index.chunk_size as usize).max(1);
        let step = |from: usize| match from {
            0 => 1,
            _ => (from + most).min(count),
        };
        let grown = |from: usize| (from < count).then(|| step(from));
        let order = Ordering::Relaxed;
        let from = self.next.fetch_update(order, order, grown).ok()?;
        Some(from..step(from))
    }

    /// The chunks of a segment that must be fetched. Those that must be zero and are not are written here.
    fn compare(
        &self,
        segment: Range<usize>,
        buffer: &mut Buffer,
    ) -> Result<Vec<Piece>, FlashError> {
        let mut wanted = Vec::new();
        let last = self.index.chunks.len() - 1;
        for number in segment {
            if self.halt.is_halted() {
                return Err(FlashError::Halted);
            }
            let (offset, length) = self.index.span(number);
            let at_end = number == 0 || number == last;
            let right = if at_end {
                lock(&self.held).contains_key(&number)
            } else {
                let bytes = &mut buffer.bytes_mut()[..length];
                self.read(offset, bytes)?;
                self.is_right(number, bytes)
            };
            if right {
                self.meter.add(length as u64);
                continue;
            }
            self.begin_writing()?;
            match &self.index.chunks[number] {
                Chunk::Data { offset, length, .. } => wanted.push(Piece {
                    number,
                    start: *offset,
                    end: offset + u64::from(*length),
                }),
                Chunk::Zero => self.settle(number, &self.zeros.bytes()[..length])?,
            }
        }
        Ok(wanted)
    }

    /// Takes the right content of a chunk: to the disk, or for the ends into memory.
    fn settle(&self, number: usize, bytes: &[u8]) -> Result<(), FlashError> {
        let (offset, _) = self.index.span(number);
        if number == 0 || number == self.index.chunks.len() - 1 {
            lock(&self.held).insert(number, Buffer::copy_of(bytes));
        } else {
            self.write(offset, bytes)?;
        }
        self.meter.add(bytes.len() as u64);
        Ok(())
    }

    /// Before the first byte is written: makes sure that the disk does not look finished from here on.
    fn begin_writing(&self) -> Result<(), FlashError> {
        let mut wiped = lock(&self.wiped);
        if *wiped {
            return Ok(());
        }
        self.meter.turn(FlashPhase::Write);
        let blank = self.start_is_zero.load(Ordering::Relaxed);
        if self.wipe_last_sector()? || !blank {
            if !blank {
                self.wipe_start()?;
            }
            self.sync()?;
        }
        *wiped = true;
        Ok(())
    }

    fn wipe_start(&self) -> Result<(), FlashError> {
        let length = self.index.span(0).1.min(WIPED_START);
        self.write(0, &self.zeros.bytes()[..length])
    }

    /// Wipes the disk's last sector, where a GPT has its second header (UEFI 2.10, 5.3.2). EDK2 restores a damaged
    /// first header from it (PartitionDxe, Gpt.c). True when something was there.
    fn wipe_last_sector(&self) -> Result<bool, FlashError> {
        let length = self.index.sector_size as usize;
        let mut sector = Buffer::new(length);
        let offset = self.disk.size() - length as u64;
        self.read(offset, sector.bytes_mut())?;
        if is_zero(sector.bytes()) {
            return Ok(false);
        }
        self.write(offset, &self.zeros.bytes()[..length])?;
        Ok(true)
    }
}
