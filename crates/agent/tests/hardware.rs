//! The live environments that load drivers for what they find, and those of other processors, on whole machines.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests end a test as its own lines do"
)]

mod support;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use bootgate_api::{
    AfterFlash, BootPlan, Completion, DiskSelector, Failure, FlashPlan, Inventory, paths,
};
use bootgate_events::Stage;
use support::machine::{Live, MAC};
use support::{DATA, Image, NONCE, Reply, TestServer, image};

const INDEX: &str = "/artifacts/index.json";

/// The live environment, or a skipped test.
macro_rules! live {
    ($name:literal, $qemu:literal) => {{
        bootgate_testkit::require_commands!($qemu);
        match Live::find($name, $qemu) {
            Ok(live) => live,
            Err(reason) => bootgate_testkit::skip!("{reason}"),
        }
    }};
}

/// A server with a plan, which gives out an image.
fn server(plan: BootPlan, image: Option<Image>) -> (TestServer, mpsc::Receiver<()>) {
    let (greeted, hello) = mpsc::channel();
    let server = TestServer::start(move |_, request| match (request.path.as_str(), &image) {
        (INDEX, Some(image)) => Reply::of(200, serde_json::to_vec(&image.index).unwrap()),
        (DATA, Some(image)) => Reply::range(request, &image.packed),
        (path, _) if path == paths::hello(&NONCE.into()) => {
            let _ = greeted.send(());
            Reply::of(200, serde_json::to_vec(&plan).unwrap())
        }
        _ => Reply::of(200, ""),
    });
    (server, hello)
}

/// The body of the call that was made once.
fn told<T: serde::de::DeserializeOwned>(server: &TestServer, path: &str) -> T {
    let seen = server.seen();
    let calls: Vec<_> = seen.iter().filter(|call| call.path == path).collect();
    assert_eq!(
        calls.len(),
        1,
        "{path} in {:?}",
        seen.iter().map(|call| &call.path).collect::<Vec<_>>()
    );
    serde_json::from_slice(&calls[0].body).unwrap()
}

/// A blank disk of 64 MiB in a file; the QEMU option for it.
fn blank(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    File::create(&path).unwrap().set_len(64 << 20).unwrap();
    let drive = format!(
        "-drive file={},if=none,id={name},format=raw",
        path.display()
    );
    (path, drive)
}

#[test]
fn drivers_are_loaded_for_all_that_a_machine_has() {
    let live = live!("live-hardware", "qemu-system-x86_64");
    let (server, _) = server(
        BootPlan::Inventory {
            after: AfterFlash::PowerOff,
        },
        None,
    );
    let folder = tempfile::tempdir().unwrap();
    let mut devices = Vec::new();
    for (nic, mac) in [
        ("e1000e", 2),
        ("rtl8139", 3),
        ("vmxnet3", 4),
        ("virtio-net-pci", 5),
    ] {
        devices.push(format!("-device {nic},mac=52:54:00:00:00:0{mac}"));
    }
    let disks = [
        (
            "nvme",
            "nvme,serial=NVME,logical_block_size=4096,physical_block_size=4096",
        ),
        ("sata", "ide-hd,bus=ide.0,serial=SATA"),
        ("virtio", "virtio-blk-pci,serial=VIRTIO"),
        ("usb", "usb-storage,bus=xhci.0,serial=USB"),
        ("uas", "scsi-hd,bus=uas.0,serial=UAS"),
        ("vscsi", "scsi-hd,bus=vscsi.0,serial=VSCSI"),
        ("megasas", "scsi-hd,bus=megasas.0,serial=MEGASAS"),
        ("lsi", "scsi-hd,bus=lsi.0,serial=LSI"),
        ("pvscsi", "scsi-hd,bus=pvscsi.0,serial=PVSCSI"),
    ];
    for host in [
        "qemu-xhci,id=xhci",
        "usb-uas,id=uas,bus=xhci.0",
        "virtio-scsi-pci,id=vscsi",
        "megasas,id=megasas",
        "lsi53c895a,id=lsi",
        "pvscsi,id=pvscsi",
        "edu,addr=1e.0",
    ] {
        devices.push(format!("-device {host}"));
    }
    for (name, device) in disks {
        devices.push(blank(folder.path(), name).1);
        devices.push(format!("-device {device},drive={name}"));
    }
    let mut machine = live.power_on(server.address.port(), "e1000", &devices);
    let console = machine.until_off().to_owned();

    let found: Inventory = told(&server, &paths::inventory(&NONCE.into()));
    let mut nics: Vec<_> = found
        .nics
        .iter()
        .map(|nic| nic.driver.clone().unwrap())
        .collect();
    nics.sort();
    assert_eq!(
        nics,
        ["8139cp", "e1000", "e1000e", "virtio_net", "vmxnet3"],
        "{console}"
    );
    assert!(found.nics.iter().any(|nic| nic.mac == MAC.parse().unwrap()));
    let mut serials: Vec<_> = found
        .disks
        .iter()
        .filter_map(|disk| disk.serial.clone())
        .collect();
    serials.sort();
    let mut wanted: Vec<_> = disks.iter().map(|(name, _)| name.to_uppercase()).collect();
    wanted.sort();
    assert_eq!(serials, wanted, "{console}");
    let nvme = found
        .disks
        .iter()
        .find(|disk| disk.serial.as_deref() == Some("NVME"));
    assert_eq!(nvme.unwrap().sector_size, 4096);
    let edu = "pci 0000:00:1e.0 (1234:11e8, unclassified device, class 00ff00)";
    let undriven: Vec<_> = found.undriven.iter().map(ToString::to_string).collect();
    assert!(undriven.iter().any(|device| device == edu), "{undriven:?}");
    assert!(
        console.contains(&format!("no driver for {edu}")),
        "{console}"
    );
    assert!(!console.contains("warning"), "{console}");
}

fn plan(image: &Image, serial: &str) -> BootPlan {
    BootPlan::Flash(FlashPlan {
        index_path: INDEX.to_owned(),
        data_path: DATA.to_owned(),
        image_sha256: image.index.image_sha256,
        disk: DiskSelector {
            serial: Some(serial.to_owned()),
            ..DiskSelector::default()
        },
        after: AfterFlash::PowerOff,
    })
}

fn assert_flashed(server: &TestServer, image: &Image, disk: &Path, console: &str) {
    let done: Completion = told(server, &paths::complete(&NONCE.into()));
    assert_eq!(done.chunks_sha256, image.index.chunks_sha256, "{console}");
    let content = std::fs::read(disk).unwrap();
    assert!(content.starts_with(&image.plain), "{console}");
    assert!(content[image.plain.len()..].iter().all(|byte| *byte == 0));
}

fn of_4k_sectors() -> Image {
    let mut image = image("ab.c", 4096);
    image.index.sector_size = 4096;
    image
}

#[test]
fn nvme_with_large_sectors_is_flashed_with_an_image_for_them_alone() {
    let live = live!("live-hardware", "qemu-system-x86_64");
    let folder = tempfile::tempdir().unwrap();
    let (disk, drive) = blank(folder.path(), "disk");
    let nvme = "nvme,drive=disk,serial=NVME,logical_block_size=4096,physical_block_size=4096";
    let devices = [drive, format!("-device {nvme}")];

    let other = image("ab", 0);
    let (refusing, _) = server(plan(&other, "NVME"), Some(other));
    live.power_on(refusing.address.port(), "e1000e", &devices)
        .until_off();
    let failure: Failure = told(&refusing, &paths::failure(&NONCE.into()));
    assert_eq!(failure.stage, Stage::Flash);
    assert_eq!(
        failure.error,
        "disk `/dev/nvme0n1` has sectors of `4096` bytes, the image was made for sectors of `512`"
    );
    assert!(std::fs::read(&disk).unwrap().iter().all(|byte| *byte == 0));

    let image = of_4k_sectors();
    let (server, _) = server(plan(&image, "NVME"), Some(of_4k_sectors()));
    let mut machine = live.power_on(server.address.port(), "rtl8139", &devices);
    let console = machine.until_off().to_owned();
    assert_flashed(&server, &image, &disk, &console);
}

#[test]
fn a_usb_disk_that_comes_late_is_waited_for() {
    let live = live!("live-hardware", "qemu-system-x86_64");
    let folder = tempfile::tempdir().unwrap();
    let (disk, drive) = blank(folder.path(), "disk");
    let image = image("a.b", 512);
    let (server, hello) = server(plan(&image, "LATE"), Some(support::image("a.b", 512)));
    let devices = [drive, "-device qemu-xhci,id=xhci".to_owned()];
    let mut machine = live.power_on(server.address.port(), "vmxnet3", &devices);
    machine.until("network");
    hello.recv_timeout(Duration::from_secs(240)).unwrap();
    machine.command("device_add usb-storage,bus=xhci.0,drive=disk,serial=LATE");
    let console = machine.until_off().to_owned();
    assert_flashed(&server, &image, &disk, &console);
}

#[test]
fn an_arm64_machine_flashes_its_disk() {
    let live = live!("live-arm64", "qemu-system-aarch64");
    let folder = tempfile::tempdir().unwrap();
    let (disk, drive) = blank(folder.path(), "disk");
    let image = image("a.b", 512);
    let (server, _) = server(plan(&image, "ARM"), Some(support::image("a.b", 512)));
    let devices = [
        drive,
        "-device virtio-blk-pci,drive=disk,serial=ARM".to_owned(),
    ];
    let mut machine = live.power_on(server.address.port(), "virtio-net-pci", &devices);
    let console = machine.until_off().to_owned();
    assert_flashed(&server, &image, &disk, &console);
}
