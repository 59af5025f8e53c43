//! What a lab's server is told when it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bootgate_api::BootMode;
use bootgate_events::Stage;
use bootgate_netboot::dhcp::{DhcpLimits, DhcpMode, SubnetConfig};
use bootgate_netboot::dhcp6;
use bootgate_netboot::policy::ArchTable;
use bootgate_store::UploadLimits;

use crate::ServerConfig;

/// How a lab's server is set up. Paths are absolute or relative to the working directory.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// The interfaces it serves, in the order of the socket sources given to
    /// [`LabServer::start`](super::LabServer::start). At least one.
    pub interfaces: Vec<LabInterface>,
    /// The subnets whose addresses are given out, with the places of their interfaces in `interfaces`.
    pub subnets: Vec<SubnetConfig>,
    /// IPv6 prefixes that are reached by relays alone; those of interfaces stand with them.
    pub relayed6: Vec<dhcp6::SubnetConfig>,
    /// Whether this is the only DHCP server of the segments.
    pub authoritative: bool,
    /// What is known of client architectures, and their network boot programs.
    pub architectures: ArchTable,
    /// What DHCP clients may take.
    pub dhcp_limits: DhcpLimits,
    /// Folders of files to give out: the prefix of their names (empty, or `live/`) and where they lie. Everything
    /// below a folder is given out under the prefix and its path in the folder. A single file is given out as the
    /// prefix itself.
    pub artifacts: Vec<(String, PathBuf)>,
    /// Images by name: folders that hold `image.zst` and `index.json`.
    pub images: BTreeMap<String, PathBuf>,
    /// The live environment that flashes and takes inventories; without it neither is possible.
    pub live: Option<LiveConfig>,
    /// Vendors' installers by name.
    pub installers: BTreeMap<String, InstallerConfig>,
    /// The operator's own iPXE scripts by name: template files (see `docs/machines.md` for the names they know).
    pub scripts: BTreeMap<String, PathBuf>,
    /// What becomes of machines that are not known.
    pub discovery: DiscoveryConfig,
    /// How a machine that boots its disk is handed back to its firmware.
    pub local_boot: LocalBootDefault,
    /// Flashes in a row that may fail before a machine is refused, 1 at least.
    pub flash_tries: u32,
    /// Finished attempts that are kept of each machine.
    pub keep_attempts: u32,
    /// What uploads of artifacts may take.
    pub uploads: UploadLimits,
    /// How long an attempt may take.
    pub deadlines: LabDeadlines,
}

impl LabConfig {
    /// A server of these interfaces that knows no images, installers and scripts, and discovers machines into `local`.
    #[must_use]
    pub fn new(interfaces: Vec<LabInterface>) -> Self {
        Self {
            interfaces,
            subnets: Vec::new(),
            relayed6: Vec::new(),
            authoritative: false,
            architectures: ArchTable::with_ipxe(),
            dhcp_limits: DhcpLimits::default(),
            artifacts: Vec::new(),
            images: BTreeMap::new(),
            live: None,
            installers: BTreeMap::new(),
            scripts: BTreeMap::new(),
            discovery: DiscoveryConfig::default(),
            local_boot: LocalBootDefault::default(),
            flash_tries: 3,
            keep_attempts: 100,
            uploads: UploadLimits::default(),
            deadlines: LabDeadlines::default(),
        }
    }
}

/// One interface of a lab's server.
#[derive(Clone, Debug)]
pub struct LabInterface {
    /// Its name, for events and for people.
    pub name: String,
    /// What the DHCP server does there.
    pub dhcp: DhcpMode,
    /// Addresses, ports and services. What it says about leases is not looked at: subnets do.
    pub server: ServerConfig,
}

/// The live environment: the kernel that starts the agent.
#[derive(Clone, Debug)]
pub struct LiveConfig {
    /// The kernel.
    pub kernel: PathBuf,
    /// Initial RAM disks, in the order in which they are loaded.
    pub initrds: Vec<PathBuf>,
    /// The kernel's command line, without what the agent needs.
    pub cmdline: String,
}

/// A vendor's installer.
#[derive(Clone, Debug)]
pub struct InstallerConfig {
    /// The kernel.
    pub kernel: PathBuf,
    /// Initial RAM disks, in the order in which they are loaded.
    pub initrds: Vec<PathBuf>,
    /// The kernel's command line, a template (see `docs/machines.md` for the names it knows).
    pub cmdline: String,
    /// The answer file's template, where the installer takes one.
    pub answer: Option<PathBuf>,
}

/// What becomes of machines that are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// The mode in which they become known: `local`, `inventory` or `script`, never one that writes a disk. `None`:
    /// they do not become known, and get what a `local` machine gets.
    pub mode: Option<BootMode>,
    /// Machines that may become known in one second.
    pub per_second: u32,
    /// Discovered machines at most.
    pub limit: u64,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            mode: Some(BootMode::Local),
            per_second: 5,
            limit: 4096,
        }
    }
}

/// How a machine that boots its disk is handed back to its firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalBootDefault {
    /// By a boot program and a script that says so: shown on the machine's screen, and told as an event when the
    /// machine took it.
    #[default]
    Script,
    /// By naming no bootfile: quicker, and the only way that leaves other boot servers of the segment their clients.
    Silent,
}

/// How long an attempt may take. Real machines spend minutes in their firmware, so these are generous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabDeadlines {
    /// Longest time in each stage; a stage that is not named has none.
    pub stages: BTreeMap<Stage, Duration>,
    /// Longest time from the first packet to the verdict.
    pub total: Duration,
    /// How long a machine that flashes at each power-on, and was sent to its disk, may still ask the network without being
    /// flashed: more network entries may stand before the disk in its boot order.
    pub disk_turn: Duration,
}

impl Default for LabDeadlines {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let stages = BTreeMap::from([
            (Stage::Dhcp, minutes(5)),
            (Stage::Nbp, minutes(10)),
            (Stage::Ipxe, minutes(5)),
            (Stage::Script, minutes(10)),
            (Stage::Kernel, minutes(20)),
            (Stage::Initrd, minutes(60)),
        ]);
        Self {
            stages,
            total: minutes(6 * 60),
            disk_turn: minutes(2),
        }
    }
}
