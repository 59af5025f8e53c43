//! The lease table of one subnet: who has which address, and until when.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::runs::Runs;
use crate::Time;

/// What an address is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Offered; waits for its REQUEST.
    Offered,
    /// Leased.
    Leased,
    /// The lease ended. Kept in mind so that the machine gets the same address again, until another needs it.
    Ended,
    /// Somebody else on the segment uses it (DECLINE).
    Quarantined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) mac: MacAddr,
    pub(super) state: State,
    pub(super) ends: Time,
    /// Whether the machine was unknown when the address was offered.
    pub(super) stranger: bool,
    /// Which change of the table made it.
    generation: u64,
}

/// What a change replaced, and which change it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Undo {
    generation: u64,
    /// What the address was.
    before: Option<Binding>,
    /// The address that the machine had until then, where it is another.
    former: Option<(Ipv4Addr, Binding)>,
}

/// Changes taken back that are kept in mind, so that later ones built on them can be taken back as well.
const UNDONE_MAX: usize = 4096;

/// The table. Machines are told apart by hardware address alone: firmware, iPXE and the operating system of one
/// machine send different client identifiers (option 61), and all must get the same address in one boot.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_ip: HashMap<Ipv4Addr, Binding>,
    /// At most one address a machine; quarantined ones are nobody's.
    by_mac: HashMap<MacAddr, Ipv4Addr>,
    /// Bindings that end by themselves, soonest first.
    ends: BTreeSet<(Time, Ipv4Addr)>,
    /// Ended ones that anybody may have, longest ended first.
    ended: BTreeSet<(Time, Ipv4Addr)>,
    /// Addresses offered to machines never seen before, soonest to end first.
    strangers: BTreeSet<(Time, Ipv4Addr)>,
    /// Addresses in the table, and those that nobody may get from it.
    pub(super) taken: Runs,
    /// Addresses that only one machine each may have: never in `ended`, always in `taken`.
    kept: BTreeSet<Ipv4Addr>,
    generation: u64,
    undone: std::collections::BTreeMap<u64, Undo>,
}

impl Leases {
    /// A table in which the addresses of `never` and of `kept` are not found free.
    pub(super) fn new(never: &[Ipv4Addr], kept: BTreeSet<Ipv4Addr>) -> Self {
        let mut leases = Self {
            kept,
            ..Self::default()
        };
        for ip in never.iter().chain(&leases.kept) {
            leases.taken.insert(ip.to_bits());
        }
        leases
    }

    /// The last change of the table.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes a binding over from the table before this one, unless its machine or its address has one already.
    pub(super) fn adopt(&mut self, ip: Ipv4Addr, binding: Binding) {
        let nobodys = binding.state == State::Quarantined;
        if !self.by_ip.contains_key(&ip) && (nobodys || !self.by_mac.contains_key(&binding.mac)) {
            self.put(ip, binding);
        }
    }

    /// Counts changes from `latest` on, so that each that can still be taken back is one change of one table. What was
    /// taken back before is known from the table of the same subnet.
    pub(super) fn go_on_from(&mut self, before: Option<&mut Leases>, latest: u64) {
        self.generation = self.generation.max(latest);
        if let Some(before) = before {
            self.undone = std::mem::take(&mut before.undone);
        }
    }

    /// What a binding is at `now`.
    fn at(binding: &Binding, now: Time) -> Option<Binding> {
        let due = binding.ends <= now;
        match binding.state {
            State::Offered | State::Quarantined if due => None,
            State::Leased if due => Some(Binding {
                state: State::Ended,
                ..*binding
            }),
            _ => Some(*binding),
        }
    }

    /// The address in mind for `mac`, whatever its state.
    pub(super) fn of(&self, mac: &MacAddr, now: Time) -> Option<(Ipv4Addr, Binding)> {
        let ip = *self.by_mac.get(mac)?;
        Some((ip, self.holder(ip, now)?))
    }

    /// Who has `ip`, and how.
    pub(super) fn holder(&self, ip: Ipv4Addr, now: Time) -> Option<Binding> {
        Self::at(self.by_ip.get(&ip)?, now)
    }

    /// When the next binding ends by itself.
    pub(super) fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(time, _)| *time)
    }

    /// Ends what is due. An offer nobody took and a quarantine that is over are forgotten; a lease is kept in
    /// mind as ended.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some(&(time, ip)) = self.ends.first() {
            if time > now {
                return;
            }
            match self.by_ip.get(&ip).map(|binding| binding.state) {
                Some(State::Leased) => self.end(ip, time),
                _ => self.forget(ip),
            }
        }
    }

    /// Binds `ip` to `mac`; what either had before is forgotten, and told.
    pub(super) fn bind(
        &mut self,
        ip: Ipv4Addr,
        mac: MacAddr,
        state: State,
        ends: Time,
        stranger: bool,
    ) -> Undo {
        self.generation += 1;
        let generation = self.generation;
        let binding = Binding {
            mac,
            state,
            ends,
            stranger,
            generation,
        };
        let former = self.by_mac.get(&mac).copied().filter(|own| *own != ip);
        let former = former.and_then(|own| Some((own, self.remove(own)?)));
        Undo {
            generation,
            before: self.put(ip, binding),
            former,
        }
    }

    /// Keeps `ip` from everybody until `until`.
    pub(super) fn quarantine(&mut self, ip: Ipv4Addr, mac: MacAddr, until: Time) {
        self.generation += 1;
        let quarantined = Binding {
            mac,
            state: State::Quarantined,
            ends: until,
            stranger: false,
            generation: self.generation,
        };
        self.put(ip, quarantined);
    }

    /// Ends the binding of `ip`, but keeps it in mind.
    pub(super) fn end(&mut self, ip: Ipv4Addr, now: Time) {
        if let Some(binding) = self.by_ip.get(&ip).copied() {
            self.generation += 1;
            let ended = Binding {
                state: State::Ended,
                ends: now,
                generation: self.generation,
                ..binding
            };
            self.put(ip, ended);
        }
    }

    /// Removes every trace of `ip`.
    pub(super) fn forget(&mut self, ip: Ipv4Addr) {
        self.remove(ip);
    }

    /// Takes a change back. One that others have replaced since is only noted, so that the last of them, taken back too,
    /// finds what was before all of them.
    pub(super) fn undo(&mut self, ip: Ipv4Addr, undo: &Undo) {
        while self.undone.len() >= UNDONE_MAX {
            self.undone.pop_first();
        }
        self.undone.insert(undo.generation, undo.clone());
        let current = self.by_ip.get(&ip).map(|binding| binding.generation);
        if current != Some(undo.generation) {
            return;
        }
        let Some(taken_back) = self.remove(ip) else {
            return;
        };
        let before = self.sound(undo.before);
        if let Some(before) = before {
            self.put(ip, before);
        }
        let mac = taken_back.mac;
        if let Some((own, binding)) = undo.former
            && let Some(binding) = self.sound(Some(binding))
            && !self.by_ip.contains_key(&own)
            && !self.by_mac.contains_key(&mac)
        {
            self.put(own, binding);
        }
    }

    /// What there was before all changes that were taken back.
    fn sound(&self, mut binding: Option<Binding>) -> Option<Binding> {
        while let Some(undone) = binding.and_then(|b| self.undone.get(&b.generation)) {
            binding = undone.before;
        }
        binding
    }

    fn put(&mut self, ip: Ipv4Addr, binding: Binding) -> Option<Binding> {
        let before = self.by_ip.insert(ip, binding);
        match &before {
            Some(before) => self.unlist(ip, before),
            None => self.taken.insert(ip.to_bits()),
        }
        let Binding { mac, ends, .. } = binding;
        match binding.state {
            State::Ended if self.kept.contains(&ip) => {}
            State::Ended => {
                self.ended.insert((ends, ip));
            }
            _ => {
                self.ends.insert((ends, ip));
            }
        }
        if binding.stranger && binding.state == State::Offered {
            self.strangers.insert((ends, ip));
        }
        if binding.state != State::Quarantined {
            self.by_mac.insert(mac, ip);
        }
        before
    }

    fn remove(&mut self, ip: Ipv4Addr) -> Option<Binding> {
        let binding = self.by_ip.remove(&ip)?;
        self.unlist(ip, &binding);
        if !self.kept.contains(&ip) {
            self.taken.remove(ip.to_bits());
        }
        Some(binding)
    }

    fn unlist(&mut self, ip: Ipv4Addr, binding: &Binding) {
        let key = (binding.ends, ip);
        match binding.state {
            State::Ended => self.ended.remove(&key),
            _ => self.ends.remove(&key),
        };
        if binding.stranger && binding.state == State::Offered {
            self.strangers.remove(&key);
        }
        if self.by_mac.get(&binding.mac) == Some(&ip) {
            self.by_mac.remove(&binding.mac);
        }
    }

    /// Number of addresses in the table, of whatever state.
    pub(super) fn len(&self) -> usize {
        self.by_ip.len()
    }

    /// Number of addresses that are offered, leased or in quarantine.
    pub(super) fn in_use(&self) -> usize {
        self.ends.len()
    }

    /// Number of addresses offered to strangers.
    pub(super) fn offered_to_strangers(&self) -> usize {
        self.strangers.len()
    }

    /// What strangers were offered and who they are, soonest to end first.
    pub(super) fn stranger_offers(&self) -> impl Iterator<Item = (Ipv4Addr, MacAddr)> {
        let mac_of = |ip: &Ipv4Addr| Some(self.by_ip.get(ip)?.mac);
        self.strangers
            .iter()
            .filter_map(move |(_, ip)| Some((*ip, mac_of(ip)?)))
    }

    /// Ended ones that anybody may have, longest ended first.
    pub(super) fn ended(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.ended.iter().map(|(_, ip)| *ip)
    }

    /// Everything in the table as of `now`, in no order.
    pub(super) fn all(&self, now: Time) -> impl Iterator<Item = (Ipv4Addr, Binding)> {
        self.by_ip
            .iter()
            .filter_map(move |(ip, binding)| Some((*ip, Self::at(binding, now)?)))
    }
}
