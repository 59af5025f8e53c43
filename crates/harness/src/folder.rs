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
/// Disks and firmware variables while the run lasts.
pub(crate) const WORK: &str = "work";

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
    Ok(())
}
