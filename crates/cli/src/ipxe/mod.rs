//! `bootgate ipxe`.

mod check;

use std::path::Path;
use std::process::ExitCode;

use bootgate_media::MediaError;
use bootgate_media::ipxe::{
    self, Arch, FetchOptions, FileFact, Package, Prepared, Role, SourceFact, Sources,
};

use crate::args::{IpxeCommand, PrepareArgs};
use crate::exit::{self, INFRA};
use crate::table::Table;

/// Prepares boot media, or checks them.
pub(crate) fn ipxe(command: IpxeCommand) -> ExitCode {
    match command {
        IpxeCommand::Prepare(args) => prepare(&args),
        IpxeCommand::Check {
            path,
            no_boot,
            accel,
        } => check::check(&path, no_boot, accel),
    }
}

fn prepare(args: &PrepareArgs) -> ExitCode {
    match make(args) {
        Ok(prepared) => {
            show(&prepared);
            ExitCode::SUCCESS
        }
        Err(error) => exit::fail(INFRA, &error.to_string(), ""),
    }
}

fn make(args: &PrepareArgs) -> Result<Prepared, MediaError> {
    let own = [
        (Role::BiosLkrn, &args.bios_lkrn),
        (Role::BiosUndionly, &args.bios_undionly),
        (Role::UefiX64, &args.efi_x64),
        (Role::UefiArm64, &args.efi_arm64),
    ];
    let own = own.into_iter();
    let own = own.filter_map(|(role, path)| Some((role, path.clone()?)));
    let packages = args.deb.iter().map(|path| Package {
        path: path.clone(),
        verified: None,
    });
    let mut sources = Sources {
        own: own.collect(),
        folders: args.from.clone(),
        packages: packages.collect(),
        host: Some("/".into()),
    };
    // Lives until all is read.
    let mut scratch = None;
    if let Some(suite) = &args.fetch {
        let folder = match &args.cache {
            Some(folder) => folder.clone(),
            None => {
                let made = tempfile::tempdir().map_err(|source| MediaError::Io {
                    doing: "make a folder in",
                    path: std::env::temp_dir(),
                    source,
                })?;
                scratch.insert(made).path().to_owned()
            }
        };
        let options = FetchOptions {
            suite: suite.clone(),
            folder,
            etc: "/etc/apt".into(),
        };
        exit::note(&format!("taking iPXE of Debian's `{suite}` by apt"));
        sources.packages.extend(ipxe::fetch(&options)?);
    }
    ipxe::prepare(&sources, args.port, &args.out)
}

/// What was made, from what, and what a DHCP server is to name.
fn show(prepared: &Prepared) {
    let manifest = &prepared.manifest;
    let mut table = Table::new(["FILE", "FOR", "VERSION", "SOURCE", "SHA-256"]);
    for file in &manifest.files {
        table.row([
            file.path.as_str().into(),
            purpose(file).into(),
            file.version.as_deref().unwrap_or_default().into(),
            file.source.as_deref().unwrap_or_default().into(),
            file.sha256.get(..16).unwrap_or_default().into(),
        ]);
    }
    table.print("nothing was made");
    exit::say("");
    for source in &manifest.sources {
        exit::say(&origin(source));
    }
    for arch in Arch::ALL {
        if let Some(line) = dhcp(prepared, arch) {
            exit::say(&line);
        }
    }
    for note in &manifest.notes {
        exit::note(&format!("note: {note}"));
    }
}

fn purpose(file: &FileFact) -> String {
    let text = match (file.role, file.arch) {
        (Role::Iso, _) => "CD and USB stick",
        (Role::Script, _) => "finds the boot server",
        (_, Some(arch)) => arch.as_str(),
        _ => "bios",
    };
    match file.autoexec {
        Some(false) => format!("{text}, no autoexec"),
        _ => text.to_owned(),
    }
}

fn origin(source: &SourceFact) -> String {
    let version = source.version.as_deref().unwrap_or_default();
    let how = match (source.name.as_str(), &source.verified) {
        ("own", _) => "your own build",
        ("folder", _) => "from a folder",
        ("host", _) => "installed on this host",
        (_, Some(how)) => how,
        (_, None) => "a package that nobody verified",
    };
    format!("source {} {version}: {how}", source.name).replace(" :", ":")
}

/// What DHCP names for an architecture.
fn dhcp(prepared: &Prepared, arch: Arch) -> Option<String> {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let alone = prepared.bootfile_alone(arch).as_deref().and_then(name);
    let by_class = prepared.bootfile(arch).as_deref().and_then(name);
    match (alone, by_class) {
        (Some(alone), Some(other)) if alone == other => Some(format!("{arch}: DHCP names {alone}")),
        (Some(alone), Some(other)) => Some(format!(
            "{arch}: DHCP names {alone}; or {other}, and {} for user class iPXE",
            ipxe::SCRIPT
        )),
        (Some(alone), None) => Some(format!("{arch}: DHCP names {alone}")),
        (None, Some(other)) => Some(format!(
            "{arch}: DHCP names {other}, and {} for user class iPXE",
            ipxe::SCRIPT
        )),
        (None, None) => None,
    }
}
