//! The matrix of a scenario: from its axes to its cells, and from a cell to the scenario as if it were written so.

mod apply;
mod cells;
mod pick;

use std::fmt;

pub use pick::{Forbidden, pairwise};

pub(crate) use apply::applied;
pub(crate) use cells::cells;

/// What the cells of a matrix differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Axis {
    Firmware,
    Loader,
    Nic,
    Disk,
    Dhcp,
    Memory,
    Cpus,
}

impl Axis {
    pub(crate) const ALL: [Self; 7] = [
        Self::Firmware,
        Self::Loader,
        Self::Nic,
        Self::Disk,
        Self::Dhcp,
        Self::Memory,
        Self::Cpus,
    ];

    /// Its key in `[matrix]`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Loader => "loader",
            Self::Nic => "nic",
            Self::Disk => "disk",
            Self::Dhcp => "dhcp",
            Self::Memory => "memory",
            Self::Cpus => "cpus",
        }
    }

    /// A list of values, as it is written.
    pub(crate) fn example(self) -> &'static str {
        match self {
            Self::Firmware => "[\"bios\", \"uefi\"]",
            Self::Loader => "[\"ipxe\", \"grub\"]",
            Self::Nic => "[\"virtio-net\", \"e1000\"]",
            Self::Disk => "[\"virtio\", \"nvme-4k\"]",
            Self::Dhcp => "[\"full\", \"proxy\"]",
            Self::Memory => "[\"512MiB\", \"1GiB\"]",
            Self::Cpus => "[1, 4]",
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
