//! What the machine is made of, as the kernel tells.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bootgate_api::{Inventory, NicFacts};

use crate::sysfs::attribute;
use crate::{devices, disk, nics};

/// Names of what SMBIOS says, and the files of `/sys/class/dmi/id` that say it.
const SMBIOS: [(&str, &str); 9] = [
    ("manufacturer", "sys_vendor"),
    ("product", "product_name"),
    ("version", "product_version"),
    ("serial", "product_serial"),
    ("uuid", "product_uuid"),
    ("board", "board_name"),
    ("board-serial", "board_serial"),
    ("firmware-version", "bios_version"),
    ("firmware-date", "bios_date"),
];

/// The same from a device tree, on boards without SMBIOS. Its texts end with a NUL (Devicetree Specification 0.4, 2.2.4).
const DEVICE_TREE: [(&str, &str); 2] = [("product", "model"), ("serial", "serial-number")];

/// Reads everything below `root`, which is `/` but in tests. What cannot be read is left out.
#[must_use]
pub fn read(root: &Path) -> Inventory {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let processors = text("proc/cpuinfo");
    let mounts = text("proc/self/mountinfo");
    let disks = disk::list(&root.join("sys/block"), &mounts);
    let nics = nics::list(&root.join("sys/class/net"));
    // The kernel makes this folder where it was started by UEFI (Documentation/ABI/stable/sysfs-firmware-efi-vars).
    let uefi = root.join("sys/firmware/efi").is_dir();
    Inventory {
        system: system(root),
        cpu: cpu_model(&processors),
        cpus: cpu_count(&processors),
        memory: memory(&text("proc/meminfo")),
        firmware: if uefi { "uefi" } else { "bios" }.to_owned(),
        disks: disks.into_iter().map(|disk| disk.facts).collect(),
        nics: nics
            .into_iter()
            .map(|nic| NicFacts {
                name: nic.name,
                mac: nic.mac,
                driver: nic.driver,
            })
            .collect(),
        undriven: devices::undriven(&root.join("sys/bus")),
    }
}

fn system(root: &Path) -> BTreeMap<String, String> {
    let from = |folder: &str, table: &[(&str, &str)]| -> BTreeMap<String, String> {
        let folder = root.join(folder);
        let told = table.iter().filter_map(|(name, file)| {
            let text = attribute(&folder, file)?;
            let text = text.trim_end_matches('\0').trim();
            (!text.is_empty()).then(|| ((*name).to_owned(), text.to_owned()))
        });
        told.collect()
    };
    let smbios = from("sys/class/dmi/id", &SMBIOS);
    if smbios.is_empty() {
        return from("sys/firmware/devicetree/base", &DEVICE_TREE);
    }
    smbios
}

/// The processor's name in the text of `/proc/cpuinfo`. arm64 kernels tell numbers only: the implementer and the part
/// (Arm Architecture Reference Manual, MIDR_EL1).
#[must_use]
pub fn cpu_model(cpuinfo: &str) -> String {
    let first = |key| fields(cpuinfo, key).next();
    if let Some(name) = first("model name").or_else(|| first("uarch")) {
        return name.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    match (first("CPU implementer"), first("CPU part")) {
        (Some(implementer), Some(part)) => format!("Arm implementer {implementer} part {part}"),
        _ => String::new(),
    }
}

/// Logical processors in the text of `/proc/cpuinfo`.
#[must_use]
pub fn cpu_count(cpuinfo: &str) -> u32 {
    u32::try_from(fields(cpuinfo, "processor").count()).unwrap_or(u32::MAX)
}

/// Usable memory in bytes by the text of `/proc/meminfo`, which counts in KiB and calls them kB.
#[must_use]
pub fn memory(meminfo: &str) -> u64 {
    let total = fields(meminfo, "MemTotal").next();
    let kib = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// The values of all lines `key : value`.
fn fields<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let wanted = pairs.filter(move |(name, _)| name.trim() == key);
    wanted.map(|(_, value)| value.trim())
}
