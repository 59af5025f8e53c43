//! Firmware for virtual machines: where distributions put it, and what package has it.

use std::path::{Path, PathBuf};

use super::{Arch, MissingError, in_path};
use crate::qemu::{Firmware, UefiFirmware};

/// UEFI firmware: two images of flash chips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UefiFiles {
    /// The code, mapped read-only.
    pub code: PathBuf,
    /// The template of the variable store; every run has a copy.
    pub vars: PathBuf,
}

/// What a virtual machine starts with, as far as the host has to have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirmwareKind {
    /// SeaBIOS, which QEMU brings.
    Bios,
    /// EDK2: OVMF or AAVMF.
    Uefi {
        /// The machine's processor.
        arch: Arch,
        /// Whether it starts only programs that Microsoft's keys trust.
        secure_boot: bool,
    },
    /// U-Boot for QEMU's 64-bit Arm machine.
    UbootArm64,
}

/// What a virtual machine needs of the host.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// What it starts with.
    pub firmware: FirmwareKind,
    /// The operator's own firmware code (UEFI) or U-Boot; `None`: the host's.
    pub code: Option<&'a Path>,
    /// The operator's own variable store template; `None`: the host's.
    pub vars: Option<&'a Path>,
}

/// Whether this host has the programs and the firmware for such a machine. Starts nothing.
///
/// # Errors
/// The first thing that is missing.
pub fn can_run(needs: Needs<'_>) -> Result<(), MissingError> {
    let arch = needs.firmware.arch();
    if in_path(arch.program()).is_none() {
        return Err(arch.missing(arch.program()));
    }
    find_firmware(needs).map(drop)
}

/// Finds the firmware of such a machine: the operator's files, else the first of the places where distributions put it.
///
/// # Errors
/// A file is absent.
pub fn find_firmware(needs: Needs<'_>) -> Result<Firmware, MissingError> {
    match needs.firmware {
        FirmwareKind::Bios => Ok(Firmware::Bios),
        FirmwareKind::Uefi { arch, secure_boot } => {
            let own = match (needs.code, needs.vars) {
                (None, None) => None,
                (code, vars) => {
                    let host = find_uefi(arch, secure_boot, None);
                    let half = |own: Option<&Path>, half: fn(UefiFiles) -> PathBuf| match own {
                        Some(path) => Ok(path.to_owned()),
                        None => host.clone().map(half),
                    };
                    Some(UefiFiles {
                        code: half(code, |files| files.code)?,
                        vars: half(vars, |files| files.vars)?,
                    })
                }
            };
            let files = find_uefi(arch, secure_boot, own.as_ref())?;
            Ok(Firmware::Uefi(UefiFirmware {
                arch,
                files,
                secure_boot,
            }))
        }
        FirmwareKind::UbootArm64 => find_uboot(needs.code).map(Firmware::Uboot),
    }
}

impl FirmwareKind {
    /// The processor of the machine that it is for.
    #[must_use]
    pub fn arch(self) -> Arch {
        match self {
            FirmwareKind::Bios => Arch::X86_64,
            FirmwareKind::Uefi { arch, .. } => arch,
            FirmwareKind::UbootArm64 => Arch::Aarch64,
        }
    }
}

/// Pairs of code and variable store template.
type Places = [(&'static str, &'static str)];

/// OVMF, the 4 MiB builds first.
const OVMF: &Places = &[
    // Debian, Ubuntu
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    // Arch
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/edk2-ovmf/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2-ovmf/x64/OVMF_VARS.4m.fd",
    ),
    // Fedora, RHEL
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    // openSUSE
    (
        "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
        "/usr/share/qemu/ovmf-x86_64-4m-vars.bin",
    ),
    // QEMU's own
    (
        "/usr/share/qemu/edk2-x86_64-code.fd",
        "/usr/share/qemu/edk2-i386-vars.fd",
    ),
    // Debian 11
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];

/// OVMF that checks signatures, with variable stores that hold Microsoft's keys.
const OVMF_SECURE: &Places = &[
    // Debian, Ubuntu
    (
        "/usr/share/OVMF/OVMF_CODE_4M.ms.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
    ),
    // Fedora, RHEL
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
    ),
    // openSUSE
    (
        "/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin",
        "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin",
    ),
    // Debian 11
    (
        "/usr/share/OVMF/OVMF_CODE.secboot.fd",
        "/usr/share/OVMF/OVMF_VARS.ms.fd",
    ),
];

/// EDK2 for 64-bit Arm, without Secure Boot.
const AAVMF: &Places = &[
    // Debian 13
    (
        "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
    // Debian, Ubuntu
    (
        "/usr/share/AAVMF/AAVMF_CODE.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
    // Arch
    (
        "/usr/share/edk2/aarch64/QEMU_EFI.fd",
        "/usr/share/edk2/aarch64/QEMU_VARS.fd",
    ),
    // Fedora, RHEL
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ),
    // openSUSE
    (
        "/usr/share/qemu/aavmf-aarch64-code.bin",
        "/usr/share/qemu/aavmf-aarch64-vars.bin",
    ),
    // QEMU's own
    (
        "/usr/share/qemu/edk2-aarch64-code.fd",
        "/usr/share/qemu/edk2-arm-vars.fd",
    ),
];

/// EDK2 for 64-bit Arm with Microsoft's keys.
const AAVMF_SECURE: &Places = &[
    // Debian, Ubuntu
    (
        "/usr/share/AAVMF/AAVMF_CODE.ms.fd",
        "/usr/share/AAVMF/AAVMF_VARS.ms.fd",
    ),
    // Debian 13
    (
        "/usr/share/AAVMF/AAVMF_CODE.secboot.fd",
        "/usr/share/AAVMF/AAVMF_VARS.ms.fd",
    ),
];

/// U-Boot for QEMU's `virt` machine with 64-bit Arm: Debian, Ubuntu; Fedora.
const UBOOT: [&str; 2] = [
    "/usr/lib/u-boot/qemu_arm64/u-boot.bin",
    "/usr/share/uboot/qemu_arm64/u-boot.bin",
];

/// What is looked for, in words, with its places and its package.
fn uefi_of(arch: Arch, secure_boot: bool) -> (&'static str, &'static Places, &'static str) {
    match (arch, secure_boot) {
        (Arch::X86_64, false) => ("OVMF firmware (OVMF_CODE_4M.fd)", OVMF, "ovmf"),
        (Arch::X86_64, true) => (
            "OVMF firmware with Secure Boot (OVMF_CODE_4M.ms.fd, OVMF_VARS_4M.ms.fd)",
            OVMF_SECURE,
            "ovmf",
        ),
        (Arch::Aarch64, false) => (
            "UEFI firmware for 64-bit Arm (AAVMF_CODE.fd)",
            AAVMF,
            "qemu-efi-aarch64",
        ),
        (Arch::Aarch64, true) => (
            "UEFI firmware for 64-bit Arm with Secure Boot (AAVMF_CODE.ms.fd)",
            AAVMF_SECURE,
            "qemu-efi-aarch64",
        ),
    }
}

/// Finds EDK2: `explicit`, else the first of the places where distributions put it.
///
/// # Errors
/// One of the two files is absent.
pub fn find_uefi(
    arch: Arch,
    secure_boot: bool,
    explicit: Option<&UefiFiles>,
) -> Result<UefiFiles, MissingError> {
    let (what, places, package) = uefi_of(arch, secure_boot);
    if let Some(files) = explicit {
        let mut both = [&files.code, &files.vars].into_iter();
        return match both.find(|file| !file.is_file()) {
            Some(absent) => Err(missing(
                format!("UEFI firmware `{}`", absent.display()),
                package,
            )),
            None => Ok(files.clone()),
        };
    }
    let mut places = places.iter().map(|(code, vars)| UefiFiles {
        code: code.into(),
        vars: vars.into(),
    });
    places
        .find(|files| files.code.is_file() && files.vars.is_file())
        .ok_or_else(|| missing(what.to_owned(), package))
}

/// Finds U-Boot for 64-bit Arm: `explicit`, else the first of the places where distributions put it.
///
/// # Errors
/// The file is absent.
pub fn find_uboot(explicit: Option<&Path>) -> Result<PathBuf, MissingError> {
    let (mut places, what) = match explicit {
        Some(path) => (
            vec![path.to_owned()],
            format!("U-Boot `{}`", path.display()),
        ),
        None => (
            UBOOT.map(PathBuf::from).to_vec(),
            "U-Boot for 64-bit Arm (qemu_arm64/u-boot.bin)".to_owned(),
        ),
    };
    places.retain(|path| path.is_file());
    let mut found = places.into_iter();
    found.next().ok_or_else(|| missing(what, "u-boot-qemu"))
}

fn missing(what: String, package: &str) -> MissingError {
    MissingError {
        what,
        package: package.to_owned(),
        hint: format!("apt-get install {package}"),
    }
}
