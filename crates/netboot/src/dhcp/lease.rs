//! The lease table: who has which address, and until when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::responder::Net;
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

#[derive(Clone, Copy, Debug)]
struct Binding {
    mac: MacAddr,
    state: State,
    ends: Time,
}

/// What a grant replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Undo {
    generation: u64,
}

/// The table. Machines are told apart by hardware address alone: firmware, iPXE and the operating system of one
/// machine send different client identifiers (option 61), and all must get the same address in one boot.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_ip: HashMap<Ipv4Addr, Binding>,
    /// At most one address a machine; quarantined ones are nobody's.
    by_mac: HashMap<MacAddr, Ipv4Addr>,
    /// Bindings that end by themselves, soonest first.
    ends: BTreeSet<(Time, Ipv4Addr)>,
    /// Ended ones, longest ended first.
    ended: BTreeSet<(Time, Ipv4Addr)>,
}

impl Leases {
    /// The address in mind for `mac`, whatever its state.
    pub(super) fn of(&self, mac: &MacAddr) -> Option<(Ipv4Addr, State, Time)> {
        let ip = *self.by_mac.get(mac)?;
        let binding = self.by_ip.get(&ip)?;
        Some((ip, binding.state, binding.ends))
    }

    /// Who has `ip`, and how.
    pub(super) fn holder(&self, ip: Ipv4Addr) -> Option<(MacAddr, State, Time)> {
        let binding = self.by_ip.get(&ip)?;
        Some((binding.mac, binding.state, binding.ends))
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

    /// Binds `ip` to `mac`; what either had before is forgotten.
    pub(super) fn bind(&mut self, ip: Ipv4Addr, mac: MacAddr, state: State, ends: Time) {
        self.forget(ip);
        if let Some(former) = self.by_mac.get(&mac).copied() {
            self.forget(former);
        }
        self.by_ip.insert(ip, Binding { mac, state, ends });
        self.by_mac.insert(mac, ip);
        self.ends.insert((ends, ip));
    }

    /// Keeps `ip` from everybody until `until`.
    pub(super) fn quarantine(&mut self, ip: Ipv4Addr, mac: MacAddr, until: Time) {
        self.forget(ip);
        let state = State::Quarantined;
        self.by_ip.insert(
            ip,
            Binding {
                mac,
                state,
                ends: until,
            },
        );
        self.ends.insert((until, ip));
    }

    /// Ends the binding of `ip`, but keeps it in mind.
    pub(super) fn end(&mut self, ip: Ipv4Addr, now: Time) {
        if let Some(binding) = self.by_ip.get_mut(&ip) {
            self.ends.remove(&(binding.ends, ip));
            binding.state = State::Ended;
            binding.ends = now;
            self.ended.insert((now, ip));
        }
    }

    /// Removes every trace of `ip`.
    pub(super) fn forget(&mut self, ip: Ipv4Addr) {
        let Some(binding) = self.by_ip.remove(&ip) else {
            return;
        };
        self.ends.remove(&(binding.ends, ip));
        self.ended.remove(&(binding.ends, ip));
        if self.by_mac.get(&binding.mac) == Some(&ip) {
            self.by_mac.remove(&binding.mac);
        }
    }

    /// Number of addresses in the table, of whatever state.
    pub(super) fn len(&self) -> usize {
        self.by_ip.len()
    }
}

/// Which addresses may be given out, and to whom.
#[derive(Debug)]
pub(super) struct Pool {
    first: u32,
    /// Number of addresses from `first` on; 0 for an empty pool.
    size: u64,
    reserved: BTreeMap<MacAddr, Ipv4Addr>,
    /// Addresses inside the pool's range that nobody may get.
    never: Vec<Ipv4Addr>,
    reserved_ips: BTreeSet<Ipv4Addr>,
    max_leases: usize,
}

impl Pool {
    /// The configured pool, as far as it lies inside the network.
    pub(super) fn new(config: &Net) -> Self {
        let network = config.server_ip.to_bits() & config.netmask().to_bits();
        let broadcast = config.broadcast().to_bits();
        let first = config.pool.start().to_bits().max(network);
        let last = config.pool.end().to_bits().min(broadcast);
        let mut never = vec![config.server_ip];
        never.extend(config.router);
        if config.prefix_len < 31 {
            never.extend([Ipv4Addr::from_bits(network), config.broadcast()]);
        }
        let reserved: BTreeMap<_, _> = config
            .reservations
            .iter()
            .filter(|(_, ip)| config.on_network(**ip) && !never.contains(ip))
            .map(|(mac, ip)| (*mac, *ip))
            .collect();
        Self {
            first,
            size: (u64::from(last) + 1).saturating_sub(u64::from(first)),
            reserved_ips: reserved.values().copied().collect(),
            reserved,
            never,
            max_leases: config.max_leases,
        }
    }

    /// The address reserved for `mac`, unless another station sits on it.
    fn reserved(&self, leases: &Leases, mac: &MacAddr) -> Option<Ipv4Addr> {
        let ip = *self.reserved.get(mac)?;
        match leases.holder(ip) {
            Some((_, State::Quarantined, _)) => None,
            Some((holder, State::Leased | State::Offered, _)) if holder != *mac => None,
            _ => Some(ip),
        }
    }

    /// Whether `ip` may be given to `mac`, whoever has it now.
    fn allows(&self, leases: &Leases, mac: &MacAddr, ip: Ipv4Addr) -> bool {
        if let Some(own) = self.reserved(leases, mac) {
            return own == ip;
        }
        let offset = u64::from(ip.to_bits()).checked_sub(u64::from(self.first));
        offset.is_some_and(|offset| offset < self.size)
            && !self.never.contains(&ip)
            && !self.reserved_ips.contains(&ip)
    }

    /// Whether `mac` can have `ip` now: allowed, and not in use by another or quarantined.
    pub(super) fn can_take(&self, leases: &Leases, mac: &MacAddr, ip: Ipv4Addr) -> bool {
        self.allows(leases, mac, ip)
            && match leases.holder(ip) {
                None => self.has_room(leases),
                Some((_, State::Quarantined, _)) => false,
                Some((_, State::Ended, _)) => true,
                Some((holder, _, _)) => holder == *mac,
            }
    }

    fn has_room(&self, leases: &Leases) -> bool {
        leases.len() < self.max_leases || !leases.ended.is_empty()
    }

    /// Makes room in a full table before `ip` is bound, unless it has an entry already.
    pub(super) fn make_room(&self, leases: &mut Leases, ip: Ipv4Addr) {
        while leases.holder(ip).is_none() && leases.len() >= self.max_leases {
            let Some((_, oldest)) = leases.ended.first().copied() else {
                return;
            };
            leases.forget(oldest);
        }
    }

    /// The address `mac` should get: its own, the reserved one, the one it asks for, or a free one. The search for a
    /// free one begins at a place that follows from the hardware address, so that a machine gets the same address
    /// in every run, whoever came before it.
    pub(super) fn choose(
        &self,
        leases: &Leases,
        mac: &MacAddr,
        asked: Option<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let own = leases.of(mac).map(|(ip, _, _)| ip);
        [own, self.reserved(leases, mac), asked]
            .into_iter()
            .flatten()
            .find(|ip| self.can_take(leases, mac, *ip))
            .or_else(|| self.unused(leases, mac))
            .or_else(|| {
                let mut ended = leases.ended.iter().map(|(_, ip)| *ip);
                ended.find(|ip| self.allows(leases, mac, *ip))
            })
    }

    fn unused(&self, leases: &Leases, mac: &MacAddr) -> Option<Ipv4Addr> {
        if self.size == 0 || !self.has_room(leases) {
            return None;
        }
        let start = place(mac) % self.size;
        // Each address that is not free is in one of these lists, so that this many steps find a free one if any.
        let steps = leases.len() + self.never.len() + self.reserved_ips.len() + 1;
        (0..self.size)
            .take(steps)
            .filter_map(|step| u32::try_from((start + step) % self.size).ok())
            .map(|offset| Ipv4Addr::from_bits(self.first.saturating_add(offset)))
            .find(|ip| leases.holder(*ip).is_none() && self.allows(leases, mac, *ip))
    }
}

/// A number that follows from the address alone and spreads well (FNV-1a, 64 bits).
fn place(mac: &MacAddr) -> u64 {
    mac.0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
