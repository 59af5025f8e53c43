//! What a run concludes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ByteRange, DeadlineKind, DiskProofKind, Stage, TargetName};

/// The outcome of an attempt or of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Every requirement was met.
    Passed,
    /// The target did not do what the scenario requires.
    Failed {
        /// Where it failed.
        stage: Stage,
        /// Why.
        cause: Cause,
        /// What shows it.
        #[serde(default)]
        evidence: Vec<Evidence>,
    },
    /// It was not tried.
    Skipped {
        /// Why not.
        reason: String,
    },
    /// The host failed; nothing can be said about the target.
    Infra {
        /// Short name of the fault.
        what: String,
        /// What went wrong and what to do.
        error: String,
    },
    /// Somebody stopped the run before a verdict.
    Interrupted {
        /// The signal's name.
        signal: String,
    },
}

impl Verdict {
    /// The outcome as one word: `passed`, `failed`, `skipped`, `infra`, `interrupted`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed => "passed",
            Verdict::Failed { .. } => "failed",
            Verdict::Skipped { .. } => "skipped",
            Verdict::Infra { .. } => "infra",
            Verdict::Interrupted { .. } => "interrupted",
        }
    }

    /// The exit code of `bootgate run` for this outcome.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Passed | Verdict::Skipped { .. } => 0,
            Verdict::Failed { .. } => 1,
            Verdict::Infra { .. } => 3,
            Verdict::Interrupted { .. } => 130,
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case")]
pub enum Cause {
    /// A forbidden marker was seen in a stage where it is fatal.
    ForbiddenMarker {
        /// Its name.
        name: String,
        /// The cleaned line.
        line: String,
        /// What it means.
        hint: String,
    },
    /// An expected marker came before one that must come first.
    MarkersOutOfOrder {
        /// The one that should have come.
        expected: String,
        /// The one that came.
        seen: String,
    },
    /// The target was rebooted, or finished, before an expected marker came.
    MarkerMissing {
        /// Its name.
        name: String,
    },
    /// A deadline expired.
    DeadlineExpired {
        /// Which.
        deadline: DeadlineKind,
        /// Its length.
        limit_ms: u64,
    },
    /// The client was refused a file it needs.
    FileRefused {
        /// The path.
        path: String,
        /// HTTP status or TFTP error code.
        code: u16,
        /// Why.
        reason: String,
    },
    /// The agent gave up.
    AgentFailed {
        /// What it said.
        error: String,
    },
    /// The installer says that it failed.
    InstallFailed {
        /// What it said.
        error: String,
    },
    /// The server may not let the machine boot what its mode says.
    BootRefused {
        /// Why.
        error: String,
    },
    /// The disk is not equal to the image.
    DiskDiffers {
        /// Offset of the first difference.
        first_difference: u64,
    },
    /// The target lost power in the middle.
    PoweredOff {
        /// `guest`, `fault` or `outside`.
        by: String,
    },
    /// The target restarted in the middle of a stage where it must not.
    UnexpectedReset,
    /// The same script was fetched again and again: the chain boots itself.
    ChainLoop {
        /// How often.
        fetches: u32,
    },
}

impl Cause {
    /// The cause as one word, as `verdict.json` has it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Cause::ForbiddenMarker { .. } => "forbidden-marker",
            Cause::MarkersOutOfOrder { .. } => "markers-out-of-order",
            Cause::MarkerMissing { .. } => "marker-missing",
            Cause::DeadlineExpired { .. } => "deadline-expired",
            Cause::FileRefused { .. } => "file-refused",
            Cause::AgentFailed { .. } => "agent-failed",
            Cause::InstallFailed { .. } => "install-failed",
            Cause::BootRefused { .. } => "boot-refused",
            Cause::DiskDiffers { .. } => "disk-differs",
            Cause::PoweredOff { .. } => "powered-off",
            Cause::UnexpectedReset => "unexpected-reset",
            Cause::ChainLoop { .. } => "chain-loop",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::ForbiddenMarker { name, line, .. } => {
                write!(f, "forbidden marker `{name}` on the console: `{line}`")
            }
            Cause::MarkersOutOfOrder { expected, seen } => {
                write!(f, "marker `{seen}` came before `{expected}`")
            }
            Cause::MarkerMissing { name } => write!(f, "marker `{name}` never came"),
            Cause::DeadlineExpired { deadline, limit_ms } => {
                let seconds = *limit_ms as f64 / 1000.0;
                match deadline {
                    DeadlineKind::Stage => write!(f, "the stage took longer than {seconds:.1} s"),
                    DeadlineKind::Total => write!(f, "the attempt took longer than {seconds:.1} s"),
                    DeadlineKind::Stall => {
                        write!(f, "no console byte and no packet for {seconds:.1} s")
                    }
                }
            }
            Cause::FileRefused { path, code, reason } => {
                write!(f, "the client was refused `{path}` ({code}): {reason}")
            }
            Cause::AgentFailed { error } => write!(f, "the agent gave up: {error}"),
            Cause::InstallFailed { error } => write!(f, "the installer failed: {error}"),
            Cause::BootRefused { error } => write!(f, "the server refused to boot it: {error}"),
            Cause::DiskDiffers { first_difference } => {
                write!(
                    f,
                    "the disk differs from the image at byte {first_difference}"
                )
            }
            Cause::PoweredOff { by } => write!(f, "the target lost power (by {by})"),
            Cause::UnexpectedReset => f.write_str("the target restarted unexpectedly"),
            Cause::ChainLoop { fetches } => {
                write!(
                    f,
                    "the boot script was fetched {fetches} times: the chain boots itself"
                )
            }
        }
    }
}

/// Something that shows why a verdict is what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Sequence number of the event it comes from.
    pub seq: u64,
    /// One line for a person.
    pub text: String,
}

/// When a target was in a stage, in milliseconds since the run started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSpan {
    /// The stage.
    pub stage: Stage,
    /// When it began.
    pub start_ms: u64,
    /// When it ended; the time of the verdict for the last one.
    pub end_ms: u64,
}

/// A target's part of `verdict.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetVerdict {
    /// The target.
    pub name: TargetName,
    /// Its verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The stages it went through.
    pub stages: Vec<StageSpan>,
    /// Digest of the image it had to flash.
    #[serde(default)]
    pub image_sha256: Option<String>,
    /// Digest of the disk after the flash, over `disk_ranges`.
    #[serde(default)]
    pub disk_sha256: Option<String>,
    /// Who compared the disk with the image.
    #[serde(default)]
    pub disk_proof: Option<DiskProofKind>,
    /// What was compared.
    #[serde(default)]
    pub disk_ranges: Vec<ByteRange>,
}
