//! The live environment: a kernel and an initial RAM disk with the agent as PID 1.

use std::path::{Path, PathBuf};

use bootgate_api::Sha256Hex;
use serde::Deserialize;

use crate::arch::Arch;
use crate::cpio::{Archive, Compression};
use crate::firmware::{self, Absent};
use crate::kernel::Kernel;
use crate::modules::{Module, Modules};
use crate::{MediaError, digest, files, modules, recipe};

/// What a live environment is made of. Read from TOML; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveRecipe {
    /// Name of the profile, for people.
    pub profile: String,
    /// Architecture that kernel and agent must be for.
    #[serde(default)]
    pub arch: Arch,
    /// Kernel modules in the order they are loaded in, without what they depend on. Built-in ones are passed over.
    pub modules: Vec<String>,
    /// Modules that are taken where the kernel has them and passed over where it does not.
    #[serde(default)]
    pub optional_modules: Vec<String>,
    /// Modules that are loaded when a device asks for one. Those that the kernel does not have are passed over, and
    /// named. With the firmware they may ask for, as far as it is there.
    #[serde(default)]
    pub drivers: Vec<String>,
    /// How the RAM disk is packed.
    #[serde(default)]
    pub compression: Compression,
    /// Largest size of the RAM disk in MiB.
    #[serde(default = "default_limit")]
    pub max_initrd_mib: u32,
}

fn default_limit() -> u32 {
    12
}

impl LiveRecipe {
    /// Reads a recipe from a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, has an unknown key or a value of the wrong type.
    pub fn load(path: &Path) -> Result<Self, MediaError> {
        recipe::load(path)
    }
}

/// What a live environment is made from.
#[derive(Clone, Debug)]
pub struct LiveInputs<'a> {
    /// The kernel that runs it.
    pub kernel: &'a Kernel,
    /// The static agent program, which becomes `/init`.
    pub agent: &'a Path,
    /// Time of all files, in seconds since 1970: [`crate::source_date_epoch`].
    pub epoch: u32,
}

/// A finished live environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveMedia {
    /// The kernel: `vmlinuz` in the folder asked for.
    pub vmlinuz: PathBuf,
    /// SHA-256 of the kernel.
    pub vmlinuz_sha256: Sha256Hex,
    /// The RAM disk: `initrd.img` in the folder asked for.
    pub initrd: PathBuf,
    /// SHA-256 of the RAM disk.
    pub initrd_sha256: Sha256Hex,
    /// Size of the RAM disk in bytes.
    pub initrd_size: u64,
    /// Names of the modules that are always loaded, in load order.
    pub modules: Vec<String>,
    /// Names of the modules that are loaded on demand, and of those that these need.
    pub drivers: Vec<String>,
    /// Drivers of the recipe that the kernel does not have.
    pub absent_drivers: Vec<String>,
    /// Firmware that a module may ask for and that is not there.
    pub absent_firmware: Vec<Absent>,
}

/// Builds `vmlinuz` and `initrd.img` in `out_dir`, which is created if needed.
///
/// # Errors
/// An input cannot be read, a module is missing, or the RAM disk is larger than the recipe allows.
pub fn build(
    recipe: &LiveRecipe,
    inputs: &LiveInputs<'_>,
    out_dir: &Path,
) -> Result<LiveMedia, MediaError> {
    let all = Modules::read(inputs.kernel)?;
    let loaded = all.resolve(&recipe.modules, &recipe.optional_modules)?;
    let mut archive = Archive::new(inputs.epoch);
    archive.file(
        "init",
        0o755,
        &files::read_program(inputs.agent, recipe.arch)?,
    );
    modules::add_to(&mut archive, inputs.kernel, &loaded);
    let (wanted, absent_drivers) = all.split(&recipe.drivers);
    let drivers = all.resolve(&wanted, &[])?;
    if !drivers.is_empty() {
        modules::add_on_demand(&mut archive, inputs.kernel, &drivers);
    }
    let mut absent_firmware = firmware::add_to(&mut archive, inputs.kernel, &loaded)?;
    absent_firmware.extend(firmware::add_to(&mut archive, inputs.kernel, &drivers)?);
    let initrd = archive.finish(recipe.compression)?;
    let limit = u64::from(recipe.max_initrd_mib) << 20;
    if initrd.len() as u64 > limit {
        let what = format!("the RAM disk of profile `{}`", recipe.profile);
        return Err(MediaError::TooLarge {
            what,
            size: initrd.len() as u64,
            limit,
        });
    }
    files::create_dir(out_dir)?;
    let vmlinuz = files::read_kernel(&inputs.kernel.vmlinuz, recipe.arch)?;
    let media = LiveMedia {
        vmlinuz: out_dir.join("vmlinuz"),
        vmlinuz_sha256: digest::sha256(&vmlinuz),
        initrd: out_dir.join("initrd.img"),
        initrd_sha256: digest::sha256(&initrd),
        initrd_size: initrd.len() as u64,
        modules: names(loaded),
        drivers: names(drivers),
        absent_drivers,
        absent_firmware,
    };
    files::write_whole(&media.vmlinuz, &vmlinuz)?;
    files::write_whole(&media.initrd, &initrd)?;
    Ok(media)
}

fn names(modules: Vec<Module>) -> Vec<String> {
    modules.into_iter().map(|module| module.name).collect()
}
