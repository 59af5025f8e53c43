//! Which network interfaces are there.

use std::fs;
use std::path::Path;

use bootgate_events::MacAddr;

use crate::sysfs::attribute;

/// An interface that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// The kernel's name for it.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its driver, where known.
    pub driver: Option<String>,
}

/// Interfaces with a device behind them and an Ethernet address, by name. `net` is `/sys/class/net`.
#[must_use]
pub fn list(net: &Path) -> Vec<Nic> {
    let Ok(entries) = fs::read_dir(net) else {
        return Vec::new();
    };
    let mut nics: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            path.join("device").exists().then_some(())?;
            Some(Nic {
                name: entry.file_name().into_string().ok()?,
                index: attribute(&path, "ifindex")?.parse().ok()?,
                mac: attribute(&path, "address")?.parse().ok()?,
                driver: driver(&path),
            })
        })
        .collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

/// The device's link `driver` leads to the driver's folder, which has its name.
fn driver(folder: &Path) -> Option<String> {
    let link = fs::read_link(folder.join("device/driver")).ok()?;
    link.file_name()?.to_str().map(str::to_owned)
}
