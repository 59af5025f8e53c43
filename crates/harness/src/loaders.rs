//! The programs by which a machine boots over the network, and what they ask for beside themselves.

use std::path::{Path, PathBuf};

use bootgate_scenario::{BootPath, Driver, Loader, PREPARED_IPXE, Platform, TargetPlan};

use crate::HarnessError;

/// What firmware is given to start.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootPrograms {
    /// The name that DHCP tells; `None`: no file, as for firmware that finds its way by itself.
    pub(crate) bootfile: Option<String>,
    /// Files with the names under which they are served.
    pub(crate) files: Vec<(String, PathBuf)>,
    /// The image of the USB stick that the machine starts from.
    pub(crate) stick: Option<PathBuf>,
}

/// One part of a loader: where distributions put it (Debian and Ubuntu first, then Fedora and Arch), the name under which
/// it is asked for, and the package.
struct Part {
    places: &'static [&'static str],
    served: &'static str,
    package: &'static str,
}

const PXELINUX: [Part; 2] = [
    Part {
        places: &[
            "/usr/lib/PXELINUX/pxelinux.0",
            "/usr/share/syslinux/pxelinux.0",
            "/usr/lib/syslinux/bios/pxelinux.0",
        ],
        served: "pxelinux.0",
        package: "pxelinux",
    },
    // pxelinux.0 looks for it where it came from.
    Part {
        places: &[
            "/usr/lib/syslinux/modules/bios/ldlinux.c32",
            "/usr/share/syslinux/ldlinux.c32",
            "/usr/lib/syslinux/bios/ldlinux.c32",
        ],
        served: "ldlinux.c32",
        package: "syslinux-common",
    },
];

const GRUB_X64: [Part; 1] = [Part {
    places: &["/usr/lib/grub/x86_64-efi/monolithic/grubnetx64.efi"],
    served: "grubnetx64.efi",
    package: "grub-efi-amd64-bin",
}];

const GRUB_ARM64: [Part; 1] = [Part {
    places: &[
        "/usr/lib/grub/arm64-efi/monolithic/grubnetaa64.efi",
        "/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed",
    ],
    served: "grubnetaa64.efi",
    package: "grub-efi-arm64-bin",
}];

/// shim asks for its second program beside itself, by the name that it was built with.
const SHIM_X64: [Part; 2] = [
    Part {
        places: &["/usr/lib/shim/shimx64.efi.signed"],
        served: "shimx64.efi",
        package: "shim-signed",
    },
    Part {
        places: &["/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"],
        served: "grubx64.efi",
        package: "grub-efi-amd64-signed",
    },
];

const SHIM_ARM64: [Part; 2] = [
    Part {
        places: &["/usr/lib/shim/shimaa64.efi.signed"],
        served: "shimaa64.efi",
        package: "shim-signed:arm64",
    },
    Part {
        places: &["/usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed"],
        served: "grubaa64.efi",
        package: "grub-efi-arm64-signed",
    },
];

/// Finds what a target starts from.
///
/// # Errors
/// A part is not installed.
pub(crate) fn find(target: &TargetPlan) -> Result<BootPrograms, HarnessError> {
    if target.firmware.path == BootPath::Usb {
        return Ok(BootPrograms {
            stick: Some(stick(target)?),
            ..BootPrograms::default()
        });
    }
    let platform = target.firmware.platform;
    let parts: &[Part] = match (target.boot.loader, platform) {
        (Loader::Ipxe, _) => return ipxe(target),
        (Loader::Uboot, _) => &[],
        (Loader::Pxelinux, _) => &PXELINUX,
        (Loader::Grub, Platform::UefiX64) => &GRUB_X64,
        (Loader::Grub, Platform::UefiArm64) => &GRUB_ARM64,
        (Loader::Shim, Platform::UefiX64) => &SHIM_X64,
        (Loader::Shim, Platform::UefiArm64) => &SHIM_ARM64,
        (Loader::Grub | Loader::Shim, Platform::Bios | Platform::UbootArm64) => &[],
    };
    let mut programs = BootPrograms::default();
    let own = target.boot.nbp.file.as_ref();
    if let Some(file) = own {
        let told = target.boot.nbp.bootfile(file);
        programs.files.push((file_name(file), file.clone()));
        programs.bootfile = Some(told);
    } else if let Some(first) = parts.first() {
        let file = first.find(target)?;
        programs.files.push((first.served.to_owned(), file));
        let told = target.boot.nbp.bootfile.clone();
        programs.bootfile = Some(told.unwrap_or_else(|| first.served.to_owned()));
    } else if target.boot.loader != Loader::Uboot {
        return Err(HarnessError::infra(
            "loader-missing",
            format!("find GRUB for {platform}: no distribution has one ready made"),
            "make one with grub-mkimage, and name it with `nbp`",
        ));
    }
    for part in parts.iter().skip(1) {
        let file = part.find(target)?;
        programs.files.push((part.served.to_owned(), file));
    }
    Ok(programs)
}

impl Part {
    fn find(&self, target: &TargetPlan) -> Result<PathBuf, HarnessError> {
        let found = self
            .places
            .iter()
            .map(Path::new)
            .find(|path| path.is_file());
        found.map(Path::to_owned).ok_or_else(|| {
            HarnessError::infra(
                "loader-missing",
                format!(
                    "find `{}` for target `{}`: it is not installed",
                    self.served, target.name
                ),
                format!("apt-get install {}", self.package),
            )
        })
    }
}

fn ipxe(target: &TargetPlan) -> Result<BootPrograms, HarnessError> {
    // The interface's ROM of a virtual machine with BIOS is an iPXE, which asks for no boot program.
    let rom_boots =
        target.firmware.platform == Platform::Bios && matches!(target.driver, Driver::Qemu(_));
    match target.boot.nbp.locate(target.firmware.platform) {
        Ok(file) => Ok(BootPrograms {
            bootfile: Some(target.boot.nbp.bootfile(&file)),
            files: vec![(file_name(&file), file)],
            stick: None,
        }),
        Err(_) if rom_boots => Ok(BootPrograms::default()),
        Err(missing) => Err(HarnessError::infra(
            "ipxe-missing",
            missing,
            format!(
                "apt-get install ipxe, or `bootgate ipxe prepare --fetch --out DIR` and {PREPARED_IPXE}=DIR; or name a file with `nbp`"
            ),
        )),
    }
}

/// The image of the USB stick: the scenario's own, else that of the prepared folder.
fn stick(target: &TargetPlan) -> Result<PathBuf, HarnessError> {
    if let Some(file) = &target.boot.nbp.file {
        return Ok(file.clone());
    }
    let folder = std::env::var_os(PREPARED_IPXE).map(PathBuf::from);
    let image = folder.map(|folder| folder.join("bootgate.iso"));
    image.filter(|image| image.is_file()).ok_or_else(|| {
        HarnessError::infra(
            "ipxe-missing",
            format!(
                "find the USB image for target `{}`: {PREPARED_IPXE} names no folder with `bootgate.iso`",
                target.name
            ),
            format!("bootgate ipxe prepare --fetch --out DIR, then set {PREPARED_IPXE}=DIR; or name an image with `nbp`"),
        )
    })
}

/// The name of a file without its folder.
pub(crate) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}
