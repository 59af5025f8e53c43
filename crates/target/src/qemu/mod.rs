//! Virtual machines: one QEMU process per power-on.

mod absent_tpm;
mod argv;
mod check;
mod config;
mod devices;
mod flash;
mod machine;
mod nvram;
mod process;
pub mod qmp;
mod uboot;
mod watcher;

pub use config::{
    Disk, DiskBus, Firmware, FirmwareBoot, LinkSource, NetLink, Nic, NicLink, NicRom, QemuConfig,
    UefiFirmware,
};
pub use machine::Qemu;

pub(crate) use argv::cpu as cpu_model;
pub(crate) use process::{KillGuard, socket_pair};
