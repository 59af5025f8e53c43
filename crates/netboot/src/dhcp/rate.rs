//! How often one hardware address is answered.

use bootgate_events::MacAddr;

use super::DhcpLimits;
use super::pool::place;
use crate::Time;

/// Hardware addresses that share a place in the table.
const WAYS: usize = 4;

/// A token bucket for each hardware address (for DHCPv4 and for DHCPv6 one table each), in a table of fixed size. Where two many share a place, the one that has
/// been quiet longest is forgotten and starts anew: a flood of invented addresses costs no memory and locks nobody
/// out.
#[derive(Debug)]
pub(crate) struct Rates {
    places: Vec<[Slot; WAYS]>,
    /// Time that one message takes out of the bucket, in nanoseconds; 0 for no limit.
    every: u64,
    /// Time that fits the bucket, in nanoseconds.
    depth: u64,
}

/// The bucket of one address: full at `empty_at` and before, used up where that is a whole depth ahead of now (the
/// generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    mac: [u8; 6],
    empty_at: u64,
}

impl Rates {
    pub(crate) fn new(limits: &DhcpLimits) -> Self {
        let every = match limits.burst {
            0 => 0,
            _ => nanos(limits.every),
        };
        let places = match every {
            0 => 0,
            _ => limits.tracked.div_ceil(WAYS).max(1),
        };
        Self {
            places: vec![[Slot::default(); WAYS]; places],
            every,
            depth: every.saturating_mul(u64::from(limits.burst)),
        }
    }

    fn place_of(&self, mac: &MacAddr) -> usize {
        let count = self.places.len().max(1) as u64;
        usize::try_from(place(mac) % count).unwrap_or(0)
    }

    /// Whether a message may be answered now, without counting it.
    pub(crate) fn would_allow(&self, now: Time, mac: &MacAddr) -> bool {
        let slots = self.places.get(self.place_of(mac));
        let slot = slots.and_then(|slots| slots.iter().find(|slot| slot.mac == mac.0));
        slot.is_none_or(|slot| self.allows(nanos(now), slot))
    }

    fn allows(&self, now: u64, slot: &Slot) -> bool {
        let used = slot.empty_at.saturating_sub(now);
        used.saturating_add(self.every) <= self.depth
    }

    /// Whether a message may be answered now; counts it.
    pub(crate) fn allow(&mut self, now: Time, mac: &MacAddr) -> bool {
        let at = self.place_of(mac);
        let (now, every, depth) = (nanos(now), self.every, self.depth);
        let Some(slots) = self.places.get_mut(at) else {
            return true;
        };
        let found = slots.iter_mut().find(|slot| slot.mac == mac.0);
        if let Some(slot) = found {
            let used = slot.empty_at.saturating_sub(now);
            if used.saturating_add(every) > depth {
                return false;
            }
            slot.empty_at = slot.empty_at.max(now).saturating_add(every);
        } else if let Some(quietest) = slots.iter_mut().min_by_key(|slot| slot.empty_at) {
            *quietest = Slot {
                mac: mac.0,
                empty_at: now.saturating_add(every),
            };
        }
        true
    }
}

fn nanos(time: Time) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_passes_and_then_one_in_its_time() {
        let limits = DhcpLimits {
            burst: 3,
            every: Duration::from_secs(1),
            tracked: 8,
            ..DhcpLimits::default()
        };
        let mut rates = Rates::new(&limits);
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        let now = Duration::from_secs(1_700_000_000);
        let passed = (0..10).filter(|_| rates.allow(now, &mac)).count();
        assert_eq!(passed, 3);
        assert!(!rates.would_allow(now, &mac));
        assert!(rates.would_allow(now, &MacAddr([2, 0, 0, 0, 0, 2])));
        let later = now + Duration::from_secs(2);
        let passed = (0..10).filter(|_| rates.allow(later, &mac)).count();
        assert_eq!(passed, 2);
    }

    #[test]
    fn no_limit_and_no_memory_where_it_is_off() {
        let limits = DhcpLimits {
            burst: 0,
            ..DhcpLimits::default()
        };
        let mut rates = Rates::new(&limits);
        let mac = MacAddr([2, 0, 0, 0, 0, 1]);
        assert!((0..1000).all(|_| rates.allow(Duration::ZERO, &mac)));
        assert_eq!(rates.places.len(), 0);
    }
}
