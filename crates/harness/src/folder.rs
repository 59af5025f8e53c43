//! The run folder: what lies where, and how it is made ready.

use std::fs;
use std::path::{Path, PathBuf};

use bootgate_events::TargetName;

use crate::HarnessError;

/// The event log.
pub const EVENTS: &str = "events.jsonl";
/// The folder of raw console logs.
pub const CONSOLES: &str = "console";
/// All frames of the segment.
pub const CAPTURE: &str = "capture.pcapng";
/// What the LAN's own DHCP server was told, and its log.
pub const LAN: &str = "lan";
/// Disks and firmware variables while the run lasts.
pub(crate) const WORK: &str = "work";

/// A file that only takes space: it is removed when the disk is full, so that the verdict can still be written.
const RESERVE: &str = "reserve";

/// Size of the reserve in bytes: room for the last events and the reports.
const RESERVE_SIZE: usize = 2 << 20;

/// Where the raw console bytes of `target` are.
#[must_use]
pub fn console_log(folder: &Path, target: &TargetName) -> PathBuf {
    folder.join(CONSOLES).join(format!("{target}.log"))
}

/// Makes `folder` ready for a run. The remains of an earlier run in it are removed; a folder with anything else in it
/// is left alone.
///
/// # Errors
/// Where the folder holds files that no run made, or cannot be written.
pub fn prepare(folder: &Path) -> Result<(), HarnessError> {
    let ours = [
        EVENTS,
        CONSOLES,
        CAPTURE,
        LAN,
        WORK,
        "verdict.json",
        "junit.xml",
        "report.html",
    ];
    fs::create_dir_all(folder).map_err(HarnessError::io("create the run folder", folder))?;
    let entries = fs::read_dir(folder).map_err(HarnessError::io("list the run folder", folder))?;
    for entry in entries {
        let entry = entry.map_err(HarnessError::io("list the run folder", folder))?;
        let path = entry.path();
        if !ours.iter().any(|name| entry.file_name() == *name) {
            return Err(HarnessError::ForeignFile {
                folder: folder.to_owned(),
                path,
            });
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(HarnessError::io(
            "remove the remains of an earlier run",
            &path,
        ))?;
    }
    for name in [CONSOLES, WORK] {
        let path = folder.join(name);
        fs::create_dir(&path).map_err(HarnessError::io("create", &path))?;
    }
    let reserve = folder.join(WORK).join(RESERVE);
    fs::write(&reserve, vec![0; RESERVE_SIZE])
        .map_err(HarnessError::io("reserve space in", &reserve))
}

/// A folder that goes when the run does, also where it ends early by an error or a panic.
pub(crate) struct RemovedAtEnd(pub(crate) PathBuf);

impl Drop for RemovedAtEnd {
    fn drop(&mut self) {
        // Gone already where the run came to its end.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Gives back the space kept for the end of a run on a full disk. `false` where it was given back before.
pub(crate) fn release_reserve(folder: &Path) -> bool {
    fs::remove_file(folder.join(WORK).join(RESERVE)).is_ok()
}

/// Checks that the file system of `folder` has room for `bytes` of disks beside the evidence of the run.
pub(crate) fn check_room(folder: &Path, bytes: u64) -> Result<(), HarnessError> {
    let wanted = bytes.saturating_add(RESERVE_SIZE as u64);
    let status = rustix::fs::statvfs(folder)
        .map_err(|error| HarnessError::io("look at the file system of", folder)(error.into()))?;
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    if free >= wanted {
        return Ok(());
    }
    Err(HarnessError::infra(
        "disk-full",
        format!(
            "`{}` has room for {} MiB, and the targets' disks may grow to {} MiB",
            folder.display(),
            free >> 20,
            bytes >> 20
        ),
        crate::error::FULL_HINT,
    ))
}
