//! Digests of files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bootgate_api::Sha256Hex;
use sha2::{Digest, Sha256};

use crate::MediaError;

/// SHA-256 of a file, read piece by piece.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> Result<Sha256Hex, MediaError> {
    let mut file = File::open(path).map_err(MediaError::io("open", path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = file
            .read(&mut buffer)
            .map_err(MediaError::io("read", path))?;
        if count == 0 {
            return Ok(Sha256Hex(digest.finalize().into()));
        }
        digest.update(&buffer[..count]);
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex(Sha256::digest(bytes).into())
}
