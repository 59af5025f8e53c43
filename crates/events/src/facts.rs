//! The nouns that event kinds are made of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{MacAddr, Stage, TargetName};

/// What a served file is for. The server knows it from the path; the verdict moves stages by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactRole {
    /// A network boot program: iPXE, shim, GRUB.
    Nbp,
    /// A boot script or loader configuration.
    Script,
    /// A kernel.
    Kernel,
    /// An initial RAM disk.
    Initrd,
    /// The chunk index of an image.
    ImageIndex,
    /// The bytes of an image.
    Image,
    /// An agent's call to the API.
    Api,
    /// Anything else.
    Other,
}

/// The protocol of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// RFC 1350 with the options of RFC 2347 to 2349 and 7440.
    Tftp,
    /// HTTP/1.1.
    Http,
}

/// The parts of a DHCP message worth a line in a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpFacts {
    /// `discover`, `offer`, `request`, `ack`, `nak`, `decline`, `release`, `inform`.
    pub message: String,
    /// Transaction id.
    pub xid: u32,
    /// `ciaddr`, option 50 or `yiaddr`, whichever the message is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Client system architectures (option 93), in the client's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<u16>,
    /// Vendor class (option 60), lossy text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_class: Option<String>,
    /// User class (option 77), lossy text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_class: Option<String>,
    /// The bootfile named in a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootfile: Option<String>,
    /// Which loader asks: `firmware`, `ipxe`, or `os` (no network boot wanted).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub loader: String,
}

/// A half-open range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

/// Which deadline expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadlineKind {
    /// The stage took longer than its deadline.
    Stage,
    /// The attempt took longer than its total deadline.
    Total,
    /// No console byte and no packet for the stall time.
    Stall,
}

/// Why the power state of a target changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PowerCause {
    /// The harness did it as a step of the scenario.
    Harness,
    /// The guest did it: reboot or shutdown from inside.
    Guest,
    /// A fault rule of the scenario did it.
    Fault,
    /// Neither; somebody or something outside did it.
    Outside,
}

/// The agent's current work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlashPhase {
    /// Comparing what is on the disk with the chunk index.
    Compare,
    /// Fetching and writing chunks.
    Write,
    /// Reading back what was written.
    Verify,
}

/// What is known about the host when a run starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// `kvm` or `tcg`; empty where no target is virtual.
    #[serde(default)]
    pub accel: String,
    /// Why that accelerator was chosen.
    #[serde(default)]
    pub accel_reason: String,
    /// The factor by which deadlines were stretched, in thousandths (1000 is none).
    #[serde(default)]
    pub deadline_scale_milli: u64,
    /// Version of QEMU, where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_version: Option<String>,
    /// Number of usable cores.
    #[serde(default)]
    pub cores: u32,
    /// Kernel release.
    #[serde(default)]
    pub kernel: String,
}

/// What is known about a target when a run starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts {
    /// Its name in the scenario.
    pub name: TargetName,
    /// `qemu` or `board`.
    pub driver: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// The MAC address it boots from.
    pub mac: MacAddr,
    /// Digest of the image to flash, hexadecimal SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_sha256: Option<String>,
    /// Deadlines in milliseconds after scaling.
    #[serde(default)]
    pub deadlines_ms: BTreeMap<Stage, u64>,
}
