//! The verdict, as a pure fold over the event log.
//!
//! Each target goes through its stages by what the servers, its console and its power tell; nothing but events is
//! seen, and time is the time that stands in them. What the fold concludes is logged behind the fact it follows from,
//! and a replay of the facts draws the same conclusions again.

mod disk;
mod network;
mod notes;
mod power;
mod prompts;
mod replay;
mod route;
mod screen;
mod target;

use std::collections::BTreeMap;
use std::net::IpAddr;

use bootgate_events::{
    DeadlineKind, Event, EventKind, Stage, TargetName, TargetVerdict, Verdict, VerdictRules,
};

pub use replay::{Conclusion, Difference, Replay, ReplayError, is_conclusion, replay};
use route::{Carried, remember};
use target::{Draw, TargetFold};

use crate::marker::PatternError;

/// What the fold wants done. The harness does it and logs the facts that come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Cut the power, because a fault rule says so. Answered by [`EventKind::FaultInjected`] and
    /// [`EventKind::PoweredOff`] with the cause `Fault`.
    PowerOff {
        /// Whose.
        target: TargetName,
    },
    /// Prove that the disk equals the image. With [`DiskProofKind::Host`](bootgate_events::DiskProofKind::Host) the
    /// target is off and the host compares; with `Agent` the agent's readback is the proof. Answered by
    /// [`EventKind::DiskCompared`] with the proof kind of the rules.
    ProveDisk {
        /// Whose.
        target: TargetName,
    },
    /// Boot from the disk with network boot off; a power cycle where the target is on. Answered by
    /// [`EventKind::PoweredOn`] with `boot: "disk"`.
    BootDisk {
        /// Which target.
        target: TargetName,
    },
    /// Answer a prompt. Answered by [`EventKind::KeysTyped`].
    Type {
        /// Whose console.
        target: TargetName,
        /// Name of the rule.
        name: String,
        /// What to type.
        keys: String,
    },
    /// The target has its verdict: switch it off and collect what it leaves.
    Finish {
        /// Which target.
        target: TargetName,
    },
}

/// What follows from one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Conclusions to append to the log, in this order, before the next fact.
    pub conclusions: Vec<(Option<TargetName>, EventKind)>,
    /// What to do, in this order.
    pub actions: Vec<Action>,
}

/// A point in time at which something must have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// When, in microseconds since the run started, on the clock of [`Event::mono_us`].
    pub at_us: u64,
    /// Whose.
    pub target: TargetName,
    /// Which.
    pub kind: DeadlineKind,
    /// The stage the target is in.
    pub stage: Stage,
    /// Its length in milliseconds.
    pub limit_ms: u64,
}

impl Deadline {
    /// The fact to log, for `target`, once `at_us` is reached.
    #[must_use]
    pub fn expired(&self) -> EventKind {
        EventKind::DeadlineExpired {
            deadline: self.kind,
            stage: self.stage,
            limit_ms: self.limit_ms,
        }
    }
}

/// The rules cannot be judged by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// A pattern is not a regular expression.
    #[error("target `{target}`: {error}")]
    BadPattern {
        /// The target.
        target: TargetName,
        /// Which marker, and what is wrong with it.
        error: PatternError,
    },
    /// Neither a marker nor a disk is asked for, so that everything would pass.
    #[error("target `{target}` expects no marker and proves no disk: it would always pass")]
    NothingRequired {
        /// The target.
        target: TargetName,
    },
    /// The disk must boot, but no expected marker can show it.
    #[error(
        "target `{target}` boots its disk but its last expected marker cannot come in `disk-boot`"
    )]
    DiskBootUnseen {
        /// The target.
        target: TargetName,
    },
    /// The disk must boot, but nothing is flashed and proven.
    #[error("target `{target}` boots its disk without a proof of what is on it")]
    DiskBootUnproven {
        /// The target.
        target: TargetName,
    },
}

/// The state of a run as its events tell it. Pure: the same events give the same conclusions, actions, deadlines
/// and verdict, live and in a replay.
#[derive(Clone, Debug)]
pub struct Fold {
    targets: Vec<TargetFold>,
    /// An end of the run as a whole.
    ended: Option<Verdict>,
    by_ip: BTreeMap<IpAddr, usize>,
    by_transfer: BTreeMap<u64, usize>,
}

impl Fold {
    /// A fold at the start of a run. `rules` are the scaled ones that also stand in
    /// [`EventKind::RunStarted`].
    ///
    /// # Errors
    /// The rules cannot be judged by; see [`RulesError`].
    pub fn new(rules: &VerdictRules) -> Result<Self, RulesError> {
        Ok(Self {
            targets: rules
                .targets
                .iter()
                .map(TargetFold::new)
                .collect::<Result<_, _>>()?,
            ended: None,
            by_ip: BTreeMap::new(),
            by_transfer: BTreeMap::new(),
        })
    }

    /// Takes the next event of the log. `payload` holds the bytes of a [`EventKind::ConsoleChunk`] and is empty for
    /// every other kind. Conclusions and unknown kinds in the log change nothing.
    pub fn apply(&mut self, event: &Event, payload: &[u8]) -> Step {
        let mut step = Step::default();
        if let Some(kind) = event.kind().filter(|kind| !is_conclusion(kind)) {
            self.fact(
                &mut Draw {
                    event,
                    step: &mut step,
                },
                kind,
                payload,
            );
        }
        step
    }

    fn fact(&mut self, draw: &mut Draw<'_>, kind: &EventKind, payload: &[u8]) {
        match kind {
            EventKind::RunStarted { targets, .. } => {
                for target in &mut self.targets {
                    let facts = targets.iter().find(|facts| facts.name == *target.name());
                    target.set_image(facts.and_then(|facts| facts.image_sha256.clone()));
                }
            }
            EventKind::Interrupted { signal } => {
                self.end_run(
                    draw,
                    &Verdict::Interrupted {
                        signal: signal.clone(),
                    },
                );
            }
            EventKind::RunSkipped { reason } => {
                let reason = reason.clone();
                self.end_run(draw, &Verdict::Skipped { reason });
            }
            EventKind::InfraFailed { what, error, hint } => {
                let hint = if hint.is_empty() {
                    String::new()
                } else {
                    format!("; {hint}")
                };
                self.infra(draw, what, &format!("{error}{hint}"));
            }
            EventKind::ServerFailed { service, error } => {
                self.infra(
                    draw,
                    "server-failed",
                    &format!("the {service} server stopped: {error}"),
                );
            }
            _ => {
                if let Some(target) = self.target_of(draw.event, kind) {
                    target.notes.fact(draw.event.seq, kind);
                    target.fact(draw, kind, payload);
                }
            }
        }
    }

    /// An infrastructure fault of one target, or of the run where the event names none.
    fn infra(&mut self, draw: &mut Draw<'_>, what: &str, error: &str) {
        let named = draw.event.target.as_ref();
        match self
            .targets
            .iter_mut()
            .find(|target| Some(target.name()) == named)
        {
            Some(target) => target.infra(draw, what, error),
            None => {
                let verdict = Verdict::Infra {
                    what: what.to_owned(),
                    error: error.to_owned(),
                };
                self.end_run(draw, &verdict);
            }
        }
    }

    fn end_run(&mut self, draw: &mut Draw<'_>, verdict: &Verdict) {
        let infra = matches!(verdict, Verdict::Infra { .. });
        if self.ended.is_none() && (infra || self.verdict().is_none()) {
            self.ended = Some(verdict.clone());
        }
        for target in &mut self.targets {
            target.judge(draw, verdict.clone());
        }
    }

    /// Whom an event concerns: the target it names, else the one whose hardware address, transfer or leased address
    /// it carries.
    fn target_of(&mut self, event: &Event, kind: &EventKind) -> Option<&mut TargetFold> {
        let carried = Carried::of(kind);
        let index = match &event.target {
            Some(name) => self.targets.iter().position(|target| target.name() == name),
            None => carried
                .mac
                .and_then(|mac| {
                    self.targets
                        .iter()
                        .position(|target| target.rules.mac == mac)
                })
                .or_else(|| self.by_transfer.get(&carried.transfer?).copied())
                .or_else(|| self.by_ip.get(&carried.peer?).copied()),
        }?;
        match kind {
            // `reply` is DHCPv6's.
            EventKind::DhcpSent { facts, .. } if matches!(&*facts.message, "ack" | "reply") => {
                remember(&mut self.by_ip, facts.address, index);
            }
            EventKind::TransferStarted { id, .. } => {
                remember(&mut self.by_transfer, Some(*id), index);
            }
            EventKind::TransferCompleted { id, .. } | EventKind::TransferAborted { id, .. } => {
                self.by_transfer.remove(id);
            }
            _ => {}
        }
        self.targets.get_mut(index)
    }

    /// The deadline that expires first. Log [`Deadline::expired`] when it is due; it changes with every event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        let all = self.targets.iter().flat_map(TargetFold::deadlines);
        all.min_by_key(|deadline| deadline.at_us)
    }

    /// The run's verdict, once every target has one: infrastructure faults before interruption before failures
    /// (each the earliest in time) before a pass. The harness logs it as [`EventKind::RunFinished`] after teardown.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        if let Some(ended) = &self.ended {
            return Some(ended.clone());
        }
        let judged: Option<Vec<_>> = self.targets.iter().map(TargetFold::judged).collect();
        let weight = |verdict: &Verdict| match verdict {
            Verdict::Infra { .. } => 0,
            Verdict::Interrupted { .. } => 1,
            Verdict::Failed { .. } => 2,
            Verdict::Skipped { .. } => 3,
            Verdict::Passed => 4,
        };
        let first = judged?
            .into_iter()
            .min_by_key(|judged| (weight(&judged.verdict), judged.seq));
        first.map(|judged| judged.verdict.clone())
    }

    /// What is known of each target, in the order of the rules. A target without verdict counts as skipped.
    #[must_use]
    pub fn target_verdicts(&self) -> Vec<TargetVerdict> {
        self.targets.iter().map(TargetFold::verdict).collect()
    }

    /// The stage a target is in; `None` before anything happened to it.
    #[must_use]
    pub fn stage(&self, target: &TargetName) -> Option<Stage> {
        self.targets
            .iter()
            .find(|known| known.name() == target)?
            .stage()
    }
}
