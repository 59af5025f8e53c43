//! Counters of what was left without an answer.

use std::collections::BTreeMap;

use bootgate_events::MacAddr;
use bootgate_netboot::Time;

/// Dropped packets of one service that become events in one second; the others are counted.
const DROPS_PER_SECOND: u32 = 5;

/// A packet or request that is not answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropped<'a> {
    /// `dhcp`, `tftp`, `http`, ...
    pub(crate) service: &'static str,
    /// The reason's name in counters: short, lower case, words joined by `-`.
    pub(crate) slug: &'static str,
    /// Who sent it, where known.
    pub(crate) mac: Option<MacAddr>,
    /// The reason in words.
    pub(crate) why: &'a str,
}

#[derive(Debug, Default)]
pub(crate) struct Drops {
    counts: BTreeMap<(&'static str, &'static str), u64>,
    told: BTreeMap<&'static str, Told>,
}

/// What was told of one service's drops.
#[derive(Debug, Default)]
struct Told {
    second: u64,
    told: u32,
    untold: u64,
}

impl Drops {
    /// Counts it. Gives how many were not told before it, where this one is to be told.
    pub(crate) fn count(&mut self, now: Time, dropped: &Dropped<'_>) -> Option<u64> {
        *self
            .counts
            .entry((dropped.service, dropped.slug))
            .or_default() += 1;
        let told = self.told.entry(dropped.service).or_default();
        if told.second != now.as_secs() {
            told.second = now.as_secs();
            told.told = 0;
        }
        if told.told >= DROPS_PER_SECOND {
            told.untold += 1;
            return None;
        }
        told.told += 1;
        Some(std::mem::take(&mut told.untold))
    }

    pub(crate) fn counts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.counts.clone()
    }
}
