//! What the checks ask of the file system.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

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

/// What was asked once is not asked again.
pub(crate) struct Remembered<'a> {
    files: &'a dyn Files,
    lengths: RefCell<HashMap<PathBuf, Answer<u64>>>,
    heads: RefCell<Heads>,
}

/// The first so many bytes of files.
type Heads = HashMap<(PathBuf, u64), Answer<Vec<u8>>>;

/// An answer, or the kind and the text of an error.
type Answer<T> = Result<T, (io::ErrorKind, String)>;

impl<'a> Remembered<'a> {
    pub(crate) fn new(files: &'a dyn Files) -> Self {
        Self {
            files,
            lengths: RefCell::default(),
            heads: RefCell::default(),
        }
    }
}

fn kept<T>(answer: io::Result<T>) -> Answer<T> {
    answer.map_err(|error| (error.kind(), error.to_string()))
}

fn given<T: Clone>(answer: &Answer<T>) -> io::Result<T> {
    answer
        .clone()
        .map_err(|(kind, text)| io::Error::new(kind, text))
}

impl Files for Remembered<'_> {
    fn length(&self, path: &Path) -> io::Result<u64> {
        let mut lengths = self.lengths.borrow_mut();
        let answer = lengths
            .entry(path.to_owned())
            .or_insert_with(|| kept(self.files.length(path)));
        given(answer)
    }

    fn head(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut heads = self.heads.borrow_mut();
        let answer = heads
            .entry((path.to_owned(), limit))
            .or_insert_with(|| kept(self.files.head(path, limit)));
        given(answer)
    }
}
