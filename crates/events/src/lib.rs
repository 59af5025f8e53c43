//! Typed facts of a run: events, stages, identifiers, rules and verdicts.
//!
//! Everything that happens in a run becomes an [`Event`] on one clock. The verdict, every report and every
//! replay are made from the sequence of events alone, so this crate holds data and no behaviour beyond
//! serialisation: it depends on serde and nothing else.

mod envelope;
mod facts;
mod ids;
mod kind;
mod rules;
mod stage;
mod verdict;

pub use envelope::{Event, EventBody, SCHEMA, UnknownEvent};
pub use facts::{
    ArtifactRole, ByteRange, DeadlineKind, DhcpFacts, FlashPhase, HostFacts, PowerCause, Protocol,
    TargetFacts,
};
pub use ids::{AttemptId, MacAddr, MacParseError, RunId, TargetName};
pub use kind::EventKind;
pub use rules::{
    DiskProofKind, FaultAction, FaultRule, FaultTrigger, ForbidRule, Goal, KeyRule, MarkerRule,
    TargetRules, VerdictRules,
};
pub use stage::{Stage, StageParseError};
pub use verdict::{Cause, Evidence, StageSpan, TargetVerdict, Verdict};
