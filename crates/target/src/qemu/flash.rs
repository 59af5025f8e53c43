//! The flash chips of a virtual machine: firmware code, and the variables that it keeps.

use std::io;
use std::path::{Path, PathBuf};

use super::{Firmware, FirmwareBoot, QemuConfig, UefiFirmware, nvram, uboot};
use crate::discovery::{Arch, UefiFiles};
use crate::{BootSource, TargetError};

/// Size of each chip of QEMU's `virt` machine in bytes (`hw/arm/virt.c`, `VIRT_FLASH`); it takes images of this size only.
const VIRT_CHIP: u64 = 64 << 20;

/// The chips of one machine. They are made at its first power-on and stay.
#[derive(Debug)]
pub(crate) struct Flash {
    vars: PathBuf,
    /// The code, where the host's file cannot be used as it is.
    padded: PathBuf,
    pads: bool,
    ready: bool,
}

impl Flash {
    pub(super) fn new(config: &QemuConfig) -> Self {
        Self {
            vars: config.work_dir.join(format!("{}-vars.fd", config.name)),
            padded: config.work_dir.join(format!("{}-code.fd", config.name)),
            pads: false,
            ready: false,
        }
    }

    /// The chip with the variables.
    pub(super) fn vars(&self) -> &Path {
        &self.vars
    }

    /// The chip with the code.
    pub(super) fn code<'a>(&'a self, files: &'a UefiFiles) -> &'a Path {
        if self.pads { &self.padded } else { &files.code }
    }

    /// Makes the chips ready for a power-on.
    pub(super) async fn prepare(
        &mut self,
        config: &QemuConfig,
        boot: BootSource,
    ) -> Result<(), TargetError> {
        match &config.firmware {
            Firmware::Bios => Ok(()),
            // What is tried is in U-Boot's environment, and is another for every power-on.
            Firmware::Uboot(_) => {
                let environment = uboot::environment(config, boot);
                write_chip(&self.vars, environment, Some(VIRT_CHIP)).await
            }
            Firmware::Uefi(_) if self.ready => Ok(()),
            Firmware::Uefi(uefi) => {
                self.copy(config, uefi).await?;
                self.ready = true;
                Ok(())
            }
        }
    }

    async fn copy(&mut self, config: &QemuConfig, uefi: &UefiFirmware) -> Result<(), TargetError> {
        let mut vars = read_chip(&uefi.files.vars).await?;
        if let (FirmwareBoot::Http6, Arch::X86_64) = (&config.boot, uefi.arch) {
            nvram::put_http6_first(&mut vars, config).map_err(|problem| TargetError::Config {
                name: config.name.to_string(),
                problem: format!(
                    "the boot order cannot be put into `{}`: {problem}",
                    uefi.files.vars.display()
                ),
            })?;
        }
        // A store that is not understood is used as it is; the machine then only starts more slowly.
        let _ = nvram::spare_iscsi_attempts(&mut vars);
        let size = match uefi.arch {
            Arch::X86_64 => None,
            Arch::Aarch64 => Some(VIRT_CHIP),
        };
        write_chip(&self.vars, vars, size).await?;
        if let Some(size) = size {
            let code = read_chip(&uefi.files.code).await?;
            if code.len() as u64 != size {
                write_chip(&self.padded, code, Some(size)).await?;
                self.pads = true;
            }
        }
        Ok(())
    }
}

async fn read_chip(path: &Path) -> Result<Vec<u8>, TargetError> {
    let read = tokio::fs::read(path).await;
    read.map_err(|source| TargetError::Io {
        action: format!("read `{}`", path.display()),
        source,
    })
}

/// Written, not copied with its mode: the host's files are read-only in some places. Blocks of zeros, which is most of
/// an Arm chip, take no room.
async fn write_chip(path: &Path, bytes: Vec<u8>, size: Option<u64>) -> Result<(), TargetError> {
    let to = path.to_owned();
    let write = move || {
        let used = bytes.iter().rposition(|byte| *byte != 0);
        let length = size.unwrap_or(0).max(bytes.len() as u64);
        std::fs::write(
            &to,
            bytes
                .get(..used.map_or(0, |last| last + 1))
                .unwrap_or_default(),
        )?;
        std::fs::File::options()
            .write(true)
            .open(&to)?
            .set_len(length)
    };
    let written = tokio::task::spawn_blocking(write).await;
    let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
    written.map_err(|source| TargetError::Io {
        action: format!("write `{}`", path.display()),
        source,
    })
}
