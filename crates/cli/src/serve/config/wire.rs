//! What stands in the file, each value with its place.

use std::ops::Range;

use bootgate_scenario::file::{Reader, Spanned, Text};

use super::api::ApiWire;
use super::depot::ArtifactsWire;

/// A whole number with its place.
pub(super) type Number = Spanned<u64>;
/// Texts with their places.
pub(super) type Texts = Option<Spanned<Vec<Text>>>;

/// The whole file.
pub(super) struct ServeWire {
    pub(super) state: StateWire,
    pub(super) interfaces: Vec<InterfaceWire>,
    pub(super) subnets: Vec<SubnetWire>,
    pub(super) reservations: Vec<ReservationWire>,
    pub(super) archs: Vec<ArchWire>,
    pub(super) boot: BootWire,
    pub(super) discovery: DiscoveryWire,
    pub(super) live: Option<LinuxWire>,
    pub(super) images: Vec<ImageWire>,
    pub(super) installers: Vec<LinuxWire>,
    pub(super) scripts: Vec<ScriptWire>,
    pub(super) limits: LimitsWire,
    pub(super) api: ApiWire,
    pub(super) artifacts: ArtifactsWire,
    pub(super) metrics: MetricsWire,
    pub(super) log: LogWire,
}

#[derive(Default)]
pub(super) struct StateWire {
    pub(super) folder: Option<Text>,
    pub(super) keep_attempts: Option<Number>,
}

pub(super) struct InterfaceWire {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) dhcp: Option<Text>,
    pub(super) address: Option<Text>,
    pub(super) http_port: Option<Number>,
    pub(super) tftp: Option<Spanned<bool>>,
    pub(super) tftp_ports: Option<Text>,
    pub(super) tftp_single_port: Option<Spanned<bool>>,
    pub(super) beside_others: Option<Spanned<bool>>,
}

pub(super) struct SubnetWire {
    pub(super) span: Range<usize>,
    pub(super) network: Option<Text>,
    pub(super) ranges: Texts,
    pub(super) router: Option<Text>,
    pub(super) dns: Texts,
    pub(super) ntp: Texts,
    pub(super) domain: Option<Text>,
    pub(super) lease: Option<Text>,
    pub(super) interface: Texts,
    pub(super) relays: Texts,
    pub(super) ipv6: Option<Ipv6Wire>,
}

pub(super) struct Ipv6Wire {
    pub(super) span: Range<usize>,
    pub(super) prefix: Option<Text>,
    pub(super) pool: Option<Text>,
    pub(super) relays: Texts,
}

pub(super) struct ReservationWire {
    pub(super) span: Range<usize>,
    pub(super) mac: Option<Text>,
    pub(super) address: Option<Text>,
}

pub(super) struct ArchWire {
    pub(super) span: Range<usize>,
    pub(super) code: Option<Number>,
    pub(super) name: Option<Text>,
    pub(super) loads: Option<Text>,
    pub(super) bootfile: Option<Text>,
}

#[derive(Default)]
pub(super) struct BootWire {
    pub(super) folder: Option<Text>,
    pub(super) ipxe: Option<Text>,
    pub(super) bios: Option<Text>,
    pub(super) uefi: Option<Text>,
    pub(super) local: Option<Text>,
    pub(super) flash_tries: Option<Number>,
}

#[derive(Default)]
pub(super) struct DiscoveryWire {
    pub(super) mode: Option<Text>,
    pub(super) script: Option<Text>,
    pub(super) per_second: Option<Number>,
    pub(super) limit: Option<Number>,
}

/// A kernel and what goes with it: the live environment, or an installer.
pub(super) struct LinuxWire {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) kernel: Option<Text>,
    pub(super) initrd: Texts,
    pub(super) cmdline: Option<Text>,
    pub(super) answer: Option<Text>,
}

pub(super) struct ImageWire {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) folder: Option<Text>,
}

pub(super) struct ScriptWire {
    pub(super) span: Range<usize>,
    pub(super) name: Option<Text>,
    pub(super) path: Option<Text>,
}

#[derive(Default)]
pub(super) struct LimitsWire {
    pub(super) leases: Option<Number>,
    pub(super) dhcp_burst: Option<Number>,
    pub(super) dhcp_per_second: Option<Number>,
    pub(super) tftp_transfers: Option<Number>,
    pub(super) tftp_transfers_per_client: Option<Number>,
    pub(super) http_connections: Option<Number>,
    pub(super) http_connections_per_client: Option<Number>,
    pub(super) attempt: Option<Text>,
    pub(super) stop_wait: Option<Text>,
}

#[derive(Default)]
pub(super) struct MetricsWire {
    pub(super) listen: Texts,
}

#[derive(Default)]
pub(super) struct LogWire {
    pub(super) level: Option<Text>,
    pub(super) dhcp: Option<Text>,
    pub(super) tftp: Option<Text>,
    pub(super) http: Option<Text>,
    pub(super) lab: Option<Text>,
    pub(super) store: Option<Text>,
    pub(super) api: Option<Text>,
}

impl MetricsWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            listen: table.texts(
                "listen",
                "an address like \"127.0.0.1:9568\", or a list of them",
            ),
        };
        table.finish();
        wire
    }
}

impl LogWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            level: table.text("level", "warn"),
            dhcp: table.text("dhcp", "warn"),
            tftp: table.text("tftp", "warn"),
            http: table.text("http", "warn"),
            lab: table.text("lab", "warn"),
            store: table.text("store", "warn"),
            api: table.text("api", "info"),
        };
        table.finish();
        wire
    }
}

impl ServeWire {
    pub(super) fn read(mut root: Reader<'_, '_>) -> Self {
        let wire = Self {
            state: root
                .table("state", "state")
                .map_or_else(StateWire::default, StateWire::read),
            interfaces: each(&mut root, "interface", InterfaceWire::read),
            subnets: each(&mut root, "subnet", SubnetWire::read),
            reservations: each(&mut root, "reservation", ReservationWire::read),
            archs: each(&mut root, "arch", ArchWire::read),
            boot: root
                .table("boot", "boot")
                .map_or_else(BootWire::default, BootWire::read),
            discovery: root
                .table("discovery", "discovery")
                .map_or_else(DiscoveryWire::default, DiscoveryWire::read),
            live: root.table("live", "live").map(LinuxWire::live),
            images: each(&mut root, "image", ImageWire::read),
            installers: each(&mut root, "installer", LinuxWire::installer),
            scripts: each(&mut root, "script", ScriptWire::read),
            limits: root
                .table("limits", "limits")
                .map_or_else(LimitsWire::default, LimitsWire::read),
            artifacts: root
                .table("artifacts", "artifacts")
                .map_or_else(ArtifactsWire::default, ArtifactsWire::read),
            api: root
                .table("api", "api")
                .map_or_else(ApiWire::default, ApiWire::read),
            metrics: root
                .table("metrics", "metrics")
                .map_or_else(MetricsWire::default, MetricsWire::read),
            log: root
                .table("log", "log")
                .map_or_else(LogWire::default, LogWire::read),
        };
        root.finish();
        wire
    }
}

/// Every `[[key]]` of the file.
fn each<T>(
    root: &mut Reader<'_, '_>,
    key: &'static str,
    read: impl FnMut(Reader<'_, '_>) -> T,
) -> Vec<T> {
    let tables = root.tables(key, key);
    tables.map_or_else(Vec::new, |tables| {
        tables.into_inner().into_iter().map(read).collect()
    })
}

impl StateWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            folder: table.text("folder", "/var/lib/bootgate"),
            keep_attempts: table.number("keep_attempts", "100"),
        };
        table.finish();
        wire
    }
}

impl InterfaceWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "eth1"),
            dhcp: table.text("dhcp", "proxy"),
            address: table.text("address", "192.168.1.5"),
            http_port: table.number("http_port", "80"),
            tftp: table.flag("tftp"),
            tftp_ports: table.text("tftp_ports", "50000-50999"),
            tftp_single_port: table.flag("tftp_single_port"),
            beside_others: table.flag("beside_others"),
        };
        table.finish();
        wire
    }
}

impl SubnetWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let ranges = "a range like \"10.0.0.100-10.0.0.199\", or a list of them";
        let addresses = "an address like \"10.0.0.1\", or a list of them";
        let wire = Self {
            span: table.span(),
            network: table.text("network", "10.0.0.0/24"),
            ranges: table.texts("ranges", ranges),
            router: table.text("router", "10.0.0.1"),
            dns: table.texts("dns", addresses),
            ntp: table.texts("ntp", addresses),
            domain: table.text("domain", "lab.example"),
            lease: table.text("lease", "1h"),
            interface: table.texts("interface", "an interface like \"eth1\", or a list of them"),
            relays: table.texts("relays", addresses),
            ipv6: table.table("ipv6", "subnet.ipv6").map(Ipv6Wire::read),
        };
        table.finish();
        wire
    }
}

impl Ipv6Wire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            prefix: table.text("prefix", "fd00:77::/64"),
            pool: table.text("pool", "fd00:77::100-fd00:77::1ff"),
            relays: table.texts(
                "relays",
                "an address like \"fd00:99::1\", or a list of them",
            ),
        };
        table.finish();
        wire
    }
}

impl ReservationWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            mac: table.text("mac", "52:54:00:12:34:56"),
            address: table.text("address", "10.0.0.10"),
        };
        table.finish();
        wire
    }
}

impl ArchWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            code: table.number("code", "11"),
            name: table.text("name", "arm64 UEFI"),
            loads: table.text("loads", "tftp"),
            bootfile: table.text("bootfile", "snponly-arm64.efi"),
        };
        table.finish();
        wire
    }
}

impl BootWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            folder: table.text("folder", "/srv/boot"),
            ipxe: table.text("ipxe", "/srv/ipxe"),
            bios: table.text("bios", "undionly.kpxe"),
            uefi: table.text("uefi", "snponly.efi"),
            local: table.text("local", "script"),
            flash_tries: table.number("flash_tries", "3"),
        };
        table.finish();
        wire
    }
}

impl DiscoveryWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            mode: table.text("mode", "local"),
            script: table.text("script", "menu"),
            per_second: table.number("per_second", "5"),
            limit: table.number("limit", "4096"),
        };
        table.finish();
        wire
    }
}

impl LinuxWire {
    fn live(table: Reader<'_, '_>) -> Self {
        Self::read(table, false)
    }

    fn installer(table: Reader<'_, '_>) -> Self {
        Self::read(table, true)
    }

    fn read(mut table: Reader<'_, '_>, installer: bool) -> Self {
        let wire = Self {
            span: table.span(),
            name: installer.then(|| table.text("name", "debian-12")).flatten(),
            kernel: table.text("kernel", "vmlinuz"),
            initrd: table.texts("initrd", "a path or a list of paths"),
            cmdline: table.text("cmdline", "console=ttyS0"),
            answer: installer
                .then(|| table.text("answer", "preseed.cfg"))
                .flatten(),
        };
        table.finish();
        wire
    }
}

impl ImageWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "debian-12"),
            folder: table.text("folder", "images/debian-12"),
        };
        table.finish();
        wire
    }
}

impl ScriptWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "menu"),
            path: table.text("path", "menu.ipxe"),
        };
        table.finish();
        wire
    }
}

impl LimitsWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            leases: table.number("leases", "4096"),
            dhcp_burst: table.number("dhcp_burst", "20"),
            dhcp_per_second: table.number("dhcp_per_second", "5"),
            tftp_transfers: table.number("tftp_transfers", "1024"),
            tftp_transfers_per_client: table.number("tftp_transfers_per_client", "8"),
            http_connections: table.number("http_connections", "2048"),
            http_connections_per_client: table.number("http_connections_per_client", "64"),
            attempt: table.text("attempt", "6h"),
            stop_wait: table.text("stop_wait", "5m"),
        };
        table.finish();
        wire
    }
}
