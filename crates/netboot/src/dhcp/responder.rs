//! The server: configuration, lease tables, and what becomes of each message.

use std::net::{IpAddr, Ipv4Addr};

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;

use super::chain::Chained;
use super::explain::Trace;
use super::judge::Plan;
use super::lease::{Leases, State};
use super::pool::Pool;
use super::rate::Rates;
use super::reply::{self, Kind};
use super::scene::Scene;
use super::{
    ClientFacts, Datagram, DhcpConfig, DhcpMode, DropReason, Dropped, Ended, ForeignServer, Grant,
    InterfaceConfig, MESSAGE_MAX, Outcome, ParseError, Reply, ServerFacts, Sighting, SubnetId,
};
use crate::Time;
use crate::policy::{self, Decision, Loader, MachineLookup, Servers};

/// A DHCPv4 server: configuration and lease tables.
///
/// Machines are told apart by hardware address alone. Each message costs a few look-ups, whatever the number of leases;
/// memory is bounded by [`SubnetConfig::max_leases`](super::SubnetConfig::max_leases) and
/// [`DhcpLimits::tracked`](super::DhcpLimits::tracked).
#[derive(Debug)]
pub struct Responder {
    config: DhcpConfig,
    /// One for each subnet, in their order.
    pub(super) nets: Vec<Net>,
    pub(super) rates: Rates,
    chained: Chained,
}

/// One subnet's addresses.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) pool: Pool,
    pub(super) leases: Leases,
}

impl Responder {
    /// A server without leases.
    #[must_use]
    pub fn new(config: DhcpConfig) -> Self {
        let net = |subnet| {
            let pool = Pool::new(&config, subnet);
            let leases = pool.table();
            Net { pool, leases }
        };
        Self {
            nets: config.subnets.iter().map(net).collect(),
            rates: Rates::new(&config.limits),
            chained: Chained::default(),
            config,
        }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &DhcpConfig {
        &self.config
    }

    /// Takes over what is in mind of single clients from the server before, where their limits stay.
    pub(super) fn go_on_from(&mut self, before: &mut Responder) {
        if self.config.limits == before.config.limits {
            std::mem::swap(&mut self.rates, &mut before.rates);
        }
        self.chained = std::mem::take(&mut before.chained);
    }

    /// Handles one datagram that came to port 67 or 4011. `machines` says what each machine may boot.
    ///
    /// Where the outcome has a [`Grant`], its reply must not leave before the grant is durable.
    ///
    /// Never panics, whatever the bytes are.
    pub fn handle(
        &mut self,
        now: Time,
        datagram: &Datagram<'_>,
        machines: &dyn MachineLookup,
    ) -> Outcome {
        self.poll(now);
        let interface = match self.interface(datagram) {
            Ok(interface) => interface,
            Err(dropped) => return dropped.into(),
        };
        let client = match ClientFacts::parse(datagram.bytes) {
            Ok(client) => client,
            Err(error) => return self.unreadable(datagram, &error),
        };
        let mode = interface.mode;
        if !self.rates.allow(now, &client.mac) {
            let why = "this client sends more than is answered";
            return Dropped::new(DropReason::RateLimited, why).into();
        }
        let (decision, found) = self.decide(datagram, &client, machines);
        let decision = self.chained.limit(now, &client, decision);
        let mut outcome = Outcome {
            received: Some((client.mac, client.summary(decision.loader))),
            loader: Some(decision.loader),
            ..Outcome::default()
        };
        let Self { config, .. } = &*self;
        let Some(interface) = config.interfaces.get(datagram.interface.0) else {
            return outcome;
        };
        let scene = Scene {
            config,
            id: datagram.interface,
            interface,
            port: datagram.port,
            from: datagram.from,
            client: &client,
            decision: &decision,
            found,
            machines,
        };
        let plan = match self.judge(now, &scene, &mut Trace::none()) {
            Ok(plan) => plan,
            Err(dropped) => {
                outcome.dropped = Some(dropped);
                return outcome;
            }
        };
        if let Plan::Lost { server, .. } = plan {
            outcome.foreign = (mode == DhcpMode::Full).then_some(ForeignServer {
                address: server,
                mac: Some(client.mac),
                interface: datagram.interface,
                by: Sighting::ClientChoseIt,
            });
        }
        (outcome.reply, outcome.dropped) = tell(&scene, &plan);
        self.carry_out(now, client.mac, &plan, &mut outcome);
        outcome
    }

    /// The interface, where anything is to be answered on it.
    pub(super) fn interface(&self, datagram: &Datagram<'_>) -> Result<&InterfaceConfig, Dropped> {
        let off = |why: &'static str| Dropped::new(DropReason::Off, why);
        let interface = self.config.interfaces.get(datagram.interface.0);
        let interface = interface.ok_or_else(|| off("no such interface"))?;
        if interface.mode == DhcpMode::Off {
            return Err(off("DHCP is off on this interface"));
        }
        if datagram.bytes.len() > MESSAGE_MAX {
            let why = "longer than any client's message";
            return Err(Dropped::new(DropReason::Oversized, why));
        }
        Ok(interface)
    }

    /// What the client may boot, and whether its machine is known. Only boot loaders are looked up.
    pub(super) fn decide(
        &self,
        datagram: &Datagram<'_>,
        client: &ClientFacts,
        machines: &dyn MachineLookup,
    ) -> (Decision, bool) {
        let loader = policy::loader_of(client);
        let machine = match loader {
            Loader::Os => None,
            _ => machines.machine(&client.mac),
        };
        let interface = self.config.interfaces.get(datagram.interface.0);
        let servers = Servers {
            ip: IpAddr::V4(interface.map_or(Ipv4Addr::UNSPECIFIED, |i| i.address)),
            http_port: interface.map_or(80, |i| i.http_port),
            architectures: &self.config.architectures,
            mode: interface.map_or(DhcpMode::Off, |i| i.mode),
        };
        let decision = policy::decide(client, machine.as_ref(), &servers);
        // A machine that is served without being known, to be discovered, is a stranger.
        let known = machine.is_some() && machines.is_known(&client.mac);
        (decision, known)
    }

    pub(super) fn chained(&self) -> &Chained {
        &self.chained
    }

    /// A message that is no client's. Another server's reply is worth a word.
    fn unreadable(&self, datagram: &Datagram<'_>, error: &ParseError) -> Outcome {
        let mut outcome = Outcome::from(Dropped::new(error.drop_reason(), error.to_string()));
        let interface = self.config.interfaces.get(datagram.interface.0);
        let full = interface.is_some_and(|i| i.mode == DhcpMode::Full);
        if full && let Ok(reply) = ServerFacts::parse(datagram.bytes) {
            let address = reply.server_id.unwrap_or(*datagram.from.ip());
            let own = self.config.interfaces.iter().any(|i| i.address == address);
            outcome.foreign = (!own && !address.is_unspecified()).then_some(ForeignServer {
                address,
                mac: Some(reply.mac),
                interface: datagram.interface,
                by: Sighting::ItsReply,
            });
        }
        outcome
    }

    fn carry_out(&mut self, now: Time, mac: MacAddr, plan: &Plan, outcome: &mut Outcome) {
        let (hold, quarantine) = (self.config.offer_hold, self.config.quarantine);
        match *plan {
            Plan::Offer {
                subnet,
                choice,
                hold: true,
            } => {
                let Some(net) = self.nets.get_mut(subnet.0) else {
                    return;
                };
                net.pool.make_room(&mut net.leases, choice.ip, now);
                let until = now.saturating_add(hold);
                let stranger = choice.stranger;
                net.leases
                    .bind(choice.ip, mac, State::Offered, until, stranger);
            }
            Plan::Grant { subnet, ip } => {
                let length = self.config.subnets.get(subnet.0).map(|s| s.lease);
                let (Some(net), Some(length)) = (self.nets.get_mut(subnet.0), length) else {
                    return;
                };
                net.pool.make_room(&mut net.leases, ip, now);
                let ends = now.saturating_add(length);
                let undo = net.leases.bind(ip, mac, State::Leased, ends, false);
                outcome.grant = Some(Grant {
                    ip,
                    mac,
                    subnet,
                    ends,
                    undo,
                });
            }
            Plan::Release { subnet, ip } => {
                if let Some(net) = self.nets.get_mut(subnet.0) {
                    net.leases.end(ip, now);
                }
                let state = LeaseState::Ended;
                outcome.ended = Some(Ended {
                    ip,
                    mac,
                    subnet,
                    state,
                    ends: now,
                });
            }
            Plan::Quarantine { subnet, ip } => {
                let ends = now.saturating_add(quarantine);
                if let Some(net) = self.nets.get_mut(subnet.0) {
                    net.leases.quarantine(ip, mac, ends);
                }
                let state = LeaseState::Quarantined;
                outcome.ended = Some(Ended {
                    ip,
                    mac,
                    subnet,
                    state,
                    ends,
                });
            }
            Plan::Lost {
                offer: Some((subnet, ip)),
                ..
            } => {
                if let Some(net) = self.nets.get_mut(subnet.0) {
                    net.leases.forget(ip);
                }
            }
            _ => {}
        }
    }

    /// Ends what expired until `now`. [`Responder::handle`] does so too; calling it at [`Responder::poll_at`]
    /// only frees memory earlier.
    pub fn poll(&mut self, now: Time) {
        for net in &mut self.nets {
            net.leases.expire(now);
        }
    }

    /// When the next lease, offer or quarantine ends; `None` where there is none.
    #[must_use]
    pub fn poll_at(&self) -> Option<Time> {
        let ends = self.nets.iter().filter_map(|net| net.leases.next_end());
        ends.min()
    }

    /// Number of addresses kept in memory, of whatever state; at most
    /// [`SubnetConfig::max_leases`](super::SubnetConfig::max_leases) a subnet.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.nets.iter().map(|net| net.leases.len()).sum()
    }

    /// The subnet with this number, as `10.0.0.0/24`: the name that the store keeps its leases under.
    #[must_use]
    pub fn subnet_name(&self, subnet: SubnetId) -> Option<String> {
        Some(self.config.subnets.get(subnet.0)?.to_string())
    }
}

impl From<Dropped> for Outcome {
    fn from(dropped: Dropped) -> Self {
        Self {
            dropped: Some(dropped),
            ..Self::default()
        }
    }
}

/// What the client hears: a reply, or nothing and why. Neither, where none is due to its message.
pub(super) type Told = (Option<Reply>, Option<Dropped>);

/// What the client hears of a plan.
pub(super) fn tell(scene: &Scene<'_>, plan: &Plan) -> Told {
    let reply = |subnet: Option<SubnetId>, kind| {
        let subnet = subnet.and_then(|id| scene.subnet(id));
        (Some(reply::configure(scene, subnet, kind)), None)
    };
    match plan {
        Plan::Offer { subnet, choice, .. } => reply(Some(*subnet), Kind::Offer(choice.ip)),
        Plan::Grant { subnet, ip } => reply(Some(*subnet), Kind::Ack(*ip)),
        Plan::Inform { subnet } => reply(Some(*subnet), Kind::AckInform),
        Plan::ProxyOffer => reply(None, Kind::ProxyOffer),
        Plan::BootAck => reply(None, Kind::BootAck),
        Plan::Refuse { ip, why } => (Some(reply::refuse(scene, *ip, why.clone())), None),
        Plan::Lost { server, .. } => {
            let why = format!(
                "client chose DHCP server `{server}`: another server answers on this segment"
            );
            (None, Some(Dropped::new(DropReason::ForeignServer, why)))
        }
        Plan::Release { .. } | Plan::Quarantine { .. } => (None, None),
    }
}
