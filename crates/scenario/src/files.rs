//! What the checks ask of the file system.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The files that a scenario names. The checks ask nothing else of the outside world.
pub trait Files {
    /// Length in bytes of a regular file.
    ///
    /// # Errors
    /// There is none, it cannot be seen, or it is something else.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// The first `limit` bytes of a regular file, or all where it is shorter.
    ///
    /// # Errors
    /// It cannot be read.
    fn head(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
}

/// The files of this host.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostFiles;

impl Files for HostFiles {
    fn length(&self, path: &Path) -> io::Result<u64> {
        let facts = path.metadata()?;
        if facts.is_file() {
            return Ok(facts.len());
        }
        let what = if facts.is_dir() {
            "it is a folder"
        } else {
            "it is not a regular file"
        };
        Err(io::Error::other(what))
    }

    fn head(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // The length first: opening a pipe would wait for its writer.
        self.length(path)?;
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
