//! Types that cross the wire between the server, the agent, the command line and the page.
//!
//! Paths are built here too, so that server and client cannot disagree about them.

pub mod access;
pub mod artifact;
mod chunks;
pub mod control;
mod lab;
mod plan;

pub use chunks::{Chunk, ChunkIndex, ChunkIndexError, DEFAULT_CHUNK_SIZE, INDEX_SCHEMA, Sha256Hex};
pub use lab::{
    Attempt, BootMode, DiskFacts, DiskState, ExpectedFlash, ExplainStep, Explanation, FlashOrder,
    Inventory, Lease, LeaseState, LocalBoot, Machine, NicFacts, Nonce, NonceParseError,
    UndrivenDevice, UnixMicros,
};
pub use plan::{
    AfterFlash, AgentHello, BootPlan, Completion, DiskSelector, Failure, FlashPlan, Progress, paths,
};

/// Keys of the kernel command line that the agent reads. Written by the boot script, read by PID 1.
pub mod cmdline {
    /// The attempt's nonce.
    pub const NONCE: &str = "bootgate.nonce";
    /// Base URL of the server: `http://10.77.0.1` (an IP address, with a port where it is not 80).
    pub const SERVER: &str = "bootgate.server";
    /// Address and netmask iPXE got: `10.77.0.10/255.255.255.0`. Absent: the agent runs DHCP itself.
    pub const ADDRESS: &str = "bootgate.ip";
    /// Default gateway, where there is one.
    pub const GATEWAY: &str = "bootgate.gw";
    /// MAC address of the interface that booted, in any of `:` or `-` notation.
    pub const MAC: &str = "bootgate.mac";
    /// The VLAN whose frames have a tag at that interface, 1 to 4094; absent: none have.
    pub const VLAN: &str = "bootgate.vlan";
}
