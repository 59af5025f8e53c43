//! The verdict, as a pure fold over the event log.

use bootgate_events::{
    DeadlineKind, Event, EventKind, Stage, TargetName, TargetVerdict, Verdict, VerdictRules,
};

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
    #[error("marker `{marker}` of target `{target}` has the bad pattern `{pattern}`: {error}")]
    BadPattern {
        /// The target.
        target: TargetName,
        /// The marker's name.
        marker: String,
        /// Its pattern.
        pattern: String,
        /// What the regex parser says.
        error: String,
    },
    /// Neither a marker nor a disk is asked for, so that everything would pass.
    #[error("target `{target}` expects no marker and proves no disk: it would always pass")]
    NothingRequired {
        /// The target.
        target: TargetName,
    },
    /// The disk must boot, but no expected marker can show it.
    #[error("target `{target}` boots its disk but its last expected marker cannot come in `disk-boot`")]
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
    rules: VerdictRules,
}

impl Fold {
    /// A fold at the start of a run. `rules` are the scaled ones that also stand in
    /// [`EventKind::RunStarted`].
    ///
    /// # Errors
    /// The rules cannot be judged by; see [`RulesError`].
    pub fn new(rules: &VerdictRules) -> Result<Self, RulesError> {
        Ok(Self {
            rules: rules.clone(),
        })
    }

    /// Takes the next event of the log. `payload` holds the bytes of a [`EventKind::ConsoleChunk`] and is empty for
    /// every other kind. Conclusions and unknown kinds in the log change nothing.
    pub fn apply(&mut self, event: &Event, payload: &[u8]) -> Step {
        let _ = (event, payload);
        Step::default()
    }

    /// The deadline that expires first. Log [`Deadline::expired`] when it is due; it changes with every event.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Deadline> {
        None
    }

    /// The run's verdict, once every target has one: infrastructure faults before interruption before failures
    /// (each the earliest in time) before a pass. The harness logs it as [`EventKind::RunFinished`] after teardown.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        None
    }

    /// What is known of each target, in the order of the rules. A target without verdict counts as skipped.
    #[must_use]
    pub fn target_verdicts(&self) -> Vec<TargetVerdict> {
        let _ = &self.rules;
        Vec::new()
    }

    /// The stage a target is in; `None` before anything happened to it.
    #[must_use]
    pub fn stage(&self, target: &TargetName) -> Option<Stage> {
        let _ = target;
        None
    }
}
