//! The segment's side of a client's link.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How a port reaches the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// A TAP interface in the bridge.
    Tap,
    /// A veth pair with one end in the bridge and an `AF_PACKET` socket on the other: needs no `/dev/net/tun`.
    PacketVeth,
}

/// A port of a segment: whole Ethernet frames go in and come out of it. Clones are the same port; one wire at a
/// time can use it. The port leaves the bridge when its last clone is dropped (TAP) or the sandbox ends (veth).
#[derive(Clone, Debug)]
pub struct Port {
    #[allow(dead_code)]
    pub(crate) shared: Arc<PortShared>,
}

#[derive(Debug)]
#[allow(dead_code)]
pub(crate) struct PortShared {
    pub(crate) name: String,
    pub(crate) kind: PortKind,
    pub(crate) fd: OwnedFd,
}

impl Port {
    /// The name it was created with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How it reaches the segment.
    #[must_use]
    pub fn kind(&self) -> PortKind {
        self.shared.kind
    }
}
