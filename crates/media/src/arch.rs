//! Which processors a kernel and the programs beside it are for.

use std::fmt;

use serde::Deserialize;

/// A processor architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    #[default]
    #[serde(rename = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// What `e_machine` of an ELF file says (`EM_X86_64`, `EM_AARCH64` of elf(5)).
    pub(crate) fn elf_machine(self) -> u16 {
        match self {
            Self::X86_64 => 62,
            Self::Aarch64 => 183,
        }
    }

    /// The architecture of a kernel image, by the headers that boot loaders know it by; `None` where it has none of
    /// them.
    ///
    /// | header | source |
    /// |---|---|
    /// | `HdrS` at 0x202, `XLF_KERNEL_64` in bit 0 at 0x236 | Linux, `Documentation/arch/x86/boot.rst` |
    /// | `ARM\x64` at 56 | Linux, `Documentation/arch/arm64/booting.rst` |
    /// | PE: its offset at 0x3c, then the machine after `PE\0\0` | Microsoft's PE format; kernels packed for EFI have this alone |
    #[must_use]
    pub fn of_kernel(image: &[u8]) -> Option<Self> {
        let at = |offset: usize, length: usize| image.get(offset..offset.checked_add(length)?);
        if at(0x202, 4) == Some(b"HdrS") {
            return (at(0x236, 1)?[0] & 1 == 1).then_some(Self::X86_64);
        }
        if at(56, 4) == Some(b"ARM\x64") {
            return Some(Self::Aarch64);
        }
        let header = at(0x3c, 4)?;
        let offset = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let header = at(usize::try_from(offset).ok()?, 6)?;
        match (
            image.starts_with(b"MZ") && header.starts_with(b"PE\0\0"),
            &header[4..],
        ) {
            (true, [0x64, 0x86]) => Some(Self::X86_64),
            (true, [0x64, 0xaa]) => Some(Self::Aarch64),
            _ => None,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        for (at, bytes) in parts {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    #[test]
    fn kernels_are_known_by_their_headers() {
        let pe = |machine: &[u8]| {
            let parts: [(usize, &[u8]); 4] = [
                (0, b"MZ"),
                (0x3c, &[0x80]),
                (0x80, b"PE\0\0"),
                (0x84, machine),
            ];
            Arch::of_kernel(&image(&parts))
        };
        let bz = image(&[(0x202, b"HdrS"), (0x236, &[0x7f])]);
        assert_eq!(Arch::of_kernel(&bz), Some(Arch::X86_64));
        let bz = image(&[(0x202, b"HdrS")]);
        assert_eq!(Arch::of_kernel(&bz), None);
        let arm = image(&[(0, b"MZ"), (56, b"ARM\x64")]);
        assert_eq!(Arch::of_kernel(&arm), Some(Arch::Aarch64));
        assert_eq!(pe(&[0x64, 0xaa]), Some(Arch::Aarch64));
        assert_eq!(pe(&[0x64, 0x86]), Some(Arch::X86_64));
        assert_eq!(pe(&[0x4c, 0x01]), None);
        for odd in [&b""[..], b"MZ", b"kernel", &[0xff; 0x200]] {
            assert_eq!(Arch::of_kernel(odd), None);
        }
    }
}
