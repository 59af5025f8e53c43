//! Which addresses of a subnet may be given out, and to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::lease::{Leases, State};
use super::{DhcpConfig, DhcpLimits, SubnetConfig};
use crate::Time;
use crate::policy::MachineLookup;

/// However small a subnet is, so many addresses may be offered to strangers at once.
const MIN_STRANGER_OFFERS: usize = 4;

/// Offers to strangers that are looked at for one to take back.
const LOOK_AT: usize = 8;

/// The addresses of one subnet.
#[derive(Debug)]
pub(super) struct Pool {
    /// First and last address of each range, ascending and apart.
    ranges: Vec<(u32, u32)>,
    /// Number of addresses in all ranges.
    size: u64,
    reserved: BTreeMap<MacAddr, Ipv4Addr>,
    reserved_ips: BTreeSet<Ipv4Addr>,
    /// Addresses inside the ranges that nobody may get.
    never: Vec<Ipv4Addr>,
    max_leases: usize,
    /// Offers to strangers at once, at most.
    max_stranger_offers: usize,
    /// Addresses in use up to which a stranger still gets one.
    max_for_strangers: usize,
}

/// Who asks for an address.
pub(super) struct Asker<'a> {
    pub(super) mac: MacAddr,
    /// Whether it was found among the machines already.
    pub(super) found: bool,
    /// The machines, to be asked where addresses run short and it was not looked for yet.
    pub(super) machines: &'a dyn MachineLookup,
}

impl Asker<'_> {
    fn known(&self) -> bool {
        self.found || self.machines.is_known(&self.mac)
    }
}

/// An address for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) ip: Ipv4Addr,
    /// Whether the machine was never seen before.
    pub(super) stranger: bool,
    /// How it was found, in words.
    pub(super) how: &'static str,
}

impl Pool {
    /// The subnet's ranges, as far as they lie inside its network.
    pub(super) fn new(config: &DhcpConfig, subnet: &SubnetConfig) -> Self {
        let (network, broadcast) = (subnet.first().to_bits(), subnet.broadcast().to_bits());
        let ranges = merged(subnet, network, broadcast);
        let size: u64 = ranges
            .iter()
            .map(|(first, last)| u64::from(last - first) + 1)
            .sum();
        let mut never: Vec<_> = config.interfaces.iter().map(|i| i.address).collect();
        never.extend(subnet.router);
        if subnet.prefix_len < 31 {
            never.extend([subnet.first(), subnet.broadcast()]);
        }
        never.retain(|ip| subnet.contains(*ip));
        let reserved: BTreeMap<_, _> = subnet
            .reservations
            .iter()
            .filter(|(_, ip)| subnet.contains(**ip) && !never.contains(ip))
            .map(|(mac, ip)| (*mac, *ip))
            .collect();
        let capacity =
            usize::try_from(size).map_or(subnet.max_leases, |s| s.min(subnet.max_leases));
        let DhcpLimits {
            stranger_offers,
            kept_for_known,
            ..
        } = config.limits;
        let percent = |part: u8| {
            capacity / 100 * usize::from(part) + capacity % 100 * usize::from(part) / 100
        };
        Self {
            ranges,
            size,
            reserved_ips: reserved.values().copied().collect(),
            reserved,
            never,
            max_leases: subnet.max_leases,
            max_stranger_offers: percent(stranger_offers.min(100)).max(MIN_STRANGER_OFFERS),
            max_for_strangers: capacity - percent(kept_for_known.min(100)),
        }
    }

    /// An empty table for this pool.
    pub(super) fn table(&self) -> Leases {
        Leases::new(&self.never, self.reserved_ips.clone())
    }

    /// How many addresses can be taken at once, reserved ones outside of the ranges among them.
    pub(super) fn capacity(&self) -> u64 {
        let outside = self.reserved_ips.iter().filter(|ip| !self.in_ranges(**ip));
        let never = self.never.iter().filter(|ip| self.in_ranges(**ip));
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let all = self.size.saturating_add(count(outside.count()));
        let all = all.saturating_sub(count(never.count()));
        all.min(count(self.max_leases))
    }

    /// Whether an address is kept for this machine.
    pub(super) fn has_reservation(&self, mac: &MacAddr) -> bool {
        self.reserved.contains_key(mac)
    }

    /// The address reserved for `mac`, unless another station sits on it.
    fn reserved(&self, leases: &Leases, mac: &MacAddr, now: Time) -> Option<Ipv4Addr> {
        let ip = *self.reserved.get(mac)?;
        match leases.holder(ip, now) {
            Some(held) if held.state == State::Quarantined => None,
            Some(held) if held.state == State::Leased && held.mac != *mac => None,
            _ => Some(ip),
        }
    }

    fn in_ranges(&self, ip: Ipv4Addr) -> bool {
        let ip = ip.to_bits();
        self.ranges
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&ip))
    }

    /// Whether `ip` may be given to `mac`, whoever has it now.
    fn allows(&self, leases: &Leases, mac: &MacAddr, ip: Ipv4Addr, now: Time) -> bool {
        if let Some(own) = self.reserved(leases, mac, now) {
            return own == ip;
        }
        self.in_ranges(ip) && !self.never.contains(&ip) && !self.reserved_ips.contains(&ip)
    }

    /// Whether the asker can have `ip` now: allowed, not in use by another, not in quarantine, and room for it.
    pub(super) fn can_take(
        &self,
        leases: &Leases,
        asker: &Asker<'_>,
        ip: Ipv4Addr,
        now: Time,
    ) -> bool {
        self.allows(leases, &asker.mac, ip, now)
            && match leases.holder(ip, now) {
                Some(held) if held.state == State::Quarantined => false,
                Some(held) if held.mac == asker.mac => true,
                Some(held) if held.state == State::Ended => self.may_take_new(leases, asker, now),
                Some(_) => self.reserved.get(&asker.mac) == Some(&ip),
                None => self.may_take_new(leases, asker, now) && self.has_room(leases, asker, now),
            }
    }

    /// Whether the machine was seen here before, or has an address kept for it.
    fn seen(&self, leases: &Leases, mac: &MacAddr, now: Time) -> bool {
        let own = leases.of(mac, now);
        self.has_reservation(mac) || own.is_some_and(|(_, binding)| !binding.stranger)
    }

    /// Whether the asker may have an address that it has not yet: machines known here always, others while there are
    /// more left than are kept for them.
    fn may_take_new(&self, leases: &Leases, asker: &Asker<'_>, now: Time) -> bool {
        leases.in_use() < self.max_for_strangers
            || self.seen(leases, &asker.mac, now)
            || asker.known()
    }

    fn has_room(&self, leases: &Leases, asker: &Asker<'_>, now: Time) -> bool {
        leases.len() < self.max_leases
            || leases.ended().next().is_some()
            || (leases.stranger_offers().next().is_some()
                && (self.seen(leases, &asker.mac, now) || asker.known()))
    }

    /// Makes room in a full table before `ip` is bound, unless it has an entry already: the entry longest ended goes,
    /// or else the stranger's offer that ends first.
    pub(super) fn make_room(&self, leases: &mut Leases, ip: Ipv4Addr, now: Time) {
        while leases.holder(ip, now).is_none() && leases.len() >= self.max_leases {
            let offered = || leases.stranger_offers().next().map(|(ip, _)| ip);
            let oldest = leases.ended().next().or_else(offered);
            let Some(oldest) = oldest else {
                return;
            };
            leases.forget(oldest);
        }
    }

    /// The address the asker should get: its own, the reserved one, the one it asks for, a free one, one whose lease
    /// ended, and for machines known here one that was only offered to a stranger. The search for a free one begins
    /// at a place that follows from the hardware address, so that a machine gets the same address in every run,
    /// whoever came before it.
    pub(super) fn choose(
        &self,
        leases: &Leases,
        asker: &Asker<'_>,
        asked: Option<Ipv4Addr>,
        now: Time,
    ) -> Option<Choice> {
        let mac = &asker.mac;
        let stranger = !asker.found && !self.seen(leases, mac, now);
        let choice = |ip, how| Choice { ip, stranger, how };
        let own = leases.of(mac, now).map(|(ip, _)| ip);
        if stranger
            && own.is_none()
            && leases.offered_to_strangers() >= self.max_stranger_offers
            && !asker.known()
        {
            return None;
        }
        let wishes = [
            (self.reserved(leases, mac, now), "the one kept for it"),
            (own, "the one it had"),
            (asked, "the one it asks for"),
        ];
        let found = wishes
            .into_iter()
            .filter_map(|(ip, how)| Some((ip?, how)))
            .find(|(ip, _)| self.can_take(leases, asker, *ip, now));
        if let Some((ip, how)) = found {
            return Some(choice(ip, how));
        }
        if !self.may_take_new(leases, asker, now) {
            return None;
        }
        if self.has_room(leases, asker, now)
            && let Some(ip) = self.unused(leases, mac)
        {
            return Some(choice(ip, "a free one"));
        }
        let ended = leases.ended().find(|ip| self.allows(leases, mac, *ip, now));
        if let Some(ip) = ended {
            return Some(choice(ip, "one whose lease ended"));
        }
        if !self.seen(leases, mac, now) && !asker.known() {
            return None;
        }
        // Who asks as an operating system was not looked up before: it may be known all the same.
        let offered = leases
            .stranger_offers()
            .take(LOOK_AT)
            .find(|(_, other)| !asker.machines.is_known(other));
        offered.map(|(ip, _)| choice(ip, "one that was only offered to a stranger"))
    }

    fn unused(&self, leases: &Leases, mac: &MacAddr) -> Option<Ipv4Addr> {
        let mut offset = place(mac).checked_rem(self.size)?;
        let mut start = 0;
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let length = u64::from(last - first) + 1;
            if offset < length {
                start = index;
                break;
            }
            offset -= length;
        }
        let (first, _) = *self.ranges.get(start)?;
        let from = first.saturating_add(u32::try_from(offset).ok()?);
        // From the place on to the end of its range, the other ranges in turn, and what came before the place.
        let count = self.ranges.len();
        (0..=count)
            .filter_map(|step| {
                let (first, last) = *self.ranges.get((start + step) % count)?;
                let from = if step == 0 { from } else { first };
                leases.taken.next_free(from).filter(|ip| *ip <= last)
            })
            .map(Ipv4Addr::from_bits)
            .next()
    }
}

/// The subnet's ranges within its network, ascending, overlapping ones made one.
fn merged(subnet: &SubnetConfig, network: u32, broadcast: u32) -> Vec<(u32, u32)> {
    let mut ranges: Vec<_> = subnet
        .ranges
        .iter()
        .map(|range| {
            let first = range.start().to_bits().max(network);
            (first, range.end().to_bits().min(broadcast))
        })
        .filter(|(first, last)| first <= last)
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// A number that follows from the address alone and spreads well (FNV-1a, 64 bits).
pub(super) fn place(mac: &MacAddr) -> u64 {
    mac.0.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
