//! The server's side of the conversation.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::lease::{Leases, Pool, State};
use super::reply::{self, Kind};
use super::{
    ClientFacts, Datagram, DhcpConfig, DropReason, Dropped, Grant, LeaseEntry, MessageKind,
    Outcome, Reply,
};
use crate::Time;
use crate::policy::{self, Boot, Decision, MachineLookup, Servers};

#[derive(Debug)]
pub(super) struct Net {
    pub(super) server_ip: Ipv4Addr,
    pub(super) pool: std::ops::RangeInclusive<Ipv4Addr>,
    pub(super) lease: Time,
    pub(super) offer_hold: Time,
    pub(super) quarantine: Time,
    pub(super) router: Option<Ipv4Addr>,
    pub(super) prefix_len: u8,
    pub(super) authoritative: bool,
    pub(super) max_leases: usize,
    pub(super) http_port: u16,
    pub(super) reservations: std::collections::BTreeMap<MacAddr, Ipv4Addr>,
}

impl Net {
    fn new(config: &DhcpConfig) -> Self {
        let interface = &config.interfaces[0];
        let subnet = &config.subnets[0];
        Self {
            server_ip: interface.address,
            pool: subnet.ranges[0].clone(),
            lease: subnet.lease,
            offer_hold: config.offer_hold,
            quarantine: config.quarantine,
            router: subnet.router,
            prefix_len: subnet.prefix_len,
            authoritative: config.authoritative,
            max_leases: subnet.max_leases,
            http_port: interface.http_port,
            reservations: subnet.reservations.clone(),
        }
    }
    pub(super) fn netmask(&self) -> Ipv4Addr {
        let bits = u32::from(self.prefix_len.min(32));
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - bits).unwrap_or(0))
    }
    pub(super) fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.server_ip.to_bits() | !self.netmask().to_bits())
    }
    pub(super) fn on_network(&self, ip: Ipv4Addr) -> bool {
        let mask = self.netmask().to_bits();
        ip.to_bits() & mask == self.server_ip.to_bits() & mask
    }
}

/// A DHCPv4 server: configuration and lease table.
#[derive(Debug)]
pub struct Responder {
    config: DhcpConfig,
    net: Net,
    pool: Pool,
    leases: Leases,
}

/// Why a message gets no reply.
type Silence = String;

impl Responder {
    /// A server without leases.
    #[must_use]
    pub fn new(config: DhcpConfig) -> Self {
        let net = Net::new(&config);
        Self {
            pool: Pool::new(&net),
            net,
            leases: Leases::default(),
            config,
        }
    }

    /// The configuration it was made with.
    #[must_use]
    pub fn config(&self) -> &DhcpConfig {
        &self.config
    }

    /// Handles the payload of one datagram that came to port 67. `machines` says what each machine may boot.
    ///
    /// Never panics, whatever the bytes are.
    pub fn handle(
        &mut self,
        now: Time,
        datagram: &Datagram<'_>,
        machines: &dyn MachineLookup,
    ) -> Outcome {
        self.poll(now);
        let client = match ClientFacts::parse(datagram.bytes) {
            Ok(client) => client,
            Err(error) => {
                let dropped = Some(Dropped::new(DropReason::Malformed, error.to_string()));
                return Outcome {
                    dropped,
                    ..Outcome::default()
                };
            }
        };
        let machine = machines.machine(&client.mac);
        let servers = Servers {
            ip: self.net.server_ip.into(),
            http_port: self.net.http_port,
            architectures: &self.config.architectures,
            mode: self.config.interfaces[0].mode,
        };
        let decision = policy::decide(&client, machine.as_ref(), &servers);
        let received = Some((client.mac, client.summary(decision.loader)));
        match self.answer(now, &client, &decision) {
            Ok(reply) => Outcome {
                received,
                loader: Some(decision.loader),
                reply: Some(reply),
                ..Outcome::default()
            },
            Err(silence) => Outcome {
                received,
                loader: Some(decision.loader),
                dropped: Some(Dropped::new(DropReason::NotOurs, silence)),
                ..Outcome::default()
            },
        }
    }

    fn answer(
        &mut self,
        now: Time,
        client: &ClientFacts,
        decision: &Decision,
    ) -> Result<Reply, Silence> {
        let giaddr = client.giaddr;
        if !giaddr.is_unspecified() && !self.net.on_network(giaddr) {
            return Err(format!(
                "relay `{giaddr}` is on a network without a pool here"
            ));
        }
        self.check_server_id(client)?;
        match client.message {
            MessageKind::Decline => Err(self.decline(now, client)),
            MessageKind::Release => Err(self.release(now, client)),
            _ if decision.boot == Boot::Refuse => Err(decision.reason.to_string()),
            MessageKind::Discover => self.discover(now, client, decision),
            MessageKind::Request => self.request(now, client, decision),
            MessageKind::Inform => self.inform(client, decision),
        }
    }

    /// A client that names another server (option 54) does not talk to this one. The offer it did not take is free
    /// again at once. DISCOVER and INFORM carry no such option; where one does, it means nothing.
    fn check_server_id(&mut self, client: &ClientFacts) -> Result<(), Silence> {
        if matches!(client.message, MessageKind::Discover | MessageKind::Inform) {
            return Ok(());
        }
        match client.server_id {
            Some(server) if server != self.net.server_ip => {
                if let Some((ip, State::Offered, _)) = self.leases.of(&client.mac) {
                    self.leases.forget(ip);
                }
                Err(format!(
                    "client chose DHCP server `{server}`: another server answers on this segment"
                ))
            }
            _ => Ok(()),
        }
    }

    fn discover(
        &mut self,
        now: Time,
        client: &ClientFacts,
        decision: &Decision,
    ) -> Result<Reply, Silence> {
        let mac = client.mac;
        let ip = self
            .pool
            .choose(&self.leases, &mac, client.requested)
            .ok_or("no free address in the pool")?;
        // A lease stays one while the next loader of the same boot asks again.
        if !matches!(self.leases.of(&mac), Some((own, State::Leased, _)) if own == ip) {
            self.pool.make_room(&mut self.leases, ip);
            let until = now.saturating_add(self.net.offer_hold);
            self.leases.bind(ip, mac, State::Offered, until);
        }
        reply::configure(&self.net, client, decision, Kind::Offer(ip))
    }

    /// The four states of RFC 2131 section 4.3.2, told apart by table 4: a client in SELECTING names the server, one in
    /// INIT-REBOOT only the address it had, one in RENEWING or REBINDING has its address in `ciaddr`. The last two
    /// differ in how they came (unicast or broadcast) and get the same answer.
    fn request(
        &mut self,
        now: Time,
        client: &ClientFacts,
        decision: &Decision,
    ) -> Result<Reply, Silence> {
        let mac = client.mac;
        let renewing = !client.ciaddr.is_unspecified();
        let ip = match client.requested {
            _ if renewing => client.ciaddr,
            Some(ip) => ip,
            None => return Err("REQUEST names no address".to_owned()),
        };
        let selecting = !renewing && client.server_id.is_some();
        let known = self.leases.of(&mac).map(|(own, _, _)| own);
        if !selecting && known.is_none() && !self.net.authoritative {
            return Err(format!(
                "`{ip}` was not leased by this server, and it is not the only one"
            ));
        }
        // What is known of the machine stands against a claim of a different address, but for SELECTING, where an
        // offer may have gone since.
        let agreed = selecting || known.is_none_or(|own| own == ip);
        if agreed && self.pool.can_take(&self.leases, &mac, ip) {
            self.pool.make_room(&mut self.leases, ip);
            let until = now.saturating_add(self.net.lease);
            self.leases.bind(ip, mac, State::Leased, until);
            return reply::configure(&self.net, client, decision, Kind::Ack(ip));
        }
        let reason = self.why_not(&mac, ip);
        reply::refuse(&self.net, client, decision.loader, ip, reason)
    }

    /// Why `mac` cannot have `ip`, in words.
    fn why_not(&self, mac: &MacAddr, ip: Ipv4Addr) -> String {
        if !self.net.on_network(ip) {
            return format!("address {ip} is not on this network");
        }
        match (self.leases.holder(ip), self.leases.of(mac)) {
            (Some((_, State::Quarantined, _)), _) => format!("address {ip} is in quarantine"),
            (Some((holder, State::Leased | State::Offered, _)), _) if holder != *mac => {
                format!("address {ip} belongs to another machine")
            }
            (_, Some((own, _, _))) if own != ip => {
                format!("address {ip} is not this machine's, {own} is")
            }
            _ => format!("address {ip} is not available to this machine"),
        }
    }

    /// INFORM: the client has an address from elsewhere and wants the rest. It gets no lease (RFC 2131 section 4.3.5).
    fn inform(&self, client: &ClientFacts, decision: &Decision) -> Result<Reply, Silence> {
        if client.ciaddr.is_unspecified() || !self.net.on_network(client.ciaddr) {
            return Err(format!(
                "INFORM from `{}`, not of this network",
                client.ciaddr
            ));
        }
        reply::configure(&self.net, client, decision, Kind::AckInform)
    }

    /// DECLINE is believed only from the machine that was given the address: anybody else could empty the pool.
    fn decline(&mut self, now: Time, client: &ClientFacts) -> Silence {
        let Some(ip) = client.requested else {
            return "DECLINE names no address".to_owned();
        };
        match self.leases.holder(ip) {
            Some((holder, State::Leased | State::Offered, _)) if holder == client.mac => {
                let until = now.saturating_add(self.net.quarantine);
                self.leases.quarantine(ip, client.mac, until);
                format!(
                    "declined `{ip}`: another station uses it; not given out for {} s",
                    self.net.quarantine.as_secs()
                )
            }
            _ => format!("DECLINE of `{ip}`, which this client does not hold: ignored"),
        }
    }

    fn release(&mut self, now: Time, client: &ClientFacts) -> Silence {
        let ip = client.ciaddr;
        match self.leases.holder(ip) {
            Some((holder, State::Leased, _)) if holder == client.mac => {
                self.leases.end(ip, now);
                format!("released `{ip}`")
            }
            _ => format!("RELEASE of `{ip}`, which this client does not hold: ignored"),
        }
    }

    /// The machine that holds `ip` by a lease (not a mere offer) at `now`.
    #[must_use]
    pub fn lease_of(&self, now: Time, ip: Ipv4Addr) -> Option<MacAddr> {
        match self.leases.holder(ip) {
            Some((mac, State::Leased, ends)) if ends > now => Some(mac),
            _ => None,
        }
    }

    /// The address that `mac` holds by a lease at `now`.
    #[must_use]
    pub fn address_of(&self, now: Time, mac: &MacAddr) -> Option<Ipv4Addr> {
        match self.leases.of(mac) {
            Some((ip, State::Leased, ends)) if ends > now => Some(ip),
            _ => None,
        }
    }

    /// Ends what expired until `now`. [`Responder::handle`] does so too; calling it at [`Responder::poll_at`]
    /// only frees memory earlier.
    pub fn poll(&mut self, now: Time) {
        self.leases.expire(now);
    }

    /// When the next lease, offer or quarantine ends; `None` where there is none.
    #[must_use]
    pub fn poll_at(&self) -> Option<Time> {
        self.leases.next_end()
    }

    /// Number of addresses kept in memory, of whatever state; at most [`DhcpConfig::max_leases`].
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.leases.len()
    }

    /// Takes a grant back that could not be made durable: the address is what it was before. Grants may be taken back
    /// in any order; one that another has replaced since changes nothing.
    pub fn undo(&mut self, grant: &Grant) {
        let _ = grant;
    }

    /// Takes over what was in mind before a restart. An address outside of every subnet here is left out; of two
    /// entries for one address or one machine in a subnet, the one that ends later counts.
    pub fn restore(&mut self, now: Time, entries: impl IntoIterator<Item = LeaseEntry>) {
        let _ = (now, entries.into_iter().count());
    }

    /// Forgets everything about an address; whether there was anything.
    pub fn forget(&mut self, ip: Ipv4Addr) -> bool {
        let known = self.leases.holder(ip).is_some();
        self.leases.forget(ip);
        known
    }

    /// Every address in mind but those merely offered, as of `now`, ordered by address.
    #[must_use]
    pub fn leases(&self, now: Time) -> Vec<LeaseEntry> {
        let _ = now;
        Vec::new()
    }

    /// Says why a client gets, or would get, its reply: by the same rules as [`Responder::handle`], and without any
    /// change of state.
    #[must_use]
    pub fn explain(
        &self,
        now: Time,
        asked: &Asked,
        machines: &dyn MachineLookup,
    ) -> bootgate_api::Explanation {
        let _ = (now, asked, machines);
        bootgate_api::Explanation::default()
    }
}

/// A client to explain the reply to: what it would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its hardware address.
    pub mac: MacAddr,
    /// The interface its message comes to.
    pub interface: super::InterfaceId,
    /// Its architectures (option 93).
    pub architectures: Vec<u16>,
    /// Its vendor class (option 60), such as `PXEClient`.
    pub class: Option<String>,
    /// Its user class (option 77), such as `iPXE`.
    pub user_class: Option<String>,
    /// The relay its message comes by.
    pub giaddr: Option<Ipv4Addr>,
    /// The kind of message.
    pub message: MessageKind,
    /// The port it comes to.
    pub port: super::Port,
}

impl Asked {
    /// A DISCOVER of an operating system on the first interface.
    #[must_use]
    pub fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            interface: super::InterfaceId(0),
            architectures: Vec::new(),
            class: None,
            user_class: None,
            giaddr: None,
            message: MessageKind::Discover,
            port: super::Port::Dhcp,
        }
    }
}
