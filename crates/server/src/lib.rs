//! DHCP, TFTP and HTTP shells that drive the protocol cores over real sockets.
//!
//! A [`BootServer`] serves one segment. It is given sockets by a [`SocketSource`], so that it does not know whether
//! the segment is in a namespace or on a real interface; it tells what happens through an [`EventSink`]. Which
//! machine may boot what stands in [`Machines`], what can be fetched stands in [`Artifacts`].

mod artifacts;
mod boot_server;
mod config;
mod context;
pub mod control;
mod desk;
mod dhcp;
mod dhcp6;
mod drops;
mod fact;
mod files;
mod http;
pub mod lab;
mod leases;
mod machines;
mod ra;
mod shared;
mod socket;
mod tftp;
mod transfers;

pub use artifacts::{Artifact, ArtifactName, ArtifactNameError, Artifacts};
pub use boot_server::{Addresses, BootServer, Bound};
pub use bootgate_netboot::policy::{Bootfiles, arch};
pub use config::{Ip6Config, Limits, ServerConfig, Services, StartError};
pub use dhcp6::dhcp6_responder;
pub use fact::{EventSink, Fact};
pub use machines::{MachineBoot, MachineConfig, Machines, ScriptBoot};
pub use shared::{Shared, SharedLookup, SharedParts};
pub use socket::{BoxFuture, PacketSocket, SocketSource};
