//! What a disk image is made of.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

use crate::arch::Arch;
use crate::{MediaError, recipe};

/// A GUID in the byte order of GPT: the first three groups little endian (UEFI specification, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Guid(pub [u8; 16]);

/// Where the bytes of the written form stand in the stored one.
const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// The GUID whose written form has these digits.
    pub(super) const fn of(digits: u128) -> Self {
        let written = digits.to_be_bytes();
        let mut stored = [0; 16];
        let mut index = 0;
        while index < 16 {
            stored[ORDER[index]] = written[index];
            index += 1;
        }
        Self(stored)
    }
}

impl FromStr for Guid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail =
            || format!("`{text}` is not a GUID such as `6b1f0d5c-0000-4000-8000-000000000001`");
        let groups: Vec<usize> = text.split('-').map(str::len).collect();
        if groups != [8, 4, 4, 4, 12] {
            return Err(fail());
        }
        let digits = text.replace('-', "");
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(fail());
        }
        u128::from_str_radix(&digits, 16)
            .map(Self::of)
            .map_err(|_| fail())
    }
}

impl TryFrom<String> for Guid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in ORDER.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.0[*place])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a disk image is made of. Read from TOML; unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskRecipe {
    /// Name of the profile, for people.
    pub profile: String,
    /// What init prints: up to 64 letters, digits, `.`, `_` and `-`.
    pub image_id: String,
    /// Architecture that kernel and init must be for. All but x86_64 boot by UEFI alone.
    #[serde(default)]
    pub arch: Arch,
    /// Size of the image in MiB, from 8 to 65536; 64 where it is not given.
    #[serde(default = "default_size")]
    pub size_mib: u32,
    /// Size of the EFI system partition in MiB, which also holds kernel and RAM disk; 40 where it is not given.
    #[serde(default = "default_esp")]
    pub esp_mib: u32,
    /// Logical sector size that the partition table is written for: 512, or 4096, which BIOS cannot boot.
    #[serde(default = "default_sector")]
    pub sector_size: u32,
    /// Kernel modules that the RAM disk loads, in this order, without what they depend on.
    pub modules: Vec<String>,
    /// Kernel command line, without `root=` and without what the boot loader adds.
    pub cmdline: String,
    /// Identifiers, so that the same recipe gives the same bytes.
    pub ids: Ids,
}

/// The identifiers of a disk image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ids {
    /// GUID of the disk.
    pub disk: Guid,
    /// GUID of the BIOS boot partition, which images that a BIOS can boot have.
    pub bios_boot: Option<Guid>,
    /// GUID of the EFI system partition.
    pub esp: Guid,
    /// GUID of the root partition, by which the RAM disk finds it.
    pub root: Guid,
    /// Volume serial number of the EFI system partition.
    pub esp_volume: u32,
}

fn default_size() -> u32 {
    64
}

fn default_esp() -> u32 {
    40
}

fn default_sector() -> u32 {
    512
}

impl DiskRecipe {
    /// Reads a recipe from a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, has an unknown key, a value of the wrong type or one out of range.
    pub fn load(path: &Path) -> Result<Self, MediaError> {
        let recipe: Self = recipe::load(path)?;
        recipe
            .check()
            .map_err(|message| recipe::wrong(path, message))?;
        Ok(recipe)
    }

    /// Whether a BIOS can boot it: one reads a disk in sectors of 512 bytes.
    pub(super) fn boots_by_bios(&self) -> bool {
        self.arch == Arch::X86_64 && self.sector_size == 512
    }

    /// Checks the values that types cannot.
    pub(super) fn check(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        if self.image_id.is_empty() || self.image_id.len() > 64 || !self.image_id.chars().all(plain)
        {
            return Err(format!(
                "image_id `{}` is not 1 to 64 letters, digits, `.`, `_`, `-`",
                self.image_id
            ));
        }
        if !matches!(self.sector_size, 512 | 4096) {
            return Err(format!(
                "sector_size `{}` is neither 512 nor 4096",
                self.sector_size
            ));
        }
        if !(8..=65536).contains(&self.size_mib) {
            return Err(format!(
                "size_mib `{}` is not from 8 to 65536",
                self.size_mib
            ));
        }
        if self.boots_by_bios() && self.ids.bios_boot.is_none() {
            return Err("ids has no `bios_boot`, which an image for BIOS needs".to_owned());
        }
        // One MiB before and one after the partitions, one for the BIOS boot partition, one at least for the root.
        if self.esp_mib == 0 || self.esp_mib > self.size_mib.saturating_sub(4) {
            return Err(format!(
                "esp_mib `{}` does not fit into size_mib `{}`",
                self.esp_mib, self.size_mib
            ));
        }
        // They would end the line of GRUB's configuration or begin a new word in it.
        if let Some(bad) = self
            .cmdline
            .chars()
            .find(|c| c.is_control() || "'\"\\;&|{}$#<>".contains(*c))
        {
            return Err(format!(
                "cmdline has `{bad}`, which GRUB would not take literally"
            ));
        }
        Ok(())
    }
}
