//! Waiting for the disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bootgate_api::DiskSelector;

use super::netlink::Events;
use crate::disk::{Disk, DiskError, choose, list};

/// How long a disk may take to appear when all modules are loaded.
const APPEARS: Duration = Duration::from_secs(15);

/// How long no device may appear or vanish for all of them to count as found.
const QUIET: Duration = Duration::from_millis(1500);

/// Waits until exactly one disk fits. More than one is an error at once.
pub(super) fn wait_for(selector: &DiskSelector, events: &Events) -> Result<Disk, String> {
    let deadline = Instant::now() + APPEARS;
    loop {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let disks = list(Path::new("/sys/block"), &mounts);
        let refusal = match choose(&disks, selector) {
            Ok(disk) => return Ok(disk.clone()),
            Err(refusal @ DiskError::NoMatch { .. }) => refusal.to_string(),
            Err(refusal) => return Err(refusal.to_string()),
        };
        let waited = events.wait(deadline);
        if !waited.map_err(|error| format!("wait for a disk: {error}"))? {
            return Err(refusal);
        }
    }
}

/// Waits until nothing more appears, and for the first disk longer than for further ones. A machine may have none.
pub(super) fn settle(events: &Events) -> Result<(), String> {
    let deadline = Instant::now() + APPEARS;
    loop {
        let any = !list(Path::new("/sys/block"), "").is_empty();
        let quiet = Instant::now() + QUIET;
        let until = if any { quiet.min(deadline) } else { deadline };
        let heard = events.wait(until);
        if !heard.map_err(|error| format!("wait for disks: {error}"))? || Instant::now() >= deadline
        {
            return Ok(());
        }
    }
}
