//! What can go wrong below an operation, and what it is called.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rusqlite::ErrorCode;

use crate::StoreError;
use crate::rules::Refusal;

/// A failure that does not know yet what was being done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Other(String),
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    Wrong(String),
    #[error("the next byte is `{0}`")]
    Offset(u64),
    #[error("its schema is `{found}`")]
    Newer { found: u32 },
}

impl Fault {
    /// The error of an operation on the state in `folder`.
    pub(super) fn explain(self, doing: &dyn Fn() -> String, folder: &Path) -> StoreError {
        let doing = doing();
        if self.is_for_want_of_room(folder) {
            return StoreError::Full { doing };
        }
        match self {
            Fault::Refused(Refusal(why)) => StoreError::Refused { doing, why },
            Fault::Missing(what) => StoreError::Missing { doing, what },
            Fault::TooLarge(why) => StoreError::TooLarge { doing, why },
            Fault::Wrong(why) => StoreError::Wrong { doing, why },
            Fault::Offset(offset) => StoreError::Offset { doing, offset },
            Fault::Sql(error) => storage(doing, error),
            Fault::Json(error) => storage(doing, error),
            Fault::Io(error) => storage(doing, error),
            other => storage(doing, other),
        }
    }

    fn is_for_want_of_room(&self, folder: &Path) -> bool {
        match self {
            Fault::Io(error) => says_full(error),
            Fault::Sql(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => true,
                // SQLite calls a quota, or a log that cannot be made, an I/O error; what it was shows in trying.
                Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => {
                    write_something(folder).is_err_and(|error| says_full(&error))
                }
                _ => false,
            },
            _ => false,
        }
    }
}

fn storage(doing: String, source: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Storage {
        doing,
        source: Box::new(source),
    }
}

fn says_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// As much as the index of the log grows by at a time.
fn write_something(folder: &Path) -> io::Result<()> {
    let path = folder.join(".room");
    let outcome = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(&[0x5a; 64 << 10])?;
            file.sync_data()
        });
    let _ = std::fs::remove_file(&path);
    outcome
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_used_up_quota_are_called_full() {
        let folder = tempfile::tempdir().expect("a folder");
        let explain = |fault: Fault| fault.explain(&|| "do it".to_owned(), folder.path());
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            let error = explain(Fault::Io(kind.into()));
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
        }
        // An I/O error of the database is not, as long as there is room.
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_WRITE);
        let error = explain(Fault::Sql(rusqlite::Error::SqliteFailure(code, None)));
        assert!(matches!(error, StoreError::Storage { .. }), "{error}");
        let left = std::fs::read_dir(folder.path()).expect("list").count();
        assert_eq!(left, 0);
    }
}
