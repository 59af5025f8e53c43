//! What a target's console says, and failures that wait for its last words.

use bootgate_events::{Cause, EventKind, Stage};

use super::Action;
use super::disk::Proof;
use super::target::{Draw, TargetFold};
use crate::console::Line;
use crate::marker::Finding;

/// How long console bytes may come in late after the machine went off, in milliseconds: power and console are reported
/// by different channels.
pub(super) const LATE_CONSOLE_MS: u64 = 1000;

/// A failure that waits for the last console bytes.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) stage: Stage,
    pub(super) cause: Cause,
    pub(super) due_us: u64,
}

impl Ending {
    pub(super) fn power(&self) -> bool {
        matches!(self.cause, Cause::PoweredOff { .. })
    }

    pub(super) fn outside(&self) -> bool {
        matches!(&self.cause, Cause::PoweredOff { by } if by == "outside")
    }

    pub(super) fn forbidden(&self) -> bool {
        matches!(self.cause, Cause::ForbiddenMarker { .. })
    }
}

impl TargetFold {
    /// Console bytes.
    pub(super) fn console(&mut self, draw: &mut Draw<'_>, end: u64, bytes: &[u8]) {
        self.console_seen = true;
        self.begin(draw, "first console bytes");
        self.alive(draw);
        for line in self.cleaner.push(bytes) {
            self.notes.line(draw.event.seq, &line);
            self.read(draw, end, &line);
        }
        if let Some(line) = self.cleaner.partial() {
            self.read(draw, end, &line);
        }
    }

    fn read(&mut self, draw: &mut Draw<'_>, offset: u64, line: &Line) {
        let Some(stage) = self.stage().filter(|_| self.judged.is_none()) else {
            return;
        };
        for rule in self.prompts.called(line) {
            draw.step.actions.push(Action::Type {
                target: self.rules.name.clone(),
                name: rule.name.clone(),
                keys: rule.keys.clone(),
            });
        }
        for finding in self.matcher.look(line, stage) {
            match finding {
                Finding::Expected { name, line } => {
                    draw.conclude(self.name(), EventKind::MarkerMatched { name, offset, line });
                    self.pass_if_complete(draw);
                }
                Finding::OutOfOrder { expected, seen, .. } => {
                    self.fail(draw, stage, Cause::MarkersOutOfOrder { expected, seen });
                }
                Finding::Forbidden { name, hint, line } => {
                    self.forbidden(draw, stage, Cause::ForbiddenMarker { name, line, hint });
                }
            }
        }
        let forbidden = self.ending.as_ref().is_some_and(Ending::forbidden);
        // An agent that gives up says so on the console and then to the server, which is told more.
        if forbidden && !line.open && !self.agent_in_contact() {
            self.settle(draw);
        }
    }

    /// A forbidden marker was seen. On an open line the rest says what the matter is, so it is waited for.
    fn forbidden(&mut self, draw: &Draw<'_>, stage: Stage, cause: Cause) {
        self.ending.take_if(|ending| !ending.forbidden());
        self.end_with(draw, stage, cause.clone());
        if let (Some(ending), Cause::ForbiddenMarker { line, .. }) = (&mut self.ending, &cause)
            && matches!(&ending.cause, Cause::ForbiddenMarker { line: begun, .. } if line.starts_with(begun))
        {
            ending.cause = cause;
        }
    }

    fn agent_in_contact(&self) -> bool {
        self.agent_calls && self.proof == Proof::Wanted
    }

    pub(super) fn console_attached(&mut self, draw: &mut Draw<'_>) {
        (self.console_seen, self.console_ended) = (true, false);
        self.begin(draw, "console attached");
    }

    pub(super) fn console_closed(&mut self, draw: &mut Draw<'_>) {
        self.console_ended = true;
        self.settle_if_silent(draw);
    }

    /// Fails at once where nothing can come late. Behind a power loss from outside QEMU's end may come, which says
    /// more; and the last call of an agent comes by another way than the power's state.
    pub(super) fn settle_if_silent(&mut self, draw: &mut Draw<'_>) {
        let outside = self.ending.as_ref().is_some_and(Ending::outside);
        if self.console_ended && !outside && !self.agent_in_contact() {
            self.settle(draw);
        }
    }

    /// Fails with this cause unless what the console still holds says otherwise.
    pub(super) fn end_with(&mut self, draw: &Draw<'_>, stage: Stage, cause: Cause) {
        let due_us = draw.event.mono_us.saturating_add(LATE_CONSOLE_MS * 1000);
        self.ending.get_or_insert(Ending {
            stage,
            cause,
            due_us,
        });
    }

    pub(super) fn settle(&mut self, draw: &mut Draw<'_>) {
        let Some(Ending { stage, cause, .. }) = self.ending.take() else {
            return;
        };
        if let Cause::ForbiddenMarker { name, line, .. } = &cause {
            let (name, line) = (name.clone(), line.clone());
            draw.conclude(
                self.name(),
                EventKind::ForbiddenMatched { name, stage, line },
            );
        }
        self.fail(draw, stage, cause);
    }
}
