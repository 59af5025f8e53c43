//! The file on its way into packets.

use std::io;

use crate::files::ServedFile;

/// Bytes of the file read at once when the client takes them.
const PIECE: usize = 128 << 10;

/// Reads a file in larger pieces than blocks. Holds one piece.
pub(super) struct Reader {
    file: ServedFile,
    at: u64,
    bytes: Vec<u8>,
    /// Bytes to read at once.
    piece: usize,
}

impl Reader {
    /// Reads no more than `first` bytes at once, until told that the client takes them: a client that only asks costs
    /// next to nothing.
    pub(super) fn new(file: ServedFile, first: usize) -> Self {
        Self {
            file,
            at: 0,
            bytes: Vec::new(),
            piece: first,
        }
    }

    /// The client takes what is sent.
    pub(super) fn taken(&mut self) {
        self.piece = PIECE;
    }

    /// The `len` bytes from `offset` on, which lie in the file.
    pub(super) fn block(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let start = match self.place(offset, len) {
            Some(start) => start,
            None => {
                self.fill(offset, len)?;
                0
            }
        };
        let block = self.bytes.get(start..start + len);
        block.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn place(&self, offset: u64, len: usize) -> Option<usize> {
        let start = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        (start.checked_add(len)? <= self.bytes.len()).then_some(start)
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let left = self.file.size().saturating_sub(offset);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.bytes.resize(left.min(self.piece.max(len)), 0);
        self.at = offset;
        let read = self.file.read_into(offset, &mut self.bytes);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }
}
