//! The server's side of the conversation (RFC 8415 section 18.3).

use std::net::{IpAddr, Ipv6Addr};

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;

use super::facts::IdentityAssociation;
use super::lease::{Binding, Leases, Owner, Pool, Wish};
use super::reply::{IaReply, Kind, Making, Said, Status};
use super::{
    ClientFacts, Datagram, DhcpConfig, Ended, ForeignServer, Grant, LeaseEntry, MessageKind,
    Outcome, SubnetConfig, client_name, parse_client_name, server_of_reply,
};
use crate::Time;
use crate::dhcp::rate::Rates;
use crate::dhcp::{DhcpMode, DropReason, Dropped, InterfaceId, Sighting, SubnetId};
use crate::policy::{self, Loader, MachineLookup, Servers};

/// A DHCPv6 server: configuration and lease table.
#[derive(Debug)]
pub struct Responder {
    config: DhcpConfig,
    /// One for each subnet, in the configuration's order.
    pub(super) tables: Vec<Table>,
    pub(super) rates: Rates,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) pool: Pool,
    pub(super) leases: Leases,
}

pub(super) const NO_ADDRESS: Said = (Status::NoAddrsAvail, "no free address");
const NO_BINDING: Said = (Status::NoBinding, "no lease of this client is known");
const NOT_ON_LINK: Said = (Status::NotOnLink, "the address is not of this link");

/// One message being answered.
struct Ask<'a> {
    now: Time,
    client: &'a ClientFacts,
    duid: &'a [u8],
    subnet: SubnetId,
    machines: &'a dyn MachineLookup,
}

impl Responder {
    /// A server without leases.
    #[must_use]
    pub fn new(config: DhcpConfig) -> Self {
        let ours: Vec<_> = config.interfaces.iter().map(|i| i.address).collect();
        let tables = config.subnets.iter().map(|subnet| Table {
            pool: Pool::new(subnet, &ours, config.limits.kept_for_known),
            leases: Leases::default(),
        });
        Self {
            tables: tables.collect(),
            rates: Rates::new(&config.limits),
            config,
        }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &DhcpConfig {
        &self.config
    }

    /// Handles one datagram. `machines` says what each machine may boot; it is asked for boot loaders only.
    ///
    /// Never panics, whatever the bytes are.
    pub fn handle(
        &mut self,
        now: Time,
        datagram: &Datagram<'_>,
        machines: &dyn MachineLookup,
    ) -> Outcome {
        self.poll(now);
        let mut outcome = Outcome::default();
        let client = match ClientFacts::parse(datagram.bytes, *datagram.from.ip()) {
            Ok(client) => client,
            Err(error) => {
                outcome.foreign = self.sender_of_reply(datagram);
                outcome.dropped = Some(dropped(error.reason(), error.to_string()));
                return outcome;
            }
        };
        if !self.rates.allow(now, &client.mac) {
            let why = "this client sends more than is answered";
            outcome.dropped = Some(dropped(DropReason::RateLimited, why));
            return outcome;
        }
        let loader = policy::loader_of(&client.for_policy());
        outcome.received = Some((client.mac, client.summary(loader)));
        outcome.loader = Some(loader);
        if let Err(reason) = self.answer(now, datagram, &client, machines, &mut outcome) {
            outcome.dropped = Some(reason);
        }
        outcome
    }

    fn answer(
        &mut self,
        now: Time,
        datagram: &Datagram<'_>,
        client: &ClientFacts,
        machines: &dyn MachineLookup,
        outcome: &mut Outcome,
    ) -> Result<(), Dropped> {
        if let Some(server) = &client.server
            && *server != self.config.duid
        {
            let foreign = ForeignServer {
                address: None,
                duid: server.clone(),
                interface: datagram.interface,
                by: Sighting::ClientChoseIt,
            };
            outcome.foreign = self.gives_addresses(datagram.interface).then_some(foreign);
            let words = "client chose another DHCPv6 server";
            return Err(dropped(DropReason::ForeignServer, words));
        }
        let subnet = self.subnet_of(datagram, client).ok_or_else(|| {
            dropped(
                DropReason::NoSubnet,
                "no prefix of ours is on the client's link",
            )
        })?;
        let parameters = client.message == MessageKind::InformationRequest;
        if !parameters && !self.tables[subnet.0].pool.serves() {
            let words = "addresses of this link come from elsewhere";
            return Err(dropped(DropReason::NotForUs, words));
        }
        let ask = Ask {
            now,
            client,
            duid: client.duid.as_deref().unwrap_or_default(),
            subnet,
            machines,
        };
        let (kind, associations) = self.decide(&ask, outcome)?;
        let mut interfaces = self.config.interfaces.iter();
        let interface = interfaces
            .find(|interface| interface.id == datagram.interface)
            .ok_or_else(|| dropped(DropReason::Off, "nothing is served on this interface"))?;
        let decision = self.decision(client, machines, interface);
        let making = Making {
            config: &self.config,
            interface,
            subnet: &self.config.subnets[subnet.0],
            datagram,
            client,
            decision: &decision,
        };
        outcome.reply = Some(making.reply(kind, &associations));
        Ok(())
    }

    /// Whether addresses of this interface's own link come from here. Where they do not, another server is meant to be
    /// there.
    fn gives_addresses(&self, interface: InterfaceId) -> bool {
        let subnets = self.config.subnets.iter().zip(&self.tables);
        let mut own = subnets.filter(|(subnet, _)| subnet.interfaces.contains(&interface));
        own.any(|(_, table)| table.pool.serves())
    }

    /// Whether `ip` is of a prefix whose addresses are given out here, and nowhere else.
    #[must_use]
    pub fn owns(&self, ip: Ipv6Addr) -> bool {
        let subnets = self.config.subnets.iter().zip(&self.tables);
        let mut own = subnets.filter(|(subnet, _)| subnet.contains(ip));
        self.config.authoritative && own.any(|(_, table)| table.pool.serves())
    }

    /// Another server, where the datagram is a reply of its. It comes here where the server takes this host for a relay.
    fn sender_of_reply(&self, datagram: &Datagram<'_>) -> Option<ForeignServer> {
        let gives = self.gives_addresses(datagram.interface);
        let duid =
            server_of_reply(datagram.bytes).filter(|duid| gives && *duid != self.config.duid)?;
        Some(ForeignServer {
            address: Some(*datagram.from.ip()),
            duid,
            interface: datagram.interface,
            by: Sighting::ItsReply,
        })
    }

    /// What the client boots. A machine is looked up only for a loader that is told.
    pub(super) fn decision(
        &self,
        client: &ClientFacts,
        machines: &dyn MachineLookup,
        interface: &super::InterfaceConfig,
    ) -> policy::Decision {
        use MessageKind::{Confirm, Decline, Release};
        let view = client.for_policy();
        let silent = matches!(client.message, Confirm | Decline | Release);
        let machine = match policy::loader_of(&view) {
            Loader::Os => None,
            _ if silent => None,
            _ => machines.machine(&client.mac),
        };
        let servers = Servers {
            ip: IpAddr::V6(interface.address),
            http_port: interface.http_port,
            architectures: &self.config.architectures,
            mode: DhcpMode::Full,
        };
        policy::decide(&view, machine.as_ref(), &servers)
    }

    /// The subnet of the client's link: by the link address of the relay nearest to it that names one, or by the
    /// interface (RFC 8415 section 13.1).
    pub(super) fn subnet_of(
        &self,
        datagram: &Datagram<'_>,
        client: &ClientFacts,
    ) -> Option<SubnetId> {
        let mut links = client.relays.iter().rev().map(|relay| relay.link);
        let link = links.find(|ip| !ip.is_unspecified() && !ip.is_unicast_link_local());
        let fits = |subnet: &SubnetConfig| match link {
            Some(link) => subnet.contains(link) || subnet.relays.contains(&link),
            None => subnet.interfaces.contains(&datagram.interface),
        };
        self.config.subnets.iter().position(fits).map(SubnetId)
    }

    fn decide(
        &mut self,
        ask: &Ask<'_>,
        outcome: &mut Outcome,
    ) -> Result<(Kind, Vec<IaReply>), Dropped> {
        match ask.client.message {
            MessageKind::Solicit => {
                // Two servers that both commit would both lease: only the sole one does.
                let commit = ask.client.rapid_commit && self.config.authoritative;
                let found = self.assign(ask, outcome, commit);
                let some = found.iter().any(|ia| ia.address.is_some());
                match commit && some {
                    true => Ok((Kind::RapidCommit, found)),
                    false => Ok((Kind::Advertise, found)),
                }
            }
            MessageKind::Request => Ok((Kind::Leases, self.assign(ask, outcome, true))),
            MessageKind::Renew | MessageKind::Rebind => self.extend(ask, outcome),
            MessageKind::Confirm => self.confirm(ask),
            MessageKind::Release => Ok(self.release(ask, outcome)),
            MessageKind::Decline => Ok(self.decline(ask, outcome)),
            MessageKind::InformationRequest => Ok((Kind::Parameters, Vec::new())),
        }
    }

    /// Finds an address for each identity association, and binds it where `bind` says so.
    fn assign(&mut self, ask: &Ask<'_>, outcome: &mut Outcome, bind: bool) -> Vec<IaReply> {
        let mut taken = Vec::new();
        let mut replies = Vec::new();
        for ia in &ask.client.addresses {
            let subnet = &self.config.subnets[ask.subnet.0];
            let mut reply = IaReply {
                iaid: ia.iaid,
                ..IaReply::default()
            };
            let foreign = ia.addresses.iter().any(|ip| !subnet.contains(*ip));
            if ask.client.message == MessageKind::Request && foreign {
                reply.status = Some(NOT_ON_LINK);
                replies.push(reply);
                continue;
            }
            let owner = ask.owner(ia);
            let Table { pool, leases } = &self.tables[ask.subnet.0];
            let wish = ask.wish(pool, leases, &owner);
            match pool.choose(leases, wish, &ia.addresses, &taken) {
                Some(ip) => {
                    taken.push(ip);
                    reply.address = Some(ip);
                    if bind {
                        let grant = self.bind(ask, owner, ip);
                        outcome.grants.push(grant);
                    }
                }
                None => reply.status = Some(NO_ADDRESS),
            }
            replies.push(reply);
        }
        replies
    }

    fn bind(&mut self, ask: &Ask<'_>, owner: Owner, ip: Ipv6Addr) -> Grant {
        let lease = self.config.subnets[ask.subnet.0].lease;
        let Table { pool, leases } = &mut self.tables[ask.subnet.0];
        pool.make_room(leases, ip);
        let ends = ask.now.saturating_add(lease);
        let binding = Binding {
            owner,
            mac: ask.client.mac,
            state: LeaseState::Leased,
            ends,
        };
        let client = client_name(&binding.owner.duid, binding.owner.iaid);
        Grant {
            ip,
            mac: ask.client.mac,
            client,
            subnet: ask.subnet,
            ends,
            before: leases.insert(ip, binding),
        }
    }

    /// RENEW and REBIND. A lease that is not known (any more) is granted again where the address is free and this is the
    /// only server: a client that lost its address for it would lose its connections.
    fn extend(
        &mut self,
        ask: &Ask<'_>,
        outcome: &mut Outcome,
    ) -> Result<(Kind, Vec<IaReply>), Dropped> {
        let mut replies = Vec::new();
        for ia in &ask.client.addresses {
            let owner = ask.owner(ia);
            let Table { pool, leases } = &self.tables[ask.subnet.0];
            let wish = ask.wish(pool, leases, &owner);
            let own = leases.of(&owner).into_iter();
            let mut candidates = own.chain(ia.addresses.iter().copied());
            let known = leases.of(&owner).is_some();
            let ip = candidates
                .find(|ip| pool.can_take(leases, wish, *ip))
                .filter(|_| known || self.config.authoritative);
            let mut reply = IaReply {
                iaid: ia.iaid,
                address: ip,
                ..IaReply::default()
            };
            match ip {
                Some(ip) => {
                    let others = ia.addresses.iter().filter(|other| **other != ip);
                    reply.gone = others.copied().collect();
                    let grant = self.bind(ask, owner, ip);
                    outcome.grants.push(grant);
                }
                None if ask.client.message == MessageKind::Renew => {
                    reply.status = Some(NO_BINDING);
                }
                // Only addresses that cannot be right are taken away: another server may know the others.
                None => {
                    let subnet = &self.config.subnets[ask.subnet.0];
                    let wrong =
                        |ip: &&Ipv6Addr| self.config.authoritative || !subnet.contains(**ip);
                    reply.gone = ia.addresses.iter().filter(wrong).copied().collect();
                    if reply.gone.is_empty() {
                        continue;
                    }
                }
            }
            replies.push(reply);
        }
        if replies.is_empty() && ask.client.message == MessageKind::Rebind {
            let words = "REBIND of addresses that another server may know";
            return Err(dropped(DropReason::NotOurs, words));
        }
        Ok((Kind::Leases, replies))
    }

    /// CONFIRM asks about the link, not about leases (RFC 8415 section 18.3.3).
    fn confirm(&self, ask: &Ask<'_>) -> Result<(Kind, Vec<IaReply>), Dropped> {
        let subnet = &self.config.subnets[ask.subnet.0];
        let mut addresses = ask.client.addresses.iter().flat_map(|ia| &ia.addresses);
        if addresses.clone().next().is_none() {
            return Err(dropped(DropReason::Malformed, "CONFIRM names no address"));
        }
        let said = match addresses.all(|ip| subnet.contains(*ip)) {
            true => (Status::Success, "the addresses are of this link"),
            false => NOT_ON_LINK,
        };
        Ok((Kind::Status(said), Vec::new()))
    }

    /// A RELEASE is believed only from the client that has the address.
    fn release(&mut self, ask: &Ask<'_>, outcome: &mut Outcome) -> (Kind, Vec<IaReply>) {
        let strangers = self.give_up(ask, |table, ip, mac| {
            table.leases.end(ip, ask.now);
            outcome.ended.push(Ended {
                ip,
                mac,
                subnet: ask.subnet,
                state: LeaseState::Ended,
                ends: ask.now,
            });
        });
        (Kind::Status((Status::Success, "released")), strangers)
    }

    /// A DECLINE is believed only from the client that was given the address: anybody else could empty the pool.
    fn decline(&mut self, ask: &Ask<'_>, outcome: &mut Outcome) -> (Kind, Vec<IaReply>) {
        let until = ask.now.saturating_add(self.config.quarantine);
        let strangers = self.give_up(ask, |table, ip, mac| {
            let Some(mut binding) = table.leases.get(ip).cloned() else {
                return;
            };
            binding.state = LeaseState::Quarantined;
            binding.ends = until;
            table.leases.insert(ip, binding);
            outcome.ended.push(Ended {
                ip,
                mac,
                subnet: ask.subnet,
                state: LeaseState::Quarantined,
                ends: until,
            });
        });
        let words = "declined: another station uses the address";
        (Kind::Status((Status::Success, words)), strangers)
    }

    /// Calls `give_up` for each address that the client names and leases; gives the associations without one.
    fn give_up(
        &mut self,
        ask: &Ask<'_>,
        mut give_up: impl FnMut(&mut Table, Ipv6Addr, MacAddr),
    ) -> Vec<IaReply> {
        let table = &mut self.tables[ask.subnet.0];
        let mut strangers = Vec::new();
        for ia in &ask.client.addresses {
            let owner = ask.owner(ia);
            let own = |ip: &&Ipv6Addr| {
                table.leases.get(**ip).is_some_and(|binding| {
                    binding.owner == owner && binding.state == LeaseState::Leased
                })
            };
            match ia.addresses.iter().find(own).copied() {
                Some(ip) => give_up(table, ip, ask.client.mac),
                None => strangers.push(IaReply {
                    iaid: ia.iaid,
                    status: Some(NO_BINDING),
                    ..IaReply::default()
                }),
            }
        }
        strangers
    }

    /// Takes a grant back that could not be made durable: the address is what it was before. One that another has
    /// replaced since changes nothing.
    pub fn undo(&mut self, grant: Grant) {
        // By the address: a subnet may have another number since.
        let fits = |subnet: &SubnetConfig| subnet.contains(grant.ip);
        let subnet = self.config.subnets.iter().position(fits);
        let Some(table) = subnet.and_then(|at| self.tables.get_mut(at)) else {
            return;
        };
        let current = table.leases.get(grant.ip).is_some_and(|binding| {
            binding.ends == grant.ends
                && client_name(&binding.owner.duid, binding.owner.iaid) == grant.client
        });
        if current {
            table.leases.forget(grant.ip);
            for (ip, binding) in grant.before {
                table.leases.insert(ip, binding);
            }
        }
    }

    /// Takes over what was in mind before a restart. An address outside of every subnet here, and one whose owner cannot be
    /// read, is left out.
    pub fn restore(&mut self, now: Time, entries: impl IntoIterator<Item = LeaseEntry>) {
        for entry in entries {
            let fits = |subnet: &SubnetConfig| subnet.contains(entry.ip);
            let subnet = self.config.subnets.iter().position(fits);
            let (Some(index), Some((duid, iaid))) = (subnet, parse_client_name(&entry.client))
            else {
                continue;
            };
            let Some(table) = self.tables.get_mut(index) else {
                continue;
            };
            table.pool.make_room(&mut table.leases, entry.ip);
            if table.leases.len() < self.config.subnets[index].max_leases {
                let binding = Binding {
                    owner: Owner { duid, iaid },
                    mac: entry.mac,
                    state: entry.state,
                    ends: entry.ends,
                };
                table.leases.insert(entry.ip, binding);
            }
        }
        self.poll(now);
    }

    /// Every address in mind as of `now`, ordered by address.
    #[must_use]
    pub fn leases(&self, now: Time) -> Vec<LeaseEntry> {
        let all = self.tables.iter().flat_map(|table| table.leases.iter());
        let mut entries: Vec<_> = all
            .map(|(ip, binding)| LeaseEntry {
                ip,
                mac: binding.mac,
                client: client_name(&binding.owner.duid, binding.owner.iaid),
                state: match binding.state {
                    LeaseState::Leased if binding.ends <= now => LeaseState::Ended,
                    state => state,
                },
                ends: binding.ends,
            })
            .collect();
        entries.sort_by_key(|entry| entry.ip);
        entries
    }

    /// Goes on as another server, with every address in mind that lies inside of one of its subnets.
    pub fn reconfigure(&mut self, now: Time, mut next: Responder) {
        next.restore(now, self.leases(now));
        if next.config.limits == self.config.limits {
            std::mem::swap(&mut next.rates, &mut self.rates);
        }
        *self = next;
    }

    /// How much of each subnet's range is taken as of `now`: the subnet, leased addresses, and quarantined ones.
    #[must_use]
    pub fn usage(&self, now: Time) -> Vec<(String, u64, u64)> {
        let subnets = self.config.subnets.iter().zip(&self.tables);
        let usage = subnets.map(|(subnet, table)| {
            let (mut leased, mut quarantined) = (0, 0);
            for (_, binding) in table.leases.iter() {
                match binding.state {
                    LeaseState::Leased if binding.ends > now => leased += 1,
                    LeaseState::Quarantined => quarantined += 1,
                    _ => {}
                }
            }
            (subnet.to_string(), leased, quarantined)
        });
        usage.collect()
    }

    /// Forgets everything about an address; whether there was anything.
    pub fn forget(&mut self, ip: Ipv6Addr) -> bool {
        let mut known = false;
        for table in &mut self.tables {
            known |= table.leases.get(ip).is_some();
            table.leases.forget(ip);
        }
        known
    }

    /// The machine that holds `ip` by a lease at `now`.
    #[must_use]
    pub fn lease_of(&self, now: Time, ip: Ipv6Addr) -> Option<MacAddr> {
        let mut found = self.tables.iter().filter_map(|table| table.leases.get(ip));
        found
            .find(|binding| binding.state == LeaseState::Leased && binding.ends > now)
            .map(|binding| binding.mac)
    }

    /// The machine that had `ip` last, by a lease that holds or ended. EDK2 releases its address when it starts a boot
    /// program, and GRUB goes on with it.
    #[must_use]
    pub fn last_holder(&self, ip: Ipv6Addr) -> Option<MacAddr> {
        let mut found = self.tables.iter().filter_map(|table| table.leases.get(ip));
        found
            .find(|binding| binding.state != LeaseState::Quarantined)
            .map(|binding| binding.mac)
    }

    /// Ends what expired until `now`. [`Responder::handle`] does so too; calling it at [`Responder::poll_at`]
    /// only frees memory earlier.
    pub fn poll(&mut self, now: Time) {
        for table in &mut self.tables {
            table.leases.expire(now);
        }
    }

    /// When the next lease or quarantine ends; `None` where there is none.
    #[must_use]
    pub fn poll_at(&self) -> Option<Time> {
        let ends = self
            .tables
            .iter()
            .filter_map(|table| table.leases.next_end());
        ends.min()
    }

    /// Number of addresses kept in memory, of whatever state.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.tables.iter().map(|table| table.leases.len()).sum()
    }
}

impl Ask<'_> {
    fn owner(&self, ia: &IdentityAssociation) -> Owner {
        Owner {
            duid: self.duid.to_vec(),
            iaid: ia.iaid,
        }
    }

    fn wish<'a>(&self, pool: &Pool, leases: &Leases, owner: &'a Owner) -> Wish<'a> {
        Wish {
            owner,
            mac: self.client.mac,
            known: pool.is_tight(leases) && self.machines.is_known(&self.client.mac),
        }
    }
}

pub(super) fn dropped(
    reason: DropReason,
    detail: impl Into<std::borrow::Cow<'static, str>>,
) -> Dropped {
    Dropped {
        reason,
        detail: detail.into(),
    }
}
