//! One process at a time.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::fault::Fault;
use crate::StoreError;

/// Name of the lock file in the folder of the state. It holds the process id of whoever has the lock, and is never
/// removed.
const LOCK: &str = "lock";

/// The right to use a state; the kernel takes it back when the process ends, however it ends.
pub(super) struct StateLock {
    file: File,
}

impl StateLock {
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        Self::try_take(folder)
            .map_err(|fault| {
                fault.explain(
                    &|| format!("lock the state in `{}`", folder.display()),
                    folder,
                )
            })?
            .map_err(|pid| StoreError::InUse {
                path: folder.display().to_string(),
                pid,
            })
    }

    /// The lock, or who has it.
    fn try_take(folder: &Path) -> Result<Result<Self, Option<u32>>, Fault> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(LOCK))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok();
                return Ok(Err(pid.and_then(|_| text.trim().parse().ok())));
            }
            Err(error) => return Err(Fault::Io(error.into())),
        }
        // Only for the message that somebody else gets: no reason to fail where the disk is full.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Ok(Self { file }))
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}
