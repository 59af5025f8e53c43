//! Commands for iPXE's programs.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::AccelArg;

#[derive(Debug, Subcommand)]
pub(crate) enum IpxeCommand {
    /// Make a folder for TFTP and HTTP, and a CD and USB image, from iPXE's programs.
    #[command(after_help = "Examples:\n  \
        bootgate ipxe prepare --fetch --out /srv/ipxe               (Debian's current iPXE, by apt)\n  \
        bootgate ipxe prepare --deb ipxe_1.21.1_all.deb --out /srv/ipxe\n  \
        bootgate ipxe prepare --efi-x86_64 bin/ipxe.efi --out /srv/ipxe    (a build of your own)\n  \
        bootgate ipxe prepare --out /srv/ipxe                       (what this host has installed)")]
    Prepare(Box<PrepareArgs>),
    /// Check a program of iPXE's or a prepared folder: format, architecture, and that it runs our script in QEMU.
    #[command(after_help = "Examples:\n  \
        bootgate ipxe check /srv/ipxe\n  \
        bootgate ipxe check bin/snponly.efi\n  \
        bootgate ipxe check --no-boot /srv/ipxe")]
    Check {
        /// The program, or the folder.
        #[arg(value_name = "FILE|DIR")]
        path: PathBuf,
        /// Look at the files only.
        #[arg(long)]
        no_boot: bool,
        /// How virtual CPUs are executed.
        #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
        accel: AccelArg,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// A Debian package to take parts from: `ipxe`, `pxelinux`, `syslinux-common`, `isolinux`. May be given several
    /// times.
    #[arg(long, value_name = "FILE.deb")]
    pub(crate) deb: Vec<PathBuf>,
    /// A folder to take parts from, by their names.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Vec<PathBuf>,
    /// Fetch the packages of this suite by apt, which checks the archive's signature. The mirror is the one that
    /// this host's own sources name. Without a name: trixie.
    #[arg(long, value_name = "SUITE", num_args = 0..=1, default_missing_value = "trixie")]
    pub(crate) fetch: Option<String>,
    /// With --fetch: where the packages are kept, and taken from the next time without asking anybody. Default:
    /// nowhere.
    #[arg(long, value_name = "DIR", requires = "fetch")]
    pub(crate) cache: Option<PathBuf>,
    /// Your own ipxe.lkrn.
    #[arg(long, value_name = "FILE")]
    pub(crate) bios_lkrn: Option<PathBuf>,
    /// Your own undionly.kpxe.
    #[arg(long, value_name = "FILE")]
    pub(crate) bios_undionly: Option<PathBuf>,
    /// Your own ipxe.efi for x64.
    #[arg(long = "efi-x86_64", value_name = "FILE")]
    pub(crate) efi_x64: Option<PathBuf>,
    /// Your own ipxe.efi for arm64.
    #[arg(long = "efi-arm64", value_name = "FILE")]
    pub(crate) efi_arm64: Option<PathBuf>,
    /// HTTP port of the boot server that the script asks.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The folder.
    #[arg(long, value_name = "DIR", default_value = "ipxe")]
    pub(crate) out: PathBuf,
}
