//! The steps of a boot attempt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A step of a boot attempt, in the order in which an attempt passes through them. An attempt may skip stages
/// (a ROM that is iPXE itself has no `nbp`), and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The target is being powered on.
    Power,
    /// The firmware runs; nothing was asked of the network yet.
    Firmware,
    /// The first DHCP message came in.
    Dhcp,
    /// The network boot program is being fetched.
    Nbp,
    /// iPXE that we (or the ROM) started runs its own DHCP.
    Ipxe,
    /// The machine's boot script was asked for.
    Script,
    /// The kernel is being fetched.
    Kernel,
    /// The initial RAM disk is being fetched.
    Initrd,
    /// The kernel and the live environment run.
    Live,
    /// The agent writes the image.
    Flash,
    /// The agent reads back what it wrote; then the host compares the disk, where it can.
    Verify,
    /// The target boots from its disk, network boot off.
    DiskBoot,
    /// Every requirement is met.
    Done,
}

impl Stage {
    /// Every stage, first to last.
    pub const ALL: [Stage; 13] = [
        Stage::Power,
        Stage::Firmware,
        Stage::Dhcp,
        Stage::Nbp,
        Stage::Ipxe,
        Stage::Script,
        Stage::Kernel,
        Stage::Initrd,
        Stage::Live,
        Stage::Flash,
        Stage::Verify,
        Stage::DiskBoot,
        Stage::Done,
    ];

    /// The stage's name as scenarios and logs spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Power => "power",
            Stage::Firmware => "firmware",
            Stage::Dhcp => "dhcp",
            Stage::Nbp => "nbp",
            Stage::Ipxe => "ipxe",
            Stage::Script => "script",
            Stage::Kernel => "kernel",
            Stage::Initrd => "initrd",
            Stage::Live => "live",
            Stage::Flash => "flash",
            Stage::Verify => "verify",
            Stage::DiskBoot => "disk-boot",
            Stage::Done => "done",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageParseError(pub String);

impl fmt::Display for StageParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a stage", self.0)
    }
}

impl std::error::Error for StageParseError {}

impl FromStr for Stage {
    type Err = StageParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Stage::ALL
            .into_iter()
            .find(|stage| stage.as_str() == text)
            .ok_or_else(|| StageParseError(text.to_owned()))
    }
}
