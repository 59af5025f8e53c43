//! What a scenario asks for, checked and complete: every default is filled in, every path is resolved.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bootgate_events::{MacAddr, TargetName, TargetRules, VerdictRules};

/// A scenario that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The scenario's name: letters, digits, `.`, `_` and `-`, 64 at most; usable as a file name.
    pub name: String,
    /// The scenario file, as it was given to [`load`](crate::load()).
    pub file: PathBuf,
    /// The segment.
    pub network: NetworkPlan,
    /// The machines, in the scenario's order; one at least.
    pub targets: Vec<TargetPlan>,
}

/// The segment that all targets are on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPlan {
    /// The servers' address.
    pub server_ip: Ipv4Addr,
    /// Length of the prefix, 8 to 30.
    pub prefix_len: u8,
    /// Addresses to lease out; as many as there are targets, or more. Does not contain `server_ip`.
    pub pool: RangeInclusive<Ipv4Addr>,
    /// The host's interface that the targets are connected to. `None`: a private segment in the sandbox.
    pub interface: Option<String>,
}

/// One machine and what it must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    /// Its name, unique in the plan: letters, digits, `.`, `_` and `-`, 64 at most; usable as a file name.
    pub name: TargetName,
    /// The address it boots from, unique in the plan.
    pub mac: MacAddr,
    /// What it starts with.
    pub firmware: Firmware,
    /// What it is.
    pub driver: Driver,
    /// What it boots over the network.
    pub boot: NetbootPlan,
    /// What is written to its disk; `None` where nothing is flashed.
    pub image: Option<ImagePlan>,
    /// What it is judged by, for a host of the speed the scenario was written for. See [`Plan::rules`].
    pub rules: TargetRules,
}

/// What a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Firmware {
    /// PC BIOS.
    Bios,
    /// UEFI on x86-64.
    Uefi,
}

impl Firmware {
    /// `bios` or `uefi`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of machine a target is. In one plan all targets are of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A virtual machine.
    Qemu(QemuPlan),
    /// A real machine; the plan's network names an interface then.
    Board(BoardPlan),
}

impl Driver {
    /// `qemu` or `board`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Driver::Qemu(_) => "qemu",
            Driver::Board(_) => "board",
        }
    }
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuPlan {
    /// Memory in MiB, 128 to 1048576.
    pub memory_mib: u32,
    /// Number of virtual CPUs, 1 to 64.
    pub cpus: u32,
    /// QEMU's device name of the network interface, e.g. `virtio-net-pci`.
    pub nic_model: String,
    /// Which option ROM the interface carries.
    pub nic_rom: NicRom,
    /// Its disk, where it has one. Blank at the start of every run.
    pub disk: Option<DiskPlan>,
    /// Arguments added at the end of QEMU's command line.
    pub extra_args: Vec<String>,
}

/// The option ROM of a virtual network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NicRom {
    /// QEMU's own ROM for BIOS, the firmware's own driver for UEFI.
    #[default]
    Standard,
    /// QEMU's own ROM for UEFI too.
    Qemu,
    /// This file.
    File(PathBuf),
}

/// The disk of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskPlan {
    /// Size in bytes, a multiple of `sector_size`, and the image's size at least.
    pub size: u64,
    /// Logical sector size in bytes: 512 or 4096; the image's.
    pub sector_size: u32,
}

/// A real machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardPlan {
    /// The tty its console is on.
    pub tty: PathBuf,
    /// Bits per second of the console.
    pub baud: u32,
    /// How it gets and loses power.
    pub power: PowerPlan,
    /// The disk to flash as the live environment names it, e.g. `/dev/nvme0n1`; `None`: its only one.
    pub disk: Option<String>,
}

/// Commands that switch a board's power: program and arguments, run without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerPlan {
    /// Gives power.
    pub on: Vec<String>,
    /// Takes power away.
    pub off: Vec<String>,
    /// Takes power away and gives it again; `off`, then `on`, where `None`.
    pub cycle: Option<Vec<String>>,
    /// The longest time for one command. Not scaled: it does not depend on the host's speed.
    pub timeout: Duration,
    /// Working directory of the commands: the folder of the file that names them.
    pub cwd: PathBuf,
}

/// What a machine boots over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetbootPlan {
    /// The network boot program.
    pub nbp: NbpPlan,
    /// What the boot program loads.
    pub payload: Payload,
    /// With [`Payload::Linux`]: the operator's own iPXE script in place of the built-in one. It knows the same values
    /// and names `{{kernel_url}}`.
    pub script: Option<PathBuf>,
}

/// The network boot program that firmware fetches over TFTP. Firmware that is an iPXE already does not ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NbpPlan {
    /// The file; `None`: the host's iPXE, see [`NbpPlan::locate`](crate::NbpPlan::locate).
    pub file: Option<PathBuf>,
    /// The name that DHCP tells; `None`: the file's own name. The file is always served under its own name, so
    /// another name here is one that is not there.
    pub bootfile: Option<String>,
}

/// What iPXE loads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A kernel with its initial RAM disks.
    Linux {
        /// The kernel.
        kernel: PathBuf,
        /// Initial RAM disks, in the order in which they are loaded.
        initrds: Vec<PathBuf>,
        /// The operator's part of the kernel command line.
        cmdline: String,
    },
    /// The operator's own iPXE script, which loads what it likes.
    Script {
        /// The script's template. Of the built-in script's values it names `{{server_url}}`, `{{nonce}}` and
        /// `{{cmdline}}` only.
        script: PathBuf,
        /// Files that it may fetch, each served as `/artifacts/` and its own name.
        files: Vec<PathBuf>,
        /// The value of `{{cmdline}}` in the script.
        cmdline: String,
    },
}

/// An image to flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlan {
    /// The file.
    pub path: PathBuf,
    /// What the file is.
    pub format: ImageFormat,
    /// Size of the image in bytes, a positive multiple of `sector_size`.
    pub size: u64,
    /// Logical sector size that the image is made for: 512 or 4096.
    pub sector_size: u32,
}

/// What an image file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// The disk's bytes.
    Raw,
    /// The chunk index that `bootgate media` writes beside its chunks.
    ChunkIndex,
}

impl Plan {
    /// The rules for the verdict, every deadline stretched by `scale_milli` thousandths. A scale below 1000 counts
    /// as 1000: a fast host never shortens a deadline.
    #[must_use]
    pub fn rules(&self, scale_milli: u64) -> VerdictRules {
        let scale = scale_milli.max(1000);
        let scaled = |ms: u64| ms.saturating_mul(scale) / 1000;
        let targets = self
            .targets
            .iter()
            .map(|target| {
                let mut rules = target.rules.clone();
                rules.total_deadline_ms = scaled(rules.total_deadline_ms);
                rules.stall_ms = scaled(rules.stall_ms);
                for limit in rules.stage_deadlines_ms.values_mut() {
                    *limit = scaled(*limit);
                }
                rules
            })
            .collect();
        VerdictRules { targets }
    }

    /// The target of this name.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<&TargetPlan> {
        self.targets.iter().find(|target| target.name == *name)
    }
}
