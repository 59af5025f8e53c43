//! Going on after a restart.

use bootgate_api::{Attempt, UnixMicros};
use bootgate_events::{Event, EventKind, MacAddr, TargetVerdict, Verdict, VerdictRules};
use bootgate_store::{AttemptFilter, StoreError};

use super::super::decide::{self, Latest};
use super::open::{Open, started, target_name};
use super::{Recorder, remember};
use crate::desk::BootLoader;

/// Events read at once.
const PAGE: usize = 2000;
/// Attempts of a machine that are looked through for the beginning of its disk's turn: a boot order has fewer entries.
const ENTRIES: usize = 16;

fn passed(attempt: &Attempt) -> bool {
    let verdict = attempt.verdict.as_ref();
    verdict.is_some_and(|target| target.verdict == Verdict::Passed)
}

impl Recorder {
    /// Takes up the attempts that were open when the server last ended. Their clocks went on.
    pub(super) fn restore(&mut self) -> Result<(), StoreError> {
        let filter = AttemptFilter {
            open: true,
            limit: usize::MAX >> 1,
            ..AttemptFilter::default()
        };
        for attempt in self.parts.store.attempts(&filter)? {
            let events = self.events_of(&attempt)?;
            self.take_up(attempt, &events);
        }
        for mac in self.parts.known.flashed_always() {
            self.remember_disk_turn(mac)?;
        }
        self.expire();
        self.settle();
        Ok(())
    }

    /// A machine that was sent to its disk a moment ago may still be on its way there: it is not to be flashed because
    /// the server restarted meanwhile.
    fn remember_disk_turn(&mut self, mac: MacAddr) -> Result<(), StoreError> {
        let filter = AttemptFilter {
            mac: Some(mac),
            limit: ENTRIES,
            ..AttemptFilter::default()
        };
        let attempts = self.parts.store.attempts(&filter)?;
        let over = attempts.iter().filter(|attempt| attempt.finished.is_some());
        let sent = over.take_while(|attempt| attempt.local && passed(attempt));
        // The time runs from the first hand-over.
        if let Some(first) = sent.last().and_then(|attempt| attempt.finished) {
            let latest = Latest {
                disk_turn_us: Some(first.0),
                ..Latest::default()
            };
            remember(&mut self.over, mac, latest);
        }
        Ok(())
    }

    fn events_of(&self, attempt: &Attempt) -> Result<Vec<Event>, StoreError> {
        let mut events: Vec<Event> = Vec::new();
        loop {
            let from = events.last().map_or(0, |last| last.seq.saturating_add(1));
            let page = self.parts.store.events(&attempt.id, from, PAGE)?;
            let last = page.len() < PAGE;
            events.extend(page);
            if last {
                return Ok(events);
            }
        }
    }

    fn take_up(&mut self, attempt: Attempt, events: &[Event]) {
        let mac = attempt.mac;
        let stored = match events.first().and_then(Event::kind) {
            Some(EventKind::RunStarted { rules, .. }) => Some(rules.clone()),
            _ => None,
        };
        let Some(machine) = self.parts.known.machine(&mac) else {
            return self.give_up(attempt, "its machine was forgotten");
        };
        // An attempt whose first events were not written yet is given them now.
        let rules = stored.clone().unwrap_or_else(|| {
            let next = self.next_of(&machine, &attempt.boot, attempt.local, BootLoader::Ipxe);
            decide::rules(
                &target_name(&machine),
                mac,
                &next,
                &self.parts.known.rules().deadlines,
            )
        });
        let name = |rules: &VerdictRules| rules.targets.first().map(|target| target.name.clone());
        let target = name(&rules).unwrap_or_else(|| target_name(&machine));
        let mut open = match Open::new(attempt.clone(), target, &rules) {
            Ok(open) => open,
            Err(error) => return self.give_up(attempt, &error.to_string()),
        };
        for event in events {
            open.replay(event);
        }
        // Nothing else lets an attempt boot the disk once the turn that a flash left was used up.
        open.disk_turn = attempt.local && !machine.local_next;
        if stored.is_none() {
            let next = self.next_of(&machine, &attempt.boot, attempt.local, BootLoader::Ipxe);
            let first = started(&attempt, &machine, rules, &next);
            let opened = EventKind::AttemptOpened {
                mac,
                mode: attempt.boot.name().to_owned(),
                reason: "found open after a restart".to_owned(),
            };
            let now_us = self.clock.now_us();
            open.take(first, now_us, &mut self.log);
            open.take(opened, now_us, &mut self.log);
        }
        if let Some(peer) = attempt.peer {
            self.peers.insert(peer, mac);
        }
        self.parts.known.set_open(mac, Some(attempt.id));
        self.open.insert(mac, open);
    }

    fn give_up(&mut self, attempt: Attempt, why: &str) {
        let verdict = TargetVerdict {
            name: attempt.mac.to_string().as_str().into(),
            verdict: Verdict::Infra {
                what: "not-restored".to_owned(),
                error: format!("the attempt could not go on after a restart: {why}"),
            },
            stages: Vec::new(),
            image_sha256: None,
            disk_sha256: None,
            disk_proof: None,
            disk_ranges: Vec::new(),
        };
        let at = UnixMicros(self.clock.now_us());
        self.unfinished.push((attempt.id, attempt.mac, verdict, at));
    }
}
