//! Waiting for the disk.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bootgate_api::DiskSelector;

use super::modules::Modules;
use super::netlink::Events;
use super::say;
use crate::devices;
use crate::disk::{Disk, DiskError, choose, list};

/// How long a disk may take to appear when all modules of the list are loaded.
const APPEARS: Duration = Duration::from_secs(15);

/// The same where drivers are loaded for what is found: USB disks and those behind a RAID controller come late.
const APPEARS_LATE: Duration = Duration::from_secs(60);

/// How long no device may appear or vanish for all of them to count as found.
const QUIET: Duration = Duration::from_millis(1500);

/// Waits until exactly one disk fits. More than one is an error at once. On hardware, where disks appear one after the
/// other, the first that fits may not be the only one: unless it is named by its serial number, all are waited for.
pub(super) fn wait_for(
    selector: &DiskSelector,
    modules: &Modules,
    events: &Events,
) -> Result<Disk, String> {
    if modules.by_alias() && selector.serial.is_none() {
        settle(modules, events)?;
    }
    let limit = if modules.by_alias() {
        APPEARS_LATE
    } else {
        APPEARS
    };
    let deadline = Instant::now() + limit;
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
            return Err(refusal + &without_driver("01"));
        }
    }
}

/// Waits until nothing more appears, and for the first disk longer than for further ones. A machine may have none.
pub(super) fn settle(modules: &Modules, events: &Events) -> Result<(), String> {
    let started = Instant::now();
    let (first, deadline) = (started + APPEARS, started + APPEARS_LATE);
    loop {
        let any = !list(Path::new("/sys/block"), "").is_empty();
        let quiet = Instant::now() + QUIET;
        let until = if any { quiet } else { quiet.max(first) };
        let heard = events.wait(until);
        let heard = heard.map_err(|error| format!("wait for disks: {error}"))?;
        if Instant::now() >= deadline || !heard && !modules.busy() {
            return Ok(());
        }
    }
}

/// Says which devices have no driver.
pub(super) fn tell_undriven() {
    let devices = devices::undriven(Path::new("/sys/bus"));
    for device in devices.iter().filter(|device| devices::matters(device)) {
        say!("no driver for {device}");
    }
}

/// What to add to a message about something missing: PCI devices of this base class that no driver took.
pub(super) fn without_driver(class: &str) -> String {
    let devices = devices::undriven(Path::new("/sys/bus"));
    let fitting = devices
        .iter()
        .filter(|device| device.class.starts_with(class) && device.bus == "pci");
    let names: Vec<_> = fitting.map(ToString::to_string).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("; no driver for {}", names.join(", "))
}

/// Has the kernel read the disk's partition table anew; names of the partitions.
///
/// # Errors
/// The kernel's own: the disk is in use, or cannot be read.
#[allow(
    unsafe_code,
    reason = "an ioctl without a safe form; see the SAFETY comment"
)]
pub(super) fn read_partitions(disk: &str) -> std::io::Result<Vec<String>> {
    /// `BLKRRPART` of `linux/fs.h`.
    const READ_PARTITIONS: rustix::ioctl::Opcode = rustix::ioctl::opcode::none(0x12, 95);
    let file = fs::File::open(disk)?;
    // SAFETY: the number is that of an ioctl that takes no argument and writes to no memory.
    unsafe {
        let again = rustix::ioctl::NoArg::<READ_PARTITIONS>::new();
        rustix::ioctl::ioctl(&file, again)?;
    }
    let name = disk.trim_start_matches("/dev/").replace('/', "!");
    let folder = Path::new("/sys/block").join(name);
    let mut names: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .filter(|entry| entry.path().join("partition").exists())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}
