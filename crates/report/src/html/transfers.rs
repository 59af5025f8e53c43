//! What a target fetched, put together by file: an image comes in many ranged reads.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chart::{Bar, Scale};
use crate::{TargetStory, Transfer, text};

/// Most files in the table, most requests told of one file, most bars in a lane.
const LIMITS: (usize, usize, usize) = (300, 50, 600);
/// From how many requests on a file has one row among the events instead of one for each.
const MANY: usize = 3;

/// The transfers of a target by file, and the file of each transfer.
pub(super) struct Groups<'a> {
    target: Option<&'a TargetStory>,
    groups: Vec<Group<'a>>,
    group_of: BTreeMap<u64, usize>,
    log_end_ms: u64,
}

struct Group<'a> {
    first_id: u64,
    requests: Vec<&'a Transfer>,
}

impl<'a> Groups<'a> {
    pub(super) fn of(target: Option<&'a TargetStory>, log_end_ms: u64) -> Self {
        let mut groups: Vec<Group<'a>> = Vec::new();
        let mut known = BTreeMap::new();
        let mut group_of = BTreeMap::new();
        for (id, transfer) in target.iter().flat_map(|target| &target.transfers) {
            let key = (text::lane(transfer.protocol), transfer.path.as_str());
            let index = *known.entry(key).or_insert_with(|| {
                groups.push(Group {
                    first_id: *id,
                    requests: Vec::new(),
                });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(index) {
                group.requests.push(transfer);
            }
            group_of.insert(*id, index);
        }
        Self {
            target,
            groups,
            group_of,
            log_end_ms,
        }
    }

    fn group(&self, id: u64) -> Option<&Group<'a>> {
        self.groups.get(*self.group_of.get(&id)?)
    }

    fn transfer(&self, id: u64) -> Option<&'a Transfer> {
        self.target?.transfers.get(&id)
    }

    /// The row of a transfer among the events; none where an earlier one tells of all of its file.
    pub(super) fn line(&self, id: u64) -> Option<String> {
        let group = self.group(id)?;
        if group.requests.len() <= MANY {
            return Some(self.transfer(id)?.told(self.log_end_ms));
        }
        (group.first_id == id).then(|| {
            format!(
                "get {} in {} requests, {}, {}",
                group.path(),
                group.requests.len(),
                text::bytes(group.bytes()),
                group.outcome()
            )
        })
    }

    /// Whether the row of this transfer tells of one that ended early.
    pub(super) fn is_bad(&self, id: u64) -> bool {
        match self.group(id) {
            Some(group) if group.requests.len() > MANY => group.broken().is_some(),
            _ => self.transfer(id).is_some_and(Transfer::is_broken),
        }
    }

    /// The table.
    pub(super) fn table(&self) -> Vec<FileRow> {
        self.groups
            .iter()
            .take(LIMITS.0)
            .map(|group| group.row(self.log_end_ms))
            .collect()
    }
}

impl Transfer {
    fn is_broken(&self) -> bool {
        self.aborted.is_some() && !self.benign
    }

    fn outcome(&self) -> String {
        match (&self.aborted, self.end_ms) {
            (Some(reason), _) if self.benign => {
                format!("size probe, ended by the client: {reason}")
            }
            (Some(reason), _) => format!("broken off: {reason}"),
            (None, Some(_)) => "complete".to_owned(),
            (None, None) => "not finished".to_owned(),
        }
    }

    fn told(&self, log_end_ms: u64) -> String {
        let detail = if self.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.detail)
        };
        let end = self.end_ms.unwrap_or(log_end_ms);
        format!(
            "get {}{detail}, {} in {}, {}",
            self.path,
            text::bytes(self.bytes),
            text::took(end.saturating_sub(self.start_ms)),
            self.outcome()
        )
    }
}

impl Group<'_> {
    fn path(&self) -> &str {
        self.requests
            .first()
            .map_or("", |first| first.path.as_str())
    }

    fn bytes(&self) -> u64 {
        self.requests.iter().map(|request| request.bytes).sum()
    }

    fn broken(&self) -> Option<&Transfer> {
        let mut requests = self.requests.iter().rev();
        requests.find(|request| request.is_broken()).copied()
    }

    fn outcome(&self) -> String {
        match (self.broken(), self.requests.last()) {
            (Some(broken), _) => broken.outcome(),
            (None, Some(last)) => last.outcome(),
            (None, None) => String::new(),
        }
    }

    fn row(&self, log_end_ms: u64) -> FileRow {
        let first = self.requests.first();
        let start = first.map_or(0, |request| request.start_ms);
        let ends = self.requests.iter().map(|r| r.end_ms.unwrap_or(log_end_ms));
        let took = ends.max().unwrap_or(start).saturating_sub(start);
        let parts = if self.requests.len() > 1 {
            self.requests.as_slice()
        } else {
            &[]
        };
        FileRow {
            at: text::seconds(start),
            lane: first.map_or("", |request| text::lane(request.protocol)),
            path: text::short(&text::harmless(self.path()), 500),
            requests: self.requests.len(),
            bytes: text::bytes(self.bytes()),
            took: text::took(took),
            rate: rate(self.bytes(), took),
            outcome: text::harmless(&self.outcome()),
            bad: self.broken().is_some(),
            left_out: parts.len().saturating_sub(LIMITS.1),
            parts: parts
                .iter()
                .take(LIMITS.1)
                .map(|request| {
                    text::harmless(&format!(
                        "{}  {}",
                        text::seconds(request.start_ms),
                        request.told(log_end_ms)
                    ))
                })
                .collect(),
        }
    }
}

fn rate(bytes: u64, ms: u64) -> String {
    if ms < 5 || bytes < 64 * 1024 {
        return String::new();
    }
    format!("{}/s", text::bytes(bytes.saturating_mul(1000) / ms))
}

/// One file that was fetched.
#[derive(Serialize)]
pub(super) struct FileRow {
    at: String,
    lane: &'static str,
    path: String,
    requests: usize,
    bytes: String,
    took: String,
    rate: String,
    outcome: String,
    bad: bool,
    /// One line a request, where there are several.
    parts: Vec<String>,
    left_out: usize,
}

/// The transfers of a protocol on the timeline; those of a file that touch each other are one bar.
pub(super) fn bars(target: &TargetStory, lane: &str, log_end_ms: u64, scale: Scale) -> Vec<Bar> {
    struct Joined<'a> {
        path: &'a str,
        requests: usize,
        bytes: u64,
        start: u64,
        end: u64,
        bad: bool,
    }
    let mut joined: Vec<Joined<'_>> = Vec::new();
    let of_lane = target
        .transfers
        .values()
        .filter(|t| text::lane(t.protocol) == lane);
    for transfer in of_lane {
        let end = transfer.end_ms.unwrap_or(log_end_ms);
        let bad = transfer.is_broken();
        match joined.last_mut() {
            Some(last)
                if last.path == transfer.path
                    && scale.percent(transfer.start_ms) - scale.percent(last.end) < 0.3 =>
            {
                last.requests += 1;
                last.bytes += transfer.bytes;
                last.end = last.end.max(end);
                last.bad |= bad;
            }
            _ => joined.push(Joined {
                path: &transfer.path,
                requests: 1,
                bytes: transfer.bytes,
                start: transfer.start_ms,
                end,
                bad,
            }),
        }
    }
    joined
        .iter()
        .take(LIMITS.2)
        .map(|bar| {
            let name = bar.path.rsplit('/').next().unwrap_or_default();
            let title = text::harmless(&format!(
                "{}: {} in {}, {}",
                bar.path,
                text::bytes(bar.bytes),
                text::took(bar.end.saturating_sub(bar.start)),
                text::count(bar.requests, "request")
            ));
            let class = match (lane, bar.bad) {
                (_, true) => "bad",
                ("tftp", _) => "b-tftp",
                _ => "b-http",
            };
            Bar::new(
                scale,
                bar.start,
                bar.end,
                class,
                &text::harmless(name),
                title,
            )
        })
        .collect()
}
