//! The table of events.

use bootgate_events::{Event, EventBody, EventKind, TargetName};
use serde::Serialize;

use super::transfers::Groups;
use crate::text;

/// Rows kept of the start and of the end of a long table.
const KEPT: (usize, usize) = (400, 1200);

/// One event, or several that say the same.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) seq: u64,
    #[serde(skip)]
    pub(super) at_ms: u64,
    pub(super) at: String,
    pub(super) lane: &'static str,
    pub(super) text: String,
    /// How many events the row stands for.
    pub(super) times: u32,
    pub(super) bad: bool,
}

impl Row {
    /// The class of the row's dots.
    pub(super) fn lane_class(&self) -> &'static str {
        match self.lane {
            "dhcp" => "d-dhcp",
            "tftp" => "d-tftp",
            "http" => "d-http",
            "agent" | "disk" => "d-agent",
            "serial" => "d-serial",
            "verdict" => "d-verdict",
            _ => "d-power",
        }
    }
}

/// A table that is bounded: rows, and how many were left out after the first of them.
#[derive(Serialize)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// The lanes in it, for the filter.
    lanes: Vec<&'static str>,
    /// Before which row the gap stands.
    gap_at: usize,
    left_out: usize,
}

impl Table {
    pub(super) fn of(mut rows: Vec<Row>) -> Self {
        let (head, tail) = KEPT;
        let left_out = rows.len().saturating_sub(head + tail);
        if left_out > 0 {
            rows.drain(head..head + left_out);
        }
        let mut lanes: Vec<&'static str> = Vec::new();
        for row in &rows {
            if !lanes.contains(&row.lane) {
                lanes.push(row.lane);
            }
        }
        Self {
            rows,
            lanes,
            gap_at: head,
            left_out,
        }
    }

    /// The row that is nearest to an event, not after it.
    pub(super) fn near(&self, seq: u64) -> Option<u64> {
        let after = self.rows.partition_point(|row| row.seq <= seq);
        Some(self.rows.get(after.checked_sub(1)?)?.seq)
    }
}

/// The rows of a target, or of the run where there is none.
pub(super) fn rows(events: &[Event], target: Option<&TargetName>, groups: &Groups) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for event in events.iter().filter(|e| e.target.as_ref() == target) {
        let Some((lane, text)) = line(event, groups) else {
            continue;
        };
        let text = text::harmless(&text);
        match rows.last_mut() {
            Some(last) if last.lane == lane && last.text == text => last.times += 1,
            _ => rows.push(Row {
                seq: event.seq,
                at_ms: event.mono_ms(),
                at: format!("{}.{:03}", event.mono_ms() / 1000, event.mono_ms() % 1000),
                lane,
                text: text::short(&text, 2000),
                times: 1,
                bad: event.kind().is_some_and(|kind| is_bad(kind, groups)),
            }),
        }
    }
    rows
}

fn line(event: &Event, groups: &Groups) -> Option<(&'static str, String)> {
    match &event.body {
        EventBody::Known(EventKind::TransferStarted { id, protocol, .. }) => {
            Some((text::lane(*protocol), groups.line(*id)?))
        }
        EventBody::Known(kind) => text::line(kind),
        EventBody::Unknown(unknown) => Some((
            "other",
            format!("`{}`, which this version does not know", unknown.kind),
        )),
    }
}

fn is_bad(kind: &EventKind, groups: &Groups) -> bool {
    match kind {
        EventKind::TransferStarted { id, .. } => groups.is_bad(*id),
        EventKind::DiskCompared { equal, .. } => !equal,
        EventKind::VerdictReached { verdict } => !matches!(verdict.word(), "passed" | "skipped"),
        EventKind::QemuExited { expected, .. } => !expected,
        EventKind::RequestRefused { .. }
        | EventKind::AgentFailed { .. }
        | EventKind::StaleCallback { .. }
        | EventKind::ForbiddenMatched { .. }
        | EventKind::DeadlineExpired { .. }
        | EventKind::InfraFailed { .. }
        | EventKind::Interrupted { .. }
        | EventKind::ServerFailed { .. }
        | EventKind::FaultInjected { .. } => true,
        _ => false,
    }
}
