//! Commands of artifacts and images.

use std::path::PathBuf;

use bootgate_api::Sha256Hex;
use bootgate_events::ArtifactRole;
use clap::{Args, Subcommand, ValueEnum};

use super::Reach;

#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// Upload a file. What broke off goes on when the same is said again.
    #[command(after_help = "Examples:\n  \
        bootgate artifact upload vmlinuz\n  \
        bootgate artifact upload build/initrd.img --name live/initrd.img --replace")]
    Upload {
        /// The file.
        file: PathBuf,
        /// The name that it gets. Default: the file's.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Refuse other bytes than these.
        #[arg(long, value_name = "HEX")]
        sha256: Option<Sha256Hex>,
        #[command(flatten)]
        words: WordsArgs,
        #[command(flatten)]
        wait: WaitArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// List artifacts and aliases.
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  bootgate artifact list --prefix live/"
    )]
    List {
        /// Only names that begin so.
        #[arg(long, default_value = "")]
        prefix: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show all that is known of an artifact.
    #[command(after_help = "Example:\n  bootgate artifact show live/vmlinuz")]
    Show {
        #[command(flatten)]
        artifact: ArtifactArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let a name stand for another one.
    #[command(after_help = "Example:\n  bootgate artifact alias live/stable live/7.1 --replace")]
    Alias {
        /// The alias.
        #[arg(value_name = "ALIAS")]
        alias: String,
        /// The name that it stands for.
        #[arg(value_name = "NAME")]
        target: String,
        /// Change the alias where it is there.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Take a name or an alias away. The bytes stay until `gc`.
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  bootgate artifact delete live/7.0"
    )]
    Delete {
        #[command(flatten)]
        artifact: ArtifactArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Remove the bytes that no name and no image stands for.
    #[command(after_help = "Example:\n  bootgate artifact gc --dry-run")]
    Gc {
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
        /// Keep what lost its last name since: 90s, 12h, 7d.
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
        older_than: u64,
        #[command(flatten)]
        reach: Reach,
    },
    /// Bring a file from a URL or an OCI registry to the server.
    #[command(after_help = "Examples:\n  \
        bootgate artifact fetch https://boot.example/vmlinuz --sha256 4f0c...\n  \
        bootgate artifact fetch oci://registry.example/live:7.1 --layer initrd.img --name live/initrd.img")]
    Fetch {
        /// Where it is: http://, https:// or oci://HOST/REPOSITORY:TAG (or @sha256:...).
        source: String,
        /// The name that it gets. Default: the last part of the URL, or the layer's title.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The digest of its bytes. A URL needs one.
        #[arg(long, value_name = "HEX")]
        sha256: Option<Sha256Hex>,
        /// The layer: its title (`org.opencontainers.image.title`) or its digest. Default: the only one.
        #[arg(long, value_name = "TITLE")]
        layer: Option<String>,
        #[command(flatten)]
        words: WordsArgs,
        #[command(flatten)]
        wait: WaitArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Bring all that a catalog names to the server.
    #[command(after_help = "Example:\n  bootgate artifact import catalog.toml")]
    Import {
        /// The catalog.
        #[arg(value_name = "CATALOG.toml")]
        catalog: PathBuf,
        /// Names may stand for other bytes than before.
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        wait: WaitArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Write an artifact's bytes into a file of this host.
    #[command(after_help = "Example:\n  bootgate artifact save live/vmlinuz --out vmlinuz")]
    Save {
        #[command(flatten)]
        artifact: ArtifactArg,
        /// The file, which must not exist. Default: the last part of the name.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ArtifactArg {
    /// The name, an alias, or `sha256:HEX`.
    #[arg(value_name = "NAME")]
    pub(crate) artifact: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WordsArgs {
    /// The name may stand for other bytes than before.
    #[arg(long)]
    pub(crate) replace: bool,
    /// What it is for. Default: by the name.
    #[arg(long, value_enum)]
    pub(crate) role: Option<RoleArg>,
    /// Its media type over HTTP. Default: by the name.
    #[arg(long, value_name = "TYPE")]
    pub(crate) media_type: Option<String>,
    /// A label.
    #[arg(long, value_name = "K=V", value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArg {
    /// How long a server or a source that does not answer is tried again.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    /// A network boot program.
    Nbp,
    /// A boot script or the configuration of a loader.
    Script,
    /// A kernel.
    Kernel,
    /// An initial RAM disk.
    Initrd,
    /// Anything else.
    Other,
}

impl From<RoleArg> for ArtifactRole {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Nbp => Self::Nbp,
            RoleArg::Script => Self::Script,
            RoleArg::Kernel => Self::Kernel,
            RoleArg::Initrd => Self::Initrd,
            RoleArg::Other => Self::Other,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Add a disk image: raw, or packed by zstd. It can be flashed at once.
    #[command(after_help = "Examples:\n  \
        bootgate image add debian-12 debian-12.raw\n  \
        bootgate image add debian-12 debian-12.raw.zst --replace")]
    Add {
        /// Its name.
        name: String,
        /// The file; a folder that `bootgate media chunks` wrote does as well.
        file: PathBuf,
        /// Logical sector size of the disks it is made for, in bytes: 512 or 4096.
        #[arg(long, value_name = "BYTES", default_value_t = 512)]
        sector_size: u32,
        /// The name may stand for another image than before.
        #[arg(long)]
        replace: bool,
        /// A label.
        #[arg(long, value_name = "K=V", value_parser = label)]
        label: Vec<(String, String)>,
        #[command(flatten)]
        wait: WaitArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// List images.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// Show all that is known of an image.
    #[command(after_help = "Example:\n  bootgate image show debian-12")]
    Show {
        /// The image.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Remove an image. Its bytes stay until `bootgate artifact gc`.
    #[command(
        visible_alias = "rm",
        after_help = "Example:\n  bootgate image remove debian-11"
    )]
    Remove {
        /// The image.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        reach: Reach,
    },
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is K=V".to_owned()),
    }
}

/// Seconds, of `90s`, `12h` or `7d`.
fn duration(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| "as in 90s, 12h or 7d")?;
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("as in 90s, 15m, 12h or 7d".to_owned()),
    };
    number.checked_mul(unit).ok_or("too long".to_owned())
}
