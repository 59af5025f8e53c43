//! A disk image that boots with BIOS and with UEFI.
//!
//! | partition | content |
//! |---|---|
//! | 1, BIOS boot | GRUB's core, which the boot sector loads |
//! | 2, EFI system | FAT: GRUB for UEFI, `grub.cfg`, kernel and RAM disk, for both firmwares |
//! | 3, root | squashfs: init and the image id |

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
    let esp_end = 2 + u64::from(recipe.esp_mib);
    let ids = &recipe.ids;
    let partition = |kind, guid, mib: std::ops::Range<u64>, name| gpt::Partition {
        kind,
        guid,
        sectors: mib.start * MIB / sector_size..mib.end * MIB / sector_size,
        name,
    };
    gpt::Table {
        disk: ids.disk,
        sector_size,
        sectors: size * MIB / sector_size,
        partitions: vec![
            partition(gpt::BIOS_BOOT, ids.bios_boot, 1..2, "bios-boot"),
            partition(gpt::EFI_SYSTEM, ids.esp, 2..esp_end, "esp"),
            partition(gpt::ROOT_X86_64, ids.root, esp_end..size - 1, "root"),
        ],
    }
}

/// What goes where, by byte offset.
fn parts(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    table: &gpt::Table,
) -> Result<Vec<(u64, Vec<u8>)>, MediaError> {
    let init = files::read_program(inputs.init)?;
    let span = |index: usize| {
        let sectors = &table.partitions[index].sectors;
        let size = (sectors.end - sectors.start) * table.sector_size;
        (sectors.start * table.sector_size, size)
    };
    let ((core_at, core_size), (esp_at, esp_size), (root_at, root_size)) =
        (span(0), span(1), span(2));

    // BIOS counts in 512 bytes; a disk with larger sectors is not bootable by it.
    let bios = grub::bios(inputs.grub_dir, 2, core_at / 512)?;
    check_fit("the core of GRUB", bios.core.len(), core_size)?;
    let mut primary = table.primary();
    primary[..bios.boot_code.len()].copy_from_slice(&bios.boot_code);

    let esp = esp(recipe, inputs, &init, esp_size)?;
    let root =
        root::build(&init, &recipe.image_id, inputs.epoch).map_err(|error| MediaError::Tool {
            program: "squashfs writer".to_owned(),
            message: error.to_string(),
        })?;
    check_fit("the root file system", root.len(), root_size)?;
    let (backup_at, backup) = table.backup();
    Ok(vec![
        (0, primary),
        (core_at, bios.core),
        (esp_at, esp),
        (root_at, root),
        (backup_at, backup),
    ])
}

fn esp(
    recipe: &DiskRecipe,
    inputs: &DiskInputs<'_>,
    init: &[u8],
    size: u64,
) -> Result<Vec<u8>, MediaError> {
    let kernel = files::read(&inputs.kernel.vmlinuz)?;
    let ramdisk = ramdisk(recipe, inputs, init)?;
    let efi = grub::efi(inputs.grub_dir)?;
    let cmdline = format!("root=PARTUUID={} {}", recipe.ids.root, recipe.cmdline);
    let config = grub::config(KERNEL, RAMDISK, cmdline.trim_end());
    check_fit(
        "the EFI system partition",
        kernel.len() + ramdisk.len() + efi.len(),
        size,
    )?;
    let config_path = format!("{}/grub.cfg", grub::PREFIX.trim_start_matches('/'));
    let contents: [(&str, &[u8]); 4] = [
        ("EFI/BOOT/BOOTX64.EFI", &efi),
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
