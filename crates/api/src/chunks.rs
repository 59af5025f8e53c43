//! The chunk index of an image.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Version of [`ChunkIndex`].
pub const INDEX_SCHEMA: u32 = 1;

/// Size of a chunk where nothing else is asked for: 1 MiB.
pub const DEFAULT_CHUNK_SIZE: u32 = 1 << 20;

/// A SHA-256 digest; hexadecimal on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Hex(pub [u8; 32]);

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256Hex {
    type Err = ChunkIndexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ChunkIndexError(format!("`{text}` is not a SHA-256 digest in hexadecimal"));
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(fail());
        }
        let mut digest = [0u8; 32];
        for (index, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| fail())?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for Sha256Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// An image cut into chunks of one size, each compressed as a zstd frame of its own. The frames stand one after
/// the other in one file, which `zstd -d` turns back into the whole image; the index lets a client fetch only the
/// frames it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkIndex {
    /// [`INDEX_SCHEMA`] of the writer.
    pub schema: u32,
    /// Size of the image in bytes; a multiple of `sector_size`.
    pub size: u64,
    /// Logical sector size that the image's partition table was written for: 512 or 4096.
    pub sector_size: u32,
    /// Size of every chunk but the last, in bytes; a multiple of 4096.
    pub chunk_size: u32,
    /// SHA-256 of the whole image.
    pub image_sha256: Sha256Hex,
    /// SHA-256 over the chunks' digests in order, 32 bytes each, 32 zero bytes for a [`Chunk::Zero`]. A flasher
    /// that verifies chunk by chunk has this for a fraction of the work a second whole-image digest costs.
    pub chunks_sha256: Sha256Hex,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chunk {
    /// All bytes are zero; nothing to fetch.
    Zero,
    /// A chunk with content.
    Data {
        /// SHA-256 of the uncompressed chunk.
        sha256: Sha256Hex,
        /// Where its frame begins in the compressed file.
        offset: u64,
        /// Length of its frame in bytes.
        length: u32,
    },
}

/// The index contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkIndexError(pub String);

impl fmt::Display for ChunkIndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ChunkIndexError {}

impl ChunkIndex {
    /// Checks what a reader relies on: known schema, sizes that fit each other, one entry a chunk.
    ///
    /// # Errors
    /// The first contradiction, in words.
    pub fn validate(&self) -> Result<(), ChunkIndexError> {
        let fail = |text: String| Err(ChunkIndexError(text));
        if self.schema != INDEX_SCHEMA {
            return fail(format!(
                "chunk index has schema `{}`, this version reads `{INDEX_SCHEMA}`",
                self.schema
            ));
        }
        if self.sector_size != 512 && self.sector_size != 4096 {
            return fail(format!(
                "sector size `{}` is neither 512 nor 4096",
                self.sector_size
            ));
        }
        if self.chunk_size == 0
            || !self.chunk_size.is_multiple_of(4096)
            || self.chunk_size > 64 << 20
        {
            return fail(format!(
                "chunk size `{}` is not a multiple of 4096 up to 64 MiB",
                self.chunk_size
            ));
        }
        if self.size == 0 || !self.size.is_multiple_of(u64::from(self.sector_size)) {
            return fail(format!(
                "image size `{}` is not a positive multiple of `{}`",
                self.size, self.sector_size
            ));
        }
        let wanted = self.size.div_ceil(u64::from(self.chunk_size));
        if self.chunks.len() as u64 != wanted {
            return fail(format!(
                "chunk index lists `{}` chunks where the size asks for `{wanted}`",
                self.chunks.len()
            ));
        }
        Ok(())
    }

    /// Where chunk `index` begins in the image, and its length in bytes.
    #[must_use]
    pub fn span(&self, index: usize) -> (u64, usize) {
        let start = index as u64 * u64::from(self.chunk_size);
        let length = self
            .size
            .saturating_sub(start)
            .min(u64::from(self.chunk_size));
        (start, usize::try_from(length).unwrap_or(usize::MAX))
    }
}
