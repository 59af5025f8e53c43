//! What firmware does with the disks, interfaces and ways to boot of a virtual machine, with the QEMU of this host.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use bootgate_events::PowerCause;
use bootgate_target::discovery::{self, Arch, FirmwareKind, Needs};
use bootgate_target::{
    BootSource, Disk, DiskBus, Firmware, FirmwareBoot, NetLink, NicLink, QemuConfig, Target,
};
use common::{Watch, boot_sector, config, contains, machine, nic, qemu};

/// A cable whose far end takes and says nothing, but is not QEMU's own.
fn silent() -> NicLink {
    NicLink::Plugged(Arc::new(|| {
        Box::pin(async {
            let (near, far) = std::os::unix::net::UnixStream::pair()?;
            // Open as long as this test's process: a closed end would take the link away.
            std::mem::forget(near);
            Ok(NetLink::Socket { fd: far.into() })
        })
    }))
}

fn firmware(kind: FirmwareKind) -> Option<Firmware> {
    let needs = Needs {
        firmware: kind,
        code: None,
        vars: None,
    };
    match discovery::find_firmware(needs) {
        Ok(firmware) => Some(firmware),
        Err(missing) => {
            bootgate_testkit::record_skip(&missing.to_string());
            None
        }
    }
}

/// Runs the machine until its console says so, and gives the console.
async fn boots(config: QemuConfig, boot: BootSource, until: &str) -> Watch {
    let (mut target, mut watch) = machine(config);
    target.power_on(boot).await.unwrap();
    watch.until_console(until).await;
    target.power_off(PowerCause::Harness).await.unwrap();
    watch
}

fn disk(folder: &Path, bus: DiskBus) -> Disk {
    let path = folder.join("disk.raw");
    boot_sector(&path, "the disk was booted");
    Disk {
        path,
        sector_size: 512,
        bus,
    }
}

#[tokio::test]
async fn bios_boots_from_a_disk_on_every_bus() {
    let Some(binary) = qemu().await else { return };
    for bus in [
        DiskBus::Virtio,
        DiskBus::Nvme,
        DiskBus::Sata,
        DiskBus::Usb,
        DiskBus::Scsi,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(binary.clone(), folder.path());
        config.disk = Some(disk(folder.path(), bus));
        boots(config, BootSource::Disk, "the disk was booted").await;
    }
}

#[tokio::test]
async fn bios_boots_from_a_stick_where_the_disk_is_blank_and_has_no_network_boot() {
    let Some(binary) = qemu().await else { return };
    for bus in [DiskBus::Virtio, DiskBus::Usb] {
        let folder = tempfile::tempdir().unwrap();
        let stick = folder.path().join("stick.img");
        boot_sector(&stick, "the stick was booted");
        let mut config = config(binary.clone(), folder.path());
        let mut blank = disk(folder.path(), bus);
        std::fs::write(&blank.path, vec![0; 1 << 20]).unwrap();
        blank.bus = bus;
        config.disk = Some(blank);
        config.boot = FirmwareBoot::Usb(stick);
        let watch = boots(config, BootSource::Network, "the stick was booted").await;
        assert!(!contains(&watch.console, "iPXE"));
    }
}

#[tokio::test]
async fn every_interface_has_a_rom_for_bios() {
    let Some(binary) = qemu().await else { return };
    for model in ["virtio-net-pci", "e1000", "e1000e", "rtl8139", "vmxnet3"] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(binary.clone(), folder.path());
        config.nics[0].model = model.to_owned();
        boots(
            config,
            BootSource::Network,
            "Press Ctrl-B for the iPXE command line",
        )
        .await;
    }
}

#[tokio::test]
async fn an_interface_without_a_cable_says_so() {
    let Some(binary) = qemu().await else { return };
    // QEMU's ROMs are an iPXE that does not ask a virtio interface for its link.
    for model in ["e1000", "e1000e"] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(binary.clone(), folder.path());
        config.nics = vec![nic(NicLink::Down), nic(NicLink::Dead)];
        config.nics[0].model = model.to_owned();
        let (mut target, mut watch) = machine(config);
        target.power_on(BootSource::Network).await.unwrap();
        watch
            .until_console("Press Ctrl-B for the iPXE command line")
            .await;
        target.write_console(b"\x02").await.unwrap();
        watch.until_console("iPXE> ").await;
        target.write_console(b"ifstat\r").await.unwrap();
        watch.until_console("Link:down").await;
        target.power_off(PowerCause::Harness).await.unwrap();
    }
}

#[tokio::test]
async fn uefi_goes_the_way_that_it_is_told_at_once() {
    let Some(binary) = qemu().await else { return };
    for (boot, secure_boot, start) in [
        (FirmwareBoot::Pxe4, false, ">>Start PXE over IPv4"),
        (FirmwareBoot::Http4, true, ">>Start HTTP Boot over IPv4"),
        (FirmwareBoot::Http6, false, ">>Start HTTP Boot over IPv6"),
        (FirmwareBoot::Http6, true, ">>Start HTTP Boot over IPv6"),
    ] {
        let kind = FirmwareKind::Uefi {
            arch: Arch::X86_64,
            secure_boot,
        };
        let Some(firmware) = firmware(kind) else {
            continue;
        };
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(binary.clone(), folder.path());
        config.memory_mib = 256;
        config.firmware = firmware;
        config.boot = boot;
        config.nics = vec![nic(silent())];
        let watch = boots(config, BootSource::Network, start).await;
        let text = String::from_utf8_lossy(&watch.console).into_owned();
        assert_eq!(text.matches(">>Start ").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn uboot_takes_its_order_from_its_environment() {
    let binary = match discovery::find_qemu(Arch::Aarch64, None).await {
        Ok(binary) => binary,
        Err(missing) => bootgate_testkit::skip!("{missing}"),
    };
    let Some(firmware) = firmware(FirmwareKind::UbootArm64) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.firmware = firmware;
    config.disk = Some(disk(folder.path(), DiskBus::Nvme));
    config.nics = vec![nic(silent())];
    let watch = boots(config, BootSource::Network, "BOOTP broadcast 1").await;
    // The boot sector is of another processor's; it has no partition that U-Boot could read.
    assert!(contains(&watch.console, "Device 0: Vendor:"));
    assert!(!contains(&watch.console, "bad CRC"));
}

#[tokio::test]
async fn uefi_on_arm_starts_from_its_padded_chips() {
    let binary = match discovery::find_qemu(Arch::Aarch64, None).await {
        Ok(binary) => binary,
        Err(missing) => bootgate_testkit::skip!("{missing}"),
    };
    let kind = FirmwareKind::Uefi {
        arch: Arch::Aarch64,
        secure_boot: false,
    };
    let Some(firmware) = firmware(kind) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.memory_mib = 256;
    config.firmware = firmware;
    config.nics = vec![nic(silent())];
    boots(config, BootSource::Network, ">>Start PXE over IPv4").await;
}
