//! Why a flash failed.

use std::io;

use bootgate_api::Sha256Hex;
use bootgate_events::Stage;

/// A flash failed. The disk does not look finished, whatever it was before, once a byte of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// The index cannot be followed.
    #[error("chunk index: {0}")]
    Index(String),
    /// The disk could not be read.
    #[error("read disk at byte `{offset}`: {error}")]
    Read {
        /// Where.
        offset: u64,
        /// The device's error.
        error: io::Error,
    },
    /// The disk could not be written.
    #[error("write disk at byte `{offset}`: {error}")]
    Write {
        /// Where.
        offset: u64,
        /// The device's error.
        error: io::Error,
    },
    /// What was written could not be made durable.
    #[error("sync disk: {0}")]
    Sync(io::Error),
    /// The server did not give the bytes.
    #[error("fetch image bytes `{start}` to `{end}`: {reason}")]
    Fetch {
        /// First byte of the compressed file.
        start: u64,
        /// The byte after the last.
        end: u64,
        /// Why, after all retries.
        reason: String,
    },
    /// A fetched chunk does not decompress to its length.
    #[error("decode chunk `{chunk}` at image byte `{offset}`: {reason}")]
    Decode {
        /// Number of the chunk.
        chunk: usize,
        /// Where it belongs.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A fetched chunk has other content than the index says.
    #[error(
        "chunk `{chunk}` at image byte `{offset}` has digest `{found}`, the index says `{wanted}`"
    )]
    Corrupt {
        /// Number of the chunk.
        chunk: usize,
        /// Where it belongs.
        offset: u64,
        /// The index's digest.
        wanted: Sha256Hex,
        /// The digest of what came.
        found: Sha256Hex,
    },
    /// The disk gave back other bytes than were written.
    #[error("read back chunk `{chunk}` at disk byte `{offset}`: other bytes than were written")]
    ReadBack {
        /// Number of the chunk.
        chunk: usize,
        /// Where it is.
        offset: u64,
    },
    /// The disk could not be read back.
    #[error("read back disk at byte `{offset}`: {error}")]
    Unreadable {
        /// Where.
        offset: u64,
        /// The device's error.
        error: io::Error,
    },
    /// A part of the work ended because another part failed; that one's error is reported.
    #[error("flash was halted")]
    Halted,
}

impl FlashError {
    /// The stage of the attempt that failed.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::ReadBack { .. } | Self::Unreadable { .. } => Stage::Verify,
            _ => Stage::Flash,
        }
    }
}
