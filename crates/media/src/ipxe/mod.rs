//! Boot media from iPXE's programs, without a compiler: what a lab serves by TFTP and HTTP, and what it boots from a USB
//! stick.
//!
//! | file | for |
//! |---|---|
//! | `undionly.kpxe` | BIOS, where DHCP tells iPXE by its user class from a ROM |
//! | `pxelinux.0`, `ldlinux.c32`, `pxelinux.cfg/default`, `ipxe.lkrn` | BIOS, by one boot file |
//! | `snponly.efi`, `ipxe-amd64.efi` | x64 UEFI |
//! | `ipxe-arm64.efi` | arm64 UEFI |
//! | `autoexec.ipxe` | the script that finds the boot server |
//! | `bootgate.iso` | CD and USB stick: BIOS, x64 UEFI, arm64 UEFI |
//! | `ipxe.toml` | all of this with its SHA-256 and where it came from |
//!
//! The same input gives the same bytes.

mod fetch;
mod hybrid;
mod inspect;
mod manifest;
mod pxelinux;
mod source;

use std::path::{Path, PathBuf};

pub use fetch::{FetchOptions, fetch};
pub use inspect::{Arch, Format, Inspection, Unknown, inspect};
pub use manifest::{BootFact, FileFact, MANIFEST, Manifest};
pub use source::{PACKAGES, Package, Role, SourceFact, Sources};

use crate::{MediaError, digest, files};
use source::{Found, Parts};

/// The script's name, which iPXE for UEFI looks for beside itself and at the root of what it was booted from.
pub const SCRIPT: &str = "autoexec.ipxe";
/// The hybrid CD and USB image's name.
pub const ISO: &str = "bootgate.iso";
/// Where pxelinux finds what to do; pxelinux.0 is made to ask for it first.
pub const PXELINUX_CONFIG: &str = "pxelinux.cfg/default";

/// The script, with its place for the port.
const SCRIPT_TEMPLATE: &str = include_str!("../../../../ipxe-scripts/autoexec.ipxe");
/// What pxelinux and isolinux do.
const LOADER_CONFIG: &str = include_str!("../../../../ipxe-scripts/loaders/syslinux-ipxe.cfg");

/// iPXE's programs, in the order in which an architecture's boot file is chosen: a program that drives the card by what
/// loaded it comes before one with drivers of its own, since that card is known to work.
const PROGRAMS: [Role; 5] = [
    Role::BiosUndionly,
    Role::BiosLkrn,
    Role::UefiX64Snp,
    Role::UefiX64,
    Role::UefiArm64,
];

/// A prepared folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The folder.
    pub dir: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

impl Prepared {
    /// Reads a folder that [`prepare`] made. Only the manifest is read; [`Prepared::verify`] looks at the files.
    ///
    /// # Errors
    /// There is no manifest, or it is not one of this version.
    pub fn load(dir: &Path) -> Result<Self, MediaError> {
        let manifest = Manifest::read(&dir.join(MANIFEST))?;
        let dir = dir.to_owned();
        Ok(Self { dir, manifest })
    }

    /// Compares every file with the manifest.
    ///
    /// # Errors
    /// A file is missing or has changed.
    pub fn verify(&self) -> Result<(), MediaError> {
        for file in &self.manifest.files {
            let path = self.dir.join(&file.path);
            if digest::sha256_file(&path)?.to_string() != file.sha256 {
                let message = "it is not what `ipxe.toml` says; prepare the folder again";
                return Err(MediaError::input("use", &path, message));
            }
        }
        Ok(())
    }

    /// The boot file for a DHCP server that knows iPXE by its user class, as bootgate's own does: iPXE itself.
    #[must_use]
    pub fn bootfile(&self, arch: Arch) -> Option<PathBuf> {
        let name = self.boot(arch)?.by_user_class.as_deref()?;
        Some(self.dir.join(name))
    }

    /// The boot file for a DHCP server that names this one and nothing else: pxelinux.0 for BIOS, iPXE with
    /// `autoexec.ipxe` beside it for UEFI. `None` where the folder has none: a part is missing, or iPXE is too old.
    #[must_use]
    pub fn bootfile_alone(&self, arch: Arch) -> Option<PathBuf> {
        let name = self.boot(arch)?.alone.as_deref()?;
        Some(self.dir.join(name))
    }

    /// The script that finds the boot server; every prepared folder has it.
    #[must_use]
    pub fn script(&self) -> PathBuf {
        self.dir.join(SCRIPT)
    }

    /// The hybrid CD and USB image, where it was made.
    #[must_use]
    pub fn iso(&self) -> Option<PathBuf> {
        self.file(Role::Iso)
    }

    /// The file with a role, where the folder has it.
    #[must_use]
    pub fn file(&self, role: Role) -> Option<PathBuf> {
        let file = self.manifest.file(role)?;
        Some(self.dir.join(&file.path))
    }

    fn boot(&self, arch: Arch) -> Option<&BootFact> {
        self.manifest.boots.iter().find(|boot| boot.arch == arch)
    }
}

/// Makes a folder of boot media in `out`, which is created if needed. Files of an earlier folder are replaced, and those
/// that are not made this time are removed; other files are left alone.
///
/// `port` is the HTTP port of the boot server that the script asks, which is baked in: 80 as a rule.
///
/// # Errors
/// A source cannot be read, a file is not what it is given for, or nothing of iPXE was found.
pub fn prepare(sources: &Sources, port: u16, out: &Path) -> Result<Prepared, MediaError> {
    let parts = source::collect(sources)?;
    let mut manifest = Manifest::new(port);
    manifest.sources.clone_from(&parts.sources);
    let mut made: Vec<(Role, Vec<u8>)> = Vec::new();
    for role in PROGRAMS {
        if let Some(found) = parts.found.get(&role) {
            manifest.files.push(program(role, found, &parts)?);
            made.push((role, found.bytes.clone()));
        }
    }
    if made.is_empty() {
        let message = "no program of iPXE was found: install the package (apt-get install ipxe), or give one with --deb, \
                       --from, --fetch or --efi-x86-64";
        return Err(MediaError::input("prepare", out, message));
    }
    let script = script(port);
    made.push((Role::Script, script.clone().into_bytes()));
    made.extend(one_file(&parts, &mut manifest.notes));
    match hybrid::build(&parts, &script, &mut manifest.notes) {
        Ok(iso) => made.extend(iso.map(|iso| (Role::Iso, iso))),
        Err(message) => return Err(MediaError::input("build", &out.join(ISO), message)),
    }
    for (role, bytes) in &made {
        if manifest.file(*role).is_none() {
            let found = parts.found.get(role);
            let mut fact = fact(*role, bytes, found.map(|found| found.source.clone()));
            fact.made_from = found
                .map(|found| digest::sha256(&found.bytes).to_string())
                .filter(|sha256| *sha256 != fact.sha256);
            manifest.files.push(fact);
        }
    }
    manifest.files.sort_by(|a, b| a.path.cmp(&b.path));
    manifest.boots = boots(&manifest);
    old_programs(&mut manifest);
    write(out, &made, &manifest)?;
    let dir = out.to_owned();
    Ok(Prepared { dir, manifest })
}

/// The script for a boot server with this HTTP port.
#[must_use]
pub fn script(port: u16) -> String {
    let port = match port {
        80 => String::new(),
        other => format!(":{other}"),
    };
    let lines = SCRIPT_TEMPLATE.lines();
    // The line that explains the place is for readers of the template.
    let lines = lines.filter(|line| !(line.starts_with('#') && line.contains("{{port}}")));
    let text: Vec<String> = lines.map(|line| line.replace("{{port}}", &port)).collect();
    text.join("\n") + "\n"
}

/// What is said of a program of iPXE, if it is one, and for what it is given.
fn program(role: Role, found: &Found, parts: &Parts) -> Result<FileFact, MediaError> {
    let path = Path::new(role.file_name());
    let refuse = |message: String| {
        let from = &found.source;
        MediaError::input("use", path, format!("{message} (from {from})"))
    };
    let seen = inspect(&found.bytes).map_err(|unknown| refuse(unknown.to_string()))?;
    let format = match role {
        Role::BiosUndionly => Format::Pxe,
        Role::BiosLkrn => Format::Lkrn,
        _ => Format::Efi,
    };
    if Some(seen.arch) != role.arch() || seen.format != format {
        let (have, is) = (seen.format.as_str(), seen.arch);
        let want = role.arch().map_or("", Arch::as_str);
        return Err(refuse(format!(
            "it is `{have}` for `{is}`, and `{}` for `{want}` is wanted",
            format.as_str()
        )));
    }
    let package = parts
        .sources
        .iter()
        .find(|source| source.name == found.source);
    let mut fact = fact(role, &found.bytes, Some(found.source.clone()));
    fact.version = seen.version.or_else(|| package?.version.clone());
    fact.format = Some(seen.format);
    fact.arch = Some(seen.arch);
    fact.autoexec = seen.autoexec;
    Ok(fact)
}

fn fact(role: Role, bytes: &[u8], source: Option<String>) -> FileFact {
    FileFact {
        path: role.file_name().to_owned(),
        role,
        sha256: digest::sha256(bytes).to_string(),
        size: bytes.len() as u64,
        source,
        made_from: None,
        version: None,
        format: None,
        arch: None,
        autoexec: None,
    }
}

/// The parts for BIOS by one boot file, where all are there.
fn one_file(parts: &Parts, notes: &mut Vec<String>) -> Vec<(Role, Vec<u8>)> {
    let needed = [Role::Pxelinux, Role::Ldlinux];
    if parts.bytes(Role::BiosLkrn).is_none() {
        if parts.bytes(Role::BiosUndionly).is_some() {
            notes.push(
                "no one boot file for BIOS: ipxe.lkrn was not found; undionly.kpxe works by user class"
                    .to_owned(),
            );
        }
        return Vec::new();
    }
    if let Some(missing) = needed.iter().find(|role| parts.bytes(**role).is_none()) {
        notes.push(format!(
            "no one boot file for BIOS: {} was not found (apt-get install {})",
            missing.file_name(),
            missing.package()
        ));
        return Vec::new();
    }
    let found = needed.into_iter();
    let found = found.filter_map(|role| Some((role, parts.bytes(role)?.to_vec())));
    let mut made: Vec<(Role, Vec<u8>)> = found.collect();
    for (role, bytes) in &mut made {
        if let (Role::Pxelinux, Some(changed)) =
            (*role, pxelinux::with_config(bytes, PXELINUX_CONFIG))
        {
            *bytes = changed;
        }
    }
    made.push((Role::PxelinuxConfig, LOADER_CONFIG.as_bytes().to_vec()));
    made
}

/// What DHCP names.
fn boots(manifest: &Manifest) -> Vec<BootFact> {
    let mut boots = Vec::new();
    for arch in Arch::ALL {
        let loaded = |role: &&Role| role.arch() == Some(arch) && **role != Role::BiosLkrn;
        let files = PROGRAMS.iter().filter(loaded);
        let files: Vec<&FileFact> = files.filter_map(|role| manifest.file(*role)).collect();
        let knows = files.iter().find(|file| file.autoexec == Some(true));
        let alone = match arch {
            Arch::Bios => manifest.file(Role::Pxelinux),
            _ => knows.copied(),
        };
        // One program for both, if it can be.
        let by_user_class = knows.or(files.first()).map(|file| file.path.clone());
        let alone = alone.map(|file| file.path.clone());
        if by_user_class.is_some() || alone.is_some() {
            boots.push(BootFact {
                arch,
                by_user_class,
                alone,
            });
        }
    }
    boots
}

/// Says which programs need a rule in the DHCP server.
fn old_programs(manifest: &mut Manifest) {
    let mut notes = Vec::new();
    for file in manifest
        .files
        .iter()
        .filter(|file| file.autoexec == Some(false))
    {
        let version = file.version.as_deref().unwrap_or("of no known version");
        notes.push(format!(
            "{} ({version}) is too old for {SCRIPT}, which iPXE runs since 2021: the DHCP server must give {SCRIPT} to clients \
             of user class iPXE",
            file.path
        ));
    }
    manifest.notes.extend(notes);
}

/// Writes the folder, the manifest last.
fn write(out: &Path, made: &[(Role, Vec<u8>)], manifest: &Manifest) -> Result<(), MediaError> {
    files::create_dir(out)?;
    let path = out.join(MANIFEST);
    if let Ok(old) = Manifest::read(&path) {
        for file in &old.files {
            if manifest.file(file.role).is_none() {
                remove(&out.join(file.role.file_name()))?;
            }
        }
        // Without it, what is half written is no prepared folder.
        remove(&path)?;
    }
    for (role, bytes) in made {
        let path = out.join(role.file_name());
        files::create_dir(&files::folder_of(&path))?;
        files::write_whole(&path, bytes)?;
    }
    manifest.write(&path)
}

fn remove(path: &Path) -> Result<(), MediaError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(MediaError::io("remove", path)),
    }
}
