//! A DHCPv6 server (RFC 8415) for boot clients (RFC 5970, UEFI 2.10 section 24), without its sockets.
//!
//! [`Responder::handle`] takes the payload of a UDP datagram that came to port 547 and says what to send, and to whom.
//! What comes in is read by a sanitiser of our own ([`ClientFacts::parse`]). What a client boots is decided by
//! [`crate::policy`], as for DHCPv4; only how it is told differs: always by a URL (option 59).

mod config;
mod explain;
mod facts;
mod lease;
mod options;
mod outcome;
mod relay;
mod reply;
mod responder;

pub use config::{DhcpConfig, InterfaceConfig, SubnetConfig};
use facts::server_of_reply;
pub use facts::{
    ClientFacts, IdentityAssociation, MessageKind, ParseError, client_name, mac_of_address,
    parse_client_name,
};
pub use outcome::{Datagram, Ended, ForeignServer, Grant, LeaseEntry, Outcome, Reply};
pub use relay::Relay;
pub use responder::Responder;

use std::net::Ipv6Addr;

/// UDP port of DHCPv6 servers and relays.
pub const SERVER_PORT: u16 = 547;
/// UDP port of DHCPv6 clients.
pub const CLIENT_PORT: u16 = 546;
/// The group that all servers and relays of a link listen to (RFC 8415 section 7.1).
pub const ALL_SERVERS_AND_RELAYS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// The group that all servers of a site listen to, for relays that know none by address.
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 1, 3);
