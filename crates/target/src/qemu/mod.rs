//! Virtual machines: one QEMU process per power-on.

mod argv;
mod config;
mod machine;
mod process;
pub mod qmp;
mod watcher;

pub use config::{Disk, Firmware, LinkSource, NetLink, NicRom, QemuConfig};
pub use machine::Qemu;

pub(crate) use argv::cpu as cpu_model;
pub(crate) use process::{KillGuard, socket_pair};
