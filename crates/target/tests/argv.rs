//! QEMU's command line, as a launcher sees it.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bootgate_target::accel::Accel;
use bootgate_target::discovery::{OvmfFiles, QemuBinary};
use bootgate_target::{
    BootSource, BoxFuture, Disk, Firmware, LaunchSpec, Launched, Launcher, NetLink, NicRom, Qemu,
    QemuConfig, Target,
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
    let files = OvmfFiles {
        code: folder.join("OVMF_CODE_4M.fd"),
        vars: folder.join("OVMF_VARS_4M.fd"),
    };
    fs::write(&files.code, b"code").unwrap();
    fs::write(&files.vars, b"vars").unwrap();
    Firmware::Uefi(files)
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
        config.nic_model = "e1000".to_owned();
        config.nic_rom = NicRom::File(rom);
        config.cpus = 2;
        config.disk.as_mut().unwrap().sector_size = 4096;
        config.extra_args = vec!["-device".to_owned(), "usb-ehci".to_owned()];
        config.link = Arc::new(|| {
            Box::pin(async {
                let fd = fs::File::open("/dev/null")?.into();
                Ok(NetLink::Tap { fd })
            })
        });
    })
    .await;
    insta::assert_snapshot!(line);
}
