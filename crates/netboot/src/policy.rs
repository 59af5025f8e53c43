//! What a client gets to boot: `(ClientFacts, BootMachine) -> Decision`, with the reason in words.

use std::fmt;
use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use crate::dhcp::ClientFacts;

/// Client architectures of option 93 (RFC 4578, and IANA's list "Processor Architecture Types").
pub mod arch {
    /// x86 BIOS.
    pub const BIOS: u16 = 0;
    /// x86 UEFI, 32 bits.
    pub const UEFI_IA32: u16 = 6;
    /// "EFI BC" in RFC 4578, x64 UEFI in erratum 5625 and in what EDK2 sends.
    pub const UEFI_X64: u16 = 7;
    /// x64 UEFI in RFC 4578; sent by some firmware.
    pub const UEFI_X64_ALT: u16 = 9;
    /// arm64 UEFI.
    pub const UEFI_ARM64: u16 = 11;
    /// x86 UEFI HTTP Boot, 32 bits.
    pub const HTTP_IA32: u16 = 15;
    /// x64 UEFI HTTP Boot.
    pub const HTTP_X64: u16 = 16;
    /// arm64 UEFI HTTP Boot.
    pub const HTTP_ARM64: u16 = 19;
}

/// What a machine may boot now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootMachine {
    /// Whether it may boot from the network. Otherwise it gets a plain lease and no bootfile.
    pub netboot: bool,
    /// Network boot programs for firmware that is not iPXE.
    pub bootfiles: Bootfiles,
}

/// Names of network boot programs on the TFTP server, one for each kind of firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bootfiles {
    /// For x86 BIOS, such as `undionly.kpxe`.
    pub bios: Option<String>,
    /// For x64 UEFI, such as `snponly.efi`.
    pub uefi_x64: Option<String>,
}

/// Tells what a machine may boot.
pub trait MachineLookup {
    /// The machine with this hardware address; `None` where it is unknown.
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine>;
}

/// The servers a decision points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Their address.
    pub ip: Ipv4Addr,
    /// Port of the HTTP server.
    pub http_port: u16,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loader {
    /// Firmware: a PXE ROM or UEFI's own network boot.
    Firmware,
    /// iPXE, from a ROM or chainloaded.
    Ipxe,
    /// Anything else; no network boot wanted.
    Os,
}

impl Loader {
    /// The name that events use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Loader::Firmware => "firmware",
            Loader::Ipxe => "ipxe",
            Loader::Os => "os",
        }
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
    /// What it may boot.
    pub boot: Boot,
    /// Why, in words.
    pub reason: String,
}

/// What a client may boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// Nothing: an address and no bootfile.
    Nothing,
    /// A network boot program from the TFTP server.
    Tftp(String),
    /// A script, by URL.
    Script(String),
    /// No reply at all: the client could not use any.
    Refuse,
}

impl Boot {
    /// The bootfile's name or URL, where there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Boot::Tftp(name) | Boot::Script(name) => Some(name),
            Boot::Nothing | Boot::Refuse => None,
        }
    }
}

/// iPXE's feature codes in option 175 (its `src/include/ipxe/features.h`).
mod feature {
    pub(super) const HTTP: u8 = 19;
}

/// Decides what a client gets. Pure and immediate: a boot waits for it.
///
/// - A machine that is unknown, or that is not to boot from the network, gets a plain lease.
/// - iPXE gets its script by URL, whether it is a ROM or was chainloaded. The script is made per machine and per
///   attempt, so that a ROM needs no second iPXE, and nothing can chainload itself for ever.
/// - An iPXE that lists its features and has no HTTP among them gets the network boot program instead.
/// - Other firmware gets a network boot program for its architecture by TFTP.
/// - UEFI HTTP Boot is not served: firmware drops an offer without option 60 "HTTPClient", so none is sent.
#[must_use]
pub fn decide(client: &ClientFacts, machine: Option<&BootMachine>, servers: &Servers) -> Decision {
    let loader = loader_of(client);
    let decision = |boot, reason: String| Decision {
        loader,
        boot,
        reason,
    };
    if loader == Loader::Os {
        return decision(
            Boot::Nothing,
            "plain lease: no network boot asked for".to_owned(),
        );
    }
    if loader == Loader::Firmware && wants_http_boot(client) {
        return decision(
            Boot::Refuse,
            format!(
                "no offer: UEFI HTTP Boot (architecture {}) is not served here; boot over PXE",
                listed(&client.architectures)
            ),
        );
    }
    let Some(machine) = machine else {
        return decision(Boot::Nothing, "plain lease: unknown machine".to_owned());
    };
    if !machine.netboot {
        return decision(
            Boot::Nothing,
            "plain lease: this machine is not to boot from the network now".to_owned(),
        );
    }
    match loader {
        Loader::Ipxe if has_http(client) => {
            let url = script_url(&client.mac, servers);
            decision(
                Boot::Script(url),
                "iPXE gets this machine's boot script".to_owned(),
            )
        }
        _ => boot_program(client, machine, decision),
    }
}

/// URL of a machine's boot script.
#[must_use]
pub fn script_url(mac: &MacAddr, servers: &Servers) -> String {
    let path = bootgate_api::paths::script(mac);
    match servers.http_port {
        80 => format!("http://{}{path}", servers.ip),
        port => format!("http://{}:{port}{path}", servers.ip),
    }
}

/// Tells who asks. iPXE says so by its user class, by its encapsulated options, or by both; firmware by its vendor
/// class or an architecture.
fn loader_of(client: &ClientFacts) -> Loader {
    let ipxe_class = client.user_classes.iter().any(|class| class == b"iPXE");
    if ipxe_class || !client.ipxe.is_empty() {
        Loader::Ipxe
    } else if client.vendor_class_is("PXEClient")
        || client.vendor_class_is("HTTPClient")
        || !client.architectures.is_empty()
    {
        Loader::Firmware
    } else {
        Loader::Os
    }
}

fn wants_http_boot(client: &ClientFacts) -> bool {
    let http = [arch::HTTP_IA32, arch::HTTP_X64, arch::HTTP_ARM64];
    let all_http = client.architectures.iter().all(|arch| http.contains(arch));
    client.vendor_class_is("HTTPClient") || (!client.architectures.is_empty() && all_http)
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
    decision: impl Fn(Boot, String) -> Decision,
) -> Decision {
    let files = &machine.bootfiles;
    let known = client.architectures.iter().find_map(|code| match *code {
        arch::BIOS => Some(("BIOS", &files.bios)),
        arch::UEFI_X64 | arch::UEFI_X64_ALT => Some(("x64 UEFI", &files.uefi_x64)),
        _ => None,
    });
    // A PXE client that names no architecture is older than option 93: BIOS.
    let known = match client.architectures.as_slice() {
        [] => Some(("BIOS", &files.bios)),
        _ => known,
    };
    match known {
        Some((firmware, Some(file))) => decision(
            Boot::Tftp(file.clone()),
            format!("{firmware} firmware gets its network boot program"),
        ),
        Some((firmware, None)) => decision(
            Boot::Nothing,
            format!("plain lease: this machine has no network boot program for {firmware}"),
        ),
        None => decision(
            Boot::Nothing,
            format!(
                "plain lease: no network boot program for architecture {}",
                listed(&client.architectures)
            ),
        ),
    }
}

fn listed(architectures: &[u16]) -> String {
    let quoted: Vec<_> = architectures
        .iter()
        .map(|code| format!("`{code}`"))
        .collect();
    quoted.join(", ")
}
