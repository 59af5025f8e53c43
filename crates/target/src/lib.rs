//! The machines under test: QEMU virtual machines and boards on a serial line.
//!
//! This is the only crate that knows whether a machine is virtual. Everything else talks to a [`Target`]: a
//! console that is attached before power comes on, power, reset, and, where [`Capabilities`] says so, the disk.
//! What happens to a target is told as [`TargetEvent`]s, in the order in which it happened.

pub mod accel;
pub mod board;
mod console;
pub mod discovery;
mod error;
pub mod launch;
pub mod qemu;
mod target;

pub use board::{Board, BoardConfig, PowerCommands};
pub use discovery::MissingError;
pub use error::TargetError;
pub use launch::{DirectLauncher, ExitOutcome, LaunchSpec, Launched, Launcher, ProcessControl};
pub use qemu::{
    Disk, DiskBus, Firmware, FirmwareBoot, LinkSource, NetLink, Nic, NicLink, NicRom, Qemu,
    QemuConfig, UefiFirmware,
};
pub use target::{BootSource, BoxFuture, Capabilities, EventSender, Target, TargetEvent};
