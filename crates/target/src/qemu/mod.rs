//! Virtual machines: one QEMU process per power-on.

mod config;
mod machine;

pub use config::{Disk, Firmware, LinkSource, NetLink, NicRom, QemuConfig};
pub use machine::Qemu;
