//! Where boot programs and boot loaders come from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::inspect::Arch;
use crate::{MediaError, digest, files};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// iPXE as a PXE boot program: drives the card by the ROM that loaded it.
    BiosUndionly,
    /// iPXE as a bzImage: has drivers of its own.
    BiosLkrn,
    /// iPXE for x64 UEFI that drives the card by the firmware that loaded it.
    UefiX64Snp,
    /// iPXE for x64 UEFI with drivers of its own.
    UefiX64,
    /// iPXE for arm64 UEFI.
    UefiArm64,
    /// pxelinux: a PXE boot program that starts a bzImage.
    Pxelinux,
    /// The module that pxelinux and isolinux load first.
    Ldlinux,
    /// isolinux: starts a bzImage from a CD.
    Isolinux,
    /// The boot sector with which a USB stick starts isolinux.
    IsolinuxMbr,
    /// The script that finds the boot server.
    Script,
    /// What pxelinux does.
    PxelinuxConfig,
    /// The hybrid CD and USB image.
    Iso,
}

/// How packages and folders call a part, and how the prepared folder does.
struct Part {
    role: Role,
    /// Its name in the prepared folder.
    served: &'static str,
    /// Places in a package or on a host, below its root.
    places: &'static [&'static str],
    /// Debian's package.
    package: &'static str,
}

/// Every part that is looked for. Debian's, Fedora's and Arch's places.
const PARTS: [Part; 9] = [
    Part {
        role: Role::BiosUndionly,
        served: "undionly.kpxe",
        places: &[
            "usr/lib/ipxe/undionly.kpxe",
            "usr/share/ipxe/undionly.kpxe",
            "usr/share/ipxe/x86_64/undionly.kpxe",
        ],
        package: "ipxe",
    },
    Part {
        role: Role::BiosLkrn,
        served: "ipxe.lkrn",
        places: &[
            "usr/lib/ipxe/ipxe.lkrn",
            "boot/ipxe.lkrn",
            "usr/share/ipxe/ipxe.lkrn",
            "usr/share/ipxe/x86_64/ipxe.lkrn",
        ],
        package: "ipxe",
    },
    Part {
        role: Role::UefiX64Snp,
        served: "snponly.efi",
        places: &[
            "usr/lib/ipxe/snponly.efi",
            "usr/share/ipxe/ipxe-snponly-x86_64.efi",
            "usr/share/ipxe/x86_64/snponly.efi",
        ],
        package: "ipxe",
    },
    Part {
        role: Role::UefiX64,
        served: "ipxe-amd64.efi",
        places: &[
            "usr/lib/ipxe/ipxe-amd64.efi",
            "boot/ipxe.efi",
            "usr/share/ipxe/ipxe-x86_64.efi",
            "usr/share/ipxe/x86_64/ipxe.efi",
        ],
        package: "ipxe",
    },
    Part {
        role: Role::UefiArm64,
        served: "ipxe-arm64.efi",
        places: &[
            "usr/lib/ipxe/ipxe-arm64.efi",
            "usr/share/ipxe/arm64-efi/snponly.efi",
            "usr/share/ipxe/arm64/ipxe.efi",
        ],
        package: "ipxe",
    },
    Part {
        role: Role::Pxelinux,
        served: "pxelinux.0",
        places: &[
            "usr/lib/PXELINUX/pxelinux.0",
            "usr/share/syslinux/pxelinux.0",
        ],
        package: "pxelinux",
    },
    Part {
        role: Role::Ldlinux,
        served: "ldlinux.c32",
        places: &[
            "usr/lib/syslinux/modules/bios/ldlinux.c32",
            "usr/share/syslinux/ldlinux.c32",
        ],
        package: "syslinux-common",
    },
    Part {
        role: Role::Isolinux,
        served: "isolinux.bin",
        places: &[
            "usr/lib/ISOLINUX/isolinux.bin",
            "usr/share/syslinux/isolinux.bin",
        ],
        package: "isolinux",
    },
    Part {
        role: Role::IsolinuxMbr,
        served: "isohdpfx.bin",
        places: &[
            "usr/lib/ISOLINUX/isohdpfx.bin",
            "usr/share/syslinux/isohdpfx.bin",
        ],
        package: "isolinux",
    },
];

impl Role {
    /// The iPXE roles, and what they run on.
    #[must_use]
    pub fn arch(self) -> Option<Arch> {
        match self {
            Self::BiosUndionly | Self::BiosLkrn => Some(Arch::Bios),
            Self::UefiX64Snp | Self::UefiX64 => Some(Arch::UefiX64),
            Self::UefiArm64 => Some(Arch::UefiArm64),
            _ => None,
        }
    }

    /// The file's name in the prepared folder.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Script => super::SCRIPT,
            Self::PxelinuxConfig => super::PXELINUX_CONFIG,
            Self::Iso => super::ISO,
            _ => PARTS
                .iter()
                .find(|part| part.role == self)
                .map_or("", |part| part.served),
        }
    }

    /// Debian's package that brings it; nothing for what is made here.
    #[must_use]
    pub fn package(self) -> &'static str {
        PARTS
            .iter()
            .find(|part| part.role == self)
            .map_or("", |part| part.package)
    }
}

/// Debian's packages that have all parts.
pub const PACKAGES: [&str; 4] = ["ipxe", "isolinux", "pxelinux", "syslinux-common"];

/// Where to look. What an earlier one gives counts: `own`, `folders`, `packages`, `host`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Single files, each with what it is for: an operator's own build.
    pub own: Vec<(Role, PathBuf)>,
    /// Folders with files under the names of the prepared folder; another name of a place that distributions use
    /// will do, `ipxe.efi` for one.
    pub folders: Vec<PathBuf>,
    /// Debian packages.
    pub packages: Vec<Package>,
    /// The root of a host on which packages are installed: `/`. iPXE's programs are taken from it where no other source
    /// is given, so that its old ones are not mixed in; boot loaders always, where the others have none.
    pub host: Option<PathBuf>,
}

/// A package file.
#[derive(Clone, Debug)]
pub struct Package {
    /// The `.deb`.
    pub path: PathBuf,
    /// How it is known to be what its distributor made: "apt, suite trixie". `None`: it was not looked at.
    pub verified: Option<String>,
}

/// A source, as the manifest records it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFact {
    /// Name in the manifest: a package's, `own`, `folder` or `host`.
    pub name: String,
    /// Version of the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the package file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// How the package was verified; absent where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
}

/// A part that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) bytes: Vec<u8>,
    /// The source's name.
    pub(super) source: String,
}

/// All that was found, and where.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) found: BTreeMap<Role, Found>,
    pub(super) sources: Vec<SourceFact>,
}

impl Parts {
    pub(super) fn bytes(&self, role: Role) -> Option<&[u8]> {
        self.found.get(&role).map(|found| found.bytes.as_slice())
    }
}

/// Finds the parts.
pub(super) fn collect(sources: &Sources) -> Result<Parts, MediaError> {
    let mut parts = Parts::default();
    for (role, path) in &sources.own {
        let bytes = files::read(path)?;
        let source = "own".to_owned();
        parts.found.insert(*role, Found { bytes, source });
    }
    let hidden = hidden(sources);
    for folder in &sources.folders {
        if !folder.is_dir() {
            return Err(MediaError::input(
                "read folder",
                folder,
                "there is no such folder",
            ));
        }
        let names = |part: &Part| {
            let file_name =
                |place: &&str| Path::new(place).file_name().map(|name| folder.join(name));
            let mut names = vec![folder.join(part.served)];
            names.extend(part.places.iter().filter_map(file_name));
            names
        };
        take(&mut parts, "folder", &hidden, names)?;
    }
    for package in &sources.packages {
        unpack(package, &hidden, &mut parts)?;
    }
    if let Some(host) = &sources.host {
        let alone =
            sources.own.is_empty() && sources.folders.is_empty() && sources.packages.is_empty();
        let mut hidden = hidden;
        if !alone {
            let roles = PARTS.iter().map(|part| part.role);
            hidden.extend(roles.filter(|role| role.arch().is_some()));
        }
        let names = |part: &Part| part.places.iter().map(|place| host.join(place)).collect();
        take(&mut parts, "host", &hidden, names)?;
    }
    let plain = plain_facts(&parts);
    let Parts { found, sources } = &mut parts;
    sources.retain(|fact| found.values().any(|found| found.source == fact.name));
    sources.extend(plain);
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

/// What an operator's own program for x64 UEFI stands for as well, though others have it.
fn hidden(sources: &Sources) -> Vec<Role> {
    let own = |role| sources.own.iter().any(|(own, _)| *own == role);
    match own(Role::UefiX64) && !own(Role::UefiX64Snp) {
        true => vec![Role::UefiX64Snp],
        false => Vec::new(),
    }
}

/// The sources that are no packages. They are recorded without their paths, which differ from host to host.
fn plain_facts(parts: &Parts) -> Vec<SourceFact> {
    let used = |name: &str| parts.found.values().any(|found| found.source == name);
    let plain = ["own", "folder", "host"]
        .into_iter()
        .filter(|name| used(name));
    plain
        .map(|name| SourceFact {
            name: name.to_owned(),
            version: None,
            sha256: None,
            verified: None,
        })
        .collect()
}

/// Takes what is not there yet from the first place that has it.
fn take(
    parts: &mut Parts,
    source: &str,
    hidden: &[Role],
    places: impl Fn(&Part) -> Vec<PathBuf>,
) -> Result<(), MediaError> {
    for part in &PARTS {
        if parts.found.contains_key(&part.role) || hidden.contains(&part.role) {
            continue;
        }
        if let Some(path) = places(part).into_iter().find(|path| path.is_file()) {
            let (bytes, source) = (files::read(&path)?, source.to_owned());
            parts.found.insert(part.role, Found { bytes, source });
        }
    }
    Ok(())
}

/// Takes parts out of a Debian package.
fn unpack(package: &Package, hidden: &[Role], parts: &mut Parts) -> Result<(), MediaError> {
    let path = &package.path;
    let sha256 = digest::sha256_file(path)?;
    let fields = dpkg_deb(
        &["--show", "--showformat", "${Package}\n${Version}\n"],
        path,
        None,
    )?;
    let mut lines = fields.lines().map(str::to_owned);
    let (Some(name), Some(version)) = (lines.next(), lines.next()) else {
        return Err(MediaError::input(
            "read package",
            path,
            "it has no name and version",
        ));
    };
    let folder = tempfile::tempdir().map_err(MediaError::io("unpack", path))?;
    dpkg_deb(&["--extract"], path, Some(folder.path()))?;
    let root = folder.path();
    let places = |part: &Part| part.places.iter().map(|place| root.join(place)).collect();
    take(parts, &name, hidden, places)?;
    parts.sources.push(SourceFact {
        name,
        version: Some(version),
        sha256: Some(sha256.to_string()),
        verified: package.verified.clone(),
    });
    Ok(())
}

fn dpkg_deb(arguments: &[&str], package: &Path, to: Option<&Path>) -> Result<String, MediaError> {
    let fail = |message: String| MediaError::Tool {
        program: "dpkg-deb".to_owned(),
        message: format!("read `{}`: {message}", package.display()),
    };
    let mut command = Command::new("dpkg-deb");
    command.args(arguments).arg(package).args(to);
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => fail(
            "it is not installed; unpack the package elsewhere, and give its folder".to_owned(),
        ),
        _ => fail(error.to_string()),
    })?;
    if !output.status.success() {
        return Err(fail(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
