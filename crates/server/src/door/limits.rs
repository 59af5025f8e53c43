//! How much one address, and all together, may ask for.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Keys in mind at once. Beyond them, those that have their whole allowance again are forgotten; where none has, new ones
/// are refused until one has.
const KEYS: usize = 16_384;

/// A password may be tried so often in a row from one address, and for one user; then once in [`LOGIN_EVERY`].
const LOGINS: u32 = 5;
const LOGIN_EVERY: Duration = Duration::from_secs(6);

/// A rate of each key.
pub(super) struct Rate<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    /// So many in a row, and one more each `every`; `None` where one of them is zero.
    fn new(burst: u32, every: Duration) -> Option<Self> {
        let quota = Quota::with_period(every)?.allow_burst(NonZeroU32::new(burst)?);
        let clock = DefaultClock::default();
        Some(Self {
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()),
            clock,
        })
    }

    /// Takes one of the key's allowance, or says when there is one.
    fn take(&self, key: &K) -> Result<(), Duration> {
        if self.limiter.len() >= KEYS {
            self.limiter.retain_recent();
            if self.limiter.len() >= KEYS {
                return Err(LOGIN_EVERY);
            }
        }
        let taken = self.limiter.check_key(key);
        taken.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// What strangers and others may ask for.
pub(super) struct Limits {
    requests: Option<Rate<IpAddr>>,
    logins_from: Option<Rate<IpAddr>>,
    logins_of: Option<Rate<String>>,
}

impl Limits {
    /// So many requests a second of each address, ten times as many in a row. 0: any number.
    pub(super) fn new(requests_per_second: u32) -> Self {
        let requests = match requests_per_second {
            0 => None,
            per_second => Rate::new(
                per_second.saturating_mul(10),
                Duration::from_secs(1) / per_second,
            ),
        };
        Self {
            requests,
            logins_from: Rate::new(LOGINS * 2, LOGIN_EVERY),
            logins_of: Rate::new(LOGINS, LOGIN_EVERY),
        }
    }

    /// A request; else how long to wait.
    pub(super) fn request(&self, from: IpAddr) -> Result<(), Duration> {
        let rate = self.requests.as_ref();
        rate.map_or(Ok(()), |rate| rate.take(&network(from)))
    }

    /// A login with a password; else how long to wait. Who is refused for their address takes nothing of the user's
    /// allowance.
    pub(super) fn login(&self, from: IpAddr, user: &str) -> Result<(), Duration> {
        if let Some(rate) = &self.logins_from {
            rate.take(&network(from))?;
        }
        let user: String = user.chars().take(64).collect();
        self.logins_of
            .as_ref()
            .map_or(Ok(()), |rate| rate.take(&user))
    }
}

/// An address as limits count it: over IPv6 a host has as many addresses as it likes, all of them in one /64 (RFC 4291,
/// section 2.5.1).
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (u128::MAX << 64)).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_allowance_and_another_has_its_own() {
        let limits = Limits::new(1);
        let one: IpAddr = "10.0.0.1".parse().expect("an address");
        let refused = (0..100).filter(|_| limits.request(one).is_err()).count();
        assert!((88..=90).contains(&refused), "{refused}");
        let wait = limits.request(one).expect_err("used up");
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(
            limits
                .request("10.0.0.2".parse().expect("an address"))
                .is_ok()
        );
    }

    #[test]
    fn addresses_of_one_network_are_one_over_ipv6() {
        let limits = Limits::new(1);
        let refused = (0..100u128).filter(|host| {
            let ip = IpAddr::V6((0xfd00_u128 << 112 | host).into());
            limits.request(ip).is_err()
        });
        assert!((88..=90).contains(&refused.count()));
    }

    #[test]
    fn a_user_is_guarded_against_many_addresses_and_memory_does_not_grow_for_ever() {
        let limits = Limits::new(0);
        let tries = (1..100u32).map(|n| limits.login(IpAddr::V4(n.into()), "ada"));
        assert_eq!(tries.filter(Result::is_ok).count(), LOGINS as usize);
        let rate = Rate::new(1, Duration::from_secs(3600)).expect("a rate");
        for n in 0..KEYS + 10 {
            let _ = rate.take(&n);
        }
        assert!(rate.limiter.len() <= KEYS);
        assert!(rate.take(&usize::MAX).is_err());
    }
}
