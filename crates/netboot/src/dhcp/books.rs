//! The books: what a server keeps, takes over and takes back.

use std::net::Ipv4Addr;

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;

use super::lease::{Binding, State};
use super::responder::{Net, Responder};
use super::{DhcpConfig, Grant, LeaseEntry, Usage};
use crate::Time;

impl Responder {
    /// Takes a grant back that could not be made durable: the address is what it was before. Grants may be taken back
    /// in any order; one that another has replaced since is not the address's last, and changes nothing until that
    /// is taken back too.
    pub fn undo(&mut self, grant: &Grant) {
        // By the address: a subnet may have another number since.
        if let Some(net) = self.net_of(grant.ip) {
            net.leases.undo(grant.ip, &grant.undo);
        }
    }

    /// Goes on with another configuration, and with every address in mind that lies inside of one of its subnets. Offers
    /// under way hold, and so do the rates of clients, where their limits stay.
    pub fn reconfigure(&mut self, now: Time, config: DhcpConfig) {
        let mut next = Responder::new(config);
        let latest = self.nets.iter().map(|net| net.leases.generation()).max();
        let mut kept = Vec::new();
        for net in &mut self.nets {
            kept.extend(net.leases.all(now));
        }
        // Of two addresses of one machine in what is one subnet now, a lease counts first, and then the one that ends later.
        kept.sort_by_key(|(_, binding)| {
            (binding.state == State::Leased, binding.ends, binding.mac)
        });
        for (ip, binding) in kept.into_iter().rev() {
            if let Some(net) = next.net_of(ip) {
                net.pool.make_room(&mut net.leases, ip, now);
                net.leases.adopt(ip, binding);
            }
        }
        let subnets = self
            .config()
            .subnets
            .iter()
            .map(|s| (s.first(), s.prefix_len));
        let before: Vec<_> = subnets.collect();
        let subnets = next
            .config()
            .subnets
            .iter()
            .map(|s| (s.first(), s.prefix_len));
        let after: Vec<_> = subnets.collect();
        for (net, subnet) in next.nets.iter_mut().zip(after) {
            let at = before.iter().position(|before| *before == subnet);
            let before = at.and_then(|at| self.nets.get_mut(at));
            let latest = latest.unwrap_or_default();
            net.leases
                .go_on_from(before.map(|net| &mut net.leases), latest);
        }
        next.go_on_from(self);
        *self = next;
    }

    /// How much of each subnet is taken as of `now`, in the order of the configuration.
    #[must_use]
    pub fn usage(&self, now: Time) -> Vec<Usage> {
        let subnets = self.config().subnets.iter().zip(&self.nets);
        let usage = subnets.map(|(subnet, net)| {
            let mut usage = Usage {
                subnet: subnet.to_string(),
                size: net.pool.capacity(),
                ..Usage::default()
            };
            for (_, binding) in net.leases.all(now) {
                match binding.state {
                    State::Offered => usage.offered += 1,
                    State::Leased => usage.leased += 1,
                    State::Quarantined => usage.quarantined += 1,
                    State::Ended => {}
                }
            }
            usage
        });
        usage.collect()
    }

    /// Takes over what was in mind before a restart. An address outside of every subnet here is left out; of two
    /// entries for one address, or for one machine in a subnet, a lease counts before anything else, and then the one
    /// that ends later.
    pub fn restore(&mut self, now: Time, entries: impl IntoIterator<Item = LeaseEntry>) {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|entry| (entry.state == LeaseState::Leased, entry.ends));
        for LeaseEntry {
            ip,
            mac,
            state,
            ends,
        } in entries
        {
            let Some(net) = self.net_of(ip) else {
                continue;
            };
            net.pool.make_room(&mut net.leases, ip, now);
            match state {
                LeaseState::Quarantined => net.leases.quarantine(ip, mac, ends),
                LeaseState::Leased => {
                    net.leases.bind(ip, mac, State::Leased, ends, false);
                }
                LeaseState::Ended => {
                    net.leases.bind(ip, mac, State::Leased, ends, false);
                    net.leases.end(ip, ends);
                }
            }
        }
        self.poll(now);
    }

    fn net_of(&mut self, ip: Ipv4Addr) -> Option<&mut Net> {
        let at = self.config().subnets.iter().position(|s| s.contains(ip))?;
        self.nets.get_mut(at)
    }

    /// Forgets everything about an address; whether there was anything.
    pub fn forget(&mut self, ip: Ipv4Addr) -> bool {
        let Some(net) = self.net_of(ip) else {
            return false;
        };
        let before = net.leases.len();
        net.leases.forget(ip);
        net.leases.len() < before
    }

    /// Every address in mind but those merely offered, as of `now`, ordered by address.
    #[must_use]
    pub fn leases(&self, now: Time) -> Vec<LeaseEntry> {
        let all = self.nets.iter().flat_map(|net| net.leases.all(now));
        let mut entries: Vec<_> = all.filter_map(|(ip, b)| entry(ip, &b)).collect();
        entries.sort_by_key(|entry| entry.ip);
        entries
    }

    fn lease(&self, now: Time, ip: Ipv4Addr) -> Option<Binding> {
        let at = self.config().subnets.iter().position(|s| s.contains(ip))?;
        let binding = self.nets.get(at)?.leases.holder(ip, now)?;
        (binding.state == State::Leased).then_some(binding)
    }

    /// The machine that holds `ip` by a lease (not a mere offer) at `now`.
    #[must_use]
    pub fn lease_of(&self, now: Time, ip: Ipv4Addr) -> Option<MacAddr> {
        Some(self.lease(now, ip)?.mac)
    }

    /// The address that `mac` holds by a lease at `now`; of several, in several subnets, the one in the subnet that
    /// stands first.
    #[must_use]
    pub fn address_of(&self, now: Time, mac: &MacAddr) -> Option<Ipv4Addr> {
        let own = |net: &Net| net.leases.of(mac, now);
        let mut bindings = self.nets.iter().filter_map(own);
        let leased = bindings.find(|(_, binding)| binding.state == State::Leased);
        leased.map(|(ip, _)| ip)
    }
}

fn entry(ip: Ipv4Addr, binding: &Binding) -> Option<LeaseEntry> {
    let state = match binding.state {
        State::Offered => return None,
        State::Leased => LeaseState::Leased,
        State::Ended => LeaseState::Ended,
        State::Quarantined => LeaseState::Quarantined,
    };
    Some(LeaseEntry {
        ip,
        mac: binding.mac,
        state,
        ends: binding.ends,
    })
}
