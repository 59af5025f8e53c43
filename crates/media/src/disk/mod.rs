//! A disk image that boots with UEFI, and with BIOS on x86-64 and sectors of 512 bytes.
//!
//! | partition | content |
//! |---|---|
//! | BIOS boot, where a BIOS can boot the image | GRUB's core, which the boot sector loads |
//! | EFI system | FAT: GRUB for UEFI, `grub.cfg`, kernel and RAM disk, for both firmwares |
//! | root | squashfs: init and the image id |

pub(crate) mod fat;
mod gpt;
mod grub;
mod recipe;
mod root;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bootgate_api::Sha256Hex;

pub use recipe::{DiskRecipe, Guid, Ids};

use crate::arch::Arch;
use crate::cpio::{Archive, Compression};
use crate::kernel::Kernel;
use crate::modules::{self, Modules};
use crate::{MediaError, digest, files};

/// What a disk image is made from.
#[derive(Clone, Debug)]
pub struct DiskInputs<'a> {
    /// The kernel that runs it.
    pub kernel: &'a Kernel,
    /// The static program that is `/init` of its RAM disk and `/sbin/init` of its root file system.
    pub init: &'a Path,
    /// Folder with GRUB's modules by platform (`i386-pc`, `x86_64-efi`, `arm64-efi`): [`DEFAULT_GRUB_DIR`] where the
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

const MIB: u64 = 1 << 20;
/// Kernel and RAM disk on the ESP.
const KERNEL: &str = "boot/vmlinuz";
const RAMDISK: &str = "boot/initrd.img";

/// Builds `disk.img` in `out_dir`, which is created if needed.
///
/// # Errors
/// An input cannot be read, a module or a program of GRUB is missing, a value of the recipe is out of range, or a
/// part does not fit into its partition.
pub fn build(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    out_dir: &Path,
) -> Result<DiskMedia, MediaError> {
    let image = out_dir.join("disk.img");
    let check = recipe.check();
    check.map_err(|message| MediaError::input("build", &image, message))?;
    let table = table(recipe);
    let parts = parts(recipe, inputs, &table)?;
    files::create_dir(out_dir)?;
    let size = u64::from(recipe.size_mib) * MIB;
    files::write_with(&image, |file| {
        file.set_len(size)?;
        parts
            .iter()
            .try_for_each(|(offset, bytes)| write_sparse(file, *offset, bytes))
    })?;
    Ok(DiskMedia {
        sha256: digest::sha256_file(&image)?,
        image,
        size,
        sector_size: recipe.sector_size,
        image_id: recipe.image_id.clone(),
    })
}

/// Partitions begin and end at whole MiB, whatever the size of a sector.
fn table(recipe: &DiskRecipe) -> gpt::Table {
    let sector_size = u64::from(recipe.sector_size);
    let size = u64::from(recipe.size_mib);
    let ids = &recipe.ids;
    let partition = |kind, guid, mib: std::ops::Range<u64>, name| gpt::Partition {
        kind,
        guid,
        sectors: mib.start * MIB / sector_size..mib.end * MIB / sector_size,
        name,
    };
    let bios = ids.bios_boot.filter(|_| recipe.boots_by_bios());
    let bios = bios.map(|guid| partition(gpt::BIOS_BOOT, guid, 1..2, "bios-boot"));
    let esp_start = if bios.is_some() { 2 } else { 1 };
    let esp_end = esp_start + u64::from(recipe.esp_mib);
    let root = match recipe.arch {
        Arch::X86_64 => gpt::ROOT_X86_64,
        Arch::Aarch64 => gpt::ROOT_ARM64,
    };
    gpt::Table {
        disk: ids.disk,
        sector_size,
        sectors: size * MIB / sector_size,
        partitions: bios
            .into_iter()
            .chain([
                partition(gpt::EFI_SYSTEM, ids.esp, esp_start..esp_end, "esp"),
                partition(root, ids.root, esp_end..size - 1, "root"),
            ])
            .collect(),
    }
}

/// What goes where, by byte offset.
fn parts(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    table: &gpt::Table,
) -> Result<Vec<(u64, Vec<u8>)>, MediaError> {
    let init = files::read_program(inputs.init, recipe.arch)?;
    let span = |index: usize| {
        let sectors = &table.partitions[index].sectors;
        let size = (sectors.end - sectors.start) * table.sector_size;
        (sectors.start * table.sector_size, size)
    };
    // After the BIOS boot partition, if there is one.
    let first = usize::from(recipe.boots_by_bios());
    let ((esp_at, esp_size), (root_at, root_size)) = (span(first), span(first + 1));

    let mut primary = table.primary();
    let mut parts = Vec::new();
    if recipe.boots_by_bios() {
        let (core_at, core_size) = span(0);
        // A BIOS counts in 512 bytes.
        let bios = grub::bios(inputs.grub_dir, 2, core_at / 512)?;
        check_fit("the core of GRUB", bios.core.len(), core_size)?;
        primary[..bios.boot_code.len()].copy_from_slice(&bios.boot_code);
        parts.push((core_at, bios.core));
    }

    let esp = esp(recipe, inputs, &init, esp_size)?;
    let root =
        root::build(&init, &recipe.image_id, inputs.epoch).map_err(|error| MediaError::Tool {
            program: "squashfs writer".to_owned(),
            message: error.to_string(),
        })?;
    check_fit("the root file system", root.len(), root_size)?;
    let (backup_at, backup) = table.backup();
    parts.extend([
        (0, primary),
        (esp_at, esp),
        (root_at, root),
        (backup_at, backup),
    ]);
    Ok(parts)
}

fn esp(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    init: &[u8],
    size: u64,
) -> Result<Vec<u8>, MediaError> {
    let kernel = files::read_kernel(&inputs.kernel.vmlinuz, recipe.arch)?;
    let ramdisk = ramdisk(recipe, inputs, init)?;
    let efi = grub::efi(inputs.grub_dir, recipe.arch)?;
    let (_, _, boot_file) = grub::efi_names(recipe.arch);
    let cmdline = format!("root=PARTUUID={} {}", recipe.ids.root, recipe.cmdline);
    let config = grub::config(KERNEL, RAMDISK, cmdline.trim_end());
    check_fit(
        "the EFI system partition",
        kernel.len() + ramdisk.len() + efi.len(),
        size,
    )?;
    let config_path = format!("{}/grub.cfg", grub::PREFIX.trim_start_matches('/'));
    let contents: [(&str, &[u8]); 4] = [
        (boot_file, &efi),
        (&config_path, config.as_bytes()),
        (KERNEL, &kernel),
        (RAMDISK, &ramdisk),
    ];
    let fail = |error: &dyn std::fmt::Display| MediaError::Tool {
        program: "FAT writer".to_owned(),
        message: format!(
            "make an EFI system partition of `{}` MiB: {error}",
            recipe.esp_mib
        ),
    };
    let sector_size = u16::try_from(recipe.sector_size).map_err(|error| fail(&error))?;
    let size = usize::try_from(size).map_err(|error| fail(&error))?;
    fat::build(size, sector_size, recipe.ids.esp_volume, &contents).map_err(|error| fail(&error))
}

fn ramdisk(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    init: &[u8],
) -> Result<Vec<u8>, MediaError> {
    let all = Modules::read(inputs.kernel)?;
    let loaded = all.resolve(&recipe.modules, &[])?;
    let mut archive = Archive::new(inputs.epoch);
    archive.file("init", 0o755, init);
    modules::add_to(&mut archive, inputs.kernel, &loaded);
    archive.finish(Compression::default())
}

fn check_fit(what: &str, size: usize, limit: u64) -> Result<(), MediaError> {
    let (what, size) = (what.to_owned(), size as u64);
    if size > limit {
        return Err(MediaError::TooLarge { what, size, limit });
    }
    Ok(())
}

/// Writes what is not zero; the rest of the file is a hole.
fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    const BLOCK: usize = 64 << 10;
    for (index, block) in bytes.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, offset + (index * BLOCK) as u64)?;
        }
    }
    Ok(())
}
