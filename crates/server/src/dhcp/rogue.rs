//! Other DHCP servers on a segment of ours.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::EventKind;
use bootgate_netboot::Time;
use bootgate_netboot::dhcp::{
    CLIENT_PORT, DhcpMode, ForeignServer, InterfaceId, SERVER_PORT, ServerFacts, Sighting,
};
use bootgate_netboot::dhcp6;
use bootgate_netboot::frame::udp4_in;

use crate::context::{Context, ERRORS_IN_A_ROW};
use crate::ra::Packets;

/// Time in which a server is told of once: short enough to see whether it is there still.
const TELL_EVERY: Duration = Duration::from_secs(300);
/// Servers that are told of in that time. Who invents servers gets no more events out of it.
const SERVERS_MAX: usize = 64;
/// Longest frame that is looked at.
const FRAME_MAX: usize = 2048;

/// What tells another server from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ServerName {
    /// Of DHCPv4: its address.
    V4(Ipv4Addr),
    /// Of DHCPv6: its DUID.
    Duid(Vec<u8>),
}

/// The servers that were told of.
#[derive(Debug, Default)]
pub(crate) struct Sightings(HashMap<(InterfaceId, ServerName), Time>);

impl Sightings {
    /// Whether this one is to be told of now.
    pub(crate) fn tell(&mut self, now: Time, interface: InterfaceId, server: ServerName) -> bool {
        self.0
            .retain(|_, told| now.saturating_sub(*told) < TELL_EVERY);
        let name = (interface, server);
        if self.0.len() >= SERVERS_MAX || self.0.contains_key(&name) {
            return false;
        }
        self.0.insert(name, now);
        true
    }
}

impl Context {
    /// Tells of another DHCP server, once in a while. In mode `proxy` there must be one.
    pub(crate) fn sighted(&self, server: &ForeignServer) {
        let name = {
            let responder = self.responder();
            let interfaces = &responder.config().interfaces;
            let own = interfaces.iter().any(|i| i.address == server.address);
            match interfaces.get(server.interface.0) {
                Some(interface) if interface.mode == DhcpMode::Full && !own => {
                    interface.name.clone()
                }
                _ => return,
            }
        };
        if !self.sight(server.interface, ServerName::V4(server.address)) {
            return;
        }
        let kind = EventKind::DhcpServerSeen {
            address: server.address.into(),
            mac: server.mac.filter(|_| server.by == Sighting::ItsReply),
            interface: name,
            by: server.by.to_string(),
        };
        self.emit(None, kind);
    }
}

impl Context {
    /// Tells of another DHCPv6 server, once in a while. Its address is `::` where only a client told of it: clients name a
    /// server by its DUID.
    pub(crate) fn sighted6(&self, server: &dhcp6::ForeignServer) {
        let name = ServerName::Duid(server.duid.clone());
        if !self.sight(server.interface, name) {
            return;
        }
        let interface = {
            let responder = self.responder();
            let interfaces = &responder.config().interfaces;
            let interface = interfaces.get(server.interface.0);
            interface.map_or_else(String::new, |interface| interface.name.clone())
        };
        let mut by = format!("{}; DUID ", server.by);
        for byte in &server.duid {
            let _ = write!(by, "{byte:02x}");
        }
        let address = server.address.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let kind = EventKind::DhcpServerSeen {
            address: address.into(),
            mac: server.mac(),
            interface,
            by,
        };
        self.emit(None, kind);
    }
}

/// Listens for other servers' replies until it is stopped. Only broadcasts, and what this host's own client asked
/// for, are heard on a switched network; a client that took another's offer tells of the rest.
pub(crate) async fn listen(context: Arc<Context>, packets: Packets) {
    let mut buffer = [0; FRAME_MAX];
    let mut errors = 0;
    loop {
        match packets.receive(&mut buffer).await {
            Ok(len) => {
                errors = 0;
                if let Some(server) = server_of(&buffer[..len.min(FRAME_MAX)]) {
                    context.sighted(&ForeignServer {
                        interface: context.config.interface,
                        ..server
                    });
                }
            }
            Err(_) if errors < ERRORS_IN_A_ROW => errors += 1,
            Err(error) => {
                return tracing::warn!("no longer listening for other DHCP servers: {error}");
            }
        }
    }
}

/// The server that sent this frame, if it is a DHCP reply.
fn server_of(frame: &[u8]) -> Option<ForeignServer> {
    let datagram = udp4_in(frame)?;
    if (datagram.source.port(), datagram.destination.port()) != (SERVER_PORT, CLIENT_PORT) {
        return None;
    }
    let facts = ServerFacts::parse(datagram.payload).ok()?;
    Some(ForeignServer {
        address: facts.server_id.unwrap_or(*datagram.source.ip()),
        mac: Some(datagram.source_mac),
        interface: InterfaceId::default(),
        by: Sighting::ItsReply,
    })
}
