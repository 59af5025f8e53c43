//! Which devices are there, which drivers they ask for, and which have none.

use std::fs;
use std::path::Path;

use bootgate_api::UndrivenDevice;

use crate::sysfs::attribute;

/// Buses whose devices each need a driver of their own to be of use.
const BUSES: [&str; 4] = ["pci", "usb", "virtio", "scsi"];

/// A device that says which driver it wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wish {
    /// Place in the order of loading: network first, since everything else waits for the server's plan.
    rank: u8,
    /// What the device is, as a text that drivers' patterns are for.
    pub modalias: String,
}

/// What all devices ask for, each once, network first. `bus` is `/sys/bus`.
#[must_use]
pub fn wishes(bus: &Path) -> Vec<Wish> {
    let mut wishes: Vec<_> = entries(bus)
        .iter()
        .flat_map(|bus| entries(&bus.join("devices")))
        .filter_map(|device| attribute(&device, "modalias"))
        .filter(|modalias| !modalias.is_empty())
        .map(|modalias| Wish {
            rank: rank(&modalias),
            modalias,
        })
        .collect();
    wishes.sort();
    wishes.dedup();
    wishes
}

/// By class for PCI (`bc` in a modalias is the base class), by device type for virtio (1 is a network device).
fn rank(modalias: &str) -> u8 {
    let network = modalias.starts_with("virtio:d00000001")
        || modalias.starts_with("pci:") && modalias.contains("bc02");
    u8::from(!network)
}

/// Devices without a driver, without bridges, ordered by bus and address. `bus` is `/sys/bus`.
#[must_use]
pub fn undriven(bus: &Path) -> Vec<UndrivenDevice> {
    let mut found = Vec::new();
    for name in BUSES {
        let mut devices = entries(&bus.join(name).join("devices"));
        devices.sort();
        found.extend(devices.iter().filter_map(|device| read(name, device)));
    }
    found
}

/// Whether a device without a driver is worth a word to whoever watches: those that a machine flashes and boots well
/// without (displays, sound, system management, keyboards, memory balloons) are in the inventory alone.
#[must_use]
pub fn matters(device: &UndrivenDevice) -> bool {
    let quiet: &[&str] = match device.bus.as_str() {
        "pci" => &["03", "04", "0500", "08", "09", "0c05"],
        "usb" => &["01", "03", "06", "07", "0e"],
        _ => &[],
    };
    // Entropy, console, balloon and others.
    let idle = device.kind.starts_with("virtio device");
    !idle && !quiet.iter().any(|class| device.class.starts_with(class))
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

fn read(bus: &str, device: &Path) -> Option<UndrivenDevice> {
    if device.join("driver").exists() {
        return None;
    }
    let (class, kind, ids) = match bus {
        "pci" => pci(device)?,
        "usb" => usb(device)?,
        "virtio" => virtio(device)?,
        _ => scsi(device)?,
    };
    Some(UndrivenDevice {
        bus: bus.to_owned(),
        address: device.file_name()?.to_str()?.to_owned(),
        kind,
        class,
        ids,
    })
}

/// Digits of a hexadecimal attribute, without `0x`.
fn hex(device: &Path, file: &str) -> Option<String> {
    let text = attribute(device, file)?;
    Some(text.strip_prefix("0x").unwrap_or(&text).to_owned())
}

fn pci(device: &Path) -> Option<(String, String, String)> {
    let class = hex(device, "class")?;
    // Class codes: PCI Code and ID Assignment Specification.
    let kind = match class.get(..2)? {
        "06" => return None,
        "00" => "unclassified device",
        "01" => "storage controller",
        "02" => "network controller",
        "03" => "display controller",
        "04" => "multimedia device",
        "05" => "memory controller",
        "07" => "communication controller",
        "08" => "system peripheral",
        "09" => "input device",
        "0b" => "processor",
        "0c" => "serial bus controller",
        "0d" => "wireless controller",
        "10" => "encryption controller",
        "11" => "signal processing controller",
        "12" => "processing accelerator",
        _ => "device of another class",
    };
    let ids = format!("{}:{}", hex(device, "vendor")?, hex(device, "device")?);
    Some((class, kind.to_owned(), ids))
}

/// An interface of a device: those have drivers, the device itself has the bus's own.
fn usb(device: &Path) -> Option<(String, String, String)> {
    let part = |name: &str| attribute(device, name);
    let class = part("bInterfaceClass")?;
    let kind = match class.as_str() {
        "01" => "audio device",
        "02" | "0a" => "communication device",
        "03" => "input device",
        "08" => "storage device",
        "09" => "hub",
        "e0" => "wireless controller",
        _ => "device of another class",
    };
    let class = class + &part("bInterfaceSubClass")? + &part("bInterfaceProtocol")?;
    // sysfs has a link to the interface here; the device is the folder that the interface itself is in.
    let whole = device.canonicalize().ok()?;
    let whole = whole.parent()?;
    let ids = format!(
        "{}:{}",
        attribute(whole, "idVendor")?,
        attribute(whole, "idProduct")?
    );
    Some((class, kind.to_owned(), ids))
}

fn virtio(device: &Path) -> Option<(String, String, String)> {
    let number = u32::from_str_radix(&hex(device, "device")?, 16).ok()?;
    let kind = match number {
        1 => "network device".to_owned(),
        2 => "block device".to_owned(),
        8 => "SCSI host".to_owned(),
        other => format!("virtio device {other}"),
    };
    let ids = format!("{}:{}", hex(device, "vendor")?, hex(device, "device")?);
    Some((String::new(), kind, ids))
}

/// Disks (type 0) and CD drives (5) only: enclosures, targets and hosts are on this bus too (SPC-4, 6.4.2).
fn scsi(device: &Path) -> Option<(String, String, String)> {
    let number = attribute(device, "type")?;
    let kind = match number.as_str() {
        "0" => "disk",
        "5" => "CD drive",
        _ => return None,
    };
    let model = attribute(device, "model").unwrap_or_default();
    Some((String::new(), kind.to_owned(), format!("{number}:{model}")))
}
