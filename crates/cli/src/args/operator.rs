//! Commands of a lab's operators.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Format, Network};

/// Which server is asked, and how its answer is printed.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The server's state. Where no server runs, it is read and changed by this command itself.
    #[arg(
        long,
        value_name = "DIR",
        env = "BOOTGATE_STATE",
        default_value = "/var/lib/bootgate"
    )]
    pub(crate) state: PathBuf,
    #[command(flatten)]
    pub(crate) network: Network,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// List machines.
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  bootgate machine list --mode flash-once --label rack=3"
    )]
    List {
        /// Only those in this boot mode.
        #[arg(long)]
        mode: Option<String>,
        /// Only those with this label, of any value or of this one.
        #[arg(long, value_name = "K[=V]")]
        label: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show all that is known of a machine.
    #[command(after_help = "Example:\n  bootgate machine show node1")]
    Show {
        #[command(flatten)]
        machine: MachineArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Say what a machine boots, and how it is called.
    #[command(after_help = "Examples:\n  \
        bootgate machine set 52:54:00:12:34:56 --mode local --name node1 --label rack=3\n  \
        bootgate machine set node1 --mode flash-always --image debian-12 --disk size=100GiB-2TiB\n  \
        bootgate machine set node1 --mode install --installer debian-12")]
    Set(Box<SetArgs>),
    /// Order a flash, at the next power-on.
    #[command(
        after_help = "Example:\n  bootgate machine arm node1 --image debian-12 --disk serial=S4EWNX0"
    )]
    Arm {
        #[command(flatten)]
        machine: MachineArg,
        /// The image, as `bootgate image list` names it.
        #[arg(long, value_name = "NAME")]
        image: String,
        #[command(flatten)]
        disk: DiskArgs,
        /// At each power-on, not once.
        #[arg(long)]
        always: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let a machine try its flash again after too many tries that failed.
    #[command(after_help = "Example:\n  bootgate machine retry node1")]
    Retry {
        #[command(flatten)]
        machine: MachineArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Forget a machine. Its attempts stay.
    #[command(after_help = "Example:\n  bootgate machine forget 52:54:00:12:34:56")]
    Forget {
        #[command(flatten)]
        machine: MachineArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Wake a machine by its network interface (Wake-on-LAN).
    #[command(after_help = "Example:\n  bootgate machine wake node1")]
    Wake {
        #[command(flatten)]
        machine: MachineArg,
        /// The interface of the server's host on the machine's segment. Default: each that is served.
        #[arg(long, value_name = "INTERFACE")]
        interface: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Args)]
pub(crate) struct MachineArg {
    /// The machine: its hardware address, in any notation, or its name.
    #[arg(value_name = "MACHINE")]
    pub(crate) machine: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArg,
    /// What it boots: local, flash-once, flash-always, inventory, install or script.
    #[arg(long)]
    pub(crate) mode: Option<String>,
    /// The image that is flashed, as `bootgate image list` names it.
    #[arg(long, value_name = "NAME", requires = "mode")]
    pub(crate) image: Option<String>,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    /// The installer that is booted, as the server's configuration names it.
    #[arg(long, value_name = "NAME", requires = "mode")]
    pub(crate) installer: Option<String>,
    /// The script that is booted, as the server's configuration names it.
    #[arg(long, value_name = "NAME", requires = "mode")]
    pub(crate) script: Option<String>,
    /// A name for it; an empty one takes the name away.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A label; without a value, the label is taken away.
    #[arg(long, value_name = "K=V")]
    pub(crate) label: Vec<String>,
    /// How it boots its own disk: auto, exit (back to the firmware) or drive:0x81 (a BIOS boots that drive).
    #[arg(long, value_name = "HOW")]
    pub(crate) local_boot: Option<String>,
    /// Let it boot a disk that is half written.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct DiskArgs {
    /// The disk to write; where several are given, all must hold: serial=SERIAL, size=MIN-MAX, path=/dev/sda.
    #[arg(long, value_name = "RULE")]
    pub(crate) disk: Vec<String>,
    /// What the machine does after the flash. Default: reboot.
    #[arg(long, value_enum)]
    pub(crate) after: Option<After>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum After {
    /// It restarts, and boots its disk.
    Reboot,
    /// It switches itself off.
    Poweroff,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttemptCommand {
    /// List boot attempts, latest first.
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  bootgate attempt list --machine node1 --limit 5"
    )]
    List {
        /// Only those of this machine.
        #[arg(long)]
        machine: Option<String>,
        /// Only those without a verdict.
        #[arg(long)]
        open: bool,
        /// At most so many.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
        #[command(flatten)]
        reach: Reach,
    },
    /// Show an attempt: its stages, its verdict, and what shows it.
    Show {
        #[command(flatten)]
        attempt: AttemptArg,
        #[command(flatten)]
        reach: Reach,
    },
    /// Follow an attempt until its verdict, which is the exit code; without a name, follow all that happens.
    #[command(after_help = "Examples:\n  \
        bootgate attempt watch node1    (the attempt that is open, or the next one)\n  \
        bootgate attempt watch")]
    Watch {
        /// The attempt, or a machine.
        #[arg(value_name = "ATTEMPT")]
        attempt: Option<String>,
        /// How long a server that stops meanwhile is waited for, so that a restart of it ends nothing; 0: not at all.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u64,
        #[command(flatten)]
        reach: Reach,
    },
    /// Write an attempt's events and reports into a folder, for `bootgate report --replay`.
    #[command(after_help = "Example:\n  bootgate attempt export node1 --out node1-attempt")]
    Export {
        #[command(flatten)]
        attempt: AttemptArg,
        /// The folder, which must be empty or not exist. Default: named after the attempt.
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AttemptArg {
    /// The attempt; a machine's address or name stands for its latest.
    #[arg(value_name = "ATTEMPT")]
    pub(crate) attempt: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// List addresses that are leased, were leased, or are kept from everybody.
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this machine.
        #[arg(long)]
        machine: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Forget an address: another machine may get it at once.
    #[command(after_help = "Example:\n  bootgate lease forget 10.0.0.13")]
    Forget {
        /// The address.
        #[arg(value_name = "ADDRESS")]
        ip: String,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bootgate explain node1\n  \
    bootgate explain 52:54:00:12:34:56 --as 'arch=7,class=HTTPClient,interface=eth1'\n  \
    bootgate explain 52:54:00:12:34:56 --as class=iPXE    (what its second request gets)\n  \
    bootgate explain 52:54:00:12:34:56 --as class=        (as an operating system)")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) machine: MachineArg,
    /// How it asks: `arch=7` (option 93), `class=iPXE`, `ip=6` (by DHCPv6), `interface=eth1`, `relay=10.0.8.1`, joined by commas.
    #[arg(long = "as", value_name = "K=V,...")]
    pub(crate) asking: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Write a copy of all that is stored into a new file, also while the server runs.
    #[command(after_help = "Example:\n  bootgate state backup /srv/backup/lab.db")]
    Backup {
        /// The file, which must not exist.
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Put a copy in the place of all that is stored. The server must be stopped.
    #[command(after_help = "Example:\n  bootgate state restore /srv/backup/lab.db")]
    Restore {
        /// A file that `state backup` wrote.
        file: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
}
