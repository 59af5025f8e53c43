//! The DHCPv6 server's socket.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use bootgate_api::Lease;
use bootgate_events::{EventKind, MacAddr};
use bootgate_netboot::Time;
use bootgate_netboot::dhcp::{DhcpLimits, InterfaceId};
use bootgate_netboot::dhcp6::{
    Datagram, DhcpConfig, Ended, Grant, InterfaceConfig, LeaseEntry, Outcome, Reply, Responder,
    SubnetConfig, mac_of_address,
};
use bootgate_netboot::policy::{ArchTable, Loader};
use bootgate_store::{Granted, LeaseEnd, LeaseGrant};
use rustix::net::{SendFlags, sendto};
use tokio::net::UdpSocket;

use crate::ServerConfig;
use crate::context::{Context, ERRORS_IN_A_ROW};
use crate::leases::{LeaseQueue, NotWritten, micros};

/// Longest message that is read: what fits a datagram of the smallest MTU that IPv6 allows goes with eight relays'
/// envelopes many times.
const MESSAGE_MAX: usize = 8192;

/// The DHCPv6 server for these interfaces, each with the port of its HTTP server; `None` where none of them serves
/// DHCPv6. `relayed` are further subnets, reached by relays alone.
#[must_use]
pub fn dhcp6_responder(
    interfaces: &[(&ServerConfig, u16)],
    relayed: Vec<SubnetConfig>,
    architectures: ArchTable,
    authoritative: bool,
    limits: DhcpLimits,
) -> Option<Responder> {
    let served = interfaces
        .iter()
        .filter_map(|(config, http)| Some((config, config.ip6.as_ref()?, *http)));
    let served: Vec<_> = served.filter(|(_, ip6, _)| ip6.dhcp).collect();
    let (_, first, _) = served.first()?;
    let mut dhcp = DhcpConfig {
        architectures,
        authoritative,
        limits,
        ..DhcpConfig::new(first.address)
    };
    for (config, ip6, http_port) in served {
        let id = config.interface;
        dhcp.interfaces.push(InterfaceConfig {
            id,
            address: ip6.address,
            http_port,
            tftp_port: config.tftp_port,
        });
        if let Some(subnet) = &ip6.subnet {
            let mut subnet = subnet.clone();
            if !subnet.interfaces.contains(&id) {
                subnet.interfaces.push(id);
            }
            dhcp.subnets.push(subnet);
        }
    }
    dhcp.subnets.extend(relayed);
    Some(Responder::new(dhcp))
}

/// The DHCPv6 leases among those that the store has.
pub(crate) fn entries(kept: &[Lease]) -> impl Iterator<Item = LeaseEntry> {
    kept.iter().filter_map(|lease| {
        let std::net::IpAddr::V6(ip) = lease.ip else {
            return None;
        };
        Some(LeaseEntry {
            ip,
            mac: lease.mac,
            client: lease.client.clone()?,
            state: lease.state,
            ends: Time::from_micros(lease.ends.0),
        })
    })
}

impl Context {
    /// The machine that leased this address, or that made it from its own hardware address. Where addresses are given
    /// out here and nowhere else, only leases count, and ended ones until another has the address.
    pub(crate) fn mac_of6(&self, ip: Ipv6Addr) -> Option<MacAddr> {
        if let Some(responder) = &*self.responder6() {
            let leased = responder.last_holder(ip);
            if leased.is_some() || responder.owns(ip) {
                return leased;
            }
        }
        mac_of_address(ip)
    }
}

/// The DHCPv6 server of one interface.
pub(crate) struct Dhcp6Server {
    context: Arc<Context>,
    socket: Arc<UdpSocket>,
    /// The way to the lease writer; without it every reply leaves at once.
    leases: Option<LeaseQueue>,
}

impl Dhcp6Server {
    pub(crate) fn new(context: Arc<Context>, socket: UdpSocket) -> Self {
        Self {
            leases: context.lease_queue(),
            socket: Arc::new(socket),
            context,
        }
    }

    pub(crate) async fn run(self) {
        let mut buffer = vec![0; MESSAGE_MAX];
        let mut errors = 0;
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((len, SocketAddr::V6(from))) => {
                    errors = 0;
                    self.take(&buffer[..len], from);
                }
                Ok(_) => {}
                Err(error) if errors < ERRORS_IN_A_ROW => {
                    errors += 1;
                    let why = format!("receive a message: {error}");
                    self.context
                        .dropped_as("dhcp6", "receive-failed", None, &why);
                }
                Err(error) => {
                    let error = format!("receive a message: {error}");
                    return self.context.failed("dhcp6", error);
                }
            }
        }
    }

    fn take(&self, bytes: &[u8], from: SocketAddrV6) {
        let context = &self.context;
        let interface: InterfaceId = context.config.interface;
        let datagram = Datagram {
            bytes,
            interface,
            from,
        };
        let outcome = match &mut *context.responder6() {
            Some(responder) => responder.handle(context.now(), &datagram, &*context.lookup),
            None => return,
        };
        self.act(outcome);
    }

    fn act(&self, outcome: Outcome) {
        let context = &self.context;
        if let (Some(metrics), Some((_, facts))) = (&context.metrics, &outcome.received) {
            let answer = outcome.reply.as_ref();
            let answer = answer.map_or("none", |reply| &*reply.facts.message);
            metrics.dhcp("dhcp6", &facts.message, &facts.loader, "full", answer);
        }
        let mac = outcome.received.as_ref().map(|(mac, _)| *mac);
        let told = context.plain_clients || outcome.loader != Some(Loader::Os);
        if let Some((mac, facts)) = outcome.received
            && told
        {
            context.emit(Some(mac), EventKind::DhcpReceived { mac, facts });
        }
        if let Some(foreign) = &outcome.foreign {
            context.sighted6(foreign);
        }
        if let Some(dropped) = outcome.dropped {
            context.dropped_as("dhcp6", dropped.reason.slug(), mac, &dropped.detail);
        }
        for ended in &outcome.ended {
            self.end(ended);
        }
        let Some(reply) = outcome.reply else {
            return;
        };
        let leaving = Leaving {
            context: Arc::clone(context),
            socket: Arc::clone(&self.socket),
            reply,
            told,
        };
        match &self.leases {
            Some(leases) if !outcome.grants.is_empty() => {
                self.write(leases, outcome.grants, leaving);
            }
            _ => leaving.send(),
        }
    }

    /// Has the leases written, and the reply sent after that.
    fn write(&self, leases: &LeaseQueue, grants: Vec<Grant>, leaving: Leaving) {
        let at = micros(self.context.now());
        let lease = |grant: &Grant| LeaseGrant {
            ip: grant.ip.into(),
            mac: grant.mac,
            subnet: self.subnet(grant.ip),
            ends: micros(grant.ends),
            at,
            client: Some(grant.client.clone()),
        };
        let written = grants.iter().map(lease).collect();
        let done = move |outcome| leaving.written(grants, outcome);
        leases.grant(written, Box::new(done));
    }

    /// The subnet as the store names it. It is found by the address: its number may be another's by now.
    fn subnet(&self, ip: Ipv6Addr) -> String {
        let responder = self.context.responder6();
        let config = responder.as_ref().map(Responder::config);
        let mut subnets = config.into_iter().flat_map(|config| &config.subnets);
        let subnet = subnets.find(|subnet| subnet.contains(ip));
        subnet.map(ToString::to_string).unwrap_or_default()
    }

    fn end(&self, ended: &Ended) {
        let Some(leases) = &self.leases else {
            return;
        };
        let end = LeaseEnd {
            ip: ended.ip.into(),
            mac: ended.mac,
            state: ended.state,
            ends: micros(ended.ends),
            at: micros(self.context.now()),
        };
        leases.end_for(&self.context, "dhcp6", end);
    }
}

/// A reply on its way.
struct Leaving {
    context: Arc<Context>,
    socket: Arc<UdpSocket>,
    reply: Reply,
    /// Whether it becomes an event.
    told: bool,
}

impl Leaving {
    /// Sends it if the leases it grants are durable; otherwise nobody has them, and the client asks again.
    fn written(self, grants: Vec<Grant>, outcome: Result<Vec<Granted>, NotWritten>) {
        let (slug, why) = match outcome {
            Ok(all) if all.iter().all(|one| *one == Granted::Yes) => return self.send(),
            Ok(_) => ("lease-taken", "the address is another's in the store"),
            Err(why) => (why.slug(), why.as_str()),
        };
        if let Some(responder) = &mut *self.context.responder6() {
            // The last one first: each has in mind what was before it.
            for grant in grants.into_iter().rev() {
                responder.undo(grant);
            }
        }
        self.context
            .dropped_as("dhcp6", slug, Some(self.reply.mac), why);
    }

    fn send(self) {
        let Reply {
            bytes,
            to,
            mac,
            facts,
            reason,
            ..
        } = self.reply;
        match sendto(&*self.socket, &bytes, SendFlags::DONTWAIT, &to) {
            Ok(_) if self.told => {
                let reason = reason.into_owned();
                let sent = EventKind::DhcpSent { mac, facts, reason };
                self.context.emit(Some(mac), sent);
            }
            Ok(_) => {}
            Err(error) => {
                let why = format!("send the {} to {mac}: {error}", facts.message);
                self.context
                    .dropped_as("dhcp6", "send-failed", Some(mac), &why);
            }
        }
    }
}
