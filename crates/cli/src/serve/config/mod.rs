//! The configuration file of `bootgate serve`: from what is written to what is meant, everything checked.

mod api;
mod boot;
mod depot;
mod interface;
mod ipv6;
mod network;
mod watch;
mod wire;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bootgate_media::ipxe::Prepared;
use bootgate_netboot::dhcp::{DhcpMode, SubnetConfig};
use bootgate_scenario::file::{self, Checks, FileError, Problem};
use bootgate_scenario::{Files, HostFiles};
use bootgate_server::Limits;
use bootgate_server::door::DoorConfig;
use bootgate_server::lab::LabConfig;

pub(crate) use watch::LogLevels;
use wire::{LimitsWire, Number, ServeWire};

/// Where state is kept where the file names no folder.
pub(crate) const STATE: &str = "/var/lib/bootgate";

/// How long a stop waits for what is under way where the file says nothing.
const STOP_WAIT: Duration = Duration::from_secs(300);

/// What the file says, checked. What only the host can tell (the addresses of its interfaces) is not in it yet.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Folder of what must not be forgotten.
    pub(crate) state: PathBuf,
    /// The interfaces; one at least.
    pub(crate) interfaces: Vec<Interface>,
    /// The subnets. One that names no interface is that of the interfaces with an address in it.
    pub(crate) subnets: Vec<Subnet>,
    /// Folder of network boot programs and what else is given out by TFTP and HTTP.
    pub(crate) folder: Option<PathBuf>,
    /// A folder that `bootgate ipxe prepare` made: given out as well, and its boot files are the usual ones.
    pub(crate) ipxe: Option<Prepared>,
    /// What one client may take.
    pub(crate) limits: Limits,
    /// How long a stop waits for what is under way.
    pub(crate) stop_wait: Duration,
    /// Where metrics are offered by plain HTTP.
    pub(crate) metrics: Vec<SocketAddr>,
    /// How much is logged.
    pub(crate) log: LogLevels,
    /// The control interface on the network.
    pub(crate) api: DoorConfig,
    /// All else. Its interfaces and subnets are filled in when the host was asked.
    pub(crate) lab: LabConfig,
}

/// An interface to serve.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    /// The kernel's name for it.
    pub(crate) name: String,
    /// What the DHCP server does there.
    pub(crate) dhcp: DhcpMode,
    /// The server's address on it; `None`: the interface's first one.
    pub(crate) address: Option<Ipv4Addr>,
    /// Port of the HTTP server.
    pub(crate) http_port: u16,
    /// Whether files are given out by TFTP.
    pub(crate) tftp: bool,
    /// Ports of TFTP transfers; `None`: any.
    pub(crate) tftp_ports: Option<RangeInclusive<u16>>,
    /// Whether TFTP transfers stay on port 69.
    pub(crate) tftp_single_port: bool,
    /// Whether addresses are given out though another DHCP server does so, too.
    pub(crate) beside_others: bool,
}

/// A subnet that addresses are given out of.
#[derive(Clone, Debug)]
pub(crate) struct Subnet {
    /// IPv4.
    pub(crate) v4: SubnetConfig,
    /// IPv6 on the same segment.
    pub(crate) v6: Option<Ipv6>,
}

/// IPv6 of a subnet: announced by router advertisements, addresses by DHCPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ipv6 {
    /// The prefix.
    pub(crate) prefix: Ipv6Addr,
    /// Its length: 64, as hosts need it to make addresses of their own.
    pub(crate) prefix_len: u8,
    /// Addresses that DHCPv6 gives out.
    pub(crate) pool: RangeInclusive<Ipv6Addr>,
    /// Link addresses of relays outside of the prefix that serve it.
    pub(crate) relays: Vec<Ipv6Addr>,
    /// DNS servers.
    pub(crate) dns: Vec<Ipv6Addr>,
}

/// Reads the file.
///
/// # Errors
/// It cannot be read, or anything in it is wrong: then none of it counts.
pub(crate) fn load(path: &Path) -> Result<Settings, FileError> {
    let text = file::read("boot server's configuration", path)?;
    parse(&text, path, &HostFiles)
}

fn parse(text: &str, path: &Path, files: &dyn Files) -> Result<Settings, FileError> {
    file::checked(text, path, files, |root, checks| {
        settings(&ServeWire::read(root), checks)
    })
}

fn settings(wire: &ServeWire, checks: &Checks<'_>) -> Option<Settings> {
    let interfaces = interface::interfaces(&wire.interfaces, checks);
    let subnets = network::subnets(wire, interfaces.as_deref().unwrap_or_default(), checks);
    let mut lab = LabConfig::new(Vec::new());
    let folder = boot::boot(wire, &mut lab, checks);
    let ipxe = boot::ipxe(wire, checks);
    let kept = wire.state.keep_attempts.as_ref();
    lab.keep_attempts = number(
        "keep_attempts",
        kept,
        1..=100_000,
        lab.keep_attempts,
        checks,
    );
    let limits = limits(&wire.limits, &mut lab, checks);
    let api = api::api(&wire.api, checks);
    lab.uploads = depot::uploads(&wire.artifacts, checks);
    let state = match &wire.state.folder {
        Some(folder) => checks.path(folder),
        None => PathBuf::from(STATE),
    };
    Some(Settings {
        state,
        interfaces: interfaces?,
        subnets: subnets?,
        folder,
        ipxe,
        limits,
        stop_wait: stop_wait(&wire.limits, checks),
        metrics: watch::metrics(&wire.metrics, checks),
        log: watch::log(&wire.log, checks),
        api: api?,
        lab,
    })
}

/// Five minutes: a flash over a network takes less, and service managers are asked for as much.
fn stop_wait(wire: &LimitsWire, checks: &Checks<'_>) -> Duration {
    let written = wire.stop_wait.as_ref();
    let ms = written.and_then(|text| checks.duration_within("stop_wait", text, file::DAY_MS));
    ms.map_or(STOP_WAIT, Duration::from_millis)
}

fn limits(wire: &LimitsWire, lab: &mut LabConfig, checks: &Checks<'_>) -> Limits {
    let dhcp = &mut lab.dhcp_limits;
    dhcp.burst = number(
        "dhcp_burst",
        wire.dhcp_burst.as_ref(),
        0..=100_000,
        dhcp.burst,
        checks,
    );
    if let Some(written) = &wire.dhcp_per_second {
        let per_second: u32 = number("dhcp_per_second", Some(written), 1..=1000, 5, checks);
        dhcp.every = Duration::from_secs(1) / per_second;
    }
    if let Some(text) = &wire.attempt
        && let Some(ms) = checks.duration_within("attempt", text, 30 * file::DAY_MS)
    {
        lab.deadlines.total = Duration::from_millis(ms);
    }
    let mut limits = Limits::default();
    for (key, written, value) in [
        ("leases", &wire.leases, &mut limits.max_leases),
        (
            "tftp_transfers",
            &wire.tftp_transfers,
            &mut limits.tftp_transfers,
        ),
        (
            "tftp_transfers_per_client",
            &wire.tftp_transfers_per_client,
            &mut limits.tftp_transfers_per_client,
        ),
        (
            "http_connections",
            &wire.http_connections,
            &mut limits.http_connections,
        ),
        (
            "http_connections_per_client",
            &wire.http_connections_per_client,
            &mut limits.http_connections_per_client,
        ),
    ] {
        *value = number(key, written.as_ref(), 1..=1_000_000, *value, checks);
    }
    limits
}

/// A whole number within bounds; the default where none is written, or where it is wrong (which is told).
fn number<T: TryFrom<u64>>(
    key: &str,
    written: Option<&Number>,
    bounds: RangeInclusive<u64>,
    default: T,
    checks: &Checks<'_>,
) -> T {
    let Some(written) = written else {
        return default;
    };
    let value = *written.get_ref();
    let fits = bounds.contains(&value).then(|| T::try_from(value).ok());
    fits.flatten().unwrap_or_else(|| {
        let message = format!("`{key}` cannot be `{value}`");
        let hint = format!("from {} to {}", bounds.start(), bounds.end());
        checks.fail(
            Problem::at(written.span(), message)
                .label("out of bounds")
                .hint(hint),
        );
        default
    })
}
