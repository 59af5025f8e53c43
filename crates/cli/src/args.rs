//! The command line's shape.

mod access;
mod depot;
mod ipxe;
mod operator;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use access::{ApiCommand, LoginArgs, Network, TokenCommand, UserCommand};
pub(crate) use depot::{ArtifactCommand, ImageCommand, WordsArgs};
pub(crate) use ipxe::{IpxeCommand, PrepareArgs};
pub(crate) use operator::{
    After, AttemptCommand, DiskArgs, ExplainArgs, LeaseCommand, MachineCommand, Reach, SetArgs,
    StateCommand, StatusArgs,
};

/// Does this artifact boot, over the network, all the way to a working system?
#[derive(Debug, Parser)]
#[command(
    name = "bootgate",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 passed, 1 failed, 2 bad usage or scenario, 3 infrastructure, 130 interrupted.\n\nExamples:\n  \
        bootgate doctor\n  \
        bootgate check fixtures/scenarios/uefi-flash.toml\n  \
        bootgate run fixtures/scenarios/uefi-flash.toml --out out/uefi\n  \
        bootgate report --replay out/uefi\n  \
        bootgate doctor --segment eth1              (a laboratory: who serves this segment)\n  \
        bootgate serve --config serve.toml          (serve it)\n  \
        bootgate attempt watch                      (and see machines boot)"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Boot every target of one or more scenarios and judge what happens.
    Run(RunArgs),
    /// Read a scenario, say what it would do, and start nothing.
    Check(CheckArgs),
    /// Make the verdict and all reports again from a run's log.
    Report(ReportArgs),
    /// Say what this host can do, or what is wrong on a network segment, and how to mend it.
    Doctor(DoctorArgs),
    /// Serve the machines of a laboratory on real network interfaces, until told to stop.
    Serve(ServeArgs),
    /// List, show and change the machines of a laboratory.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            bootgate machine list\n  \
            bootgate machine arm node1 --image debian-12 --disk serial=S4EWNX0\n  \
            bootgate machine show node1"
    )]
    Machine(MachineCommand),
    /// List, show, follow and export boot attempts.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            bootgate attempt list --machine node1\n  \
            bootgate attempt show a12                   (short for a0000000012)\n  \
            bootgate attempt watch node1"
    )]
    Attempt(AttemptCommand),
    /// Upload, list and remove what is given out: kernels, boot programs, scripts.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            bootgate artifact upload vmlinuz --name live/vmlinuz\n  \
            bootgate artifact list\n  \
            bootgate artifact import catalog.toml"
    )]
    Artifact(ArtifactCommand),
    /// Add, list and remove the disk images that machines are flashed with.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            bootgate image add debian-12 debian-12.raw\n  \
            bootgate image list"
    )]
    Image(ImageCommand),
    /// List and forget leases.
    #[command(
        subcommand,
        after_help = "Examples:\n  bootgate lease list\n  bootgate lease forget 10.0.0.13"
    )]
    Lease(LeaseCommand),
    /// Say why a machine gets its reply, step by step, or what it would get.
    Explain(ExplainArgs),
    /// Say how the server is: where it listens, other DHCP servers, what it left unanswered.
    #[command(after_help = "Example:\n  bootgate status")]
    Status(StatusArgs),
    /// Have the server read its configuration again, and say what changed.
    #[command(after_help = "Example:\n  bootgate reload")]
    Reload(StatusArgs),
    /// Copy what the server stores, there and back.
    #[command(
        subcommand,
        after_help = "Examples:\n  \
            bootgate state backup /srv/backup/lab.db\n  \
            bootgate state restore /srv/backup/lab.db    (while no server runs)"
    )]
    State(StateCommand),
    /// Log in at a server on the network, for commands with `--server`.
    Login(LoginArgs),
    /// List, add, change and remove the users of a server.
    #[command(
        subcommand,
        after_help = "Examples:\n  bootgate user add ada --role operator\n  bootgate user list"
    )]
    User(UserCommand),
    /// List, make and end tokens, by which programs ask a server.
    #[command(
        subcommand,
        after_help = "Examples:\n  bootgate token new --role operator --name ci --expires 90d\n  bootgate token list"
    )]
    Token(TokenCommand),
    /// Describe the HTTP interface of a server.
    #[command(
        subcommand,
        after_help = "Example:\n  bootgate api openapi > openapi.json"
    )]
    Api(ApiCommand),
    /// Wake a machine by its network interface (Wake-on-LAN).
    #[command(after_help = "Example:\n  bootgate wol 52:54:00:12:34:56 --interface enp3s0")]
    Wol(WolArgs),
    /// Build live environments, disk images and chunk indexes.
    #[command(subcommand)]
    Media(MediaCommand),
    /// Make boot media from iPXE's programs, and check them.
    #[command(subcommand)]
    Ipxe(IpxeCommand),
    /// Print completions for a shell.
    #[command(
        after_help = "Example:\n  bootgate completions bash > /etc/bash_completion.d/bootgate"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bootgate run bios-flash.toml\n  \
    bootgate run bios-flash.toml uefi-flash.toml --jobs 2 --out out\n  \
    bootgate run uefi-flash.toml --attach          (leave the console with Ctrl-])\n  \
    bootgate run matrix.toml --jobs auto --cell 'firmware=uefi*,nic=e1000'\n  \
    bootgate run uefi-flash.toml --lab lab.toml    (the same scenario on a real board)")]
pub(crate) struct RunArgs {
    /// Scenario files.
    #[arg(required = true, value_name = "SCENARIO.toml")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// Where the run folders go: the run folder itself for one scenario, one folder inside it per scenario for
    /// several. Default: `bootgate-out/NAME` in the current folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// How virtual CPUs are executed.
    #[arg(long, value_enum, default_value_t = AccelArg::Auto)]
    pub(crate) accel: AccelArg,
    /// How many scenarios, and cells of a matrix, run at once: a number, or `auto` for as many as this host has cores
    /// and memory for. More than that are never run at once.
    #[arg(long, value_name = "N|auto", default_value = "1", value_parser = jobs)]
    pub(crate) jobs: Jobs,
    /// Run only the cells of a matrix with these values (`firmware=uefi,nic=e1000`), or with such a name
    /// (`uefi+*`). `*` stands for anything. Can be given several times.
    #[arg(long, value_name = "CELL")]
    pub(crate) cell: Vec<String>,
    /// Connect this terminal to a target's console, keys included. Without a name: the scenario's first target.
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = "")]
    pub(crate) attach: Option<String>,
    /// A lab file that says which targets are boards.
    #[arg(long, value_name = "LAB.toml")]
    pub(crate) lab: Option<PathBuf>,
    /// Keep the disks and firmware variables of the targets in the run folder.
    #[arg(long)]
    pub(crate) keep_work: bool,
}

/// How many runs go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// As many as the host has room for.
    Auto,
    /// So many at most.
    Number(usize),
}

fn jobs(text: &str) -> Result<Jobs, String> {
    if text == "auto" {
        return Ok(Jobs::Auto);
    }
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number
        .map(Jobs::Number)
        .ok_or_else(|| "give a number from 1 to 64, or auto".to_owned())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum AccelArg {
    /// KVM where it is proven to work here, otherwise TCG.
    Auto,
    /// KVM, or an infrastructure fault.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bootgate check uefi-flash.toml")]
pub(crate) struct CheckArgs {
    /// Scenario files.
    #[arg(required = true, value_name = "SCENARIO.toml")]
    pub(crate) scenarios: Vec<PathBuf>,
    /// A lab file that says which targets are boards.
    #[arg(long, value_name = "LAB.toml")]
    pub(crate) lab: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  bootgate report --replay bootgate-out/uefi-flash")]
pub(crate) struct ReportArgs {
    /// The run folder. Its `verdict.json`, `junit.xml` and `report.html` are written anew.
    #[arg(long, value_name = "RUNDIR")]
    pub(crate) replay: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  bootgate doctor\n  bootgate doctor --segment enp3s0    (asks the DHCP servers there, and takes no lease)"
)]
pub(crate) struct DoctorArgs {
    /// Play a network boot client on this interface's segment, and report what is wrong there.
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) segment: Option<String>,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// How long each question waits for answers, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 4, requires = "segment", value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) wait: u64,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bootgate serve --config serve.toml\n  \
    bootgate serve --config serve.toml --check\n  \
    bootgate serve --config serve.toml --dhcp-settings kea    (what to put into the DHCP server that is there)")]
pub(crate) struct ServeArgs {
    /// The configuration. Default: `serve.toml` in the current folder, else `/etc/bootgate/serve.toml`.
    #[arg(long, value_name = "SERVE.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Read the configuration, say what it would do, and start nothing.
    #[arg(long)]
    pub(crate) check: bool,
    /// Print what to put into another DHCP server, and start nothing. Without a name: for all of them.
    #[arg(long, value_enum, value_name = "SERVER", num_args = 0..=1, default_missing_value = "all", conflicts_with = "check")]
    pub(crate) dhcp_settings: Option<DhcpSettings>,
    /// How to print what happens.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

/// DHCP servers that settings are printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DhcpSettings {
    /// All of them.
    All,
    /// dnsmasq.
    Dnsmasq,
    /// ISC dhcpd.
    Isc,
    /// Kea.
    Kea,
    /// Windows Server, as PowerShell.
    Windows,
    /// OPNsense, its Kea or ISC pages.
    Opnsense,
    /// UniFi gateways.
    Unifi,
}

/// For whom output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: JSON, one value on each line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct WolArgs {
    /// The machine: the hardware address of its network interface, or its name.
    #[arg(value_name = "MAC|NAME")]
    pub(crate) machine: String,
    /// The interface of this host on the machine's segment.
    #[arg(long, value_name = "INTERFACE")]
    pub(crate) interface: String,
    /// The server's state, in which names stand.
    #[arg(
        long,
        value_name = "DIR",
        env = "BOOTGATE_STATE",
        default_value = "/var/lib/bootgate"
    )]
    pub(crate) state: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MediaCommand {
    /// Build a live environment: kernel and initial RAM disk.
    #[command(
        after_help = "Example:\n  bootgate media live vm/live.toml --kernel-root target/kernel --agent bootgate-agent --out target/media/live"
    )]
    Live {
        /// The recipe.
        recipe: PathBuf,
        /// Folder into which a kernel package was unpacked.
        #[arg(long, value_name = "DIR")]
        kernel_root: PathBuf,
        /// The static agent program.
        #[arg(long, value_name = "FILE")]
        agent: PathBuf,
        /// Where `vmlinuz` and `initrd.img` go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Build a bootable disk image.
    #[command(
        after_help = "Example:\n  bootgate media disk vm/disk.toml --kernel-root target/kernel --init bootgate-diskinit --out target/media/disk"
    )]
    Disk {
        /// The recipe.
        recipe: PathBuf,
        /// Folder into which a kernel package was unpacked.
        #[arg(long, value_name = "DIR")]
        kernel_root: PathBuf,
        /// The static program that is init of the disk's system.
        #[arg(long, value_name = "FILE")]
        init: PathBuf,
        /// Where `disk.img` goes.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Cut a raw image into chunks that a flasher can fetch one by one.
    #[command(
        after_help = "Example:\n  bootgate media chunks disk.img --out chunks    (zstd -d turns the result back into the image)"
    )]
    Chunks {
        /// The raw image.
        image: PathBuf,
        /// Logical sector size that the image was made for.
        #[arg(long, default_value_t = 512)]
        sector_size: u32,
        /// Where `image.zst` and `index.json` go.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}
