//! Where the host keeps network boot programs.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::{NbpPlan, Platform};

/// Where distributions put iPXE's UEFI program that drives the interface through the firmware's SNP: Debian and
/// Ubuntu, Fedora, Arch.
const UEFI_PLACES: [&str; 3] = [
    "/usr/lib/ipxe/snponly.efi",
    "/usr/share/ipxe/ipxe-snponly-x86_64.efi",
    "/usr/share/ipxe/x86_64/snponly.efi",
];

/// The same for iPXE's BIOS program that drives the interface through the ROM's UNDI.
const BIOS_PLACES: [&str; 3] = [
    "/usr/lib/ipxe/undionly.kpxe",
    "/usr/share/ipxe/undionly.kpxe",
    "/usr/share/ipxe/x86_64/undionly.kpxe",
];

/// The same for UEFI on 64-bit Arm: Debian since 13, Fedora.
const ARM64_PLACES: [&str; 2] = [
    "/usr/lib/ipxe/ipxe-arm64.efi",
    "/usr/share/ipxe/arm64-efi/snponly.efi",
];

/// Names a folder that `bootgate ipxe prepare` made. Its programs come before those that the host has installed.
pub const PREPARED_IPXE: &str = "BOOTGATE_IPXE";

/// No network boot program is installed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("find iPXE for {platform}: `{name}` is not installed")]
pub struct MissingNbp {
    /// For which firmware.
    pub platform: Platform,
    /// The file's usual name.
    pub name: &'static str,
}

impl NbpPlan {
    /// The file to serve: the scenario's own, else what lies in the folder that [`PREPARED_IPXE`] names in the
    /// environment, else the host's iPXE for this firmware.
    ///
    /// A fault of the host, not of the scenario, so it is found when a run starts and not by
    /// [`load`](crate::load()).
    ///
    /// # Errors
    /// The scenario names none and the host has none. A BIOS machine whose ROM is an iPXE (QEMU's are) can still
    /// boot without one.
    pub fn locate(&self, platform: Platform) -> Result<PathBuf, MissingNbp> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let (places, name): (&[&str], _) = match platform {
            Platform::Bios => (&BIOS_PLACES, "undionly.kpxe"),
            Platform::UefiX64 => (&UEFI_PLACES, "snponly.efi"),
            Platform::UefiArm64 | Platform::UbootArm64 => (&ARM64_PLACES, "ipxe-arm64.efi"),
        };
        let prepared = std::env::var_os(PREPARED_IPXE).map(|folder| Path::new(&folder).join(name));
        prepared
            .into_iter()
            .chain(places.iter().map(PathBuf::from))
            .find(|path| path.is_file())
            .ok_or(MissingNbp { platform, name })
    }

    /// The name that DHCP tells a client, where `file` is what [`NbpPlan::locate`] found.
    #[must_use]
    pub fn bootfile(&self, file: &Path) -> String {
        match (&self.bootfile, file.file_name()) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => name.to_string_lossy().into_owned(),
            (None, None) => String::new(),
        }
    }
}
