//! Virtual machines, with the QEMU of this host.
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bootgate_events::{EventKind, PowerCause};
use bootgate_target::discovery::{self, Arch, QemuBinary, UefiFiles};
use bootgate_target::{
    BootSource, DirectLauncher, Disk, DiskBus, Firmware, FirmwareBoot, NetLink, NicLink, Qemu,
    Target, TargetError, TargetEvent, UefiFirmware,
};
use common::{MAC, Watch, config, contains, machine, processes_in, qemu, reset_rom, until_gone};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

fn uefi(arch: Arch, files: UefiFiles) -> Firmware {
    Firmware::Uefi(UefiFirmware {
        arch,
        files,
        secure_boot: false,
    })
}

fn blank_disk(folder: &Path) -> Disk {
    let path = folder.join("disk.raw");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    Disk {
        path,
        sector_size: 512,
        bus: DiskBus::Virtio,
    }
}

async fn powered_off(watch: &mut Watch) -> PowerCause {
    watch
        .until_kind(|kind| match kind {
            EventKind::PoweredOff { cause } => Some(*cause),
            _ => None,
        })
        .await
}

/// The events' names without QMP's chatter.
fn story(watch: &Watch) -> Vec<&str> {
    watch
        .names()
        .into_iter()
        .filter(|name| *name != "qmp-notified")
        .collect()
}

fn exited(watch: &Watch) -> (Option<i32>, Option<i32>, bool) {
    watch
        .seen
        .iter()
        .find_map(|event| match event {
            TargetEvent::Kind(EventKind::QemuExited {
                code,
                signal,
                expected,
            }) => Some((*code, *signal, *expected)),
            _ => None,
        })
        .unwrap()
}

fn infra(watch: &Watch) -> (String, String) {
    watch
        .seen
        .iter()
        .find_map(|event| match event {
            TargetEvent::Kind(EventKind::InfraFailed { what, error, .. }) => {
                Some((what.clone(), error.clone()))
            }
            _ => None,
        })
        .unwrap()
}

fn only_process(folder: &Path) -> Pid {
    let found = processes_in(folder);
    assert_eq!(found.len(), 1, "{found:?}");
    Pid::from_raw(found[0].cast_signed()).unwrap()
}

#[tokio::test]
async fn the_console_is_there_from_the_first_byte_and_power_off_is_told_in_order() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.disk = Some(blank_disk(folder.path()));
    let (mut target, mut watch) = machine(config);
    target.attach_console().await.unwrap();
    assert!(!target.is_on());
    target.power_on(BootSource::Disk).await.unwrap();
    assert!(target.is_on());
    watch.until_console("SeaBIOS (version").await;
    watch.until_console("No bootable device").await;
    // The network interface has no boot ROM when the machine boots from its disk.
    assert!(!contains(&watch.console, "iPXE"));
    target.power_off(PowerCause::Fault).await.unwrap();
    assert!(!target.is_on());
    assert_eq!(powered_off(&mut watch).await, PowerCause::Fault);
    assert_eq!(
        story(&watch),
        [
            "console-attached",
            "qemu-started",
            "powered-on",
            "console-closed",
            "qemu-exited",
            "powered-off"
        ]
    );
    assert_eq!(exited(&watch), (Some(0), None, true));
    assert_eq!(processes_in(folder.path()), Vec::<u32>::new());
    // Off is off: nothing more happens, and nothing is told.
    target.power_off(PowerCause::Harness).await.unwrap();
}

#[tokio::test]
async fn a_qemu_killed_from_outside_is_an_infrastructure_fault() {
    let Some(binary) = qemu().await else { return };
    for (signal, exit) in [
        (Signal::KILL, (None, Some(9), false)),
        // QEMU ends in order on SIGTERM and tells `host-signal`.
        (Signal::TERM, (Some(0), None, false)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(binary.clone(), folder.path());
        config.disk = Some(blank_disk(folder.path()));
        let (mut target, mut watch) = machine(config);
        target.power_on(BootSource::Disk).await.unwrap();
        watch.until_console("SeaBIOS").await;
        kill_process(only_process(folder.path()), signal).unwrap();
        assert_eq!(powered_off(&mut watch).await, PowerCause::Outside);
        assert_eq!(exited(&watch), exit);
        assert_eq!(infra(&watch).0, "qemu-killed");
        let end: Vec<_> = story(&watch).into_iter().rev().take(4).collect();
        assert_eq!(
            end,
            [
                "powered-off",
                "infra-failed",
                "qemu-exited",
                "console-closed"
            ]
        );
        assert!(!target.is_on());
        let error = target.reset().await.unwrap_err();
        assert_eq!(error.to_string(), "reset: the target is off");
    }
}

#[tokio::test]
async fn a_guest_that_reboots_ends_a_network_boot_and_goes_on_in_a_disk_boot() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.extra_args = vec!["-bios".to_owned(), reset_rom(folder.path())];
    let (mut target, mut watch) = machine(config);

    target.power_on(BootSource::Network).await.unwrap();
    assert_eq!(powered_off(&mut watch).await, PowerCause::Guest);
    assert_eq!(exited(&watch), (Some(0), None, true));
    assert!(!story(&watch).contains(&"infra-failed"));
    assert!(contains(&watch.console, "resetting\r\n"));
    assert!(!target.is_on());

    target.power_on(BootSource::Disk).await.unwrap();
    let cause = watch
        .until_kind(|kind| match kind {
            EventKind::WasReset { cause } => Some(*cause),
            _ => None,
        })
        .await;
    assert_eq!(cause, PowerCause::Guest);
    assert!(target.is_on());
    drop(target);
    assert_eq!(powered_off(&mut watch).await, PowerCause::Harness);
    assert_eq!(processes_in(folder.path()), Vec::<u32>::new());
}

#[tokio::test]
async fn a_reset_by_the_harness_keeps_the_power_on() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut target, mut watch) = machine(config(binary, folder.path()));
    target.power_on(BootSource::Network).await.unwrap();
    watch.until_console("SeaBIOS").await;
    watch.console.clear();
    target.reset().await.unwrap();
    watch.until_console("Press Ctrl-B").await;
    assert!(target.is_on());
    // Told once, although SeaBIOS answers a warm reset with another one.
    let resets: Vec<_> = watch
        .seen
        .iter()
        .filter(|event| matches!(event, TargetEvent::Kind(EventKind::WasReset { .. })))
        .collect();
    let told = TargetEvent::Kind(EventKind::WasReset {
        cause: PowerCause::Harness,
    });
    assert_eq!(resets, [&told]);
    target.power_off(PowerCause::Harness).await.unwrap();
    assert_eq!(powered_off(&mut watch).await, PowerCause::Harness);
}

#[tokio::test]
async fn keys_reach_the_guest() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let (mut target, mut watch) = machine(config(binary, folder.path()));
    let error = target.write_console(b"x").await.unwrap_err();
    assert_eq!(error.to_string(), "type on the console: the target is off");
    target.power_on(BootSource::Network).await.unwrap();
    watch
        .until_console("Press Ctrl-B for the iPXE command line")
        .await;
    target.write_console(b"\x02").await.unwrap();
    watch.until_console("iPXE> ").await;
    target.power_off(PowerCause::Harness).await.unwrap();
}

#[tokio::test]
async fn every_power_on_has_a_link_of_its_own_that_carries_its_frames() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    let (near_ends, mut given) = mpsc::unbounded_channel();
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    config.nics[0].link = NicLink::Plugged(Arc::new(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let near_ends = near_ends.clone();
        Box::pin(async move {
            let (near, far) = std::os::unix::net::UnixStream::pair()?;
            near.set_nonblocking(true)?;
            let _ = near_ends.send(UnixStream::from_std(near)?);
            Ok(NetLink::Socket { fd: far.into() })
        })
    }));
    let (mut target, mut watch) = machine(config);
    for power_ons in 1..=2 {
        target.power_on(BootSource::Network).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), power_ons);
        let mut link = given.recv().await.unwrap();
        // A key ends iPXE's prompt; its first frame is a DHCPDISCOVER, or its IPv6 configurator's.
        watch
            .until_console("Press Ctrl-B for the iPXE command line")
            .await;
        target.write_console(b" ").await.unwrap();
        let length = link.read_u32().await.unwrap() as usize;
        let mut frame = vec![0; length];
        link.read_exact(&mut frame).await.unwrap();
        assert_eq!(frame[6..12], MAC.0);
        target.power_off(PowerCause::Harness).await.unwrap();
        watch.console.clear();
    }
}

#[tokio::test]
async fn a_missing_qemu_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let absent = PathBuf::from("/nonexistent/qemu-system-x86_64");
    let error = discovery::find_qemu(Arch::X86_64, Some(&absent))
        .await
        .unwrap_err();
    assert_eq!(error.package, "qemu-system-x86");
    assert_eq!(
        error.to_string(),
        "/nonexistent/qemu-system-x86_64 is not installed: apt-get install qemu-system-x86"
    );
    let binary = QemuBinary {
        path: absent,
        version: "7.2".to_owned(),
    };
    let (mut target, mut watch) = machine(config(binary, folder.path()));
    let error = target.power_on(BootSource::Network).await.unwrap_err();
    assert_eq!(error.what(), "qemu-missing");
    watch
        .until(|_, event| matches!(event, TargetEvent::ConsoleClosed(_)).then_some(()))
        .await;
    assert_eq!(story(&watch), ["console-attached", "console-closed"]);
    assert!(!target.is_on());
}

#[tokio::test]
async fn a_qemu_that_refuses_its_arguments_is_quoted() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.extra_args = vec!["-device".to_owned(), "no-such-device".to_owned()];
    let (mut target, mut watch) = machine(config);
    let error = target.power_on(BootSource::Network).await.unwrap_err();
    assert!(error.to_string().contains("no-such-device"), "{error}");
    assert_eq!(error.what(), "qemu-failed");
    watch
        .until_kind(|kind| matches!(kind, EventKind::QemuExited { .. }).then_some(()))
        .await;
    let told = story(&watch);
    assert!(told.contains(&"qemu-stderr"), "{told:?}");
    assert!(!told.contains(&"powered-on"), "{told:?}");
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let binary = QemuBinary {
        path: PathBuf::from("/bin/false"),
        version: "7.2".to_owned(),
    };
    let refused = |change: &dyn Fn(&mut bootgate_target::QemuConfig)| -> TargetError {
        let mut config = config(binary.clone(), folder.path());
        config.disk = Some(blank_disk(folder.path()));
        change(&mut config);
        let (events, _) = mpsc::channel(1);
        match Qemu::new(config, Arc::new(DirectLauncher), events) {
            Ok(_) => panic!("it was accepted"),
            Err(error) => error,
        }
    };
    let sector = refused(&|config| config.disk.as_mut().unwrap().sector_size = 520);
    assert!(sector.to_string().contains("`520`"), "{sector}");
    let odd = refused(&|config| {
        std::fs::write(&config.disk.as_ref().unwrap().path, b"odd").unwrap();
    });
    assert!(odd.to_string().contains("3 bytes"), "{odd}");
    let gone = refused(&|config| {
        config.disk.as_mut().unwrap().path = folder.path().join("gone.raw");
    });
    assert_eq!(gone.what(), "disk-missing");
    let nic = refused(&|config| config.nics[0].model = "virtio-net-pci,host_mtu=9000".to_owned());
    assert!(nic.to_string().contains("host_mtu"), "{nic}");
    let none = refused(&|config| config.nics.clear());
    assert!(none.to_string().contains("0 network interfaces"), "{none}");
    let sata = refused(&|config| {
        let disk = config.disk.as_mut().unwrap();
        (disk.bus, disk.sector_size) = (DiskBus::Sata, 4096);
    });
    assert!(sata.to_string().contains("512 only"), "{sata}");
    let stick = refused(&|config| config.boot = FirmwareBoot::Usb("/nonexistent/a.iso".into()));
    assert!(
        stick.to_string().contains("`/nonexistent/a.iso`"),
        "{stick}"
    );
    let http = refused(&|config| config.boot = FirmwareBoot::Http4);
    assert!(http.to_string().contains("PXE over IPv4 only"), "{http}");
    for (arch, what, package) in [
        (Arch::X86_64, "ovmf-missing", "ovmf"),
        (Arch::Aarch64, "firmware-missing", "qemu-efi-aarch64"),
    ] {
        let absent = refused(&|config| {
            config.firmware = uefi(
                arch,
                UefiFiles {
                    code: "/nonexistent/CODE.fd".into(),
                    vars: "/nonexistent/VARS.fd".into(),
                },
            );
        });
        assert_eq!(absent.what(), what);
        let hint = format!("apt-get install {package}");
        assert!(absent.to_string().contains(&hint), "{absent}");
    }
}

#[tokio::test]
async fn firmware_for_arm_boots_from_interfaces_that_it_drives_only() {
    let folder = tempfile::tempdir().unwrap();
    let uboot = folder.path().join("u-boot.bin");
    std::fs::write(&uboot, b"code").unwrap();
    let binary = QemuBinary {
        path: PathBuf::from("/bin/false"),
        version: "7.2".to_owned(),
    };
    let make = |model: &str, link: NicLink| {
        let mut config = config(binary.clone(), folder.path());
        config.firmware = Firmware::Uboot(uboot.clone());
        config.nics[0].model = model.to_owned();
        config.nics[0].link = link;
        let (events, _) = mpsc::channel(1);
        Qemu::new(config, Arc::new(DirectLauncher), events).map(drop)
    };
    let plugged = || {
        NicLink::Plugged(Arc::new(|| {
            Box::pin(async { Err(std::io::Error::other("no link here")) })
        }))
    };
    make("e1000", plugged()).unwrap();
    make("vmxnet3", NicLink::Dead).unwrap();
    let error = make("vmxnet3", plugged()).unwrap_err();
    assert!(
        error.to_string().contains("no driver for `vmxnet3`"),
        "{error}"
    );
}

#[tokio::test]
async fn uefi_without_network_boot_tries_the_disk_alone_and_keeps_its_own_variables() {
    let Some(binary) = qemu().await else { return };
    let files = match discovery::find_uefi(Arch::X86_64, false, None) {
        Ok(files) => files,
        Err(missing) => bootgate_testkit::skip!("{missing}"),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.memory_mib = 256;
    config.disk = Some(blank_disk(folder.path()));
    let template = std::fs::read(&files.vars).unwrap();
    config.firmware = uefi(Arch::X86_64, files);
    let (mut target, mut watch) = machine(config);
    target.power_on(BootSource::Disk).await.unwrap();
    watch.until_console("BdsDxe: failed to load").await;
    // OVMF's last resort, once nothing else is left to try.
    watch.until_console("UEFI Interactive Shell").await;
    assert!(!contains(&watch.console, "PXE"));
    target.power_off(PowerCause::Harness).await.unwrap();
    let kept = std::fs::read(folder.path().join("client-vars.fd")).unwrap();
    assert_eq!(kept.len(), template.len());
    assert!(kept != template, "the firmware wrote no variable");
}

#[tokio::test]
async fn a_kvm_that_breaks_down_is_told_at_once_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qemu-that-breaks");
    let text = "#!/bin/sh\necho 'KVM internal error. Suberror: 1' >&2\necho 'emulation failure' >&2\nexit 1\n";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binary = QemuBinary {
        path,
        version: "7.2".to_owned(),
    };
    let (mut target, mut watch) = machine(config(binary, folder.path()));
    let error = target.power_on(BootSource::Network).await.unwrap_err();
    assert!(error.to_string().contains("emulation failure"), "{error}");
    let (what, hint) = watch
        .until_kind(|kind| match kind {
            EventKind::InfraFailed { what, hint, .. } => Some((what.clone(), hint.clone())),
            _ => None,
        })
        .await;
    assert_eq!(what, "kvm-error");
    assert!(hint.contains("--accel tcg"), "{hint}");
}

#[tokio::test]
async fn a_power_on_that_is_given_up_leaves_nothing_running() {
    let Some(binary) = qemu().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(binary, folder.path());
    config.disk = Some(blank_disk(folder.path()));
    let (mut target, mut watch) = machine(config);
    let started =
        watch.until_kind(|kind| matches!(kind, EventKind::QemuStarted { .. }).then_some(()));
    tokio::select! {
        biased;
        () = started => {}
        _ = target.power_on(BootSource::Disk) => panic!("it was on before QEMU was started"),
    }
    drop(target);
    until_gone(folder.path()).await;
}
