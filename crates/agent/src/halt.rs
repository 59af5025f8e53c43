//! Waits that end early when there is nothing left to wait for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Told once that work is over; wakes everyone who waits.
#[derive(Debug, Default)]
pub struct Halt {
    halted: Mutex<bool>,
    changed: Condvar,
}

impl Halt {
    /// Ends all waits, now and later.
    pub fn halt(&self) {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether [`Halt::halt`] was called.
    pub fn is_halted(&self) -> bool {
        *self.halted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for [`Halt::halt`], `limit` at most. True when it was called.
    pub fn wait(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut halted = self.halted.lock().unwrap_or_else(PoisonError::into_inner);
        while !*halted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.changed.wait_timeout(halted, left);
            halted = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        *halted
    }
}

/// How often something is tried again, and how long to wait before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row after which to give up; at least 1.
    pub attempts: u32,
    /// The first wait; each further one is twice as long.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

/// Goes on for a quarter of a minute: a server that is restarted comes back in that time.
impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 10,
            first: Duration::from_millis(50),
            longest: Duration::from_secs(4),
        }
    }
}

impl Retry {
    /// The wait after this many failures in a row (1 is the first), or nothing when it is time to give up.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        Some(self.first.saturating_mul(doubled).min(self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end() {
        let retry = Retry {
            attempts: 5,
            first: Duration::from_millis(100),
            longest: Duration::from_millis(300),
        };
        let pauses: Vec<_> = (1..=5).map(|n| retry.pause(n)).collect();
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(pauses, [ms(100), ms(200), ms(300), ms(300), None]);
    }

    #[test]
    fn a_wait_ends_when_told() {
        let halt = Halt::default();
        assert!(!halt.wait(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| halt.wait(Duration::from_secs(60)));
            halt.halt();
            assert!(waiter.join().unwrap());
        });
        assert!(halt.is_halted());
    }
}
