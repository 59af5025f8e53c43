//! When attempts are over: their verdicts, and what is old.

use bootgate_api::UnixMicros;
use bootgate_events::{EventKind, MacAddr, Verdict};
use bootgate_store::StoreError;

use super::super::decide::Latest;
use super::{Recorder, remember};

/// Attempts that are finished between two looks for what is to be forgotten.
pub(super) const PRUNE_EVERY: u32 = 32;
/// How long an address that is free again is remembered as its last machine's.
const LEASES_KEPT_US: u64 = 30 * 24 * 3600 * 1_000_000;

impl Recorder {
    /// The attempt is over: its last event, then its verdict.
    pub(super) fn close(&mut self, mac: &MacAddr) {
        let Some(mut open) = self.open.remove(mac) else {
            return;
        };
        let now_us = self.clock.now_us();
        let verdict = open.target_verdict();
        if !open.ended {
            let last = EventKind::RunFinished {
                verdict: verdict.verdict.clone(),
            };
            open.take(last, now_us, &mut self.log);
        }
        self.parts.known.set_open(*mac, None);
        if let Some(metrics) = &self.parts.metrics {
            metrics.attempt(open.attempt.boot.name(), &verdict);
        }
        let sent = open.attempt.local && verdict.verdict == Verdict::Passed;
        let disk_turn_us = match open.disk_turn {
            // The time runs from the first hand-over, so that it ends.
            true => self.over.get(mac).and_then(|before| before.disk_turn_us),
            false => sent.then_some(now_us),
        };
        let latest = Latest {
            open: false,
            disk_turn_us,
            ..open.latest(None)
        };
        remember(&mut self.over, *mac, latest);
        let at = UnixMicros(now_us);
        self.unfinished.push((open.attempt.id, *mac, verdict, at));
        self.flush();
        self.finish_all();
    }

    /// Stores the verdicts of attempts that are over. A storage that fails is tried again.
    pub(super) fn finish_all(&mut self) {
        // Events come before the verdict that follows from them.
        if self.unfinished.is_empty() || !self.log.is_empty() || self.retry.is_some() {
            return;
        }
        for (attempt, mac, verdict, at) in std::mem::take(&mut self.unfinished) {
            let stored = self
                .parts
                .store
                .finish_attempt(&attempt, &verdict, at)
                .and_then(|_| self.parts.known.refresh(&*self.parts.store, &mac));
            match stored {
                Ok(_) => {
                    self.finished += 1;
                    self.works();
                }
                Err(error @ StoreError::Refused { .. }) => tracing::error!("{error}"),
                Err(error) => {
                    self.fails(&error);
                    self.unfinished.push((attempt, mac, verdict, at));
                }
            }
        }
        if self.finished >= PRUNE_EVERY {
            self.finished = 0;
            self.prune();
        }
    }

    /// Forgets what is old. It is tried again later where it fails.
    fn prune(&self) {
        let before = self.clock.now_us().saturating_sub(LEASES_KEPT_US);
        let store = &self.parts.store;
        let pruned = store
            .prune_attempts(self.parts.known.rules().keep_attempts)
            .and_then(|_| store.prune_leases(UnixMicros(before)));
        if let Err(error) = pruned {
            tracing::warn!("{error}");
        }
    }
}
