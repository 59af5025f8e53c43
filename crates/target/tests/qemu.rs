//! Virtual machines, with the QEMU of this host.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use bootgate_events::{EventKind, PowerCause};
use bootgate_target::{
    BootSource, DirectLauncher, Disk, Qemu, Target, TargetError, TargetEvent, discovery::QemuBinary,
};
use common::{config, contains, machine, processes_in, qemu};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

fn blank_disk(folder: &std::path::Path) -> Disk {
    let path = folder.join("disk.raw");
    std::fs::File::create(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    Disk {
        path,
        sector_size: 512,
    }
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
    let cause = watch
        .until_kind(|kind| match kind {
            EventKind::PoweredOff { cause } => Some(*cause),
            _ => None,
        })
        .await;
    assert_eq!(cause, PowerCause::Fault);
    let names: Vec<_> = watch
        .names()
        .into_iter()
        .filter(|name| *name != "qmp-notified")
        .collect();
    assert_eq!(
        names,
        [
            "console-attached",
            "qemu-started",
            "powered-on",
            "console-closed",
            "qemu-exited",
            "powered-off"
        ]
    );
    assert!(
        watch
            .seen
            .contains(&TargetEvent::Kind(EventKind::QemuExited {
                code: Some(0),
                signal: None,
                expected: true
            }))
    );
    assert_eq!(processes_in(folder.path()), Vec::<u32>::new());
}
