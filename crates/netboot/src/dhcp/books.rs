//! The books: what a server keeps, takes over and takes back.

use std::net::Ipv4Addr;

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;

use super::lease::{Binding, State};
use super::responder::{Net, Responder};
use super::{Grant, LeaseEntry};
use crate::Time;

impl Responder {
    /// Takes a grant back that could not be made durable: the address is what it was before. Grants may be taken back
    /// in any order; one that another has replaced since is not the address's last, and changes nothing until that
    /// is taken back too.
    pub fn undo(&mut self, grant: &Grant) {
        if let Some(net) = self.nets.get_mut(grant.subnet.0) {
            net.leases.undo(grant.ip, &grant.undo);
        }
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
