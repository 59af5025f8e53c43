//! What can go wrong with building media.

use std::io;
use std::path::{Path, PathBuf};

/// A medium cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// A file cannot be read or written.
    #[error("{doing} `{path}`: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A recipe is wrong.
    #[error("read recipe `{path}`: {message}", path = path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The kernel's files are not what is needed.
    #[error("use the kernel under `{root}`: {message}", root = root.display())]
    Kernel {
        /// The folder.
        root: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A kernel module cannot be used.
    #[error("use the kernel module `{module}`: {message}")]
    Module {
        /// Its name.
        module: String,
        /// What is wrong.
        message: String,
    },
    /// A program, an image or another input is not what is needed.
    #[error("{doing} `{path}`: {message}", path = path.display())]
    Input {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A program or library failed or is not installed.
    #[error("run `{program}`: {message}")]
    Tool {
        /// The program.
        program: String,
        /// What it said, or why it did not start.
        message: String,
    },
    /// Something is larger than it may be.
    #[error("{what} has `{size}` bytes, more than the `{limit}` allowed")]
    TooLarge {
        /// What.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// `SOURCE_DATE_EPOCH` is no time.
    #[error("read SOURCE_DATE_EPOCH: `{0}` is not a number of seconds since 1970 below 2^32")]
    Epoch(String),
}

impl MediaError {
    /// Wraps an error of the file system; for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn input(doing: &'static str, path: &Path, message: impl Into<String>) -> Self {
        let (path, message) = (path.to_owned(), message.into());
        Self::Input {
            doing,
            path,
            message,
        }
    }
}
