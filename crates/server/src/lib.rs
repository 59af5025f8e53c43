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
mod depot;
mod desk;
mod dhcp;
mod dhcp6;
pub mod door;
mod drops;
mod fact;
mod files;
mod held;
mod http;
pub mod lab;
mod leases;
mod loaders;
mod machines;
mod metrics;
mod ra;
pub mod settings;
mod shared;
mod socket;
mod tftp;
mod transfers;

pub use artifacts::{Artifact, ArtifactName, ArtifactNameError, Artifacts};
pub use boot_server::{Addresses, BootServer, Bound};
pub use bootgate_netboot::dhcp::DhcpMode;
pub use bootgate_netboot::policy::{ArchTable, Bootfiles, arch};
pub use bootgate_netboot::script::LoaderKind;
pub use config::{Ip6Config, Limits, ServerConfig, Services, StartError};
pub use dhcp6::dhcp6_responder;
pub use fact::{EventSink, Fact};
pub use machines::{MachineBoot, MachineConfig, Machines, ScriptBoot};
pub use metrics::{MetricsServer, monitor_router};
pub use shared::{Shared, SharedLookup, SharedParts};
pub use socket::{BoxFuture, PacketSocket, SocketSource};
