//! QEMU's command line, as a launcher sees it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bootgate_target::accel::Accel;
use bootgate_target::discovery::{Arch, QemuBinary, UefiFiles};
use bootgate_target::{
    BootSource, BoxFuture, Disk, DiskBus, Firmware, FirmwareBoot, LaunchSpec, Launched, Launcher,
    NetLink, NicLink, NicRom, Qemu, QemuConfig, Target, UefiFirmware,
};
use tokio::sync::mpsc;

/// Starts nothing and keeps what it was asked for.
#[derive(Default)]
struct Recorder(Mutex<Vec<(Vec<String>, Vec<i32>)>>);

impl Launcher for Recorder {
    fn launch(&self, spec: LaunchSpec) -> BoxFuture<'_, io::Result<Launched>> {
        let fds = spec.fds.iter().map(|(_, number)| *number).collect();
        self.0.lock().unwrap().push((spec.argv, fds));
        Box::pin(async { Err(io::Error::other("nothing is started here")) })
    }
}

/// The command line with the test's folder written as `DIR`, one option a line, and the descriptors.
async fn command_line(
    folder: &Path,
    boot: BootSource,
    change: impl FnOnce(&mut QemuConfig),
) -> String {
    let binary = QemuBinary {
        path: PathBuf::from("/usr/bin/qemu-system-x86_64"),
        version: "7.2.22".to_owned(),
    };
    let mut config = common::config(binary, folder);
    config.memory_mib = 512;
    let path = folder.join("disk.raw");
    fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
    config.disk = Some(Disk {
        path,
        sector_size: 512,
        bus: DiskBus::Virtio,
    });
    change(&mut config);
    let recorder = Arc::new(Recorder::default());
    let (events, _receiver) = mpsc::channel(64);
    let mut target = Qemu::new(config, recorder.clone(), events).unwrap();
    target.power_on(boot).await.unwrap_err();
    assert!(!target.is_on());
    let (argv, fds) = recorder.0.lock().unwrap().remove(0);
    let text = argv.join(" ").replace(" -", "\n-");
    format!("{text}\nfds {fds:?}").replace(&folder.display().to_string(), "DIR")
}

fn ovmf(folder: &Path) -> Firmware {
    edk2(folder, Arch::X86_64, false)
}

fn edk2(folder: &Path, arch: Arch, secure_boot: bool) -> Firmware {
    let files = UefiFiles {
        code: folder.join("OVMF_CODE_4M.fd"),
        vars: folder.join("OVMF_VARS_4M.fd"),
    };
    fs::write(&files.code, b"code").unwrap();
    fs::write(&files.vars, b"vars").unwrap();
    Firmware::Uefi(UefiFirmware {
        arch,
        files,
        secure_boot,
    })
}

#[tokio::test]
async fn bios_from_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let line = command_line(folder.path(), BootSource::Network, |_| {}).await;
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn bios_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let line = command_line(folder.path(), BootSource::Disk, |_| {}).await;
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn uefi_from_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let firmware = ovmf(folder.path());
    let line = command_line(folder.path(), BootSource::Network, |config| {
        config.firmware = firmware;
        config.accel = Accel::Kvm;
    })
    .await;
    insta::assert_snapshot!(line);
    // The machine has its own variables from the first power-on.
    assert_eq!(
        fs::read(folder.path().join("client-vars.fd")).unwrap(),
        b"vars"
    );
}

#[tokio::test]
async fn uefi_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let firmware = ovmf(folder.path());
    let line = command_line(folder.path(), BootSource::Disk, |config| {
        config.firmware = firmware;
    })
    .await;
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn a_tap_another_card_a_rom_file_and_names_with_commas() {
    let folder = tempfile::tempdir().unwrap();
    let rom = folder.path().join("a,b.rom");
    fs::write(&rom, b"rom").unwrap();
    let line = command_line(folder.path(), BootSource::Network, |config| {
        config.name = "x,y".into();
        config.nics[0].model = "e1000".to_owned();
        config.nics[0].rom = NicRom::File(rom);
        config.cpus = 2;
        config.disk.as_mut().unwrap().sector_size = 4096;
        config.extra_args = vec!["-device".to_owned(), "usb-ehci".to_owned()];
        config.nics[0].link = NicLink::Plugged(Arc::new(|| {
            Box::pin(async {
                let fd = fs::File::open("/dev/null")?.into();
                Ok(NetLink::Tap { fd })
            })
        }));
    })
    .await;
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn secure_boot_by_http() {
    let folder = tempfile::tempdir().unwrap();
    let firmware = edk2(folder.path(), Arch::X86_64, true);
    let line = command_line(folder.path(), BootSource::Network, |config| {
        config.firmware = firmware;
        config.boot = FirmwareBoot::Http4;
    })
    .await;
    insta::assert_snapshot!(line);
}

#[tokio::test]
async fn uefi_on_arm_has_chips_of_64_mib() {
    let folder = tempfile::tempdir().unwrap();
    let firmware = edk2(folder.path(), Arch::Aarch64, false);
    let line = command_line(folder.path(), BootSource::Network, |config| {
        config.binary.path = PathBuf::from("/usr/bin/qemu-system-aarch64");
        config.firmware = firmware;
        config.disk.as_mut().unwrap().bus = DiskBus::Sata;
    })
    .await;
    insta::assert_snapshot!(line);
    for (name, text) in [("client-code.fd", b"code"), ("client-vars.fd", b"vars")] {
        let chip = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(chip.len(), 64 << 20);
        assert!(chip.starts_with(text));
    }
}

#[tokio::test]
async fn uboot_has_an_environment_for_what_it_boots_from() {
    let folder = tempfile::tempdir().unwrap();
    let uboot = folder.path().join("u-boot.bin");
    fs::write(&uboot, b"code").unwrap();
    let change = |config: &mut QemuConfig| {
        config.binary.path = PathBuf::from("/usr/bin/qemu-system-aarch64");
        config.firmware = Firmware::Uboot(uboot.clone());
        config.disk.as_mut().unwrap().bus = DiskBus::Nvme;
        for (model, last) in [("rtl8139", 8), ("e1000", 9)] {
            let mut nic = common::nic(NicLink::Dead);
            nic.model = model.to_owned();
            nic.mac.0[5] = last;
            config.nics.push(nic);
        }
    };
    let chip = || {
        String::from_utf8_lossy(&fs::read(folder.path().join("client-vars.fd")).unwrap())
            .into_owned()
    };
    let line = command_line(folder.path(), BootSource::Network, change).await;
    insta::assert_snapshot!(line);
    assert!(chip().contains("setenv boot_targets nvme0 pxe;"));
    // In the order of those that it has drivers for.
    let addresses: Vec<String> = chip()
        .split("; ")
        .filter(|command| command.starts_with("setenv eth"))
        .map(str::to_owned)
        .collect();
    let [own, other] = &addresses[..] else {
        panic!("{addresses:?}")
    };
    assert!(own.starts_with("setenv ethaddr "), "{own}");
    assert!(
        other.starts_with("setenv eth1addr ") && other.ends_with(":09"),
        "{other}"
    );
    command_line(folder.path(), BootSource::Disk, change).await;
    assert!(chip().contains("setenv boot_targets nvme0;"));
}

#[tokio::test]
async fn a_stick_is_booted_from_and_pulled_out_for_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a,b.iso");
    fs::write(&image, b"image").unwrap();
    let firmware = ovmf(folder.path());
    let change = |config: &mut QemuConfig| {
        config.firmware = firmware.clone();
        config.boot = FirmwareBoot::Usb(image.clone());
        config.disk.as_mut().unwrap().bus = DiskBus::Usb;
    };
    let line = command_line(folder.path(), BootSource::Network, change).await;
    insta::assert_snapshot!(line);
    let line = command_line(folder.path(), BootSource::Disk, change).await;
    assert!(!line.contains("stick"), "{line}");
}

#[tokio::test]
async fn several_interfaces_on_every_bus() {
    let folder = tempfile::tempdir().unwrap();
    let firmware = ovmf(folder.path());
    let mut lines = Vec::new();
    for bus in [DiskBus::Nvme, DiskBus::Sata, DiskBus::Scsi] {
        let firmware = firmware.clone();
        let line = command_line(folder.path(), BootSource::Network, |config| {
            config.firmware = firmware;
            config.disk.as_mut().unwrap().bus = bus;
            config.nics[0].model = "e1000e".to_owned();
            config.nics.push(common::nic(NicLink::Down));
            config.nics.push(common::nic(NicLink::Dead));
            config.nics[2].rom = NicRom::Qemu;
        })
        .await;
        lines.push(line);
    }
    let interesting = |line: &&str| {
        ["scsi", "ide", "nvme", "disk0", "net", "fds"]
            .iter()
            .any(|word| line.contains(word))
    };
    let lines: Vec<_> = lines
        .iter()
        .flat_map(|text| text.lines())
        .filter(interesting)
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
