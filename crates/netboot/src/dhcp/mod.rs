//! A DHCPv4 server (RFC 2131) for boot clients, without its sockets.
//!
//! [`Responder::handle`] takes the payload of a UDP datagram that came to port 67 or 4011 and says what to send, and to
//! whom. What comes in is read by a sanitiser of our own ([`ClientFacts::parse`]), because firmware sends what
//! a strict decoder trips over.

mod books;
mod chain;
mod config;
mod explain;
mod facts;
mod judge;
mod lease;
mod options;
mod outcome;
mod parse_error;
mod pool;
pub mod probe;
pub(crate) mod rate;
mod reply;
mod responder;
mod runs;
mod scene;
mod server_facts;
mod wire;

pub use config::{
    DhcpConfig, DhcpLimits, DhcpMode, InterfaceConfig, InterfaceId, SubnetConfig, SubnetId,
};
pub use explain::Asked;
pub(crate) use explain::who;
pub use facts::{ClientFacts, MessageKind};
pub(crate) use facts::{architecture_of_class, readable};
pub use outcome::{
    Datagram, Destination, DropReason, Dropped, Ended, ForeignServer, Grant, LeaseEntry, Outcome,
    Port, Reply, Sighting, Usage,
};
pub use parse_error::ParseError;
pub use responder::Responder;
pub use server_facts::{ServerFacts, ServerMessage};

/// Longest message that is read, in bytes of UDP payload: what an Ethernet frame carries. A socket is to be read with
/// room for one more, so that a longer one is told from one that fits.
pub const MESSAGE_MAX: usize = 1472;
/// UDP port of DHCP servers and relays.
pub const SERVER_PORT: u16 = 67;
/// UDP port of DHCP clients.
pub const CLIENT_PORT: u16 = 68;
/// UDP port of PXE boot servers (PXE 2.1 section 2.2.5).
pub const PXE_PORT: u16 = 4011;
