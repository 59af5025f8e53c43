//! One target's attempt, as its events tell it.

use bootgate_events::{
    Cause, DeadlineKind, Event, EventKind, Evidence, FaultAction, FaultTrigger, Stage, StageSpan,
    TargetName, TargetRules, TargetVerdict, Verdict,
};

use super::disk::{Disk, Proof};
use super::notes::{Notes, advice};
use super::prompts::Prompts;
use super::screen::{Ending, LATE_CONSOLE_MS};
use super::{Action, Deadline, RulesError, Step};
use crate::console::Cleaner;
use crate::marker::Matcher;

/// A verdict and where in the log it fell.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) seq: u64,
}

/// The state of one attempt.
#[derive(Clone, Debug)]
pub(super) struct TargetFold {
    pub(super) rules: TargetRules,
    pub(super) notes: Notes,
    pub(super) proof: Proof,
    /// Whether what the goal asks for has happened.
    pub(super) goal_reached: bool,
    /// Whether the network interface's own ROM is the iPXE that asked first.
    pub(super) rom_is_ipxe: bool,
    /// The file name that DHCP told the firmware last.
    pub(super) bootfile: Option<String>,
    /// Whether the agent of this attempt has called.
    pub(super) agent_calls: bool,
    pub(super) cleaner: Cleaner,
    pub(super) matcher: Matcher,
    pub(super) prompts: Prompts,
    spans: Vec<StageSpan>,
    pub(super) powered: bool,
    started_us: u64,
    pub(super) stage_us: u64,
    active_us: u64,
    pub(super) ending: Option<Ending>,
    /// Whether there is a console; a machine of a lab has none, so that nothing can come late.
    pub(super) console_seen: bool,
    /// The console ended and was not attached again.
    pub(super) console_ended: bool,
    pub(super) judged: Option<Judged>,
    pub(super) image_sha256: Option<String>,
    pub(super) disk: Option<Disk>,
}

/// The event being folded, with what follows from it.
pub(super) struct Draw<'a> {
    pub(super) event: &'a Event,
    pub(super) step: &'a mut Step,
}

impl TargetFold {
    pub(super) fn new(rules: &TargetRules) -> Result<Self, RulesError> {
        let target = || rules.name.clone();
        let mut expect = rules.expect.clone();
        if expect.is_empty() && rules.disk_proof.is_none() && rules.goal.is_none() {
            return Err(RulesError::NothingRequired { target: target() });
        }
        if rules.disk_boot {
            if rules.disk_proof.is_none() {
                return Err(RulesError::DiskBootUnproven { target: target() });
            }
            // The live environment may print the same words, so the last marker counts from the disk only.
            let last = expect
                .last_mut()
                .map(|last| last.stage.get_or_insert(Stage::DiskBoot));
            if last.copied() != Some(Stage::DiskBoot) {
                return Err(RulesError::DiskBootUnseen { target: target() });
            }
        }
        let matcher =
            Matcher::new(&expect, &rules.forbid).map_err(|error| RulesError::BadPattern {
                target: target(),
                error,
            })?;
        let prompts = Prompts::new(&rules.keys).map_err(|error| RulesError::BadPattern {
            target: target(),
            error,
        })?;
        Ok(Self {
            rules: rules.clone(),
            notes: Notes::default(),
            proof: Proof::Wanted,
            goal_reached: rules.goal.is_none(),
            rom_is_ipxe: false,
            bootfile: None,
            agent_calls: false,
            cleaner: Cleaner::new(),
            matcher,
            prompts,
            spans: Vec::new(),
            powered: false,
            started_us: 0,
            stage_us: 0,
            active_us: 0,
            ending: None,
            console_seen: false,
            console_ended: false,
            judged: None,
            image_sha256: None,
            disk: None,
        })
    }

    pub(super) fn name(&self) -> &TargetName {
        &self.rules.name
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.spans.last().map(|span| span.stage)
    }

    pub(super) fn judged(&self) -> Option<&Judged> {
        self.judged.as_ref()
    }

    pub(super) fn set_image(&mut self, sha256: Option<String>) {
        self.image_sha256 = sha256;
    }

    /// Something came from the target.
    pub(super) fn alive(&mut self, draw: &Draw<'_>) {
        self.active_us = draw.event.mono_us;
    }

    /// The attempt begins with the first thing that happens to the target.
    pub(super) fn begin(&mut self, draw: &mut Draw<'_>, by: &str) {
        if self.spans.is_empty() {
            self.started_us = draw.event.mono_us;
            self.active_us = draw.event.mono_us;
            self.enter(draw, Stage::Power, by);
        }
    }

    /// Moves on to a stage; an attempt never goes back.
    pub(super) fn enter(&mut self, draw: &mut Draw<'_>, stage: Stage, by: &str) {
        if self.judged.is_some() || self.stage().is_some_and(|now| stage <= now) {
            return;
        }
        let at_ms = draw.event.mono_ms();
        if let Some(last) = self.spans.last_mut() {
            last.end_ms = at_ms;
        }
        self.spans.push(StageSpan {
            stage,
            start_ms: at_ms,
            end_ms: at_ms,
        });
        self.stage_us = draw.event.mono_us;
        draw.conclude(
            self.name(),
            EventKind::StageEntered {
                stage,
                by: by.to_owned(),
            },
        );
        let faulty = |fault: &&bootgate_events::FaultRule| {
            fault.on == FaultTrigger::Enter(stage) && fault.action == FaultAction::PowerOff
        };
        if self.rules.faults.iter().any(|fault| faulty(&fault)) {
            draw.step.actions.push(Action::PowerOff {
                target: self.name().clone(),
            });
        }
        let missed = self
            .matcher
            .missed(stage)
            .map(|(name, only)| (name.to_owned(), only));
        if let Some((name, only)) = missed {
            self.fail(draw, only, Cause::MarkerMissing { name });
        }
    }

    /// The deadlines that run now.
    pub(super) fn deadlines(&self) -> Vec<Deadline> {
        let Some(stage) = self.stage().filter(|_| self.judged.is_none()) else {
            return Vec::new();
        };
        let deadline = |kind, since_us: u64, limit_ms: u64| Deadline {
            at_us: since_us.saturating_add(limit_ms.saturating_mul(1000)),
            target: self.name().clone(),
            kind,
            stage,
            limit_ms,
        };
        if let Some(ending) = &self.ending {
            let since = ending.due_us.saturating_sub(LATE_CONSOLE_MS * 1000);
            return vec![deadline(DeadlineKind::Stage, since, LATE_CONSOLE_MS)];
        }
        let mut all = vec![deadline(
            DeadlineKind::Total,
            self.started_us,
            self.rules.total_deadline_ms,
        )];
        // While the harness compares or switches power, the target has no part in how long it takes.
        if matches!(self.proof, Proof::Asked | Proof::Booting) {
            return all;
        }
        if let Some(limit) = self.rules.stage_deadlines_ms.get(&stage) {
            all.push(deadline(DeadlineKind::Stage, self.stage_us, *limit));
        }
        if self.powered && self.rules.stall_ms > 0 {
            all.push(deadline(
                DeadlineKind::Stall,
                self.active_us,
                self.rules.stall_ms,
            ));
        }
        all
    }

    /// A deadline was logged as expired. One that moved on in the meantime does not count.
    pub(super) fn deadline_expired(
        &mut self,
        draw: &mut Draw<'_>,
        kind: DeadlineKind,
        stage: Stage,
    ) {
        let due = self.deadlines().into_iter().find(|deadline| {
            deadline.kind == kind && deadline.stage == stage && deadline.at_us <= draw.event.mono_us
        });
        let Some(due) = due else { return };
        if self.ending.is_some() {
            return self.settle(draw);
        }
        self.fail(
            draw,
            stage,
            Cause::DeadlineExpired {
                deadline: kind,
                limit_ms: due.limit_ms,
            },
        );
    }

    pub(super) fn fail(&mut self, draw: &mut Draw<'_>, stage: Stage, cause: Cause) {
        let seq = draw.event.seq;
        let mut evidence = vec![Evidence {
            seq,
            text: cause.to_string(),
        }];
        match &cause {
            Cause::ForbiddenMarker { hint, .. } if !hint.is_empty() => {
                evidence.push(Evidence {
                    seq,
                    text: format!("hint: {hint}"),
                });
            }
            Cause::DeadlineExpired { .. } => {
                evidence.push(Evidence {
                    seq,
                    text: format!("hint: {}", advice(stage)),
                });
                let due = self
                    .matcher
                    .due()
                    .map(|due| format!("marker `{due}` is still missing"));
                evidence.extend(due.map(|text| Evidence { seq, text }));
            }
            _ => {}
        }
        evidence.extend(self.notes.evidence(seq, self.cleaner.partial().as_ref()));
        self.judge(
            draw,
            Verdict::Failed {
                stage,
                cause,
                evidence,
            },
        );
    }

    pub(super) fn infra(&mut self, draw: &mut Draw<'_>, what: &str, error: &str) {
        self.judge(
            draw,
            Verdict::Infra {
                what: what.to_owned(),
                error: error.to_owned(),
            },
        );
    }

    /// The first verdict stays.
    pub(super) fn judge(&mut self, draw: &mut Draw<'_>, verdict: Verdict) {
        if self.judged.is_some() {
            return;
        }
        if let Some(last) = self.spans.last_mut() {
            last.end_ms = draw.event.mono_ms();
        }
        self.ending = None;
        self.judged = Some(Judged {
            verdict: verdict.clone(),
            seq: draw.event.seq,
        });
        draw.conclude(self.name(), EventKind::VerdictReached { verdict });
        draw.step.actions.push(Action::Finish {
            target: self.name().clone(),
        });
    }

    pub(super) fn verdict(&self) -> TargetVerdict {
        let undecided = || Verdict::Skipped {
            reason: "no verdict was reached".to_owned(),
        };
        TargetVerdict {
            name: self.name().clone(),
            verdict: self
                .judged
                .as_ref()
                .map_or_else(undecided, |judged| judged.verdict.clone()),
            stages: self.spans.clone(),
            image_sha256: self.image_sha256.clone(),
            disk_sha256: self.disk.as_ref().map(|disk| disk.sha256.clone()),
            disk_proof: self.disk.as_ref().map(|disk| disk.proof),
            disk_ranges: self
                .disk
                .as_ref()
                .map(|disk| disk.ranges.clone())
                .unwrap_or_default(),
        }
    }
}

impl Draw<'_> {
    pub(super) fn conclude(&mut self, target: &TargetName, kind: EventKind) {
        self.step.conclusions.push((Some(target.clone()), kind));
    }
}
