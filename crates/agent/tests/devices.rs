//! Finding devices and what they ask for, in folders that look like `/sys/bus`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests end a test as its own lines do"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use bootgate_agent::devices::{matters, undriven, wishes};
use bootgate_agent::inventory;

const E1000: &str = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
const NVME: &str = "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02";

/// Puts a device where the kernel has it, with a link on its bus.
fn device(root: &Path, bus: &str, place: &str, attributes: &[(&str, &str)]) -> PathBuf {
    let folder = root.join("sys/devices").join(place);
    fs::create_dir_all(&folder).unwrap();
    for (name, value) in attributes {
        fs::write(folder.join(name), format!("{value}\n")).unwrap();
    }
    let links = root.join("sys/bus").join(bus).join("devices");
    fs::create_dir_all(&links).unwrap();
    symlink(&folder, links.join(folder.file_name().unwrap())).unwrap();
    folder
}

fn pci(
    root: &Path,
    address: &str,
    class: &str,
    vendor: &str,
    product: &str,
    modalias: &str,
) -> PathBuf {
    let attributes = [
        ("class", class),
        ("vendor", vendor),
        ("device", product),
        ("modalias", modalias),
    ];
    device(root, "pci", &format!("pci0000:00/{address}"), &attributes)
}

/// The kernel has a link to the driver here.
fn drive(device: &Path) {
    fs::create_dir(device.join("driver")).unwrap();
}

#[test]
fn devices_ask_once_and_network_first() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pci(root, "0000:00:01.0", "0x010802", "0x1b36", "0x0010", NVME);
    pci(root, "0000:00:02.0", "0x010802", "0x1b36", "0x0010", NVME);
    pci(root, "0000:00:03.0", "0x020000", "0x8086", "0x100e", E1000);
    let virtio = "virtio:d00000001v00001AF4";
    device(root, "virtio", "virtio0", &[("modalias", virtio)]);
    device(root, "scsi", "0:0:0:0", &[("modalias", "scsi:t-0x00")]);
    device(root, "cpu", "cpu0", &[]);
    let asked: Vec<_> = wishes(&root.join("sys/bus"))
        .into_iter()
        .map(|wish| wish.modalias)
        .collect();
    assert_eq!(asked, [E1000, virtio, NVME, "scsi:t-0x00"]);
    assert!(wishes(&root.join("nowhere")).is_empty());
}

#[test]
fn devices_without_a_driver_are_named() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    pci(root, "0000:00:00.0", "0x060000", "0x8086", "0x29c0", "");
    pci(root, "0000:00:01.0", "0x030000", "0x1234", "0x1111", "");
    drive(&pci(
        root,
        "0000:00:02.0",
        "0x010802",
        "0x1b36",
        "0x0010",
        NVME,
    ));
    pci(root, "0000:00:03.0", "0x020000", "0x8086", "0x100e", E1000);
    pci(root, "0000:00:04.0", "0x00ff00", "0x1234", "0x11e8", "");
    let balloon = [("vendor", "0x1af4"), ("device", "0x0005")];
    device(root, "virtio", "virtio0", &balloon);
    let disk = [("vendor", "0x1af4"), ("device", "0x0002")];
    device(root, "virtio", "virtio1", &disk);
    let whole = [("idVendor", "46f4"), ("idProduct", "0001")];
    drive(&device(root, "usb", "usb2/2-1", &whole));
    let storage = [
        ("bInterfaceClass", "08"),
        ("bInterfaceSubClass", "06"),
        ("bInterfaceProtocol", "50"),
    ];
    device(root, "usb", "usb2/2-1/2-1:1.0", &storage);
    device(
        root,
        "scsi",
        "0:0:0:0",
        &[("type", "0"), ("model", "QEMU HARDDISK")],
    );
    device(root, "scsi", "host0", &[]);

    let found = undriven(&root.join("sys/bus"));
    let text = |devices: &[bootgate_api::UndrivenDevice]| {
        devices.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let all = [
        "pci 0000:00:01.0 (1234:1111, display controller, class 030000)",
        "pci 0000:00:03.0 (8086:100e, network controller, class 020000)",
        "pci 0000:00:04.0 (1234:11e8, unclassified device, class 00ff00)",
        "usb 2-1:1.0 (46f4:0001, storage device, class 080650)",
        "virtio virtio0 (1af4:0005, virtio device 5)",
        "virtio virtio1 (1af4:0002, block device)",
        "scsi 0:0:0:0 (0:QEMU HARDDISK, disk)",
    ];
    assert_eq!(text(&found), all);
    let loud: Vec<_> = found
        .iter()
        .filter(|device| matters(device))
        .cloned()
        .collect();
    assert_eq!(text(&loud), [all[1], all[2], all[3], all[5], all[6]]);
    assert_eq!(inventory::read(root).undriven, found);
}
