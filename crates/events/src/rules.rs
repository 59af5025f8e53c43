//! The rules a verdict is made by: the part of a scenario that the fold sees.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ArtifactRole, MacAddr, Stage, TargetName};

/// The rules for all targets of a run. Stored in the first event, so that a log can be judged again without
/// the scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictRules {
    /// One entry a target, in the scenario's order.
    pub targets: Vec<TargetRules>,
}

/// The rules for one target. All times are milliseconds and already scaled for the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRules {
    /// The target.
    pub name: TargetName,
    /// Its hardware address, by which network events are told apart.
    pub mac: MacAddr,
    /// Markers that must appear, in this order.
    pub expect: Vec<MarkerRule>,
    /// Markers that end the attempt in the stages where they are fatal.
    pub forbid: Vec<ForbidRule>,
    /// Prompts that are answered, so that the boot does not wait for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyRule>,
    /// Longest time in each stage; a stage that is not named has none.
    pub stage_deadlines_ms: BTreeMap<Stage, u64>,
    /// Longest time from power-on to the verdict.
    pub total_deadline_ms: u64,
    /// Longest time without a console byte and without a packet; 0 switches stall detection off.
    pub stall_ms: u64,
    /// Who must prove the disk after the flash; `None` where nothing is flashed.
    pub disk_proof: Option<DiskProofKind>,
    /// Whether the target must boot from its disk after the flash.
    pub disk_boot: bool,
    /// Faults the scenario asks for.
    #[serde(default)]
    pub faults: Vec<FaultRule>,
    /// What the attempt must reach besides.
    #[serde(default, skip_serializing_if = "Goal::is_none")]
    pub goal: Goal,
}

/// What an attempt must reach besides its markers and its disk: a machine of a lab boots without a console, and its
/// boot mode says when it has done what it was to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Nothing besides.
    #[default]
    None,
    /// The machine was handed back to its firmware to boot its disk
    /// ([`EventKind::LocalBootServed`](crate::EventKind::LocalBootServed)).
    LocalBoot,
    /// The agent sent what the machine is made of
    /// ([`EventKind::InventoryReceived`](crate::EventKind::InventoryReceived)).
    Inventory,
    /// The installer called back ([`EventKind::InstallReported`](crate::EventKind::InstallReported)).
    Install,
    /// The operator's script was fetched as a whole (a completed transfer of the role `script`).
    Script,
}

impl Goal {
    /// Whether nothing is asked for besides.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Goal::None
    }
}

/// A marker that must appear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerRule {
    /// A short name for reports.
    pub name: String,
    /// A regular expression (the `regex` crate's syntax), matched against cleaned console lines.
    pub pattern: String,
    /// Where given, the marker counts only in this stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
}

/// A marker that must not appear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForbidRule {
    /// A short name for reports.
    pub name: String,
    /// A regular expression (the `regex` crate's syntax), matched against cleaned console lines.
    pub pattern: String,
    /// The stages in which it is fatal.
    pub stages: Vec<Stage>,
    /// What it means and what to do, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// A prompt and the keys that answer it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRule {
    /// A short name for reports.
    pub name: String,
    /// A regular expression (the `regex` crate's syntax), matched against cleaned console lines, unfinished ones too.
    pub pattern: String,
    /// What is typed, once for every line that matches.
    pub keys: String,
}

/// Who compares the disk with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskProofKind {
    /// The host, byte for byte, while the target is off.
    Host,
    /// The agent's readback.
    Agent,
}

/// A fault that the scenario asks for: what a lab meets, on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// When it applies.
    pub on: FaultTrigger,
    /// What is done.
    pub action: FaultAction,
}

/// When a fault applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultTrigger {
    /// Each time a file of this role is asked for.
    Serve(ArtifactRole),
    /// Once, when the stage is entered.
    Enter(Stage),
}

/// What a fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// The file is answered as absent (HTTP 404, TFTP error 1). Only with [`FaultTrigger::Serve`].
    NotFound,
    /// One bit of the file is flipped. Only with [`FaultTrigger::Serve`].
    Corrupt,
    /// The target loses power. Only with [`FaultTrigger::Enter`].
    PowerOff,
}
