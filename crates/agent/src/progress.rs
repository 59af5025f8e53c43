//! How far the work is, and telling the server without slowing the work down.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bootgate_api::Progress;
use bootgate_events::FlashPhase;

/// Shortest time between two reports of the same phase.
pub const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct State {
    progress: Option<Progress>,
    phases: u32,
    ended: bool,
}

/// How soon a new phase is reported. The start of the work comes first, and a phase that is over sooner is left out.
const SETTLES: Duration = Duration::from_millis(50);

/// Counts the bytes of the current phase. Many threads add, one reports.
#[derive(Debug, Default)]
pub struct Meter {
    state: Mutex<State>,
    changed: Condvar,
}

impl Meter {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a phase of `total` bytes, `done` of which are done already. Reported soon.
    pub fn enter(&self, phase: FlashPhase, done: u64, total: u64) {
        let mut state = self.lock();
        state.progress = Some(Progress { phase, done, total });
        state.phases += 1;
        self.changed.notify_all();
    }

    /// Changes the phase and keeps the count: comparing goes on while the first differences are written.
    pub fn turn(&self, phase: FlashPhase) {
        let mut state = self.lock();
        if let Some(progress) = &mut state.progress {
            progress.phase = phase;
            state.phases += 1;
            self.changed.notify_all();
        }
    }

    /// Adds bytes to the current phase.
    pub fn add(&self, bytes: u64) {
        if let Some(progress) = &mut self.lock().progress {
            progress.done += bytes;
        }
    }

    /// Where the work is now.
    pub fn now(&self) -> Option<Progress> {
        self.lock().progress.clone()
    }

    /// Ends [`Meter::report`].
    pub fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Gives changes to `post` until [`Meter::end`]: a new phase soon, bytes every [`INTERVAL`] at most.
    pub fn report(&self, mut post: impl FnMut(&Progress)) {
        let mut told = None;
        let mut phases = 0;
        let mut due = Instant::now() + INTERVAL;
        let mut state = self.lock();
        while !state.ended {
            let now = Instant::now();
            if state.phases != phases {
                phases = state.phases;
                due = due.min(now + SETTLES);
            }
            if now < due {
                let woken = self.changed.wait_timeout(state, due - now);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let progress = state.progress.clone();
            drop(state);
            if let Some(progress) = progress.as_ref().filter(|_| progress != told) {
                post(progress);
            }
            told = progress;
            due = Instant::now() + INTERVAL;
            state = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_phase_is_reported_soon_and_bytes_are_not_each() {
        let meter = Meter::default();
        let (sender, posted) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| meter.report(|progress| sender.send(progress.clone()).unwrap()));
            meter.enter(FlashPhase::Compare, 0, 1000);
            let patience = Duration::from_secs(10);
            let first = posted.recv_timeout(patience).unwrap();
            assert_eq!(first.phase, FlashPhase::Compare);
            (0..1000).for_each(|_| meter.add(1));
            let second = posted.recv_timeout(patience).unwrap();
            assert_eq!(second.done, 1000);
            meter.turn(FlashPhase::Write);
            let third = posted.recv_timeout(patience).unwrap();
            assert_eq!((third.phase, third.done), (FlashPhase::Write, 1000));
            meter.end();
        });
        assert!(posted.try_recv().is_err());
    }
}
