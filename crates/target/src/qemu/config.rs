//! What a virtual machine consists of.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use bootgate_events::{MacAddr, TargetName};

use crate::accel::Accel;
use crate::discovery::{self, OvmfFiles, QemuBinary};
use crate::{BoxFuture, TargetError};

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
    /// The address of its one network interface.
    pub mac: MacAddr,
    /// QEMU's device name of the interface, e.g. `virtio-net-pci` or `e1000`.
    pub nic_model: String,
    /// Which option ROM the interface carries at a network boot.
    pub nic_rom: NicRom,
    /// Where the interface is plugged in. Called once for every power-on: a link is never used by two processes,
    /// since a process that died in the middle of a frame would leave the stream out of step.
    pub link: LinkSource,
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
    /// OVMF. The variable store is copied from the template at the first power-on of the target and kept for the
    /// later ones, as a real machine keeps its NVRAM.
    Uefi(OvmfFiles),
}

/// The option ROM of the network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NicRom {
    /// BIOS: QEMU's own ROM (an iPXE). UEFI: none, so that the firmware's own driver and PXE client run, as they do
    /// on most real machines.
    #[default]
    Standard,
    /// QEMU's own ROM (an iPXE) for UEFI too.
    Qemu,
    /// This file.
    File(PathBuf),
}

/// A raw disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The file; its length is the disk's size and must be a multiple of the sector size.
    pub path: PathBuf,
    /// Logical and physical sector size in bytes: 512 or 4096. SeaBIOS cannot boot from a virtio disk with 4096.
    pub sector_size: u32,
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
    /// Nothing: what the interface sends goes nowhere.
    Unplugged,
}

impl Firmware {
    /// `bios` or `uefi`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi(_) => "uefi",
        }
    }
}

impl QemuConfig {
    /// Whether a machine can be made of this, now.
    pub(crate) fn check(&self) -> Result<(), TargetError> {
        let problem = |problem: String| {
            Err(TargetError::Config {
                name: self.name.to_string(),
                problem,
            })
        };
        if self.memory_mib < 128 {
            return problem(format!(
                "`{}` MiB of memory are too few: 128 at least",
                self.memory_mib
            ));
        }
        if self.cpus == 0 {
            return problem("it has no CPU".to_owned());
        }
        if !plain_word(&self.nic_model) {
            return problem(format!("`{}` is not a device name", self.nic_model));
        }
        if self.name.as_str().is_empty() || self.name.as_str().contains('/') {
            return problem("its name cannot be part of a file name".to_owned());
        }
        if let Firmware::Uefi(files) = &self.firmware {
            discovery::find_ovmf(Some(files))?;
        }
        if let NicRom::File(path) = &self.nic_rom
            && !path.is_file()
        {
            return problem(format!("option ROM `{}` does not exist", path.display()));
        }
        self.disk
            .as_ref()
            .map_or(Ok(()), |disk| self.check_disk(disk))
    }

    fn check_disk(&self, disk: &Disk) -> Result<(), TargetError> {
        let problem = |problem: String| {
            Err(TargetError::Config {
                name: self.name.to_string(),
                problem,
            })
        };
        let Ok(meta) = disk.path.metadata() else {
            return Err(TargetError::NoDisk(disk.path.clone()));
        };
        if !matches!(disk.sector_size, 512 | 4096) {
            return problem(format!(
                "sector size `{}` is neither 512 nor 4096",
                disk.sector_size
            ));
        }
        if meta.len() == 0 || meta.len() % u64::from(disk.sector_size) != 0 {
            return problem(format!(
                "the length of disk `{}` ({} bytes) is not a whole number of sectors of {} bytes",
                disk.path.display(),
                meta.len(),
                disk.sector_size
            ));
        }
        Ok(())
    }
}

/// Whether `text` can stand in an option list as it is.
fn plain_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
