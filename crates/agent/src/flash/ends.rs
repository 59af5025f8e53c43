//! The first and the last chunk, which make a disk look finished.

use std::ops::Range;

use super::verify::Readback;
use super::{Buffer, FlashError, Job, WIPED_START, lock};

impl Job<'_> {
    /// Writes the ends, if anything was written; reads them back in any case.
    pub(super) fn commit_and_read(&self, readback: &Readback<'_>) -> Result<(), FlashError> {
        let dirty = self.dirty();
        let committed = if dirty { self.commit() } else { Ok(()) };
        let mut ends = self.ends().into_iter();
        let right = committed.and_then(|()| ends.try_for_each(|end| readback.read_one(end)));
        if right.is_err() && dirty {
            // The error that is reported is the first one; a disk that cannot be wiped either is the same fault.
            let wiped = self.wipe_start().and_then(|()| self.wipe_last_sector());
            let _ = wiped.and_then(|_| self.sync());
        }
        right
    }

    /// What makes the disk look finished, its start and its last sector, is written when all other bytes have been read
    /// back. Firmware restores a partition table from either of the two, so neither may be there earlier.
    fn commit(&self) -> Result<(), FlashError> {
        let mut contents = Vec::new();
        for number in self.ends() {
            let content = lock(&self.held).remove(&number);
            contents.push((number, content.ok_or(FlashError::Halted)?));
        }
        for (number, content) in &contents {
            let harmless = self.harmless(*number);
            self.write_part(*number, content, harmless)?;
        }
        self.sync()?;
        for (number, content) in &contents {
            self.compare_part(*number, content, self.harmless(*number))?;
        }
        for (number, content) in &contents {
            let harmless = self.harmless(*number);
            for part in [harmless.end..content.bytes().len(), 0..harmless.start] {
                if !part.is_empty() {
                    self.write_part(*number, content, part)?;
                    self.sync()?;
                }
            }
        }
        Ok(())
    }

    /// The part of a chunk in which neither the disk's start nor its last sector is.
    fn harmless(&self, number: usize) -> Range<usize> {
        let (offset, length) = self.index.span(number);
        let start = if number == 0 {
            length.min(WIPED_START)
        } else {
            0
        };
        let last = self.disk.size() - u64::from(self.index.sector_size);
        let before_last = usize::try_from(last.saturating_sub(offset)).unwrap_or(usize::MAX);
        start..length.min(before_last).max(start)
    }

    fn write_part(
        &self,
        number: usize,
        content: &Buffer,
        part: Range<usize>,
    ) -> Result<(), FlashError> {
        if part.is_empty() {
            return Ok(());
        }
        let offset = self.index.span(number).0 + part.start as u64;
        self.write(offset, &content.bytes()[part])
    }

    fn compare_part(
        &self,
        number: usize,
        content: &Buffer,
        part: Range<usize>,
    ) -> Result<(), FlashError> {
        if part.is_empty() {
            return Ok(());
        }
        let (offset, _) = self.index.span(number);
        let mut found = Buffer::new(part.len());
        let at = offset + part.start as u64;
        let read = self.disk.read_at(at, found.bytes_mut());
        read.map_err(|error| FlashError::Unreadable { offset: at, error })?;
        if found.bytes() != &content.bytes()[part] {
            return Err(FlashError::ReadBack {
                chunk: number,
                offset,
            });
        }
        Ok(())
    }
}
