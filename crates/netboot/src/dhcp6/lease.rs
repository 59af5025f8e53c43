//! The lease table: who has which address, and until when.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv6Addr;

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;

use super::SubnetConfig;
use crate::Time;

/// Whose lease it is: an interface of a client. Firmware, iPXE and the operating system of one machine are three
/// clients here, each with its own address; the protocol allows nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) duid: Vec<u8>,
    pub(super) iaid: u32,
}

impl Owner {
    fn place(&self) -> u64 {
        place(&[&self.duid[..], &self.iaid.to_be_bytes()].concat())
    }
}

/// A number that follows from the bytes alone and spreads well (FNV-1a, 64 bits).
pub(super) fn place(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) owner: Owner,
    pub(super) mac: MacAddr,
    pub(super) state: LeaseState,
    pub(super) ends: Time,
}

/// The table of one subnet. Nothing is kept for a mere ADVERTISE: what it offers follows from the client, so that a
/// flood of SOLICITs takes no memory.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_ip: HashMap<Ipv6Addr, Binding>,
    by_owner: HashMap<Owner, Ipv6Addr>,
    /// Bindings that end by themselves, soonest first.
    ends: BTreeSet<(Time, Ipv6Addr)>,
    /// Ended ones, longest ended first.
    ended: BTreeSet<(Time, Ipv6Addr)>,
}

impl Leases {
    /// The address in mind for `owner`, whatever its state.
    pub(super) fn of(&self, owner: &Owner) -> Option<Ipv6Addr> {
        self.by_owner.get(owner).copied()
    }

    /// What is known of `ip`.
    pub(super) fn get(&self, ip: Ipv6Addr) -> Option<&Binding> {
        self.by_ip.get(&ip)
    }

    /// When the next binding ends by itself.
    pub(super) fn next_end(&self) -> Option<Time> {
        self.ends.first().map(|(time, _)| *time)
    }

    /// Ends what is due. A quarantine that is over is forgotten; a lease is kept in mind as ended.
    pub(super) fn expire(&mut self, now: Time) {
        while let Some(&(time, ip)) = self.ends.first() {
            if time > now {
                return;
            }
            match self.by_ip.get(&ip).map(|binding| binding.state) {
                Some(LeaseState::Leased) => self.end(ip, time),
                _ => self.forget(ip),
            }
        }
    }

    /// Puts a binding in place of what `ip` and its owner had; gives what that was.
    pub(super) fn insert(&mut self, ip: Ipv6Addr, binding: Binding) -> Vec<(Ipv6Addr, Binding)> {
        let owned = self.of(&binding.owner).filter(|own| *own != ip);
        let replaced = [Some(ip), owned].into_iter().flatten();
        let before: Vec<_> = replaced
            .filter_map(|ip| Some((ip, self.by_ip.get(&ip)?.clone())))
            .collect();
        for (ip, _) in &before {
            self.forget(*ip);
        }
        let due = (binding.ends, ip);
        match binding.state {
            LeaseState::Ended => self.ended.insert(due),
            LeaseState::Leased | LeaseState::Quarantined => self.ends.insert(due),
        };
        // A quarantined address is nobody's.
        if binding.state != LeaseState::Quarantined {
            self.by_owner.insert(binding.owner.clone(), ip);
        }
        self.by_ip.insert(ip, binding);
        before
    }

    /// Ends the binding of `ip`, but keeps it in mind.
    pub(super) fn end(&mut self, ip: Ipv6Addr, now: Time) {
        if let Some(binding) = self.by_ip.get_mut(&ip) {
            self.ends.remove(&(binding.ends, ip));
            self.ended.remove(&(binding.ends, ip));
            binding.state = LeaseState::Ended;
            binding.ends = now;
            self.ended.insert((now, ip));
        }
    }

    /// Removes every trace of `ip`.
    pub(super) fn forget(&mut self, ip: Ipv6Addr) {
        let Some(binding) = self.by_ip.remove(&ip) else {
            return;
        };
        self.ends.remove(&(binding.ends, ip));
        self.ended.remove(&(binding.ends, ip));
        if self.by_owner.get(&binding.owner) == Some(&ip) {
            self.by_owner.remove(&binding.owner);
        }
    }

    /// Number of addresses in the table, of whatever state.
    pub(super) fn len(&self) -> usize {
        self.by_ip.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ipv6Addr, &Binding)> {
        self.by_ip.iter().map(|(ip, binding)| (*ip, binding))
    }
}

/// Who wants an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) owner: &'a Owner,
    pub(super) mac: MacAddr,
    /// Whether the machine is known, and finds room where a stranger does not.
    pub(super) known: bool,
}

/// Which addresses of a subnet may be given out, and to whom.
#[derive(Debug)]
pub(super) struct Pool {
    first: u128,
    /// Number of addresses from `first` on, less one; `None` for an empty pool.
    span: Option<u128>,
    reserved: BTreeMap<MacAddr, Ipv6Addr>,
    reserved_ips: BTreeSet<Ipv6Addr>,
    /// Addresses inside the range that nobody may get.
    never: Vec<Ipv6Addr>,
    max_leases: usize,
    for_strangers: usize,
}

impl Pool {
    /// The configured range, as far as it lies inside the prefix; `ours` are the servers' own addresses.
    pub(super) fn new(config: &SubnetConfig, ours: &[Ipv6Addr], kept_for_known: u8) -> Self {
        let mut never = ours.to_vec();
        if config.prefix_len < 127 {
            never.push(config.first());
        }
        let fits = |ip: Ipv6Addr| config.contains(ip) && !never.contains(&ip);
        let reserved: BTreeMap<_, _> = config
            .reservations
            .iter()
            .filter(|(_, ip)| fits(**ip))
            .map(|(mac, ip)| (*mac, *ip))
            .collect();
        let (first, span) = config.range.as_ref().map_or((0, None), |range| {
            let first = (*range.start()).max(config.first()).to_bits();
            let last = (*range.end()).min(config.last()).to_bits();
            (first, last.checked_sub(first))
        });
        let kept = config.max_leases * usize::from(kept_for_known.min(100)) / 100;
        Self {
            first,
            span,
            reserved_ips: reserved.values().copied().collect(),
            reserved,
            never,
            max_leases: config.max_leases,
            for_strangers: config.max_leases - kept,
        }
    }

    /// Whether there is anything to give out.
    pub(super) fn serves(&self) -> bool {
        self.span.is_some() || !self.reserved.is_empty()
    }

    /// Whether `ip` may be given to this client now: of the pool or reserved for it, and not in use by another.
    /// A reserved address is the machine's, whichever of its clients had it.
    pub(super) fn can_take(&self, leases: &Leases, wish: Wish<'_>, ip: Ipv6Addr) -> bool {
        let reserved = self.reserved.get(&wish.mac) == Some(&ip);
        let offset = ip.to_bits().checked_sub(self.first);
        let pooled = offset.zip(self.span).is_some_and(|(at, span)| at <= span);
        let allowed = pooled && !self.never.contains(&ip) && !self.reserved_ips.contains(&ip);
        (reserved || allowed)
            && match leases.get(ip) {
                None => self.has_room(leases, wish),
                Some(binding) => match binding.state {
                    LeaseState::Quarantined => false,
                    LeaseState::Ended => true,
                    LeaseState::Leased => {
                        binding.owner == *wish.owner || (reserved && binding.mac == wish.mac)
                    }
                },
            }
    }

    /// Whether strangers find no more room.
    pub(super) fn is_tight(&self, leases: &Leases) -> bool {
        leases.len() >= self.for_strangers && leases.ended.is_empty()
    }

    fn has_room(&self, leases: &Leases, wish: Wish<'_>) -> bool {
        let limit = match wish.known || self.reserved.contains_key(&wish.mac) {
            true => self.max_leases,
            false => self.for_strangers,
        };
        leases.len() < limit || !leases.ended.is_empty() || leases.of(wish.owner).is_some()
    }

    /// Makes room in a full table before `ip` is bound, unless it has an entry already.
    pub(super) fn make_room(&self, leases: &mut Leases, ip: Ipv6Addr) {
        while leases.get(ip).is_none() && leases.len() >= self.max_leases {
            let Some((_, oldest)) = leases.ended.first().copied() else {
                return;
            };
            leases.forget(oldest);
        }
    }

    /// The address this client should get: the reserved one, its own, one it asks for, or a free one. The search for a free
    /// one begins at a place that follows from the client, so that it gets the same address in every run, whoever came
    /// before it. `taken` are addresses that the same reply gives out already.
    pub(super) fn choose(
        &self,
        leases: &Leases,
        wish: Wish<'_>,
        asked: &[Ipv6Addr],
        taken: &[Ipv6Addr],
    ) -> Option<Ipv6Addr> {
        let reserved = self.reserved.get(&wish.mac).copied();
        let wanted = [reserved, leases.of(wish.owner)].into_iter().flatten();
        wanted
            .chain(asked.iter().copied())
            .find(|ip| !taken.contains(ip) && self.can_take(leases, wish, *ip))
            .or_else(|| self.unused(leases, wish, taken))
    }

    fn unused(&self, leases: &Leases, wish: Wish<'_>, taken: &[Ipv6Addr]) -> Option<Ipv6Addr> {
        let span = self.span?;
        let start = match span.checked_add(1) {
            Some(size) => u128::from(wish.owner.place()) % size,
            None => u128::from(wish.owner.place()),
        };
        // Each address that is not free is in one of these lists, so that this many steps find a free one if any.
        let lists = [
            leases.len(),
            self.never.len(),
            self.reserved_ips.len(),
            taken.len(),
        ];
        let steps = lists.iter().sum::<usize>() + 1;
        let mut offset = start;
        for _ in 0..steps {
            let ip = Ipv6Addr::from_bits(self.first + offset);
            if !taken.contains(&ip) && self.can_take(leases, wish, ip) {
                return Some(ip);
            }
            offset = match offset {
                last if last == span => 0,
                offset => offset + 1,
            };
        }
        None
    }
}
