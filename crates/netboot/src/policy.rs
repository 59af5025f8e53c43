//! What a client gets to boot: `(ClientFacts, BootMachine) -> Decision`, with the reason in words.

pub mod arch;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bootgate_events::MacAddr;

pub use arch::{ArchRow, ArchTable, Bootfiles, Firmware, Transport};

use crate::dhcp::{ClientFacts, DhcpMode};

/// The user class (option 77) by which an iPXE of this project tells itself from one in a network card's ROM: its
/// embedded script says `set user-class bootgate` before its DHCP.
pub const OWN_USER_CLASS: &str = "bootgate";

/// What a machine may boot now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootMachine {
    /// Whether it may boot from the network. Otherwise it gets a plain lease and no bootfile.
    pub netboot: bool,
    /// Its own network boot programs for firmware that is not iPXE, before those of the table.
    pub bootfiles: Bootfiles,
    /// Whether another loader than iPXE boots it: an iPXE in a network card's ROM is then firmware as any other, and gets
    /// the boot program instead of a script.
    pub no_script: bool,
    /// Why, in words, for explanations: its boot mode and whatever else decided `netboot`.
    pub note: String,
}

/// Tells what a machine may boot.
pub trait MachineLookup {
    /// The machine with this hardware address; `None` where it is unknown. Called for boot loaders only, once a
    /// message.
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine>;

    /// Whether the machine is known. Called for any client, and only where addresses run short: a known machine
    /// finds room where a stranger does not. Must not make it known.
    fn is_known(&self, mac: &MacAddr) -> bool {
        self.machine(mac).is_some()
    }
}

/// Where a decision is made: the servers it points to, and what is known of architectures.
#[derive(Clone, Copy, Debug)]
pub struct Servers<'a> {
    /// Their address, of either family.
    pub ip: IpAddr,
    /// Port of the HTTP server.
    pub http_port: u16,
    /// What is known of architectures.
    pub architectures: &'a ArchTable,
    /// What the DHCP server does on this interface.
    pub mode: DhcpMode,
}

impl Servers<'_> {
    /// Why there is nothing to boot, as the client gets it: an address alone, or from a proxy nothing at all.
    fn nothing(&self, why: &str) -> Cow<'static, str> {
        match self.mode {
            DhcpMode::Full => format!("plain lease: {why}").into(),
            DhcpMode::Proxy | DhcpMode::Off => format!("nothing to boot: {why}").into(),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loader {
    /// Firmware: a PXE ROM, UEFI's own network boot, U-Boot.
    Firmware,
    /// iPXE, from a ROM or chainloaded.
    Ipxe,
    /// iPXE with this project's embedded script ([`OWN_USER_CLASS`]).
    OwnIpxe,
    /// Anything else; no network boot wanted.
    Os,
}

impl Loader {
    /// The name that events use: `firmware`, `ipxe` (both kinds) or `os`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Loader::Firmware => "firmware",
            Loader::Ipxe | Loader::OwnIpxe => "ipxe",
            Loader::Os => "os",
        }
    }

    /// Whether it is iPXE of any kind.
    #[must_use]
    pub fn is_ipxe(self) -> bool {
        matches!(self, Loader::Ipxe | Loader::OwnIpxe)
    }
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who asks.
    pub loader: Loader,
    /// The architecture it was decided for, where one was looked at.
    pub architecture: Option<u16>,
    /// What it may boot.
    pub boot: Boot,
    /// Why, in words.
    pub reason: Cow<'static, str>,
}

/// What a client may boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Nothing: an address and no bootfile.
    Nothing,
    /// A network boot program from the TFTP server.
    Tftp(String),
    /// A network boot program by URL, for UEFI HTTP Boot.
    Http(String),
    /// A script, by URL.
    Script(String),
    /// No bootfile, but the server to look for one on: U-Boot looks for its configuration by itself.
    NextServer,
    /// The Raspberry Pi's ROM: no bootfile, the server, and the menu that it insists on.
    RaspberryPi,
    /// No reply at all: the client could not use any.
    Refuse,
}

impl Boot {
    /// The bootfile's name or URL, where there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Boot::Tftp(name) | Boot::Script(name) | Boot::Http(name) => Some(name),
            Boot::Nothing | Boot::NextServer | Boot::RaspberryPi | Boot::Refuse => None,
        }
    }

    /// Whether there is anything to boot.
    #[must_use]
    pub fn is_some(&self) -> bool {
        !matches!(self, Boot::Nothing | Boot::Refuse)
    }
}

/// iPXE's feature codes in option 175 (its `src/include/ipxe/features.h`).
mod feature {
    pub(super) const HTTP: u8 = 19;
}

/// Parts of hardware addresses that the Raspberry Pi's makers were given.
const RASPBERRY_PI: [[u8; 3]; 6] = [
    [0xb8, 0x27, 0xeb],
    [0xdc, 0xa6, 0x32],
    [0xe4, 0x5f, 0x01],
    [0x28, 0xcd, 0xc1],
    [0xd8, 0x3a, 0xdd],
    [0x2c, 0xcf, 0x67],
];

/// Tells who asks. iPXE says so by its user class, by its encapsulated options, or by both; firmware by its vendor
/// class or an architecture.
#[must_use]
pub fn loader_of(client: &ClientFacts) -> Loader {
    let class = |name: &str| client.user_classes.iter().any(|c| c == name.as_bytes());
    if class(OWN_USER_CLASS) {
        Loader::OwnIpxe
    } else if class("iPXE") || !client.ipxe.is_empty() {
        Loader::Ipxe
    } else if client.vendor_class_is("PXEClient")
        || client.vendor_class_is("HTTPClient")
        || client.vendor_class_is("U-Boot")
        || !client.architectures.is_empty()
    {
        Loader::Firmware
    } else {
        Loader::Os
    }
}

/// Decides what a client gets. Pure and immediate: a boot waits for it.
///
/// - A machine that is unknown, or that is not to boot from the network, gets a plain lease.
/// - iPXE gets its script by URL, whether it is a ROM or was chainloaded. The script is made per machine and per
///   attempt, so that a ROM needs no second iPXE, and nothing can chainload itself for ever.
/// - An iPXE that lists its features and has no HTTP among them gets the network boot program instead, unless it is
///   this project's own: that one never gets a program, so that it cannot load itself.
/// - Where another loader than iPXE boots the machine, iPXE gets the boot program too.
/// - UEFI HTTP Boot gets a network boot program by URL, other firmware one by TFTP, both by the table of architectures.
/// - A Raspberry Pi's ROM calls itself a BIOS (architecture 0). It is told by its hardware address and gets its menu.
#[must_use]
pub fn decide(
    client: &ClientFacts,
    machine: Option<&BootMachine>,
    servers: &Servers<'_>,
) -> Decision {
    let loader = loader_of(client);
    let decision = |boot, reason: Cow<'static, str>| Decision {
        loader,
        architecture: None,
        boot,
        reason,
    };
    if loader == Loader::Os {
        return decision(
            Boot::Nothing,
            "plain lease: no network boot asked for".into(),
        );
    }
    let Some(machine) = machine else {
        return decision(Boot::Nothing, servers.nothing("unknown machine"));
    };
    if !machine.netboot {
        let reason = servers.nothing("this machine is not to boot from the network now");
        return decision(Boot::Nothing, reason);
    }
    match loader {
        Loader::OwnIpxe | Loader::Ipxe if machine.no_script => {
            boot_program(client, machine, servers, loader)
        }
        Loader::OwnIpxe => decision(
            Boot::Script(script_url(&client.mac, servers)),
            "our own iPXE gets this machine's boot script".into(),
        ),
        Loader::Ipxe if has_http(client) => decision(
            Boot::Script(script_url(&client.mac, servers)),
            "iPXE gets this machine's boot script".into(),
        ),
        _ if is_raspberry_pi(client) => Decision {
            architecture: client.architectures.first().copied(),
            ..decision(
                Boot::RaspberryPi,
                "Raspberry Pi gets its menu, and fetches its files by its serial number".into(),
            )
        },
        _ => boot_program(client, machine, servers, loader),
    }
}

/// URL of a machine's boot script.
#[must_use]
pub fn script_url(mac: &MacAddr, servers: &Servers<'_>) -> String {
    url(servers, &bootgate_api::paths::script(mac))
}

fn url(servers: &Servers<'_>, path: &str) -> String {
    match (servers.ip, servers.http_port) {
        (IpAddr::V4(ip), 80) => format!("http://{ip}{path}"),
        (IpAddr::V6(ip), 80) => format!("http://[{ip}]{path}"),
        (ip, port) => format!("http://{}{path}", SocketAddr::new(ip, port)),
    }
}

/// Whether firmware asks for UEFI HTTP Boot: by its class, or by architectures that all fetch by HTTP.
fn wants_http_boot(client: &ClientFacts, table: &ArchTable) -> bool {
    let http = |code: &u16| {
        table
            .row(*code)
            .is_some_and(|row| row.transport == Transport::Http)
    };
    client.vendor_class_is("HTTPClient")
        || (!client.vendor_class_is("PXEClient")
            && !client.architectures.is_empty()
            && client.architectures.iter().all(http))
}

/// Whether it is a Raspberry Pi's ROM: by its own architecture code, or by what older ones send.
fn is_raspberry_pi(client: &ClientFacts) -> bool {
    let oui = RASPBERRY_PI.iter().any(|oui| client.mac.0.starts_with(oui));
    let rom = client.vendor_class_is("PXEClient:Arch:00000:UNDI:002001");
    client.architectures.contains(&arch::RPI) || (oui && rom)
}

/// Whether an iPXE fetches over HTTP. One that lists no features at all is believed to.
fn has_http(client: &ClientFacts) -> bool {
    // Features are the codes from 16 to 127; above are settings.
    let mut features = client
        .ipxe
        .iter()
        .filter(|(code, _)| (16..128).contains(code));
    let listed = features.clone().next().is_some();
    !listed || features.any(|(code, _)| *code == feature::HTTP)
}

fn boot_program(
    client: &ClientFacts,
    machine: &BootMachine,
    servers: &Servers<'_>,
    loader: Loader,
) -> Decision {
    let table = servers.architectures;
    let http = loader == Loader::Firmware && wants_http_boot(client, table);
    // A PXE client that names no architecture is older than option 93: BIOS.
    let architectures = match client.architectures.as_slice() {
        [] => &[arch::BIOS][..],
        listed => listed,
    };
    let found = architectures
        .iter()
        .find_map(|code| Some((*code, table.bootfile(*code, &machine.bootfiles)?)));
    let decision = |code: u16, boot, reason: String| Decision {
        loader,
        architecture: Some(code),
        boot,
        reason: reason.into(),
    };
    match found {
        Some((code, file)) => {
            let name = table.name(code);
            if http {
                let url = if file.contains("://") {
                    file.to_owned()
                } else {
                    url(servers, &bootgate_api::paths::artifact(file))
                };
                let reason = format!("{name} firmware gets its network boot program by HTTP");
                decision(code, Boot::Http(url), reason)
            } else {
                let reason = format!("{name} firmware gets its network boot program");
                decision(code, Boot::Tftp(file.to_owned()), reason)
            }
        }
        None => no_program(architectures, servers, decision),
    }
}

fn no_program(
    architectures: &[u16],
    servers: &Servers<'_>,
    decision: impl Fn(u16, Boot, String) -> Decision,
) -> Decision {
    let table = servers.architectures;
    let first = architectures.first().copied().unwrap_or(arch::BIOS);
    let uboot = |code: &&u16| {
        table
            .row(**code)
            .is_some_and(|row| row.firmware == Firmware::UBoot)
    };
    if let Some(code) = architectures.iter().find(uboot) {
        let name = table.name(*code);
        let reason = format!("{name} gets the server to look for its configuration on");
        return decision(*code, Boot::NextServer, reason);
    }
    let names: Vec<_> = architectures
        .iter()
        .map(|code| match table.row(*code) {
            Some(row) => format!("{} (architecture `{code}`)", row.name),
            None => format!("architecture `{code}`"),
        })
        .collect();
    let why = format!("no network boot program for {}", names.join(", "));
    decision(first, Boot::Nothing, servers.nothing(&why).into_owned())
}
