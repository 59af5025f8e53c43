//! The userspace wire between a client and its segment.
//!
//! The client's end speaks the stream of QEMU's `-netdev socket,fd=N`: each frame after its length in four bytes,
//! big endian (QEMU `net/socket.c`).

mod pump;
mod thread;
mod vlan;

use std::time::Duration;

use crate::capture::{CaptureHandle, InterfaceId};

pub use thread::{Wire, WireHandle, client_pair};
pub use vlan::{VlanLoss, VlanPort, VlanTeller};

/// Largest frame carried, in bytes: QEMU's `NET_BUFSIZE` (`include/net/net.h`: 4096 + 65536).
pub const MAX_FRAME: usize = 4096 + 65536;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the segment to the client.
    ToClient,
    /// From the client to the segment.
    FromClient,
}

/// What happens to a frame.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameDecision {
    /// It goes on as it is.
    Pass,
    /// It is lost.
    Drop,
    /// This one goes on in its place.
    Replace(Vec<u8>),
}

/// Decides about every frame of a wire, on the wire's thread, so it must not block.
pub trait FrameHook: Send {
    /// Decides about one whole Ethernet frame (no checksum at its end).
    fn frame(&mut self, direction: Direction, frame: &[u8]) -> FrameDecision;
}

/// How a wire works.
#[non_exhaustive]
pub struct WireConfig {
    /// Where frames are captured, as they are on the client's side and before the hook saw them.
    pub capture: Option<(CaptureHandle, InterfaceId)>,
    /// Who decides about frames.
    pub hook: Option<Box<dyn FrameHook>>,
    /// The segment's side is a port of one VLAN: the client, the capture and the hook see tagged frames, and the segment
    /// untagged ones.
    pub vlan: Option<VlanPort>,
    /// Bytes kept for a client that does not read; frames beyond are dropped and counted.
    pub max_pending_bytes: usize,
}

impl Default for WireConfig {
    fn default() -> Self {
        Self {
            capture: None,
            hook: None,
            vlan: None,
            max_pending_bytes: 8 << 20,
        }
    }
}

impl WireConfig {
    /// Captures every frame.
    #[must_use]
    pub fn capture(mut self, handle: CaptureHandle, interface: InterfaceId) -> Self {
        self.capture = Some((handle, interface));
        self
    }

    /// Asks `hook` about every frame.
    #[must_use]
    pub fn hook(mut self, hook: Box<dyn FrameHook>) -> Self {
        self.hook = Some(hook);
        self
    }

    /// Connects the client to one VLAN, with its tag.
    #[must_use]
    pub fn vlan(mut self, port: VlanPort) -> Self {
        self.vlan = Some(port);
        self
    }
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames delivered.
    pub frames: u64,
    /// Bytes of the frames delivered.
    pub bytes: u64,
    /// Frames lost because the receiver did not keep up or refused them.
    pub dropped: u64,
    /// Frames lost because the hook said so.
    pub hook_dropped: u64,
    /// Frames lost because they are not of the port's VLAN.
    pub vlan_dropped: u64,
}

/// What a wire has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireStats {
    /// From the segment to the client.
    pub to_client: LinkCounters,
    /// From the client to the segment.
    pub from_client: LinkCounters,
    /// How long ago the last frame of either direction passed; `None` before the first.
    pub idle: Option<Duration>,
}

/// Why a wire ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireEnd {
    /// The client closed its end (QEMU exited).
    ClientClosed,
    /// The port is gone (the sandbox ended).
    PortClosed,
    /// It was stopped from here.
    Stopped,
    /// The client's stream is not one of frames, or the kernel refused a step.
    Failed(String),
}
