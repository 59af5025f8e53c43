//! Whether an index can be followed.

use bootgate_api::{Chunk, ChunkIndex, Sha256Hex};
use sha2::{Digest, Sha256};

use super::FlashError;

/// What [`ChunkIndex::validate`] does not look at: that the digest over the chunks is theirs, that no frame is
/// empty or lies past the end of what a file can hold, and that the image fits the disk.
pub(super) fn check_index(index: &ChunkIndex, disk_size: u64) -> Result<(), FlashError> {
    let fail = |text: String| Err(FlashError::Index(text));
    if let Err(reason) = index.validate() {
        return fail(reason.to_string());
    }
    if index.size > disk_size {
        return fail(format!(
            "image has `{}` bytes, the disk `{disk_size}`",
            index.size
        ));
    }
    let mut hasher = Sha256::new();
    for (number, chunk) in index.chunks.iter().enumerate() {
        match chunk {
            Chunk::Zero => hasher.update([0; 32]),
            Chunk::Data {
                sha256,
                offset,
                length,
            } => {
                hasher.update(sha256.0);
                if *length == 0 || offset.checked_add(u64::from(*length)).is_none() {
                    return fail(format!("chunk `{number}` has an impossible frame"));
                }
                // zstd never grows a chunk by more than this (ZSTD_COMPRESSBOUND in zstd.h).
                let (_, plain) = index.span(number);
                if u64::from(*length) > plain as u64 + (plain as u64 >> 8) + 1024 {
                    return fail(format!("chunk `{number}` has a frame of `{length}` bytes"));
                }
            }
        }
    }
    let found = Sha256Hex(hasher.finalize().into());
    if found != index.chunks_sha256 {
        return fail(format!(
            "its chunks have digest `{found}`, it says `{}`",
            index.chunks_sha256
        ));
    }
    Ok(())
}
