//! What the tests of targets share.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::{EventKind, MacAddr};
use bootgate_target::accel::Accel;
use bootgate_target::discovery::{self, Arch, QemuBinary};
use bootgate_target::{
    DirectLauncher, Firmware, FirmwareBoot, Nic, NicLink, NicRom, Qemu, QemuConfig, TargetEvent,
};
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{Instant, timeout_at};

pub const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// The QEMU of this host, or `None` after saying that the test is skipped.
pub async fn qemu() -> Option<QemuBinary> {
    match discovery::find_qemu(Arch::X86_64, None).await {
        Ok(binary) => Some(binary),
        Err(missing) => {
            bootgate_testkit::record_skip(&missing.to_string());
            None
        }
    }
}

pub fn config(binary: QemuBinary, work_dir: &Path) -> QemuConfig {
    QemuConfig {
        name: "client".into(),
        binary,
        firmware: Firmware::Bios,
        accel: Accel::Tcg,
        memory_mib: 128,
        cpus: 1,
        boot: FirmwareBoot::Pxe4,
        nics: vec![nic(NicLink::Dead)],
        disk: None,
        work_dir: work_dir.to_owned(),
        extra_args: Vec::new(),
    }
}

/// A virtio interface with the tests' address.
pub fn nic(link: NicLink) -> Nic {
    Nic {
        model: "virtio-net-pci".to_owned(),
        rom: NicRom::Standard,
        mac: MAC,
        link,
    }
}

pub fn machine(config: QemuConfig) -> (Qemu, Watch) {
    let (events, receiver) = mpsc::channel(256);
    let qemu = Qemu::new(config, Arc::new(DirectLauncher), events).unwrap();
    (qemu, Watch::new(receiver))
}

/// Takes a target's events in the background, so that the target never waits for the test.
pub struct Watch {
    events: mpsc::UnboundedReceiver<TargetEvent>,
    pub console: Vec<u8>,
    pub seen: Vec<TargetEvent>,
}

impl Watch {
    pub fn new(mut receiver: Receiver<TargetEvent>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = receiver.recv().await {
                let _ = sender.send(event);
            }
        });
        Self {
            events,
            console: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Takes events until `wanted` gives something; panics with what was seen after two minutes.
    pub async fn until<T>(
        &mut self,
        mut wanted: impl FnMut(&Self, &TargetEvent) -> Option<T>,
    ) -> T {
        let due = Instant::now() + Duration::from_secs(120);
        loop {
            let Ok(Some(event)) = timeout_at(due, self.events.recv()).await else {
                panic!(
                    "it did not come; console: {}\nevents: {:#?}",
                    String::from_utf8_lossy(&self.console),
                    self.seen
                );
            };
            if let TargetEvent::Console(bytes) = &event {
                self.console.extend_from_slice(bytes);
            } else {
                self.seen.push(event.clone());
            }
            if let Some(found) = wanted(self, &event) {
                return found;
            }
        }
    }

    pub async fn until_console(&mut self, text: &str) {
        self.until(|watch, _| contains(&watch.console, text).then_some(()))
            .await;
    }

    pub async fn until_kind<T>(&mut self, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
        self.until(|_, event| match event {
            TargetEvent::Kind(kind) => wanted(kind),
            _ => None,
        })
        .await
    }

    /// The names of the events seen, the console's bytes left out.
    pub fn names(&self) -> Vec<&str> {
        self.seen
            .iter()
            .map(|event| match event {
                TargetEvent::Console(_) => "console",
                TargetEvent::ConsoleClosed(_) => "console-closed",
                TargetEvent::Kind(kind) => kind.name(),
            })
            .collect()
    }
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// Processes whose command line names `folder`: what a test in that folder left behind.
pub fn processes_in(folder: &Path) -> Vec<u32> {
    let needle = folder.to_string_lossy().into_owned();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != std::process::id())
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| contains(&line, &needle))
        })
        .collect()
}

/// A disk image of 1 MiB whose first sector prints `text` on the serial port and stops.
pub fn boot_sector(path: &Path, text: &str) {
    let mut code = Vec::new();
    for byte in text.bytes() {
        code.extend([0xba, 0xf8, 0x03, 0xb0, byte, 0xee]); // mov dx, 0x3f8; mov al, byte; out dx, al
    }
    code.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp back to it
    let mut disk = vec![0u8; 1 << 20];
    disk[..code.len()].copy_from_slice(&code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(path, disk).unwrap();
}

/// A ROM that prints one line on the serial port and asks the keyboard controller for a reset (0xfe to port 0x64).
pub fn reset_rom(folder: &Path) -> String {
    let mut code = Vec::new();
    for byte in b"resetting\r\n" {
        code.extend([0xba, 0xf8, 0x03, 0xb0, *byte, 0xee]); // mov dx, 0x3f8; mov al, byte; out dx, al
    }
    code.extend([0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]); // mov al, 0xfe; out 0x64, al; hlt; jmp
    let mut rom = vec![0u8; 64 * 1024];
    rom[..code.len()].copy_from_slice(&code);
    rom[0xfff0..0xfff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
    let path = folder.join("reset.rom");
    std::fs::write(&path, rom).unwrap();
    path.to_string_lossy().into_owned()
}

/// Waits until no process of the folder is left: one that was killed takes a moment to go.
pub async fn until_gone(folder: &Path) {
    let due = Instant::now() + Duration::from_secs(10);
    while !processes_in(folder).is_empty() {
        assert!(
            Instant::now() < due,
            "still there: {:?}",
            processes_in(folder)
        );
        tokio::task::yield_now().await;
    }
}
