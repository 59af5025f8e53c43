//! What the template shows.

use std::path::Path;

use bootgate_events::{Event, EventKind, Verdict};
use serde::Serialize;

use super::chart::{self, Lane, Scale, Tick};
use super::rows::{self, Table};
use super::transfers::{FileRow, Groups};
use crate::console::{self, Console};
use crate::told::Told;
use crate::{Story, TargetStory, text};

#[derive(Serialize)]
pub(super) struct Page {
    scenario: String,
    outcome: Outcome,
    facts: Vec<(&'static str, String)>,
    targets: Vec<Target>,
    common: Table,
    ticks: Vec<Tick>,
}

#[derive(Serialize)]
struct Outcome {
    word: &'static str,
    sentence: String,
    hint: Option<String>,
    /// Text and the row it belongs to.
    evidence: Vec<(String, Option<u64>)>,
}

#[derive(Serialize)]
struct Target {
    name: String,
    facts: String,
    outcome: Outcome,
    took: String,
    stage: String,
    lanes: Vec<Lane>,
    stages: Vec<StageRow>,
    markers: Vec<MarkerRow>,
    disk: Option<Disk>,
    files: Vec<FileRow>,
    events: Table,
    head: Vec<ConsoleRow>,
    tail: Vec<ConsoleRow>,
    cut: bool,
    missing: bool,
    in_lab: bool,
}

#[derive(Serialize)]
struct StageRow {
    class: String,
    stage: &'static str,
    start: String,
    took: String,
    by: String,
}

#[derive(Serialize)]
struct MarkerRow {
    name: String,
    at: Option<String>,
    line: String,
}

#[derive(Serialize)]
struct Disk {
    equal: bool,
    by: &'static str,
    image: String,
    disk: String,
    first_difference: Option<u64>,
    ranges: Vec<String>,
    left_out: usize,
    bytes: String,
}

#[derive(Serialize)]
struct ConsoleRow {
    at: String,
    text: String,
    class: &'static str,
}

impl Page {
    pub(super) fn of(story: &Story, events: &[Event], folder: &Path) -> Self {
        let scale = Scale::new(story.duration_ms);
        let common = Table::of(rows::rows(events, None, &Groups::of(None, 0)));
        Self {
            scenario: story.scenario.clone(),
            outcome: Outcome::of(story.verdict.as_ref(), in_lab(events), story, &common),
            facts: facts(story),
            targets: story
                .targets
                .iter()
                .map(|target| Target::of(story, target, events, folder, scale))
                .collect(),
            common,
            ticks: scale.ticks(),
        }
    }
}

fn facts(story: &Story) -> Vec<(&'static str, String)> {
    let host = &story.host;
    let accel = match (host.accel.as_str(), host.accel_reason.as_str()) {
        (accel, "") => accel.to_owned(),
        (accel, reason) => format!("{accel} ({reason})"),
    };
    let scale = match host.deadline_scale_milli {
        0 | 1000 => String::new(),
        milli => format!("× {}.{:02}", milli / 1000, milli % 1000 / 10),
    };
    let cores = match host.cores {
        0 => String::new(),
        cores => format!(", {}", text::count(cores as usize, "core")),
    };
    [
        ("started", wall(story.started_wall_us)),
        ("took", text::took(story.duration_ms)),
        ("accelerator", accel),
        ("deadlines", scale),
        ("QEMU", host.qemu_version.clone().unwrap_or_default()),
        (
            "host",
            match host.kernel.as_str() {
                "" => String::new(),
                kernel => format!("Linux {kernel}{cores}"),
            },
        ),
        ("bootgate", story.version.clone()),
        ("run", story.run.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

fn wall(us: u64) -> String {
    let us = i64::try_from(us).unwrap_or(0);
    jiff::Timestamp::from_microsecond(us)
        .map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

impl Outcome {
    fn of(verdict: Option<&Verdict>, in_lab: bool, story: &Story, table: &Table) -> Self {
        let Some(verdict) = verdict else {
            let why = match in_lab {
                true => "there is no verdict yet: the attempt went on when this was written",
                false => "the log ends before a verdict: the run was killed",
            };
            return Self {
                word: "no verdict",
                sentence: why.to_owned(),
                hint: None,
                evidence: Vec::new(),
            };
        };
        let told = Told::of(verdict, story);
        Self {
            word: verdict.word(),
            sentence: told.sentence,
            hint: told.hint,
            evidence: told
                .evidence
                .into_iter()
                .map(|item| (item.text, table.near(item.seq)))
                .collect(),
        }
    }
}

impl Target {
    fn of(
        story: &Story,
        target: &TargetStory,
        events: &[Event],
        folder: &Path,
        scale: Scale,
    ) -> Self {
        let name = &target.facts.name;
        let groups = Groups::of(Some(target), story.duration_ms);
        let rows = rows::rows(events, Some(name), &groups);
        let lanes = chart::lanes(story, target, &rows, events, scale);
        let table = Table::of(rows);
        let ended = target.verdict.as_ref().map_or(story.duration_ms, |v| v.1);
        let began = target.stages.first().map_or(0, |span| span.start_ms);
        let console = Console::read(folder, name, events);
        let marks = Marks::of(target, events);
        let in_lab = in_lab(events);
        let facts = &target.facts;
        Self {
            name: name.to_string(),
            facts: match in_lab {
                true => format!("{} · {}", facts.firmware, facts.mac),
                false => format!("{} · {} · {}", facts.firmware, facts.driver, facts.mac),
            },
            in_lab,
            outcome: Outcome::of(story.verdict_on(target), in_lab, story, &table),
            took: text::took(ended.saturating_sub(began)),
            stage: target.stage().map(|s| s.to_string()).unwrap_or_default(),
            lanes,
            stages: stages(story, target),
            markers: markers(target),
            disk: Disk::of(target),
            files: groups.table(),
            events: table,
            head: marks.rows(&console.head),
            tail: marks.rows(&console.tail),
            cut: console.cut,
            missing: console.missing,
        }
    }
}

/// Whether a boot server recorded this, which sees no console.
fn in_lab(events: &[Event]) -> bool {
    events
        .iter()
        .any(|event| matches!(event.kind(), Some(EventKind::AttemptOpened { .. })))
}

fn stages(story: &Story, target: &TargetStory) -> Vec<StageRow> {
    let spans = target.stages.iter().enumerate();
    spans
        .map(|(index, span)| {
            let end = span.end_ms.unwrap_or(story.duration_ms);
            StageRow {
                class: chart::stage_class(target, index),
                stage: span.stage.as_str(),
                start: text::seconds(span.start_ms),
                took: text::took(end.saturating_sub(span.start_ms)),
                by: text::harmless(&span.by),
            }
        })
        .collect()
}

/// The expected markers in their order, with those that never came.
fn markers(target: &TargetStory) -> Vec<MarkerRow> {
    let seen = target.markers.iter().map(|(name, at, line)| MarkerRow {
        name: name.clone(),
        at: Some(text::seconds(*at)),
        line: text::harmless(line),
    });
    let missing = target.expected.iter().skip(target.markers.len());
    seen.chain(missing.map(|name| MarkerRow {
        name: name.clone(),
        at: None,
        line: String::new(),
    }))
    .collect()
}

impl Disk {
    fn of(target: &TargetStory) -> Option<Self> {
        const SHOWN: usize = 64;
        let disk = target.disk.as_ref()?;
        let total = disk
            .ranges
            .iter()
            .map(|r| r.end.saturating_sub(r.start))
            .sum();
        Some(Self {
            equal: disk.equal,
            by: text::proof_by(disk.proof),
            image: disk.image_sha256.clone(),
            disk: disk.disk_sha256.clone(),
            first_difference: disk.first_difference,
            left_out: disk.ranges.len().saturating_sub(SHOWN),
            ranges: disk
                .ranges
                .iter()
                .take(SHOWN)
                .map(|range| {
                    let size = text::bytes(range.end.saturating_sub(range.start));
                    format!("bytes {} to {} ({size})", range.start, range.end)
                })
                .collect(),
            bytes: text::bytes(total),
        })
    }
}

/// The console lines that mattered: what they say, and from when on.
struct Marks<'a> {
    good: Vec<&'a str>,
    /// A forbidden line is harmless before the stage in which it is not.
    bad: Vec<(&'a str, u64)>,
}

impl<'a> Marks<'a> {
    fn of(target: &'a TargetStory, events: &'a [Event]) -> Self {
        let name = Some(&target.facts.name);
        let of_target = events.iter().filter(|e| e.target.as_ref() == name);
        Self {
            good: target.markers.iter().map(|m| m.2.trim()).collect(),
            bad: of_target
                .filter_map(|event| match event.kind() {
                    Some(EventKind::ForbiddenMatched { line, stage, .. }) => {
                        let mut spans = target.stages.iter();
                        let entered = spans.rfind(|span| span.stage == *stage);
                        Some((line.trim(), entered.map_or(0, |span| span.start_ms)))
                    }
                    _ => None,
                })
                .filter(|(line, _)| !line.is_empty())
                .collect(),
        }
    }

    fn is_bad(&self, text: &str, at_ms: u64) -> bool {
        let mut bad = self.bad.iter();
        bad.any(|(line, from_ms)| *line == text && at_ms >= *from_ms)
    }

    fn rows(&self, lines: &[console::Line]) -> Vec<ConsoleRow> {
        lines
            .iter()
            .map(|line| {
                let text = line.text.trim();
                ConsoleRow {
                    at: text::seconds(line.at_ms),
                    text: line.text.clone(),
                    class: match text {
                        text if self.is_bad(text, line.at_ms) => "c-bad",
                        text if self.good.contains(&text) => "c-good",
                        _ => "",
                    },
                }
            })
            .collect()
    }
}
