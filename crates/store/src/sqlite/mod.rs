//! SQLite, embedded: one file in the folder of the server's state, and nothing to install.
//!
//! One connection writes, two read. The journal is a write-ahead log that is synced at each commit, so what was
//! acknowledged outlives a power cut as far as the disk honours a sync; a power cut in the middle of a commit leaves
//! either all of it or nothing. After a sync that *failed* the answer is an error, but a crash right then may show the
//! change after all: as with any request whose answer never came.

mod attempts;
mod backup;
mod depot;
mod events;
mod fault;
mod leases;
mod lock;
mod machines;
mod migrations;
mod store;
mod value;

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::StoreError;
use fault::Fault;
use lock::StateLock;

pub use backup::restore;
pub use migrations::{SCHEMA, migrations};

/// Name of the database in the folder of the state.
pub const DATABASE: &str = "bootgate.db";

/// How long to wait for somebody who looks into the database with other programs.
const BUSY: Duration = Duration::from_secs(5);

/// Statements kept prepared by each connection; more than there are.
const STATEMENTS: usize = 96;

/// The state of a boot server in an SQLite database.
///
/// The folder belongs to one process as long as this lives.
pub struct Sqlite {
    folder: PathBuf,
    writer: Mutex<Connection>,
    readers: [Mutex<Connection>; 2],
    backups: Mutex<()>,
    depot: depot::Depot,
    /// Dropped last, when the connections are closed.
    _lock: StateLock,
}

impl Sqlite {
    /// Opens the state in this folder; makes both where they are not there, for their owner only, and brings a state
    /// written by an older version up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has it open, [`StoreError::Newer`] where a newer version wrote it,
    /// [`StoreError::Full`] where there is no room, and storage errors.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let doing = || format!("open the state in `{}`", folder.display());
        make_folder(folder).map_err(|fault| fault.explain(&doing, folder))?;
        let lock = StateLock::take(folder)?;
        let path = folder.join(DATABASE);
        Self::open_locked(folder, &path, lock).map_err(|fault| match fault {
            Fault::Newer { found } => StoreError::Newer {
                path: path.display().to_string(),
                found,
                known: SCHEMA,
            },
            fault => fault.explain(&doing, folder),
        })
    }

    fn open_locked(folder: &Path, path: &Path, lock: StateLock) -> Result<Self, Fault> {
        make_file(path)?;
        let mut writer = connect(path)?;
        migrations::check(&writer)?;
        writer.pragma_update(None, "journal_mode", "wal")?;
        migrations::migrate(&mut writer)?;
        depot::tidy(folder, &writer)?;
        // The names of the files must outlive a power cut as their content does.
        sync_folder(folder)?;
        let reader = || connect(path).map(Mutex::new);
        Ok(Self {
            folder: folder.to_owned(),
            writer: Mutex::new(writer),
            readers: [reader()?, reader()?],
            backups: Mutex::new(()),
            depot: depot::Depot::default(),
            _lock: lock,
        })
    }

    /// Changes something, in one transaction that is durable when this returns `Ok`, and did nothing otherwise.
    fn write<T>(
        &self,
        doing: impl Fn() -> String,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let mut connection = locked(&self.writer);
        let run = || {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        let outcome: Result<T, Fault> = run();
        outcome.map_err(|fault| fault.explain(&doing, &self.folder))
    }

    /// Reads, while others may write.
    fn read<T>(
        &self,
        doing: impl Fn() -> String,
        look: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let [first, second] = &self.readers;
        let connection = first.try_lock().unwrap_or_else(|_| locked(second));
        look(&connection).map_err(|fault| fault.explain(&doing, &self.folder))
    }
}

/// A transaction that panicked was rolled back, so the connection is as good as before.
fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connect(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let set = |name: &str, value: i64| connection.pragma_update(None, name, value);
    set("synchronous", 2)?; // FULL: the log is synced at each commit
    set("cache_size", -1024)?; // KiB: an idle server stays small
    set("journal_size_limit", 8 << 20)?; // more than the log has at a checkpoint, so it is written in place
    set("temp_store", 2)?; // memory
    set("mmap_size", 0)?;
    set("trusted_schema", 0)?;
    Ok(connection)
}

fn make_folder(folder: &Path) -> Result<(), Fault> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Makes the file where it is not there; for its owner only, as are the files that SQLite makes beside it.
fn make_file(path: &Path) -> Result<(), Fault> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(())
}

fn sync_folder(folder: &Path) -> Result<(), Fault> {
    Ok(std::fs::File::open(folder)?.sync_all()?)
}
