//! Copies of the state, and the way back.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::fault::Fault;
use super::lock::StateLock;
use super::{DATABASE, SCHEMA, make_folder, migrations, sync_folder};
use crate::StoreError;

/// A new file that is removed again unless it gets its final name.
struct Draft {
    path: PathBuf,
}

impl Draft {
    fn new(path: PathBuf) -> Result<Self, Fault> {
        // What is left of a copy that was killed.
        remove(&path)?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { path })
    }

    fn sync(&self) -> Result<(), Fault> {
        Ok(File::open(&self.path)?.sync_all()?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let _ = remove(&beside(&self.path, suffix));
        }
    }
}

/// Writes a copy of the database to a new file.
pub(super) fn backup(db: &Connection, to: &Path) -> Result<(), Fault> {
    if to.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let folder = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = to
        .file_name()
        .ok_or_else(|| Fault::Other("it has no file name".to_owned()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    let draft = Draft::new(folder.join(hidden))?;
    copy(db, &draft)?;
    rename_to_new(&draft.path, to)?;
    sync_folder(folder)
}

/// A whole copy, in one file and synced.
fn copy(db: &Connection, draft: &Draft) -> Result<(), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(&draft.path, flags)?;
    // Nobody sees the file before it is whole.
    copy.pragma_update(None, "synchronous", "off")?;
    // All pages in one step: one snapshot, and nobody waits, since readers of the log do not stop its writer.
    match Backup::new(db, &mut copy)?.step(-1)? {
        StepResult::Done => {}
        other => return Err(Fault::Other(format!("the copy stopped: {other:?}"))),
    }
    // Without a log beside it the one file is everything.
    copy.pragma_update(None, "journal_mode", "delete")?;
    copy.close().map_err(|(_, error)| error)?;
    draft.sync()
}

fn rename_to_new(from: &Path, to: &Path) -> Result<(), Fault> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Err(exists()),
        // Not every file system knows the flag; the name was free a moment ago.
        Err(Errno::INVAL | Errno::NOSYS) => Ok(std::fs::rename(from, to)?),
        Err(error) => Err(Fault::Io(error.into())),
    }
}

fn exists() -> Fault {
    Fault::Io(ErrorKind::AlreadyExists.into())
}

/// Puts a backup in the place of the state in `folder`, which is made where it is not there. The backup is copied,
/// checked and brought to the present schema first; then it takes the place of the state in one step. Whatever fails
/// or is interrupted before that leaves the state as it was, and after it the backup's.
///
/// # Errors
/// The state is in use, or the backup cannot be read, is damaged, is no state, or of a newer version; or there is no
/// room for it.
pub fn restore(backup: &Path, folder: &Path) -> Result<(), StoreError> {
    let doing = || format!("restore `{}` to `{}`", backup.display(), folder.display());
    make_folder(folder).map_err(|fault| fault.explain(&doing, folder))?;
    let _lock = StateLock::take(folder)?;
    restore_locked(backup, folder).map_err(|fault| match fault {
        Fault::Newer { found } => StoreError::Newer {
            path: backup.display().to_string(),
            found,
            known: SCHEMA,
        },
        fault => fault.explain(&doing, folder),
    })
}

fn restore_locked(backup: &Path, folder: &Path) -> Result<(), Fault> {
    let draft = Draft::new(folder.join("bootgate.db.restored"))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    copy(&Connection::open_with_flags(backup, flags)?, &draft)?;
    make_ready(&draft)?;
    let state = folder.join(DATABASE);
    let former = Former::keep(&state)?;
    if let Err(error) = std::fs::rename(&draft.path, &state) {
        former.bring_back();
        return Err(error.into());
    }
    sync_folder(folder)?;
    former.remove();
    Ok(())
}

/// Checks a copy, and brings it to the present schema.
fn make_ready(draft: &Draft) -> Result<(), Fault> {
    let mut copy = Connection::open(&draft.path)?;
    let verdict: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Fault::Other(format!("it is damaged: {verdict}")));
    }
    if migrations::check(&copy)? == 0 {
        return Err(Fault::Other("it is empty".to_owned()));
    }
    migrations::migrate(&mut copy)?;
    copy.close().map_err(|(_, error)| error)?;
    draft.sync()
}

/// The state before a restore, kept beside it.
struct Former {
    state: PathBuf,
    kept: PathBuf,
}

impl Former {
    fn keep(state: &Path) -> Result<Self, Fault> {
        let former = Self {
            state: state.to_owned(),
            kept: beside(state, ".former"),
        };
        former.remove();
        if !state.exists() {
            return Ok(former);
        }
        // A log that is left beside another database would be taken for that one's. Closing a sound database merges
        // its log; that of a broken one is moved away with it.
        let _ = settle(state);
        for suffix in ["-wal", "-shm"] {
            let log = beside(state, suffix);
            if log.exists() {
                std::fs::rename(log, beside(&former.kept, suffix))?;
            }
        }
        std::fs::hard_link(state, &former.kept)?;
        Ok(former)
    }

    /// The state itself is in its place still.
    fn bring_back(&self) {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::rename(beside(&self.kept, suffix), beside(&self.state, suffix));
        }
        self.remove();
    }

    fn remove(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = remove(&beside(&self.kept, suffix));
        }
    }
}

fn settle(state: &Path) -> Result<(), Fault> {
    let db = Connection::open(state)?;
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    db.close().map_err(|(_, error)| error.into())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
