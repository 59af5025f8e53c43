//! Fetches frames, decodes and checks them, and goes on after a broken connection where it stopped.

use std::io::Read;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bootgate_api::{Chunk, Sha256Hex};
use sha2::{Digest, Sha256};
use zstd::bulk::Decompressor;

use super::runs::Piece;
use super::{Buffer, FlashError, Job};

/// However often bytes came in between: after this many broken connections a run is given up.
const BREAKS: u32 = 100;

/// One thread's connection and memory for compressed bytes.
pub(super) struct Fetcher<'a, 'b> {
    job: &'a Job<'b>,
    decoder: Decompressor<'static>,
    /// The part of the current frame that has come.
    frame: Vec<u8>,
}

/// How an attempt ended before its time.
enum Broken {
    /// The connection; what came before is kept.
    Connection(String),
    /// For good.
    Flash(FlashError),
}

impl From<FlashError> for Broken {
    fn from(error: FlashError) -> Self {
        Self::Flash(error)
    }
}

impl<'a, 'b> Fetcher<'a, 'b> {
    pub(super) fn new(job: &'a Job<'b>) -> Result<Self, FlashError> {
        let fail = |error: std::io::Error| FlashError::Index(format!("no decoder: {error}"));
        Ok(Self {
            job,
            decoder: Decompressor::new().map_err(fail)?,
            frame: Vec::new(),
        })
    }

    /// Fetches a run and settles its chunks one by one; `buffer` is for the decoded bytes.
    pub(super) fn fetch(&mut self, run: &[Piece], buffer: &mut Buffer) -> Result<(), FlashError> {
        let mut left = run;
        let mut failures = 0;
        let mut breaks = 0;
        self.frame.clear();
        while let (Some(first), Some(last)) = (left.first(), left.last()) {
            let start = first.start + self.frame.len() as u64;
            let before = (left.len(), self.frame.len());
            let reason = match self.attempt(start, &mut left, buffer) {
                Ok(()) => continue,
                Err(Broken::Flash(error)) => return Err(error),
                Err(Broken::Connection(reason)) => reason,
            };
            let moved = before != (left.len(), self.frame.len());
            failures = if moved { 1 } else { failures + 1 };
            breaks += 1;
            let pause = self.job.options.retry.pause(failures);
            let Some(pause) = pause.filter(|_| breaks < BREAKS) else {
                return Err(FlashError::Fetch {
                    start,
                    end: last.end,
                    reason,
                });
            };
            if self.job.halt.wait(pause) {
                return Err(FlashError::Halted);
            }
        }
        Ok(())
    }

    /// One request for all that is left. Chunks that are settled leave `left`.
    fn attempt(
        &mut self,
        start: u64,
        left: &mut &[Piece],
        buffer: &mut Buffer,
    ) -> Result<(), Broken> {
        let end = left.last().map_or(start, |last| last.end);
        self.job.first_fetch.get_or_init(Instant::now);
        let opened = self.job.source.open(start, end - start);
        let mut reader = opened.map_err(|error| match error.transient {
            true => Broken::Connection(error.reason),
            false => Broken::Flash(FlashError::Fetch {
                start,
                end,
                reason: error.reason,
            }),
        })?;
        let mut position = start;
        while let Some((piece, rest)) = left.split_first() {
            if self.job.halt.is_halted() {
                return Err(FlashError::Halted.into());
            }
            // A gap between frames, if there is one and it has not been passed before.
            while position < piece.start {
                let taken = self.take(&mut reader, piece.start - position);
                self.frame.clear();
                position += taken?;
            }
            while position < piece.end {
                position += self.take(&mut reader, piece.end - position)?;
            }
            self.settle(*piece, buffer)?;
            self.frame.clear();
            *left = rest;
        }
        // The end of the body, so that the connection is kept for the next request.
        let _ = reader.read(&mut [0]);
        Ok(())
    }

    /// Appends up to `most` bytes to the frame and says how many; what came before an error is kept.
    fn take(&mut self, reader: &mut dyn Read, most: u64) -> Result<u64, Broken> {
        let before = self.frame.len();
        let read = reader.take(most).read_to_end(&mut self.frame);
        let came = (self.frame.len() - before) as u64;
        self.job.fetched.fetch_add(came, Ordering::Relaxed);
        match read {
            Ok(_) if came == 0 => Err(Broken::Connection("connection ended early".to_owned())),
            Ok(_) => Ok(came),
            Err(error) => Err(Broken::Connection(error.to_string())),
        }
    }

    /// Decodes and checks the frame, and gives its content to the disk.
    fn settle(&mut self, piece: Piece, buffer: &mut Buffer) -> Result<(), FlashError> {
        let chunk = piece.number;
        let (offset, length) = self.job.index.span(chunk);
        let bytes = &mut buffer.bytes_mut()[..length];
        let fail = |reason: String| FlashError::Decode {
            chunk,
            offset,
            reason,
        };
        let decoded = self.decoder.decompress_to_buffer(&self.frame, bytes);
        let decoded = decoded.map_err(|error| fail(error.to_string()))?;
        if decoded != length {
            return Err(fail(format!(
                "it has `{decoded}` bytes instead of `{length}`"
            )));
        }
        let found = Sha256Hex(Sha256::digest(&*bytes).into());
        match &self.job.index.chunks[chunk] {
            Chunk::Data { sha256, .. } if *sha256 != found => Err(FlashError::Corrupt {
                chunk,
                offset,
                wanted: *sha256,
                found,
            }),
            _ => self.job.settle(chunk, bytes),
        }
    }
}
