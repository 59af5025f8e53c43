//! The rootless sandbox: namespaces, bridge, taps, sockets and the userspace wire.
//!
//! - [`Sandbox::enter`] forks the *holder* into private namespaces; it builds segments, ports and sockets there,
//!   and runs programs as its children. The caller stays on the host's network.
//! - A [`Port`] is the segment's side of a client's link. [`wire::Wire`] carries frames between it and QEMU's
//!   socket netdev, counts them, captures them and asks a [`wire::FrameHook`] about each.
//! - [`capture`] writes pcapng files, [`host`] makes the same sockets on a real interface, [`probe`] says what
//!   this host allows.

pub mod capture;
pub mod host;
pub mod probe;
pub mod wire;

mod channel;
mod error;
mod holder;
mod neighbours;
mod port;
mod protocol;
mod sandbox;
mod sockets;
mod sys;

pub use error::SandboxError;
pub use port::{Port, PortKind};
pub use sandbox::{
    Child, ExitStatus, HolderExit, HostConfig, HostInfo, PortMode, Sandbox, SandboxConfig,
    SegmentConfig, SegmentInfo, Spawn, UserNamespace,
};
pub use sockets::{PacketSocket, Udp6Options, UdpOptions};
