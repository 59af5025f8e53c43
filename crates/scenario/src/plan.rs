//! What a scenario asks for, checked and complete: every default is filled in, every path is resolved.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bootgate_events::{MacAddr, TargetName, TargetRules, VerdictRules};

use crate::profile::{FirmwareProfile, Loader};

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
    /// Which cell of the scenario's matrix this is; `None` where it has no matrix.
    pub cell: Option<Cell>,
}

/// One cell of a matrix: the values that make it different from the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Axis and value as they are written, in the order of the matrix, e.g. `("firmware", "uefi")`.
    pub values: Vec<(String, String)>,
}

/// As `uefi+e1000+nvme+2cpus`: a number by itself would say nothing.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (axis, value)) in self.values.iter().enumerate() {
            let plus = if index == 0 { "" } else { "+" };
            let unit = match (axis.as_str(), value.as_str()) {
                ("cpus", "1") => "cpu",
                ("cpus", _) => "cpus",
                _ => "",
            };
            write!(f, "{plus}{value}{unit}")?;
        }
        Ok(())
    }
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
    /// Who gives out addresses.
    pub dhcp: DhcpPlan,
}

/// Who gives out addresses on the segment, and who says what to boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DhcpPlan {
    /// bootgate does both.
    #[default]
    Full,
    /// Another DHCP server gives out addresses, bootgate adds what to boot (PXE 2.1 "proxyDHCP", ports 67 and 4011).
    Proxy(LanServer),
    /// Another DHCP server does both, set as bootgate's documentation says; bootgate serves TFTP and HTTP.
    Off(LanServer),
}

/// The DHCP server that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LanServer {
    /// A dnsmasq that the run starts on its private segment.
    Dnsmasq,
    /// A Kea that the run starts on its private segment.
    Kea,
    /// The one that is on the host's interface already.
    Existing,
}

/// One machine and what it must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlan {
    /// Its name, unique in the plan: letters, digits, `.`, `_` and `-`, 64 at most; usable as a file name.
    pub name: TargetName,
    /// The address it boots from, unique in the plan.
    pub mac: MacAddr,
    /// What it starts with.
    pub firmware: FirmwareProfile,
    /// What it is.
    pub driver: Driver,
    /// What it boots over the network.
    pub boot: NetbootPlan,
    /// What is written to its disk; `None` where nothing is flashed.
    pub image: Option<ImagePlan>,
    /// What it is judged by, for a host of the speed the scenario was written for. See [`Plan::rules`].
    pub rules: TargetRules,
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
    /// Its network interfaces, in the order of their slots; one at least, of which exactly one is on the segment. That
    /// one has the target's address.
    pub nics: Vec<NicPlan>,
    /// Its disk, where it has one. Blank at the start of every run.
    pub disk: Option<DiskPlan>,
    /// Arguments added at the end of QEMU's command line.
    pub extra_args: Vec<String>,
}

/// A network interface of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicPlan {
    /// QEMU's device name, e.g. `virtio-net-pci`.
    pub model: String,
    /// Which option ROM it carries.
    pub rom: NicRom,
    /// Its address.
    pub mac: MacAddr,
    /// What it is connected to.
    pub link: NicLink,
}

/// What a network interface is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NicLink {
    /// The segment, untagged.
    #[default]
    Segment,
    /// The segment, through a switch port that takes and gives only frames with this VLAN's tag (IEEE 802.1Q, 1 to
    /// 4094).
    Tagged(u16),
    /// No cable: the interface says that it has no link.
    Down,
    /// A cable that leads nowhere: it has a link, and nobody answers.
    Dead,
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
    /// What it is connected by.
    pub bus: DiskBus,
}

/// What a virtual machine's disk is connected by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// NVMe.
    Nvme,
    /// SATA, on an AHCI controller.
    Sata,
    /// A USB stick or disk, on an xHCI controller.
    Usb,
    /// SCSI, on a virtio controller.
    Scsi,
}

impl DiskBus {
    /// The scenario's words.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("virtio", Self::Virtio),
        ("nvme", Self::Nvme),
        ("sata", Self::Sata),
        ("usb", Self::Usb),
        ("scsi", Self::Scsi),
    ];
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
    /// What loads the kernel.
    pub loader: Loader,
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
    /// Its name in reports: the scenario's, with `/` and the cell's behind it where it is a cell of a matrix.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.cell {
            Some(cell) => format!("{}/{cell}", self.name),
            None => self.name.clone(),
        }
    }

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
