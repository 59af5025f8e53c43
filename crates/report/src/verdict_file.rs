//! `verdict.json`: the outcome for programs.

use bootgate_events::{
    ByteRange, DiskProofKind, Evidence, MacAddr, Stage, StageSpan, TargetName, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::told::Told;
use crate::{Story, TargetStory};

/// The content of `verdict.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictFile {
    /// Version of this file's format; 1.
    pub schema: u32,
    /// Identifier of the run.
    pub run: String,
    /// Name of the scenario.
    pub scenario: String,
    /// The run's outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// `kvm` or `tcg`; empty where no target is virtual.
    pub accel: String,
    /// Milliseconds from the start of the run to its verdict.
    pub duration_ms: u64,
    /// One entry a target.
    pub targets: Vec<TargetEntry>,
}

/// An outcome, flat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `passed`, `failed`, `skipped`, `infra` or `interrupted`.
    pub verdict: String,
    /// Where it failed.
    pub stage: Option<Stage>,
    /// Why, as one word.
    pub cause: Option<String>,
    /// Why, as a sentence for a person.
    pub detail: Option<String>,
    /// What it means or what to do, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What shows it, each thing once; on targets only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// A target's entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetEntry {
    /// Its name.
    pub name: TargetName,
    /// Its MAC address.
    pub mac: MacAddr,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// `qemu` or `board`.
    pub driver: String,
    /// Its outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The stages it went through.
    pub stages: Vec<StageSpan>,
    /// Digest of the image it had to flash.
    pub image_sha256: Option<String>,
    /// Digest of the disk over `disk_ranges`, after the flash.
    pub disk_sha256: Option<String>,
    /// Who compared: `host` or `agent`.
    pub disk_proof: Option<DiskProofKind>,
    /// What was compared.
    pub disk_ranges: Vec<ByteRange>,
}

impl Outcome {
    pub(crate) fn of(verdict: Option<&Verdict>, story: &Story) -> Self {
        let Some(verdict) = verdict else {
            return Self {
                verdict: "infra".to_owned(),
                cause: Some("log-ends-early".to_owned()),
                detail: Some("the log ends before a verdict".to_owned()),
                ..Self::default()
            };
        };
        let word = verdict.word().to_owned();
        let told = Told::of(verdict, story);
        match verdict {
            Verdict::Passed => Self {
                verdict: word,
                ..Self::default()
            },
            Verdict::Failed { stage, cause, .. } => Self {
                verdict: word,
                stage: Some(*stage),
                cause: Some(cause.word().to_owned()),
                detail: Some(cause.to_string()),
                hint: told.hint,
                evidence: told.evidence,
            },
            Verdict::Skipped { reason } => Self {
                verdict: word,
                detail: Some(reason.clone()),
                ..Self::default()
            },
            Verdict::Infra { what, error } => Self {
                verdict: word,
                cause: Some(what.clone()),
                detail: Some(error.clone()),
                hint: told.hint,
                ..Self::default()
            },
            Verdict::Interrupted { signal } => Self {
                verdict: word,
                cause: Some("interrupted".to_owned()),
                detail: Some(format!("stopped by {signal}")),
                ..Self::default()
            },
        }
    }
}

impl VerdictFile {
    /// The outcome of the run that `story` tells.
    #[must_use]
    pub fn of(story: &Story) -> Self {
        Self {
            schema: 1,
            run: story.run.clone(),
            scenario: story.scenario.clone(),
            outcome: Outcome {
                evidence: Vec::new(),
                ..Outcome::of(story.verdict.as_ref(), story)
            },
            accel: story.host.accel.clone(),
            duration_ms: story.duration_ms,
            targets: story
                .targets
                .iter()
                .map(|target| TargetEntry::of(target, story))
                .collect(),
        }
    }
}

impl TargetEntry {
    fn of(target: &TargetStory, story: &Story) -> Self {
        let disk = target.disk.as_ref();
        let stages = target.stages.iter().map(|span| StageSpan {
            stage: span.stage,
            start_ms: span.start_ms,
            end_ms: span.end_ms.unwrap_or(story.duration_ms),
        });
        Self {
            name: target.facts.name.clone(),
            mac: target.facts.mac,
            firmware: target.facts.firmware.clone(),
            driver: target.facts.driver.clone(),
            outcome: Outcome::of(story.verdict_on(target), story),
            stages: stages.collect(),
            // What was compared with is what counts, where something was.
            image_sha256: disk
                .map(|disk| disk.image_sha256.clone())
                .or_else(|| target.facts.image_sha256.clone()),
            disk_sha256: disk.map(|disk| disk.disk_sha256.clone()),
            disk_proof: disk.map(|disk| disk.proof),
            disk_ranges: disk.map(|disk| disk.ranges.clone()).unwrap_or_default(),
        }
    }
}
