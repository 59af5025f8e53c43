//! Machines, leases and boot attempts of a lab, as the store keeps them and the control API shows them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bootgate_events::{AttemptId, MacAddr, TargetVerdict};
use serde::{Deserialize, Serialize};

use crate::{AfterFlash, DiskSelector, Sha256Hex};

/// A moment on the wall clock: microseconds since 1970-01-01 00:00 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// This moment plus so many seconds; the largest one where that is past the end.
    #[must_use]
    pub fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }
}

/// What a machine does when it next boots from the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum BootMode {
    /// Boots its own disk.
    #[default]
    Local,
    /// Flashes an image once, then boots its disk: a flash that completed turns the mode into `local`.
    FlashOnce(FlashOrder),
    /// Flashes an image at each power-on, and boots the disk after each flash.
    FlashAlways(FlashOrder),
    /// Tells what it is made of, then restarts into whatever mode it had before (kept in `Machine::after_inventory`).
    Inventory,
    /// Boots a vendor's installer with its answer file.
    Install {
        /// Name of an installer in the server's configuration.
        installer: String,
    },
    /// Boots the operator's own script.
    Script {
        /// Name of a script in the server's configuration.
        script: String,
    },
}

impl BootMode {
    /// The mode's name: `local`, `flash-once`, `flash-always`, `inventory`, `install`, `script`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            BootMode::Local => "local",
            BootMode::FlashOnce(_) => "flash-once",
            BootMode::FlashAlways(_) => "flash-always",
            BootMode::Inventory => "inventory",
            BootMode::Install { .. } => "install",
            BootMode::Script { .. } => "script",
        }
    }

    /// The flash it orders, where it orders one.
    #[must_use]
    pub fn flash(&self) -> Option<&FlashOrder> {
        match self {
            BootMode::FlashOnce(order) | BootMode::FlashAlways(order) => Some(order),
            _ => None,
        }
    }

    /// What to tell somebody who asks for a mode by name that is not there yet; `None` for every other name.
    #[must_use]
    pub fn not_yet(name: &str) -> Option<&'static str> {
        match name {
            "interactive" => Some(
                "boot mode `interactive` is not there yet; `script` with a script of your own can show a menu",
            ),
            "ramboot" => Some(
                "boot mode `ramboot` is not there yet; `install` boots any kernel and initial RAM disk that run from memory",
            ),
            _ => None,
        }
    }
}

/// An image to write, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FlashOrder {
    /// Name of an image in the server's configuration.
    pub image: String,
    /// Which disk to write: all that is given must hold for exactly one disk.
    pub disk: DiskSelector,
    /// What the machine does when all is written, read back and reported.
    pub after: AfterFlash,
}

/// How a machine boots its own disk after a network boot program of ours ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LocalBoot {
    /// By firmware: UEFI by `exit`, a BIOS by `sanboot` of its first disk.
    #[default]
    Auto,
    /// Back to the firmware, which goes on with its boot order.
    Exit,
    /// A BIOS boots this drive (128 is 0x80, the first disk); UEFI goes back to the firmware.
    Drive(u8),
}

/// What is known of the content of a machine's disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum DiskState {
    /// Nothing was flashed from here.
    #[default]
    Unknown,
    /// A flash began and did not complete: the disk must not be booted.
    Dirty {
        /// The attempt that began it.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        attempt: AttemptId,
    },
    /// An image was written and read back.
    Flashed {
        /// Name of the image.
        image: String,
        /// Its digest.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        sha256: Sha256Hex,
        /// When.
        at: UnixMicros,
    },
}

/// A machine of the lab, known by the hardware address it boots from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Machine {
    /// Its hardware address.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mac: MacAddr,
    /// A name that people gave it; unique where given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it boots.
    pub boot: BootMode,
    /// The mode that comes back after an inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_inventory: Option<BootMode>,
    /// How it boots its own disk.
    #[serde(default)]
    pub local: LocalBoot,
    /// What is on its disk.
    #[serde(default)]
    pub disk: DiskState,
    /// Whether its next boot is its disk's, whatever the mode says: the boot after a flash in `flash-always`.
    #[serde(default)]
    pub local_next: bool,
    /// Flashes in a row that did not complete, or installations that did not say that they are done.
    #[serde(default)]
    pub failed_flashes: u32,
    /// Free words for searching and for templates.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The client architecture it last booted with (option 93).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<u16>,
    /// What it is made of, as the agent last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventory: Option<Inventory>,
    /// Whether it appeared by itself.
    #[serde(default)]
    pub discovered: bool,
    /// When it was first heard of.
    pub first_seen: UnixMicros,
    /// When it last made contact.
    #[serde(default)]
    pub last_seen: UnixMicros,
}

/// What a machine is made of, as the agent reads it from the running kernel. The body of
/// `POST` [`paths::inventory`](crate::paths::inventory).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Inventory {
    /// Manufacturer, product and serial number as SMBIOS has them.
    #[serde(default)]
    pub system: BTreeMap<String, String>,
    /// Model of the processor.
    #[serde(default)]
    pub cpu: String,
    /// Number of logical processors.
    #[serde(default)]
    pub cpus: u32,
    /// Usable memory in bytes.
    #[serde(default)]
    pub memory: u64,
    /// `bios` or `uefi`.
    #[serde(default)]
    pub firmware: String,
    /// Whole disks.
    #[serde(default)]
    pub disks: Vec<DiskFacts>,
    /// Network interfaces.
    #[serde(default)]
    pub nics: Vec<NicFacts>,
    /// Devices that no driver of the live environment took, without bridges, which have none anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undriven: Vec<UndrivenDevice>,
}

impl Inventory {
    /// Processor, memory, disks and interfaces in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let disks = self.disks.len();
        let nics = self.nics.len();
        let mebibytes = self.memory >> 20;
        let Self { cpus, cpu, .. } = self;
        format!("{cpus} x {cpu}, {mebibytes} MiB, {disks} disks, {nics} interfaces")
    }
}

/// One whole disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskFacts {
    /// Device path such as `/dev/vda`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Logical sector size in bytes.
    pub sector_size: u32,
    /// Serial number, where the device tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Model, where the device tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A device without a driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UndrivenDevice {
    /// The bus it is on: `pci`, `usb`, `virtio` or `scsi`.
    pub bus: String,
    /// Its address on the bus, as the kernel writes it: `0000:00:03.0`.
    pub address: String,
    /// What it is, in words, such as `network controller`; empty where the bus does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its class in hexadecimal digits: six of PCI, six of USB (class, subclass, protocol); empty where the bus has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Vendor and device in hexadecimal digits: `8086:100e`; on SCSI, type and model.
    pub ids: String,
}

impl fmt::Display for UndrivenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({}", self.bus, self.address, self.ids)?;
        for (before, text) in [("", &self.kind), ("class ", &self.class)] {
            if !text.is_empty() {
                write!(f, ", {before}{text}")?;
            }
        }
        f.write_str(")")
    }
}

/// One network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NicFacts {
    /// The kernel's name for it.
    pub name: String,
    /// Its hardware address.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mac: MacAddr,
    /// Its driver, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// An address that a machine may use, or that nobody may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Lease {
    /// The address.
    pub ip: IpAddr,
    /// Who has it (for a quarantined one: who found it taken).
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mac: MacAddr,
    /// What it is.
    pub state: LeaseState,
    /// When it ends, or ended.
    pub ends: UnixMicros,
    /// When it was last granted or changed.
    pub changed: UnixMicros,
    /// The client's DHCP unique identifier and identity association (DHCPv6 only), hexadecimal: `DUID/IAID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// What an address is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// Leased until its end.
    Leased,
    /// The lease ended or was released; kept in mind so that the machine gets the same address again.
    Ended,
    /// Somebody else on the segment uses the address (DECLINE); nobody gets it before its end.
    Quarantined,
}

/// The secret of one boot attempt: 32 hexadecimal digits of randomness, carried on the kernel command line and
/// required by every callback. Shown to nobody but the machine.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Nonce(String);

/// The text is not a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonceParseError;

impl fmt::Display for NonceParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a nonce is 32 lowercase hexadecimal digits")
    }
}

impl std::error::Error for NonceParseError {}

impl Nonce {
    /// A nonce of these 16 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The secret itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Without the secret, for logs.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce(..)")
    }
}

impl FromStr for Nonce {
    type Err = NonceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NonceParseError)
        }
    }
}

/// One boot attempt of one machine, without its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attempt {
    /// Its public number; later attempts sort after earlier ones. Also the run id of its events.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub id: AttemptId,
    /// The machine.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub mac: MacAddr,
    /// The mode it boots by, frozen when the attempt opened.
    pub boot: BootMode,
    /// Whether it boots its disk whatever the mode says ([`Machine::local_next`] when the attempt opened).
    #[serde(default)]
    pub local: bool,
    /// What a completed flash must have written; `None` where nothing is flashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<ExpectedFlash>,
    /// How often a nonce was given out.
    #[serde(default)]
    pub nonces: u32,
    /// The address that the current nonce was given to; callbacks from elsewhere are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// When its first packet came.
    pub opened: UnixMicros,
    /// When it got its verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<UnixMicros>,
    /// Its verdict and stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "Option<BTreeMap<String, serde_json::Value>>")
    )]
    pub verdict: Option<TargetVerdict>,
}

/// What a completed flash must have written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExpectedFlash {
    /// Digest of the image.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub image_sha256: Sha256Hex,
    /// Digest over its chunks ([`ChunkIndex::chunks_sha256`](crate::ChunkIndex::chunks_sha256)).
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub chunks_sha256: Sha256Hex,
    /// Its size in bytes.
    pub size: u64,
}

/// A step in deciding what a machine gets, for `bootgate explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExplainStep {
    /// What was looked at: `interface`, `subnet`, `machine`, `mode`, `loader`, `architecture`, `lease`, `reply`, ...
    pub about: String,
    /// What was found, in words.
    pub found: String,
}

/// Why a machine got, or would get, its reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// The steps, in the order in which they are decided.
    pub steps: Vec<ExplainStep>,
    /// What the machine gets, in one line.
    pub outcome: String,
}
