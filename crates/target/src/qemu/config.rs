//! What a virtual machine consists of.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bootgate_events::{MacAddr, TargetName};

use crate::BoxFuture;
use crate::accel::Accel;
use crate::discovery::{Arch, QemuBinary, UefiFiles};

/// A virtual machine.
#[derive(Clone)]
pub struct QemuConfig {
    /// Its name in the scenario.
    pub name: TargetName,
    /// The QEMU to run.
    pub binary: QemuBinary,
    /// What the machine starts with.
    pub firmware: Firmware,
    /// How its CPU is executed.
    pub accel: Accel,
    /// Memory in MiB, 128 at least; the live environment needs 512.
    pub memory_mib: u32,
    /// Number of virtual CPUs, 1 or more.
    pub cpus: u32,
    /// How the firmware gets its first program at a network boot.
    pub boot: FirmwareBoot,
    /// Its network interfaces, in the order of their slots and in which firmware tries them; one at least. The first
    /// that is plugged in is the machine's own.
    pub nics: Vec<Nic>,
    /// Its disk, where it has one.
    pub disk: Option<Disk>,
    /// A folder of this target alone, for the copy of the variable store. It must exist.
    pub work_dir: PathBuf,
    /// Arguments added at the end of the command line, as the operator wrote them.
    pub extra_args: Vec<String>,
}

/// The firmware of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, as QEMU brings it.
    Bios,
    /// EDK2: OVMF or AAVMF.
    Uefi(UefiFirmware),
    /// This U-Boot, on 64-bit Arm. It has an environment of its own that makes it boot from the disk, else by its `pxe`
    /// commands: the one that it is built with does not know these.
    Uboot(PathBuf),
}

/// EDK2 for a virtual machine. The variable store is copied from the template at the first power-on of the target and
/// kept for the later ones, as a real machine keeps its NVRAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UefiFirmware {
    /// The machine's processor.
    pub arch: Arch,
    /// Code and variables.
    pub files: UefiFiles,
    /// Whether the code expects that nobody else can write to the variable store (EDK2's `SMM_REQUIRE` on x86-64).
    pub secure_boot: bool,
}

/// How firmware gets its first program at a network boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FirmwareBoot {
    /// PXE over IPv4.
    #[default]
    Pxe4,
    /// PXE over IPv6. UEFI only.
    Pxe6,
    /// HTTP Boot over IPv4. UEFI only.
    Http4,
    /// HTTP Boot over IPv6. UEFI only.
    Http6,
    /// From a USB stick with this image, which the machine cannot write to. No interface is booted from. The stick is
    /// pulled out when the machine boots from its disk.
    Usb(PathBuf),
}

/// A network interface.
#[derive(Clone)]
pub struct Nic {
    /// QEMU's device name, e.g. `virtio-net-pci` or `e1000`.
    pub model: String,
    /// Which option ROM it carries at a network boot.
    pub rom: NicRom,
    /// Its address.
    pub mac: MacAddr,
    /// What is at its other end.
    pub link: NicLink,
}

/// What is at the other end of a network interface.
#[derive(Clone)]
pub enum NicLink {
    /// This, asked for at every power-on: a link is never used by two processes, since a process that died in the
    /// middle of a frame would leave the stream out of step.
    Plugged(LinkSource),
    /// A cable that leads nowhere: the interface has a link, and nobody answers.
    Dead,
    /// No cable: the interface says that it has no link.
    Down,
}

/// The option ROM of a network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NicRom {
    /// BIOS: QEMU's own ROM (an iPXE). UEFI: none where the firmware has a driver for the interface, so that its own
    /// PXE and HTTP clients run, as they do on most real machines; else QEMU's own ROM, which is the driver.
    #[default]
    Standard,
    /// QEMU's own ROM (an iPXE) for UEFI too.
    Qemu,
    /// This file.
    File(PathBuf),
}

/// A raw disk image. The disk's serial number is [`Disk::SERIAL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file; its length is the disk's size and must be a multiple of the sector size.
    pub path: PathBuf,
    /// Logical and physical sector size in bytes: 512 or 4096. SeaBIOS cannot boot from a disk with 4096, and SATA
    /// disks have 512 only: QEMU's `ide-hd` knows no other.
    pub sector_size: u32,
    /// What it is connected by.
    pub bus: DiskBus,
}

impl Disk {
    /// The disk's serial number.
    pub const SERIAL: &'static str = "bootgate-disk0";
}

/// What a disk is connected by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DiskBus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// NVMe.
    Nvme,
    /// SATA, on an AHCI controller.
    Sata,
    /// A USB disk, on an xHCI controller.
    Usb,
    /// SCSI, on a virtio controller.
    Scsi,
}

/// Gives the interface's link for one power-on.
pub type LinkSource = Arc<dyn Fn() -> BoxFuture<'static, io::Result<NetLink>> + Send + Sync>;

/// Where a network interface is plugged in.
#[derive(Debug)]
pub enum NetLink {
    /// One end of a connected `AF_UNIX` stream socket pair that carries Ethernet frames, each after its length as
    /// four bytes, big-endian (QEMU's `-netdev socket`).
    Socket {
        /// The end for QEMU.
        fd: OwnedFd,
    },
    /// An open tap (`/dev/net/tun` after TUNSETIFF, without IFF_VNET_HDR).
    Tap {
        /// The tap.
        fd: OwnedFd,
    },
}

impl Firmware {
    /// `bios`, `uefi` or `uboot`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi(_) => "uefi",
            Firmware::Uboot(_) => "uboot",
        }
    }

    /// The processor of the machine that it is for.
    #[must_use]
    pub fn arch(&self) -> Arch {
        match self {
            Firmware::Bios => Arch::X86_64,
            Firmware::Uefi(uefi) => uefi.arch,
            Firmware::Uboot(_) => Arch::Aarch64,
        }
    }
}

impl QemuConfig {
    /// The machine's own address: that of the first interface that is plugged in.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        let plugged = |nic: &&Nic| matches!(nic.link, NicLink::Plugged(_));
        let own = self.nics.iter().find(plugged).or(self.nics.first());
        own.map_or(MacAddr([0; 6]), |nic| nic.mac)
    }
}
