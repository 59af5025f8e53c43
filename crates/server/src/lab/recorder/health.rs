//! What everybody may see of the recorder.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bootgate_api::UnixMicros;

use super::super::ForeignServer;

/// How long another DHCP server is shown after it was last heard of: a day, so that one which comes and goes with
/// somebody's laptop is there to be seen the next morning.
const FOREIGN_KEPT_US: u64 = 24 * 3600 * 1_000_000;
/// Time in which the log tells of a server once.
const FOREIGN_TOLD_US: u64 = 3600 * 1_000_000;
/// Other DHCP servers that are kept in mind.
const FOREIGN_MAX: usize = 256;

/// How the recorder is, for everybody to see.
#[derive(Debug, Default)]
pub(in crate::lab) struct Health {
    /// Events that were lost.
    pub(in crate::lab) lost: AtomicU64,
    /// Messages that wait for the recorder.
    pub(in crate::lab) waiting: AtomicU64,
    failed: Mutex<BTreeSet<String>>,
    storage_error: Mutex<Option<String>>,
    foreign: Mutex<BTreeMap<(IpAddr, String), Foreign>>,
    unmet: Mutex<BTreeMap<Unmet, u64>>,
}

/// Another DHCP server.
#[derive(Debug)]
struct Foreign {
    server: ForeignServer,
    /// When the log told of it.
    told: UnixMicros,
}

/// Why a machine did not become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lab) enum Unmet {
    /// Too many became known in this second.
    TooMany,
    /// As many as may are known by discovery.
    Full,
}

impl Unmet {
    /// Its name in counters.
    pub(in crate::lab) fn slug(self) -> &'static str {
        match self {
            Unmet::TooMany => "too-many-a-second",
            Unmet::Full => "limit-reached",
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Health {
    pub(in crate::lab) fn storage_error(&self) -> Option<String> {
        held(&self.storage_error).clone()
    }

    pub(super) fn set_storage_error(&self, error: Option<String>) {
        *held(&self.storage_error) = error;
    }

    /// Notes a server that ended by itself.
    pub(super) fn server_failed(&self, service: &str) {
        held(&self.failed).insert(service.to_owned());
    }

    /// The servers that ended by themselves.
    pub(in crate::lab) fn failed_servers(&self) -> BTreeSet<String> {
        held(&self.failed).clone()
    }

    /// The other DHCP servers that were heard of lately, as of `now`.
    pub(in crate::lab) fn foreign(&self, now: UnixMicros) -> Vec<ForeignServer> {
        let mut known = held(&self.foreign);
        known.retain(|_, one| one.server.last_seen.0.saturating_add(FOREIGN_KEPT_US) > now.0);
        known.values().map(|one| one.server.clone()).collect()
    }

    /// Notes another DHCP server. Whether the log is to tell of it.
    pub(super) fn seen(&self, server: ForeignServer) -> bool {
        let mut known = held(&self.foreign);
        // A DHCPv6 server that only clients told of has no address; what told of it has its DUID.
        let name = match server.address.is_unspecified() {
            true => format!("{} {}", server.interface, server.by),
            false => server.interface.clone(),
        };
        let key = (server.address, name);
        let now = server.last_seen;
        if known.len() >= FOREIGN_MAX && !known.contains_key(&key) {
            let oldest = known.iter().min_by_key(|(_, one)| one.server.last_seen);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                known.remove(&oldest);
            }
        }
        let before = known.get(&key).map(|one| one.told);
        let recent = before.filter(|told| told.0.saturating_add(FOREIGN_TOLD_US) > now.0);
        let told = recent.unwrap_or(now);
        known.insert(key, Foreign { server, told });
        recent.is_none()
    }

    /// Counts a machine that did not become known. Whether it is the first for this reason.
    pub(super) fn count_unmet(&self, why: Unmet) -> bool {
        let mut unmet = held(&self.unmet);
        let count = unmet.entry(why).or_default();
        *count += 1;
        *count == 1
    }

    /// How many boots of unknown machines left them unknown, by the reason.
    pub(in crate::lab) fn unmet(&self) -> BTreeMap<Unmet, u64> {
        held(&self.unmet).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600 * 1_000_000;

    fn server(last: u8, hours: u64) -> ForeignServer {
        ForeignServer {
            address: IpAddr::from([10, 0, 0, last]),
            mac: None,
            interface: "eth1".to_owned(),
            by: "its reply".to_owned(),
            last_seen: UnixMicros(hours * HOUR),
        }
    }

    #[test]
    fn another_server_is_told_of_once_an_hour_and_forgotten_after_a_day() {
        let health = Health::default();
        assert!(health.seen(server(1, 100)));
        let soon = ForeignServer {
            last_seen: UnixMicros(100 * HOUR + HOUR / 2),
            ..server(1, 0)
        };
        assert!(!health.seen(soon.clone()));
        assert_eq!(health.foreign(UnixMicros(101 * HOUR)), [soon]);
        assert!(health.seen(server(1, 101)), "an hour after it was told");
        assert_eq!(health.foreign(UnixMicros(124 * HOUR)).len(), 1);
        assert!(health.foreign(UnixMicros(125 * HOUR)).is_empty());
    }

    #[test]
    fn invented_servers_push_out_the_oldest_and_not_the_newest() {
        let health = Health::default();
        let many = (0..300_u64).map(|at| ForeignServer {
            address: IpAddr::from([10, 0, u8::from(at > 255), at.to_le_bytes()[0]]),
            ..server(0, at)
        });
        for one in many {
            assert!(health.seen(one));
        }
        let known = held(&health.foreign);
        assert_eq!(known.len(), FOREIGN_MAX);
        let latest = known.values().map(|one| one.server.last_seen.0).max();
        assert_eq!(latest, Some(299 * HOUR));
    }
}
