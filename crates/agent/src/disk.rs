//! Which disks are there, and which one to write.

use std::fmt;
use std::fs;
use std::ops::Deref;
use std::path::Path;

use bootgate_api::{DiskFacts, DiskSelector};

use crate::sysfs::attribute;

/// One whole disk, as sysfs describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What it is.
    pub facts: DiskFacts,
    /// Why this disk is never written, where that is so.
    pub barred: Option<&'static str>,
}

/// A disk is most often asked for what it is.
impl Deref for Disk {
    type Target = DiskFacts;

    fn deref(&self) -> &DiskFacts {
        &self.facts
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes", self.path, self.size)?;
        write!(f, ", {}-byte sectors", self.sector_size)?;
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial}")?;
        }
        if let Some(reason) = self.barred {
            write!(f, ", {reason}")?;
        }
        f.write_str(")")
    }
}

/// No disk may be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// Nothing fits the selector.
    #[error("no disk fits {wanted}; there is {present}")]
    NoMatch {
        /// The selector in words.
        wanted: String,
        /// All disks.
        present: String,
    },
    /// More than one disk fits; none is chosen by chance.
    #[error("`{count}` disks fit {wanted}; there is {present}")]
    Ambiguous {
        /// How many.
        count: usize,
        /// The selector in words.
        wanted: String,
        /// All disks.
        present: String,
    },
    /// The image was made for other sectors.
    #[error(
        "disk `{path}` has sectors of `{disk}` bytes, the image was made for sectors of `{image}`"
    )]
    SectorSize {
        /// Device path.
        path: String,
        /// The disk's logical sector size.
        disk: u32,
        /// The image's sector size.
        image: u32,
    },
    /// The image is larger than the disk.
    #[error("disk `{path}` has `{disk}` bytes, the image needs `{image}`")]
    TooSmall {
        /// Device path.
        path: String,
        /// The disk's size in bytes.
        disk: u64,
        /// The image's size in bytes.
        image: u64,
    },
}

/// The one disk that the selector names and that may be written.
///
/// # Errors
/// None or several; the message lists what is there.
pub fn choose<'a>(disks: &'a [Disk], selector: &DiskSelector) -> Result<&'a Disk, DiskError> {
    let mut fitting = disks.iter().filter(|disk| fits(disk, selector));
    match (fitting.next(), fitting.count()) {
        (Some(disk), 0) => Ok(disk),
        (Some(_), more) => Err(DiskError::Ambiguous {
            count: more + 1,
            wanted: describe(selector),
            present: list_of(disks),
        }),
        (None, _) => Err(DiskError::NoMatch {
            wanted: describe(selector),
            present: list_of(disks),
        }),
    }
}

/// Whether an image of this size, made for these sectors, can go on the disk.
///
/// # Errors
/// Other sectors, or a disk that is too small.
pub fn check_fit(disk: &DiskFacts, size: u64, sector_size: u32) -> Result<(), DiskError> {
    if disk.sector_size != sector_size {
        return Err(DiskError::SectorSize {
            path: disk.path.clone(),
            disk: disk.sector_size,
            image: sector_size,
        });
    }
    if disk.size < size {
        return Err(DiskError::TooSmall {
            path: disk.path.clone(),
            disk: disk.size,
            image: size,
        });
    }
    Ok(())
}

fn fits(disk: &Disk, selector: &DiskSelector) -> bool {
    let same = |wanted: &Option<String>, is: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| is == Some(wanted))
    };
    disk.barred.is_none()
        && same(&selector.path, Some(&disk.path))
        && same(&selector.serial, disk.serial.as_deref())
        && selector.min_size.is_none_or(|min| disk.size >= min)
        && selector.max_size.is_none_or(|max| disk.size <= max)
}

fn describe(selector: &DiskSelector) -> String {
    let mut parts = Vec::new();
    if let Some(path) = &selector.path {
        parts.push(format!("path `{path}`"));
    }
    if let Some(serial) = &selector.serial {
        parts.push(format!("serial `{serial}`"));
    }
    if let Some(min) = selector.min_size {
        parts.push(format!("at least `{min}` bytes"));
    }
    if let Some(max) = selector.max_size {
        parts.push(format!("at most `{max}` bytes"));
    }
    if parts.is_empty() {
        return "`any disk`".to_owned();
    }
    parts.join(" and ")
}

fn list_of(disks: &[Disk]) -> String {
    if disks.is_empty() {
        return "no disk at all".to_owned();
    }
    let texts: Vec<_> = disks.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// All disks that have a device behind them (loop, RAM and mapped devices have none), sorted by path.
/// `block` is `/sys/block`, `mounts` the text of `/proc/self/mountinfo`. A disk that vanishes while it is read is left out.
#[must_use]
pub fn list(block: &Path, mounts: &str) -> Vec<Disk> {
    let Ok(entries) = fs::read_dir(block) else {
        return Vec::new();
    };
    let mut disks: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            read_disk(&entry.path(), &name, mounts)
        })
        .collect();
    disks.sort_by(|a, b| a.path.cmp(&b.path));
    disks
}

fn read_disk(folder: &Path, name: &str, mounts: &str) -> Option<Disk> {
    if !folder.join("device").exists() || attribute(folder, "hidden").as_deref() == Some("1") {
        return None;
    }
    // The kernel counts in units of 512 bytes here whatever the sector size is (Documentation/ABI/stable/sysfs-block).
    let size = attribute(folder, "size")?.parse::<u64>().ok()? * 512;
    if size == 0 {
        return None;
    }
    let sector_size = attribute(folder, "queue/logical_block_size")?
        .parse()
        .ok()?;
    let facts = DiskFacts {
        // sysfs writes a slash of a device name as an exclamation mark.
        path: format!("/dev/{}", name.replace('!', "/")),
        size,
        sector_size,
        serial: serial(folder),
        model: model(folder),
    };
    Some(Disk {
        facts,
        barred: barred(folder, name, mounts),
    })
}

fn barred(folder: &Path, name: &str, mounts: &str) -> Option<&'static str> {
    let set = |file: &str| attribute(folder, file).as_deref() == Some("1");
    let holds = |folder: &Path| {
        fs::read_dir(folder.join("holders")).is_ok_and(|mut entries| entries.next().is_some())
    };
    let parts = || partitions(folder, name);
    if set("removable") {
        Some("removable")
    } else if set("ro") {
        Some("read-only")
    } else if mounted(folder, mounts) || parts().iter().any(|part| mounted(part, mounts)) {
        Some("mounted")
    } else if holds(folder) || parts().iter().any(|part| holds(part)) {
        Some("in use")
    } else {
        None
    }
}

fn partitions(folder: &Path, name: &str) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let of_disk = |entry: &fs::DirEntry| {
        let path = entry.path();
        entry.file_name().to_string_lossy().starts_with(name) && path.join("partition").exists()
    };
    let parts = entries.flatten().filter(of_disk);
    parts.map(|entry| entry.path()).collect()
}

/// Field 3 of a mountinfo line is the device's `major:minor` (proc(5)).
fn mounted(folder: &Path, mounts: &str) -> bool {
    let Some(number) = attribute(folder, "dev") else {
        return false;
    };
    let mut lines = mounts.lines();
    lines.any(|line| line.split(' ').nth(2) == Some(number.as_str()))
}

/// virtio has `serial` at the disk, NVMe and MMC at its device, SCSI in vital product data page 0x80 after a
/// header of four bytes (SPC-4, 7.8.13). The kernel asks many USB disks for no such page (`skip_vpd_pages`,
/// drivers/usb/storage/scsiglue.c); their serial number is the USB device's.
fn serial(folder: &Path) -> Option<String> {
    let named = || attribute(folder, "serial").or_else(|| attribute(folder, "device/serial"));
    let page = || {
        let bytes = fs::read(folder.join("device/vpd_pg80")).ok()?;
        Some(String::from_utf8_lossy(bytes.get(4..)?).trim().to_owned())
    };
    let told = named().or_else(page).filter(|text| !text.is_empty());
    told.or_else(|| usb_serial(folder))
}

/// The serial number of the USB device that a disk is in.
fn usb_serial(folder: &Path) -> Option<String> {
    let device = folder.join("device").canonicalize().ok()?;
    let usb = device
        .ancestors()
        .find(|above| above.join("idVendor").exists())?;
    attribute(usb, "serial").filter(|text| !text.is_empty())
}

/// SCSI and NVMe call it `model`, MMC `name`; virtio has none.
fn model(folder: &Path) -> Option<String> {
    let named = attribute(folder, "device/model").or_else(|| attribute(folder, "device/name"));
    named.filter(|text| !text.is_empty())
}
