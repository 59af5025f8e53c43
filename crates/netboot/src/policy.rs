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
