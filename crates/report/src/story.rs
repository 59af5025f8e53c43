//! What a log tells, put together: the model that every report is drawn from.

use std::collections::BTreeMap;

use bootgate_events::{
    ArtifactRole, ByteRange, DiskProofKind, Event, EventKind, FlashPhase, HostFacts, Protocol,
    Stage, TargetFacts, TargetName, Verdict,
};

/// A run as far as its log goes.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Name of the scenario.
    pub scenario: String,
    /// Identifier of the run.
    pub run: String,
    /// Version of bootgate that wrote the log.
    pub version: String,
    /// The host.
    pub host: HostFacts,
    /// Wall clock of the first event, microseconds since the Unix epoch.
    pub started_wall_us: u64,
    /// Milliseconds from the start to the last event.
    pub duration_ms: u64,
    /// The targets, in the scenario's order.
    pub targets: Vec<TargetStory>,
    /// The run's verdict, once it is known.
    pub verdict: Option<Verdict>,
    /// What to do about faults of the host, by the short name of the fault.
    pub hints: BTreeMap<String, String>,
}

/// One target's part.
#[derive(Clone, Debug)]
pub struct TargetStory {
    /// What was known at the start.
    pub facts: TargetFacts,
    /// The stages so far.
    pub stages: Vec<Span>,
    /// Names of the markers that must come, in order.
    pub expected: Vec<String>,
    /// Expected markers seen: name, milliseconds, line.
    pub markers: Vec<(String, u64, String)>,
    /// When it had power.
    pub power: Vec<PowerSpan>,
    /// What the agent did, in order.
    pub phases: Vec<Phase>,
    /// The transfers of this target by number.
    pub transfers: BTreeMap<u64, Transfer>,
    /// The agent's current phase with bytes done and to do.
    pub progress: Option<(FlashPhase, u64, u64)>,
    /// How the disk was proven, whether it was equal, digest of the disk, ranges.
    pub disk: Option<DiskStory>,
    /// The verdict, once it is known, and when.
    pub verdict: Option<(Verdict, u64)>,
}

/// A time with power, milliseconds since the run started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerSpan {
    /// `network` or `disk`.
    pub boot: String,
    /// When it was switched on.
    pub start_ms: u64,
    /// When it lost power, once it has.
    pub end_ms: Option<u64>,
}

/// A phase of the agent's work, from its first report of it to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// What it did.
    pub phase: FlashPhase,
    /// First report, milliseconds since the run started.
    pub start_ms: u64,
    /// Last report.
    pub end_ms: u64,
    /// Bytes done at the last report.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
}

/// The comparison of disk and image.
#[derive(Clone, Debug)]
pub struct DiskStory {
    /// Who compared.
    pub proof: DiskProofKind,
    /// Whether every byte was the same.
    pub equal: bool,
    /// Offset of the first byte that was not.
    pub first_difference: Option<u64>,
    /// Digest of the image.
    pub image_sha256: String,
    /// Digest of the disk over the ranges.
    pub disk_sha256: String,
    /// What was compared.
    pub ranges: Vec<ByteRange>,
}

/// A stage with its times, milliseconds since the run started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The stage.
    pub stage: Stage,
    /// When it began.
    pub start_ms: u64,
    /// When it ended, once it has.
    pub end_ms: Option<u64>,
    /// What moved the attempt into it.
    pub by: String,
}

/// A transfer to the target.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// How.
    pub protocol: Protocol,
    /// What for.
    pub role: ArtifactRole,
    /// Path asked for.
    pub path: String,
    /// The options or the range agreed on, in words.
    pub detail: String,
    /// Bytes expected, where known.
    pub size: Option<u64>,
    /// Bytes so far.
    pub bytes: u64,
    /// Milliseconds at the start.
    pub start_ms: u64,
    /// Milliseconds at the end, once over.
    pub end_ms: Option<u64>,
    /// How it ended, where it ended early.
    pub aborted: Option<String>,
    /// Whether it ended early the way firmware ends it on a healthy boot.
    pub benign: bool,
}

impl Story {
    /// Puts together what a whole log tells.
    #[must_use]
    pub fn of(events: &[Event]) -> Self {
        let mut story = Self::default();
        for event in events {
            story.add(event);
        }
        story
    }

    /// Takes in the next event.
    pub fn add(&mut self, event: &Event) {
        if event.seq == 0 {
            self.started_wall_us = event.wall_us;
            self.run = event.run.to_string();
        }
        self.duration_ms = self.duration_ms.max(event.mono_ms());
        let Some(kind) = event.kind() else { return };
        match kind {
            EventKind::RunStarted {
                scenario,
                version,
                host,
                targets,
                rules,
            } => {
                self.scenario.clone_from(scenario);
                self.version.clone_from(version);
                self.host = host.clone();
                self.targets = targets.iter().cloned().map(TargetStory::new).collect();
                for rules in &rules.targets {
                    if let Some(target) = self.target_mut(&rules.name) {
                        target.expected = rules
                            .expect
                            .iter()
                            .map(|marker| marker.name.clone())
                            .collect();
                    }
                }
            }
            EventKind::InfraFailed { what, hint, .. } => {
                self.hints.insert(what.clone(), hint.clone());
            }
            EventKind::RunFinished { verdict } => self.verdict = Some(verdict.clone()),
            kind => {
                if let Some(target) = event.target.as_ref().and_then(|name| self.target_mut(name)) {
                    target.add(kind, event.mono_ms());
                }
            }
        }
    }

    /// The part of the target of this name.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<&TargetStory> {
        self.targets
            .iter()
            .find(|target| target.facts.name == *name)
    }

    /// The verdict on a target: its own, else the run's, unless that is a pass, which it cannot have had.
    #[must_use]
    pub fn verdict_on<'a>(&'a self, target: &'a TargetStory) -> Option<&'a Verdict> {
        match (&target.verdict, &self.verdict) {
            (Some((own, _)), _) => Some(own),
            (None, Some(Verdict::Passed)) => None,
            (None, run) => run.as_ref(),
        }
    }

    fn target_mut(&mut self, name: &TargetName) -> Option<&mut TargetStory> {
        self.targets
            .iter_mut()
            .find(|target| target.facts.name == *name)
    }
}

impl TargetStory {
    fn new(facts: TargetFacts) -> Self {
        Self {
            facts,
            stages: Vec::new(),
            expected: Vec::new(),
            markers: Vec::new(),
            power: Vec::new(),
            phases: Vec::new(),
            transfers: BTreeMap::new(),
            progress: None,
            disk: None,
            verdict: None,
        }
    }

    /// The stage it is in, or was in when its verdict came.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        self.stages.last().map(|span| span.stage)
    }

    /// The transfer that moves now: the one begun last of those not over.
    #[must_use]
    pub fn moving(&self) -> Option<&Transfer> {
        self.transfers
            .values()
            .rev()
            .find(|transfer| transfer.end_ms.is_none())
    }

    fn add(&mut self, kind: &EventKind, at_ms: u64) {
        match kind {
            EventKind::StageEntered { stage, by } => self.enter(*stage, by, at_ms),
            EventKind::MarkerMatched { name, line, .. } => {
                self.markers.push((name.clone(), at_ms, line.clone()));
            }
            EventKind::AgentProgressed { phase, done, total } => {
                self.progress = Some((*phase, *done, *total));
                self.enter_phase(*phase, *done, *total, at_ms);
            }
            EventKind::PoweredOn { boot } => {
                self.cut_power(at_ms);
                self.power.push(PowerSpan {
                    boot: boot.clone(),
                    start_ms: at_ms,
                    end_ms: None,
                });
            }
            EventKind::PoweredOff { .. } => self.cut_power(at_ms),
            EventKind::AgentFlashed { .. } => self.progress = None,
            EventKind::DiskCompared {
                proof,
                equal,
                first_difference,
                ranges,
                image_sha256,
                disk_sha256,
            } => {
                self.disk = Some(DiskStory {
                    proof: *proof,
                    equal: *equal,
                    first_difference: *first_difference,
                    image_sha256: image_sha256.clone(),
                    disk_sha256: disk_sha256.clone(),
                    ranges: ranges.clone(),
                });
            }
            EventKind::VerdictReached { verdict } => {
                if let Some(last) = self.stages.last_mut() {
                    last.end_ms.get_or_insert(at_ms);
                }
                self.verdict = Some((verdict.clone(), at_ms));
            }
            kind => self.add_transfer(kind, at_ms),
        }
    }

    /// A machine without power neither flashes nor fetches.
    fn cut_power(&mut self, at_ms: u64) {
        if let Some(last) = self.power.last_mut() {
            last.end_ms.get_or_insert(at_ms);
        }
        self.progress = None;
    }

    fn enter_phase(&mut self, phase: FlashPhase, done: u64, total: u64, at_ms: u64) {
        match self.phases.last_mut() {
            Some(last) if last.phase == phase => {
                (last.end_ms, last.done, last.total) = (at_ms, done, total);
            }
            _ => self.phases.push(Phase {
                phase,
                start_ms: at_ms,
                end_ms: at_ms,
                done,
                total,
            }),
        }
    }

    fn enter(&mut self, stage: Stage, by: &str, at_ms: u64) {
        if let Some(last) = self.stages.last_mut() {
            last.end_ms.get_or_insert(at_ms);
        }
        self.stages.push(Span {
            stage,
            start_ms: at_ms,
            end_ms: None,
            by: by.to_owned(),
        });
    }

    fn add_transfer(&mut self, kind: &EventKind, at_ms: u64) {
        match kind {
            EventKind::TransferStarted {
                id,
                protocol,
                role,
                path,
                size,
                detail,
                ..
            } => {
                let transfer = Transfer {
                    protocol: *protocol,
                    role: *role,
                    path: path.clone(),
                    detail: detail.clone(),
                    size: *size,
                    bytes: 0,
                    start_ms: at_ms,
                    end_ms: None,
                    aborted: None,
                    benign: false,
                };
                self.transfers.insert(*id, transfer);
            }
            EventKind::TransferProgressed { id, bytes } => {
                if let Some(transfer) = self.transfers.get_mut(id) {
                    transfer.bytes = *bytes;
                }
            }
            EventKind::TransferCompleted { id, bytes, .. } => {
                self.end_transfer(*id, *bytes, at_ms);
            }
            EventKind::TransferAborted {
                id,
                bytes,
                reason,
                benign,
                ..
            } => {
                self.end_transfer(*id, *bytes, at_ms);
                if let Some(transfer) = self.transfers.get_mut(id) {
                    transfer.aborted = Some(reason.clone());
                    transfer.benign = *benign;
                }
            }
            _ => {}
        }
    }

    fn end_transfer(&mut self, id: u64, bytes: u64, at_ms: u64) {
        if let Some(transfer) = self.transfers.get_mut(&id) {
            transfer.bytes = bytes;
            transfer.end_ms = Some(at_ms);
        }
    }
}
