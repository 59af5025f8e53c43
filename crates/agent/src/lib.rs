//! PID 1 of the live environment: network, flash, verify, hand-over.
//!
//! What can be tried on any host is separate from what only PID 1 may do. [`cmdline`], [`devices`],
//! [`disk`], [`drivers`], [`nics`], [`inventory`], [`server`] and [`flash`] work on plain values, folders, files and a TCP port; [`live`] mounts, loads
//! modules, configures the network interface and switches the machine off.

pub mod cmdline;
pub mod devices;
pub mod disk;
pub mod drivers;
pub mod flash;
pub mod halt;
pub mod inventory;
pub mod live;
pub mod nics;
pub mod progress;
pub mod server;
mod sysfs;
