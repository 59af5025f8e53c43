//! Reads the disk back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bootgate_api::{Chunk, Sha256Hex};
use sha2::{Digest, Sha256};

use super::{Buffer, FlashError, Job, is_zero, lock};

/// Digests of the chunks as they were read back.
pub(super) struct Readback<'a> {
    job: &'a Job<'a>,
    next: AtomicUsize,
    digests: Mutex<Vec<[u8; 32]>>,
}

impl<'a> Readback<'a> {
    pub(super) fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            next: AtomicUsize::new(0),
            digests: Mutex::new(vec![[0; 32]; job.index.chunks.len()]),
        }
    }

    /// The work of one thread: reads chunks until none is left.
    pub(super) fn read_all_but(&self, ends: &[usize]) -> Result<(), FlashError> {
        let mut buffer = Buffer::new(self.job.index.span(0).1);
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.job.index.chunks.len() {
                return Ok(());
            }
            if self.job.halt.is_halted() {
                return Err(FlashError::Halted);
            }
            if !ends.contains(&number) {
                self.read(number, &mut buffer)?;
            }
        }
    }

    /// Reads one chunk.
    pub(super) fn read_one(&self, number: usize) -> Result<(), FlashError> {
        let mut buffer = Buffer::new(self.job.index.span(number).1);
        self.read(number, &mut buffer)
    }

    fn read(&self, number: usize, buffer: &mut Buffer) -> Result<(), FlashError> {
        let (offset, length) = self.job.index.span(number);
        let bytes = &mut buffer.bytes_mut()[..length];
        let read = self.job.disk.read_at(offset, bytes);
        read.map_err(|error| FlashError::Unreadable { offset, error })?;
        let right = match &self.job.index.chunks[number] {
            Chunk::Zero => is_zero(bytes),
            Chunk::Data { sha256, .. } => {
                let found: [u8; 32] = Sha256::digest(&*bytes).into();
                lock(&self.digests)[number] = found;
                found == sha256.0
            }
        };
        if !right {
            return Err(FlashError::ReadBack {
                chunk: number,
                offset,
            });
        }
        self.job.meter.add(length as u64);
        Ok(())
    }

    /// The digest over all chunks, in order; zero chunks count as 32 zero bytes.
    pub(super) fn digest(&self) -> Sha256Hex {
        let mut hasher = Sha256::new();
        for digest in lock(&self.digests).iter() {
            hasher.update(digest);
        }
        Sha256Hex(hasher.finalize().into())
    }
}
