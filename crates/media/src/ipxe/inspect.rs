//! What a network boot program is, by its own bytes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of file a boot program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A PE program for UEFI.
    Efi,
    /// A bzImage for BIOS, which a boot loader starts as it starts Linux.
    Lkrn,
    /// A network boot program for BIOS, which a PXE ROM loads and starts.
    Pxe,
}

impl Format {
    /// Its name: `efi`, `lkrn`, `pxe`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Efi => "efi",
            Self::Lkrn => "lkrn",
            Self::Pxe => "pxe",
        }
    }
}

/// What a boot program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// x86 with a BIOS.
    Bios,
    /// x64 UEFI.
    UefiX64,
    /// arm64 UEFI.
    UefiArm64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bios, Self::UefiX64, Self::UefiArm64];

    /// Its name: `bios`, `uefi-x64`, `uefi-arm64`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::UefiX64 => "uefi-x64",
            Self::UefiArm64 => "uefi-arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found in a boot program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The kind of file.
    pub format: Format,
    /// What it runs on.
    pub arch: Arch,
    /// Its version, where it says one in clear: iPXE's EFI programs and `lkrn` do, compressed ones do not.
    pub version: Option<String>,
    /// Whether it runs an `autoexec.ipxe` that lies beside it. `None` where that is no question: iPXE looks for one on
    /// UEFI only.
    pub autoexec: Option<bool>,
}

/// A file that is no boot program this project knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Too short, or of no known format.
    #[error("it is no PE program for UEFI, no bzImage and no PXE boot program")]
    Format,
    /// A PE program, but not one for UEFI.
    #[error("it is a PE program of subsystem `{0}`; UEFI applications have 10")]
    Subsystem(u16),
    /// A PE program for another processor.
    #[error("it is for processor type `{0:#06x}`; x64 has 0x8664 and arm64 has 0xaa64")]
    Machine(u16),
    /// Not iPXE.
    #[error("it does not say that it is iPXE")]
    NotIpxe,
}

/// The name that iPXE looks for.
const AUTOEXEC: &str = "autoexec.ipxe";
/// In each UEFI program of iPXE since 2011: the name of a form that it registers.
const IPXE_EFI: &[u8] = b"iPXE";

/// Looks at a boot program.
///
/// # Errors
/// It is none that iPXE could be.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, Unknown> {
    if bytes.starts_with(b"MZ") {
        // A kernel with an EFI stub is both; iPXE's bzImage is never a PE program.
        return match is_bzimage(bytes) {
            true => Err(Unknown::NotIpxe),
            false => efi(bytes),
        };
    }
    if is_bzimage(bytes) {
        return Ok(Inspection {
            format: Format::Lkrn,
            arch: Arch::Bios,
            version: lkrn_version(bytes),
            autoexec: None,
        });
    }
    if is_pxe(bytes) {
        return Ok(Inspection {
            format: Format::Pxe,
            arch: Arch::Bios,
            version: None,
            autoexec: None,
        });
    }
    Err(Unknown::Format)
}

fn efi(bytes: &[u8]) -> Result<Inspection, Unknown> {
    // PE/COFF specification, section 3: the place of the signature is at 0x3c; the subsystem is at 68 of the optional
    // header, which begins 24 bytes after the signature, for PE32 and PE32+ alike.
    let at = u32_at(bytes, 0x3c).ok_or(Unknown::Format)? as usize;
    if bytes
        .get(at..)
        .is_none_or(|rest| !rest.starts_with(b"PE\0\0"))
    {
        return Err(Unknown::Format);
    }
    let machine = u16_at(bytes, at + 4).ok_or(Unknown::Format)?;
    let subsystem = u16_at(bytes, at + 24 + 68).ok_or(Unknown::Format)?;
    let arch = match machine {
        0x8664 => Arch::UefiX64,
        0xaa64 => Arch::UefiArm64,
        other => return Err(Unknown::Machine(other)),
    };
    if subsystem != 10 {
        return Err(Unknown::Subsystem(subsystem));
    }
    if find(bytes, IPXE_EFI).is_none() {
        return Err(Unknown::NotIpxe);
    }
    Ok(Inspection {
        format: Format::Efi,
        arch,
        version: efi_version(bytes),
        autoexec: Some(knows_autoexec(bytes)),
    })
}

/// iPXE learned `autoexec.ipxe` in January 2021. The name is in a program that knows it, in one byte a character (a URI) or
/// in two (a UEFI file name), as the version has it.
fn knows_autoexec(bytes: &[u8]) -> bool {
    let wide: Vec<u8> = AUTOEXEC.encode_utf16().flat_map(u16::to_le_bytes).collect();
    find(bytes, AUTOEXEC.as_bytes()).is_some() || find(bytes, &wide).is_some()
}

/// Programs with SBAT (shim's list of generations) name themselves there: `ipxe,1,iPXE,snponly.efi,VERSION,URL`. Older
/// ones have their version as a text that begins with a number of three parts.
fn efi_version(bytes: &[u8]) -> Option<String> {
    const SBAT: &[u8] = b"\nipxe,";
    if let Some(at) = find(bytes, SBAT) {
        let line = bytes[at + 1..].split(|byte| *byte == b'\n').next()?;
        let line = std::str::from_utf8(line.get(..line.len().min(256))?).ok()?;
        return line.split(',').nth(4).map(str::to_owned);
    }
    bytes
        .split(|byte| *byte == 0)
        .filter_map(version_text)
        .find(|text| text.starts_with("1.") || text.starts_with("2."))
}

/// A text that can only be a version of iPXE: `1.0.0+git-...`, `1.21.1+ (g12345)`.
fn version_text(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() < 80)?;
    let (numbers, rest) = text.split_once('+')?;
    let parts: Vec<&str> = numbers.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = rest.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (parts.len() == 3 && parts.iter().all(digits) && plain).then(|| text.to_owned())
}

/// Linux' boot protocol: `HdrS` at 0x202.
fn is_bzimage(bytes: &[u8]) -> bool {
    bytes.get(0x202..0x206) == Some(b"HdrS") && u16_at(bytes, 0x1fe) == Some(0xaa55)
}

/// Linux' boot protocol: the version's place, less 0x200, is at 0x20e.
fn lkrn_version(bytes: &[u8]) -> Option<String> {
    let at = usize::from(u16_at(bytes, 0x20e).filter(|at| *at != 0)?) + 0x200;
    let text = bytes.get(at..)?.split(|byte| *byte == 0).next()?;
    let text = std::str::from_utf8(text.get(..text.len().min(128))?).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// A PXE boot program has no header: it is what a ROM copies to 0000:7c00 and jumps to. iPXE's begin with a far jump that
/// sets their segment, and speak of the two ways to find the ROM's entry point.
fn is_pxe(bytes: &[u8]) -> bool {
    let head = bytes.get(..4096.min(bytes.len())).unwrap_or_default();
    bytes.len() >= 8192 && find(head, b"PXENV+ at ").is_some() && find(head, b"!PXE at ").is_some()
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(two.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}
