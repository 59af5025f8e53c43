//! One target's attempt, as its events tell it.

use bootgate_events::{
    ByteRange, Cause, DeadlineKind, DiskProofKind, Event, EventKind, Evidence, FaultAction,
    FaultTrigger, PowerCause, Stage, StageSpan, TargetName, TargetRules, TargetVerdict, Verdict,
};

use super::notes::{Notes, advice};
use super::{Action, Deadline, RulesError, Step};
use crate::console::{Cleaner, Line};
use crate::marker::{Finding, Matcher};

/// How long console bytes may come in late after the machine went off, in milliseconds: power and console are reported
/// by different channels.
pub(super) const LATE_CONSOLE_MS: u64 = 1000;

/// How far the proof of the disk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// The agent has not finished.
    Wanted,
    /// The agent has; the target must switch off.
    Flashed,
    /// The harness was asked to compare.
    Asked,
    /// The disk equals the image.
    Given,
    /// The harness was asked to boot the disk.
    Booting,
    /// It did.
    Booted,
}

/// What is known of the disk.
#[derive(Clone, Debug)]
struct Disk {
    sha256: String,
    proof: DiskProofKind,
    ranges: Vec<ByteRange>,
}

/// A failure that waits for the last console bytes.
#[derive(Clone, Debug)]
struct Ending {
    stage: Stage,
    cause: Cause,
    due_us: u64,
}

impl Ending {
    fn outside(&self) -> bool {
        matches!(&self.cause, Cause::PoweredOff { by } if by == "outside")
    }

    fn forbidden(&self) -> bool {
        matches!(self.cause, Cause::ForbiddenMarker { .. })
    }
}

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
    /// Whether the network interface's own ROM is the iPXE that asked first.
    pub(super) rom_is_ipxe: bool,
    /// The file name that DHCP told the firmware last.
    pub(super) bootfile: Option<String>,
    /// Whether the agent of this attempt has called.
    pub(super) agent_calls: bool,
    cleaner: Cleaner,
    matcher: Matcher,
    spans: Vec<StageSpan>,
    powered: bool,
    started_us: u64,
    stage_us: u64,
    active_us: u64,
    ending: Option<Ending>,
    judged: Option<Judged>,
    image_sha256: Option<String>,
    disk: Option<Disk>,
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
        if expect.is_empty() && rules.disk_proof.is_none() {
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
        Ok(Self {
            rules: rules.clone(),
            notes: Notes::default(),
            proof: Proof::Wanted,
            rom_is_ipxe: false,
            bootfile: None,
            agent_calls: false,
            cleaner: Cleaner::new(),
            matcher,
            spans: Vec::new(),
            powered: false,
            started_us: 0,
            stage_us: 0,
            active_us: 0,
            ending: None,
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

    /// Console bytes.
    pub(super) fn console(&mut self, draw: &mut Draw<'_>, end: u64, bytes: &[u8]) {
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
        for finding in self.matcher.look(line, stage) {
            match finding {
                Finding::Expected { name, line } => {
                    draw.conclude(self.name(), EventKind::MarkerMatched { name, offset, line });
                    self.pass_if_complete(draw);
                }
                Finding::OutOfOrder { expected, seen, .. } => {
                    self.fail(draw, stage, Cause::MarkersOutOfOrder { expected, seen });
                }
                Finding::Forbidden {
                    name,
                    hint,
                    line,
                    open,
                } => {
                    let cause = Cause::ForbiddenMarker { name, line, hint };
                    // The rest of an open line says what the matter is.
                    self.ending.take_if(|ending| !ending.forbidden());
                    self.end_with(draw, stage, cause.clone());
                    if !open {
                        self.ending = self.ending.take().map(|ending| Ending { cause, ..ending });
                    }
                }
            }
        }
        let forbidden = self.ending.as_ref().is_some_and(Ending::forbidden);
        // An agent that gives up says so on the console and then to the server, which is told more.
        if forbidden && !line.open && !self.agent_in_contact() {
            self.settle(draw);
        }
    }

    fn agent_in_contact(&self) -> bool {
        self.agent_calls && self.proof == Proof::Wanted
    }

    /// The console ended, so nothing late can come.
    pub(super) fn console_closed(&mut self, draw: &mut Draw<'_>) {
        self.settle(draw);
    }

    pub(super) fn powered_on(&mut self, draw: &mut Draw<'_>, boot: &str) {
        self.begin(draw, "power");
        self.alive(draw);
        self.powered = true;
        self.cleaner.finish();
        if boot != "disk" {
            self.enter(draw, Stage::Firmware, "powered on");
        } else if self.proof == Proof::Booting {
            self.proof = Proof::Booted;
            self.enter(draw, Stage::DiskBoot, "powered on, network boot off");
            self.pass_if_complete(draw);
        } else {
            self.notes.remark(
                draw.event.seq,
                "powered on from a disk that is not proven: not counted",
            );
        }
    }

    pub(super) fn powered_off(&mut self, draw: &mut Draw<'_>, cause: PowerCause) {
        let was_on = std::mem::replace(&mut self.powered, false);
        let Some(stage) = self.stage() else { return };
        let by = match cause {
            PowerCause::Fault => {
                return self.fail(
                    draw,
                    stage,
                    Cause::PoweredOff {
                        by: "fault".to_owned(),
                    },
                );
            }
            PowerCause::Outside => "outside",
            PowerCause::Guest => "guest",
            PowerCause::Harness => "harness",
        };
        match self.proof {
            Proof::Flashed if cause != PowerCause::Outside => self.ask_proof(draw),
            Proof::Asked | Proof::Given | Proof::Booting
                if !was_on || cause == PowerCause::Guest => {}
            _ if cause == PowerCause::Harness => {}
            _ => self.end_with(draw, stage, Cause::PoweredOff { by: by.to_owned() }),
        }
    }

    pub(super) fn was_reset(&mut self, draw: &mut Draw<'_>, cause: PowerCause) {
        self.alive(draw);
        self.cleaner.finish();
        // Firmware restarts itself on healthy machines; after the flash the agent restarts the machine.
        let Some(stage) = self.stage().filter(|stage| *stage > Stage::Firmware) else {
            return;
        };
        let rebooting = (Proof::Flashed..=Proof::Booting).contains(&self.proof);
        if cause == PowerCause::Harness || (cause == PowerCause::Guest && rebooting) {
            return;
        }
        self.end_with(draw, stage, Cause::UnexpectedReset);
    }

    /// QEMU ended.
    pub(super) fn qemu_exited(
        &mut self,
        draw: &mut Draw<'_>,
        code: Option<i32>,
        signal: Option<i32>,
        expected: bool,
    ) {
        if expected {
            return;
        }
        let stderr = self.notes.stderr();
        // QEMU answers SIGTERM, SIGINT and SIGHUP by ending with status 0 and this line.
        let told = stderr.contains("terminating on signal");
        let outside = self.ending.as_ref().is_some_and(Ending::outside);
        let by_itself = !self.powered && !outside;
        let (what, happened) = match (code, signal) {
            (_, Some(signal)) => ("qemu-killed", format!("QEMU was killed by signal {signal}")),
            (Some(0) | None, None) if told => ("qemu-killed", "QEMU was told to end".to_owned()),
            (Some(0), None) if by_itself => return,
            (Some(0) | None, None) => ("qemu-killed", "QEMU ended before its guest".to_owned()),
            (Some(code), None) => ("qemu-failed", format!("QEMU ended with status {code}")),
        };
        let said = if stderr.is_empty() {
            String::new()
        } else {
            format!(": {stderr}")
        };
        self.infra(draw, what, &format!("{happened}{said}"));
    }

    /// The agent wrote the image and read it back.
    pub(super) fn agent_flashed(&mut self, draw: &mut Draw<'_>) {
        if self.proof != Proof::Wanted || self.rules.disk_proof.is_none() {
            return;
        }
        if self.stage().is_none_or(|stage| stage < Stage::Flash) {
            let text = "the agent reported a finished flash before any flash began: not counted";
            return self.notes.remark(draw.event.seq, text);
        }
        self.proof = Proof::Flashed;
        self.enter(draw, Stage::Verify, "the agent read back what it wrote");
        // Switching off has the stage's time again.
        self.stage_us = draw.event.mono_us;
        let went_off = self
            .ending
            .take_if(|ending| matches!(ending.cause, Cause::PoweredOff { .. }))
            .is_some();
        if went_off || self.rules.disk_proof == Some(DiskProofKind::Agent) {
            self.ask_proof(draw);
        }
    }

    fn ask_proof(&mut self, draw: &mut Draw<'_>) {
        if self.judged.is_none() {
            self.proof = Proof::Asked;
            draw.step.actions.push(Action::ProveDisk {
                target: self.name().clone(),
            });
        }
    }

    pub(super) fn disk_compared(&mut self, draw: &mut Draw<'_>, kind: &EventKind) {
        let EventKind::DiskCompared {
            proof,
            equal,
            first_difference,
            ranges,
            image_sha256,
            disk_sha256,
        } = kind
        else {
            return;
        };
        if self.proof != Proof::Asked || self.rules.disk_proof != Some(*proof) {
            return self.notes.remark(
                draw.event.seq,
                "a disk comparison that was not asked for: not counted",
            );
        }
        self.image_sha256
            .get_or_insert_with(|| image_sha256.clone());
        self.disk = Some(Disk {
            sha256: disk_sha256.clone(),
            proof: *proof,
            ranges: ranges.clone(),
        });
        if !equal || image_sha256 != disk_sha256 {
            let first_difference = first_difference.unwrap_or(0);
            return self.fail(draw, Stage::Verify, Cause::DiskDiffers { first_difference });
        }
        if ranges.iter().all(|range| range.start >= range.end) {
            return self.infra(
                draw,
                "disk-unproven",
                "the disk was compared over no bytes at all",
            );
        }
        self.proof = Proof::Given;
        if self.rules.disk_boot {
            self.proof = Proof::Booting;
            draw.step.actions.push(Action::BootDisk {
                target: self.name().clone(),
            });
        } else if let (Some(due), DiskProofKind::Host) = (self.matcher.due(), proof) {
            // The target is off: nothing more can come.
            let cause = Cause::MarkerMissing {
                name: due.to_owned(),
            };
            self.fail(draw, Stage::Verify, cause);
        }
        self.pass_if_complete(draw);
    }

    fn pass_if_complete(&mut self, draw: &mut Draw<'_>) {
        let disk = match (self.rules.disk_proof, self.rules.disk_boot) {
            (None, _) => true,
            (Some(_), false) => self.proof >= Proof::Given,
            (Some(_), true) => self.proof == Proof::Booted,
        };
        let forbidden = self.ending.as_ref().is_some_and(Ending::forbidden);
        if disk && self.matcher.due().is_none() && self.judged.is_none() && !forbidden {
            self.enter(draw, Stage::Done, "every requirement is met");
            self.judge(draw, Verdict::Passed);
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

    /// Fails with this cause unless what the console still holds says otherwise.
    fn end_with(&mut self, draw: &Draw<'_>, stage: Stage, cause: Cause) {
        let due_us = draw.event.mono_us.saturating_add(LATE_CONSOLE_MS * 1000);
        self.ending.get_or_insert(Ending {
            stage,
            cause,
            due_us,
        });
    }

    fn settle(&mut self, draw: &mut Draw<'_>) {
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
