//! Whether a virtual machine can be made of a configuration.

use std::path::Path;

use super::{Disk, DiskBus, Firmware, FirmwareBoot, Nic, NicLink, NicRom, QemuConfig};
use crate::TargetError;
use crate::discovery::{self, Arch};

/// Most interfaces: their slots begin at [`super::devices::FIRST_NIC_SLOT`], and a bus has 32.
const MOST_NICS: usize = 8;

impl QemuConfig {
    /// Whether a machine can be made of this, now.
    pub(crate) fn check(&self) -> Result<(), TargetError> {
        if self.memory_mib < 128 {
            return self.problem(format!(
                "`{}` MiB of memory are too few: 128 at least",
                self.memory_mib
            ));
        }
        if self.cpus == 0 {
            return self.problem("it has no CPU");
        }
        if self.name.as_str().is_empty() || self.name.as_str().contains('/') {
            return self.problem("its name cannot be part of a file name");
        }
        self.check_firmware()?;
        if self.nics.is_empty() || self.nics.len() > MOST_NICS {
            return self.problem(format!(
                "it has {} network interfaces: 1 to {MOST_NICS} are possible",
                self.nics.len()
            ));
        }
        self.nics.iter().try_for_each(|nic| self.check_nic(nic))?;
        self.disk
            .as_ref()
            .map_or(Ok(()), |disk| self.check_disk(disk))
    }

    fn problem(&self, problem: impl Into<String>) -> Result<(), TargetError> {
        Err(TargetError::Config {
            name: self.name.to_string(),
            problem: problem.into(),
        })
    }

    fn check_firmware(&self) -> Result<(), TargetError> {
        match &self.firmware {
            Firmware::Bios => {}
            Firmware::Uefi(uefi) => {
                discovery::find_uefi(uefi.arch, uefi.secure_boot, Some(&uefi.files))?;
            }
            Firmware::Uboot(path) => {
                discovery::find_uboot(Some(path))?;
            }
        }
        match &self.boot {
            FirmwareBoot::Usb(image) => self.check_file("USB image", image),
            FirmwareBoot::Pxe4 => Ok(()),
            _ if matches!(self.firmware, Firmware::Uefi(_)) => Ok(()),
            _ => self.problem(format!(
                "`{}` boots over the network by PXE over IPv4 only",
                self.firmware.as_str()
            )),
        }
    }

    fn check_file(&self, what: &str, path: &Path) -> Result<(), TargetError> {
        if path.is_file() {
            return Ok(());
        }
        self.problem(format!("{what} `{}` does not exist", path.display()))
    }

    fn check_nic(&self, nic: &Nic) -> Result<(), TargetError> {
        if !plain_word(&nic.model) {
            return self.problem(format!("`{}` is not a device name", nic.model));
        }
        if let NicRom::File(path) = &nic.rom {
            return self.check_file("option ROM", path);
        }
        let booted =
            matches!(nic.link, NicLink::Plugged(_)) && !matches!(self.boot, FirmwareBoot::Usb(_));
        let known = match &self.firmware {
            // QEMU's option ROMs have no code for Arm.
            Firmware::Uefi(uefi) if uefi.arch == Arch::Aarch64 => &["virtio-net-pci"][..],
            Firmware::Uboot(_) => &["virtio-net-pci", "e1000"],
            _ => return Ok(()),
        };
        if !booted || known.contains(&nic.model.as_str()) {
            return Ok(());
        }
        self.problem(format!(
            "the firmware of 64-bit Arm has no driver for `{}`: it boots from {}",
            nic.model,
            known.join(" and ")
        ))
    }

    fn check_disk(&self, disk: &Disk) -> Result<(), TargetError> {
        let Ok(meta) = disk.path.metadata() else {
            return Err(TargetError::NoDisk(disk.path.clone()));
        };
        if !matches!(disk.sector_size, 512 | 4096) {
            return self.problem(format!(
                "sector size `{}` is neither 512 nor 4096",
                disk.sector_size
            ));
        }
        if disk.bus == DiskBus::Sata && disk.sector_size != 512 {
            return self.problem(format!(
                "sector size `{}` is impossible for a SATA disk of QEMU's: 512 only",
                disk.sector_size
            ));
        }
        if disk.bus == DiskBus::Scsi && matches!(self.firmware, Firmware::Uboot(_)) {
            return self.problem("U-Boot has no driver for a virtio SCSI controller");
        }
        if meta.len() == 0 || meta.len() % u64::from(disk.sector_size) != 0 {
            return self.problem(format!(
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
