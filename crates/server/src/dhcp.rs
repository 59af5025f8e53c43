//! The DHCP server's sockets: what comes in is decided in batches, what may leave at once leaves at once, and what
//! grants a lease leaves after the lease writer.

mod outlet;
mod rogue;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::EventKind;
use bootgate_netboot::Time;
use bootgate_netboot::dhcp::{
    Datagram, DhcpMode, Ended, Grant, InterfaceId, LeaseEntry, Outcome, Port, Reply, probe,
};
use bootgate_netboot::policy::Loader;
use bootgate_store::{Granted, LeaseEnd, LeaseGrant};
use tokio::net::UdpSocket;

use crate::context::{Context, ERRORS_IN_A_ROW};
use crate::leases::{LeaseQueue, NotWritten, micros};
pub(crate) use outlet::Outlet;
pub(crate) use rogue::{ServerName, Sightings, listen};

/// Longest DHCP message that is read; option 57 of clients in use says 1500 at most.
const MESSAGE_MAX: usize = 2048;
/// How often leases that ended are put away while nothing comes in.
const TIDY: Duration = Duration::from_secs(10);
/// Datagrams that are decided under one lock.
const BATCH: usize = 32;

/// The DHCP server of one interface.
pub(crate) struct DhcpServer {
    context: Arc<Context>,
    outlet: Arc<Outlet>,
    /// The way to the lease writer; without it every reply leaves at once.
    leases: Option<LeaseQueue>,
}

/// What came in at once.
struct Batch {
    buffer: Vec<u8>,
    messages: Vec<(Port, SocketAddrV4, usize)>,
    /// What the interface's DHCP server does, when they were decided.
    mode: DhcpMode,
}

impl Batch {
    fn new() -> Self {
        Self {
            buffer: vec![0; BATCH * MESSAGE_MAX],
            messages: Vec::with_capacity(BATCH),
            mode: DhcpMode::Off,
        }
    }

    /// Takes what waits on the socket, as far as there is room. Whether there may be more.
    fn fill(&mut self, socket: &UdpSocket, port: Port) -> io::Result<bool> {
        while self.messages.len() < BATCH {
            let at = self.messages.len() * MESSAGE_MAX;
            match socket.try_recv_from(&mut self.buffer[at..at + MESSAGE_MAX]) {
                Ok((len, SocketAddr::V4(from))) => self.messages.push((port, from, len)),
                Ok((_, SocketAddr::V6(_))) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn datagrams(&self, interface: InterfaceId) -> impl Iterator<Item = Datagram<'_>> {
        let slots = self.buffer.chunks(MESSAGE_MAX);
        let messages = self.messages.iter().zip(slots);
        messages.map(move |((port, from, len), slot)| Datagram {
            bytes: &slot[..*len],
            interface,
            port: *port,
            from: *from,
        })
    }
}

impl DhcpServer {
    pub(crate) fn new(context: Arc<Context>, outlet: Outlet) -> Self {
        Self {
            leases: context.lease_queue(),
            outlet: Arc::new(outlet),
            context,
        }
    }

    pub(crate) async fn run(self) {
        let mut batch = Batch::new();
        let mut outcomes = Vec::with_capacity(BATCH);
        let mut errors = 0;
        // A timer for each lease would be set anew by each message; what ended counts as ended without it.
        let mut tidy = tokio::time::interval(TIDY);
        loop {
            let ready = tokio::select! {
                ready = self.outlet.dhcp.readable() => ready.map(|()| Some(Port::Dhcp)),
                ready = readable(self.outlet.pxe.as_ref()) => ready.map(|()| Some(Port::Pxe)),
                _ = tidy.tick() => Ok(None),
            };
            match ready.and_then(|port| self.receive(&mut batch, port)) {
                Ok(()) => errors = 0,
                Err(error) if errors < ERRORS_IN_A_ROW => {
                    errors += 1;
                    let why = format!("receive a message: {error}");
                    self.context
                        .dropped_as("dhcp", "receive-failed", None, &why);
                }
                Err(error) => {
                    self.context
                        .failed("dhcp", format!("receive a message: {error}"));
                    return;
                }
            }
            self.decide(&mut batch, &mut outcomes);
            let asked = batch.datagrams(self.context.config.interface);
            for (outcome, asked) in outcomes.drain(..).zip(asked) {
                self.count(&outcome, batch.mode);
                self.act(outcome, &asked);
            }
            batch.messages.clear();
        }
    }

    /// Takes what waits on this port.
    fn receive(&self, batch: &mut Batch, port: Option<Port>) -> io::Result<()> {
        match (port, &self.outlet.pxe) {
            (None, _) => Ok(()),
            (Some(Port::Pxe), Some(pxe)) => batch.fill(pxe, Port::Pxe).map(drop),
            (Some(_), _) => batch.fill(&self.outlet.dhcp, Port::Dhcp).map(drop),
        }
    }

    /// Decides about a whole batch under one lock.
    fn decide(&self, batch: &mut Batch, outcomes: &mut Vec<Outcome>) {
        let now = self.context.now();
        let mut responder = self.context.responder();
        responder.poll(now);
        let here = self.context.config.interface.0;
        let here = responder.config().interfaces.get(here);
        batch.mode = here.map_or(DhcpMode::Off, |here| here.mode);
        for datagram in batch.datagrams(self.context.config.interface) {
            outcomes.push(responder.handle(now, &datagram, &*self.context.lookup));
        }
    }

    fn count(&self, outcome: &Outcome, mode: DhcpMode) {
        if let (Some(metrics), Some((_, facts))) = (&self.context.metrics, &outcome.received) {
            let answer = outcome.reply.as_ref();
            let answer = answer.map_or("none", |reply| &*reply.facts.message);
            let message = &facts.message;
            metrics.dhcp("dhcp", message, &facts.loader, mode.as_str(), answer);
        }
    }

    fn act(&self, outcome: Outcome, asked: &Datagram<'_>) {
        let context = &self.context;
        let mac = outcome.received.as_ref().map(|(mac, _)| *mac);
        // Who only looks at the segment (`bootgate doctor --segment`) boots no machine, and leaves no record of one.
        let boots = outcome.loader != Some(Loader::Os) && !probe::is_probe(asked.bytes);
        let told = context.plain_clients || boots;
        if let Some((mac, facts)) = outcome.received
            && told
        {
            context.emit(Some(mac), EventKind::DhcpReceived { mac, facts });
        }
        if let Some(foreign) = &outcome.foreign {
            context.sighted(foreign);
        }
        if let Some(dropped) = outcome.dropped {
            context.dropped_as("dhcp", dropped.reason.slug(), mac, &dropped.detail);
        }
        if let Some(ended) = &outcome.ended {
            self.end(ended);
        }
        let Some(reply) = outcome.reply else {
            return;
        };
        let begins = matches!(reply.facts.message.as_str(), "offer" | "ack")
            && outcome.grant.is_none()
            && outcome.loader != Some(Loader::Os);
        // What would begin now would break off at once. A machine that has an address keeps it.
        if begins && context.stopping() {
            let why = "the server stops, and another may answer";
            return context.dropped_as("dhcp", "stopping", mac, why);
        }
        let leaving = Leaving {
            context: Arc::clone(context),
            outlet: Arc::clone(&self.outlet),
            reply,
            told,
        };
        match (outcome.grant, &self.leases) {
            (Some(grant), Some(leases)) => {
                let asked = Asked::new(asked);
                self.write(leases, grant, leaving, asked);
            }
            _ => leaving.send(),
        }
    }

    /// Has the lease written, and the reply sent after that.
    fn write(&self, leases: &LeaseQueue, grant: Grant, leaving: Leaving, asked: Asked) {
        let lease = LeaseGrant {
            ip: grant.ip.into(),
            mac: grant.mac,
            subnet: self.subnet(grant.ip),
            ends: micros(grant.ends),
            at: micros(self.context.now()),
            client: None,
        };
        let done = move |outcome| leaving.written(&grant, outcome, &asked);
        leases.grant(vec![lease], Box::new(done));
    }

    /// The subnet as the store names it. It is found by the address: its number may be another's by now.
    fn subnet(&self, ip: std::net::Ipv4Addr) -> String {
        let responder = self.context.responder();
        let mut subnets = responder.config().subnets.iter();
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
        leases.end_for(&self.context, "dhcp", end);
    }
}

/// A reply on its way.
struct Leaving {
    context: Arc<Context>,
    outlet: Arc<Outlet>,
    reply: Reply,
    /// Whether it becomes an event.
    told: bool,
}

impl Leaving {
    /// Sends it if the lease it grants is durable; otherwise nobody has the lease.
    fn written(self, grant: &Grant, outcome: Result<Vec<Granted>, NotWritten>, asked: &Asked) {
        let why = match outcome.as_deref() {
            Ok([Granted::Yes]) => return self.send(),
            Ok([Granted::Taken { mac, state, ends }]) => {
                let holder = LeaseEntry {
                    ip: grant.ip,
                    mac: *mac,
                    state: *state,
                    ends: Time::from_micros(ends.0),
                };
                return self.taken(grant, holder, asked);
            }
            Ok(_) => NotWritten::Failed,
            Err(why) => *why,
        };
        self.context.responder().undo(grant);
        let mac = Some(grant.mac);
        self.context
            .dropped_as("dhcp", why.slug(), mac, why.as_str());
    }

    /// The store knows of another who holds the address. From now on so does the table, by which the message is
    /// answered again: by a refusal, or not at all.
    fn taken(mut self, grant: &Grant, holder: LeaseEntry, asked: &Asked) {
        let again = {
            let now = self.context.now();
            let mut responder = self.context.responder();
            responder.undo(grant);
            responder.restore(now, [holder]);
            let again = responder.handle(now, &asked.datagram(), &*self.context.lookup);
            if let Some(grant) = &again.grant {
                responder.undo(grant);
            }
            again
        };
        match again.reply {
            Some(reply) if again.grant.is_none() => {
                self.reply = reply;
                self.send();
            }
            _ => {
                let why = format!("{} is leased to {} in the store", grant.ip, holder.mac);
                let mac = Some(grant.mac);
                self.context.dropped_as("dhcp", "lease-taken", mac, &why);
            }
        }
    }

    fn send(self) {
        let Self {
            context,
            outlet,
            reply,
            told,
        } = self;
        let sent = outlet.send(&reply);
        let Reply {
            mac, facts, reason, ..
        } = reply;
        match sent {
            Ok(()) if told => {
                let reason = reason.into_owned();
                context.emit(Some(mac), EventKind::DhcpSent { mac, facts, reason });
            }
            Ok(()) => {}
            Err(error) => {
                let why = format!("send the {} to {mac}: {error}", facts.message);
                context.dropped_as("dhcp", "send-failed", Some(mac), &why);
            }
        }
    }
}

/// A message, kept until its lease is written.
struct Asked {
    bytes: Vec<u8>,
    interface: InterfaceId,
    port: Port,
    from: SocketAddrV4,
}

impl Asked {
    fn new(datagram: &Datagram<'_>) -> Self {
        Self {
            bytes: datagram.bytes.to_vec(),
            interface: datagram.interface,
            port: datagram.port,
            from: datagram.from,
        }
    }

    fn datagram(&self) -> Datagram<'_> {
        Datagram {
            bytes: &self.bytes,
            interface: self.interface,
            port: self.port,
            from: self.from,
        }
    }
}

/// Waits until there is something to read, or for ever where there is no socket.
async fn readable(socket: Option<&UdpSocket>) -> io::Result<()> {
    match socket {
        Some(socket) => socket.readable().await,
        None => std::future::pending().await,
    }
}
