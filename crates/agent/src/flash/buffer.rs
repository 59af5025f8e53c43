//! Memory that a disk can be read into and written from directly.

/// Direct input and output asks for memory aligned to the disk's sectors; a page fits them all.
const ALIGNMENT: usize = 4096;

/// A buffer whose first byte is page-aligned. Zeros at first.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let memory = vec![0; length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        Self {
            // A platform that cannot tell alignment says usize::MAX; the write then fails with a plain error.
            start: start.min(ALIGNMENT),
            memory,
            length,
        }
    }

    /// A buffer with a copy of `bytes`.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut buffer = Self::new(bytes.len());
        buffer.bytes_mut().copy_from_slice(bytes);
        buffer
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// The bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

/// Whether all bytes are zero. Sixteen bytes at a time: a few times as fast as comparing with zeros, also under
/// emulation, where most of a blank disk's cost is this test.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    let mut blocks = bytes.chunks_exact(256);
    let quiet = blocks.all(|block| {
        let words = block.as_chunks::<16>().0;
        let joined = words
            .iter()
            .fold(0, |sum, word| sum | u128::from_ne_bytes(*word));
        joined == 0
    });
    quiet && blocks.remainder().iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_not_zero() {
        for length in [0, 1, 255, 256, 257, 1000] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes), "{length}");
            for index in 0..length {
                bytes[index] = 1;
                assert!(!is_zero(&bytes), "{index} of {length}");
                bytes[index] = 0;
            }
        }
    }

    #[test]
    fn buffers_are_aligned() {
        let buffer = Buffer::copy_of(&[7; 5000]);
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(buffer.bytes(), [7; 5000]);
    }
}
