//! A disk image that boots with BIOS and with UEFI.

mod recipe;

use std::path::{Path, PathBuf};

use bootgate_api::Sha256Hex;

pub use recipe::{DiskRecipe, Guid};

use crate::MediaError;
use crate::kernel::Kernel;

/// What a disk image is made from.
#[derive(Clone, Debug)]
pub struct DiskInputs<'a> {
    /// The kernel that runs it.
    pub kernel: &'a Kernel,
    /// The static program that is `/init` of its RAM disk and `/sbin/init` of its root file system.
    pub init: &'a Path,
    /// Folder with GRUB's modules by platform (`i386-pc`, `x86_64-efi`): [`DEFAULT_GRUB_DIR`] where the
    /// distribution's packages are installed.
    pub grub_dir: &'a Path,
    /// Time of all files in the root file system and the RAM disk, in seconds since 1970:
    /// [`crate::source_date_epoch`]. Files of the ESP always have the earliest time FAT knows.
    pub epoch: u32,
}

/// Where distributions install GRUB's modules.
pub const DEFAULT_GRUB_DIR: &str = "/usr/lib/grub";

/// A finished disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskMedia {
    /// The image: `disk.img` in the folder asked for.
    pub image: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: Sha256Hex,
    /// Size of the sectors its partition table is written for.
    pub sector_size: u32,
    /// What its init prints.
    pub image_id: String,
}

/// Builds `disk.img` in `out_dir`, which is created if needed.
///
/// # Errors
/// An input cannot be read, a module or a program of GRUB is missing, or a part does not fit into its partition.
pub fn build(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    out_dir: &Path,
) -> Result<DiskMedia, MediaError> {
    let _ = (recipe, inputs);
    Err(MediaError::input("build", out_dir, "not there yet"))
}
