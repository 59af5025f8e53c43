//! The timeline: where things stand on the axis.

use std::collections::BTreeMap;

use bootgate_events::{Event, EventKind, TargetName};
use serde::Serialize;

use super::rows::Row;
use crate::{Story, TargetStory, text};

/// Steps of the axis in milliseconds.
const STEPS: [u64; 24] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000,
    300_000, 600_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 86_400_000,
];
/// Most steps on the axis, where its last step is not too small.
const TICKS: u64 = 12;
/// Narrowest bar, in percent of the axis.
const NARROW: f64 = 0.25;

/// The axis: from 0 to this many milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Scale(u64);

impl Scale {
    pub(super) fn new(duration_ms: u64) -> Self {
        Self(duration_ms.max(1))
    }

    /// Percent of the axis, two digits after the point.
    pub(super) fn percent(self, ms: u64) -> f64 {
        (ms.min(self.0) as f64 * 10_000.0 / self.0 as f64).round() / 100.0
    }

    fn step(self) -> u64 {
        STEPS
            .into_iter()
            .find(|step| self.0 / step <= TICKS)
            .unwrap_or_else(|| (self.0 / TICKS).max(1))
    }

    /// The round times on the axis; the last stands far enough from the end for its label.
    pub(super) fn ticks(self) -> Vec<Tick> {
        let step = self.step();
        (0..=self.0 / step)
            .map(|index| index * step)
            .filter(|at| self.percent(*at) <= 97.0)
            .map(|at| Tick {
                left: self.percent(at),
                label: label(at, step),
            })
            .collect()
    }
}

fn label(at: u64, step: u64) -> String {
    match step {
        0..10 => format!("{}.{:03} s", at / 1000, at % 1000),
        10..100 => format!("{}.{:02} s", at / 1000, at % 1000 / 10),
        100..1000 => text::seconds(at),
        1000..10_000 => format!("{} s", at / 1000),
        10_000..300_000 => format!("{}:{:02}", at / 60_000, at / 1000 % 60),
        _ => format!("{}:{:02} h", at / 3_600_000, at / 60_000 % 60),
    }
}

/// A labelled time on the axis.
#[derive(Serialize)]
pub(super) struct Tick {
    left: f64,
    label: String,
}

/// A thing with a length on the axis.
#[derive(Serialize)]
pub(super) struct Bar {
    left: f64,
    width: f64,
    class: String,
    /// Written on the bar where it is wide enough; else empty.
    label: String,
    title: String,
}

impl Bar {
    pub(super) fn new(
        scale: Scale,
        start_ms: u64,
        end_ms: u64,
        class: &str,
        name: &str,
        title: String,
    ) -> Self {
        let left = scale.percent(start_ms).min(100.0 - NARROW);
        let width = (scale.percent(end_ms) - left).max(NARROW);
        // A letter takes about 0.68 percent of the axis on a window of 1200 points.
        let fits = width >= name.chars().count() as f64 * 0.68 + 0.9;
        Self {
            left,
            width: (width * 100.0).round() / 100.0,
            class: class.to_owned(),
            label: if fits { name.to_owned() } else { String::new() },
            title,
        }
    }
}

/// Things at one place of the axis.
#[derive(Serialize)]
pub(super) struct Dot {
    left: f64,
    class: &'static str,
    title: String,
}

/// One line of the timeline.
#[derive(Serialize)]
pub(super) struct Lane {
    name: &'static str,
    bars: Vec<Bar>,
    dots: Vec<Dot>,
}

/// The lanes of a target; those where nothing happened are left out.
pub(super) fn lanes(
    story: &Story,
    target: &TargetStory,
    rows: &[Row],
    events: &[Event],
    scale: Scale,
) -> Vec<Lane> {
    let bars = |name: &str| match name {
        "stages" => stages(story, target, scale),
        "power" => power(story, target, scale),
        "agent" => phases(target, scale),
        "tftp" | "http" => super::transfers::bars(target, name, story.duration_ms, scale),
        "serial" => activity(events, &target.facts.name, scale),
        _ => Vec::new(),
    };
    let marked = |name: &str| match name {
        "stages" => dots(rows, "verdict", scale),
        "power" => dots(rows, "fault", scale),
        "agent" => [dots(rows, "agent", scale), dots(rows, "disk", scale)]
            .into_iter()
            .flatten()
            .collect(),
        _ => dots(rows, name, scale),
    };
    ["stages", "power", "dhcp", "tftp", "http", "agent", "serial"]
        .into_iter()
        .map(|name| Lane {
            name,
            bars: bars(name),
            dots: marked(name),
        })
        .filter(|lane| !lane.bars.is_empty() || !lane.dots.is_empty())
        .collect()
}

/// The class of a stage's colour; the stage in which an attempt failed is red.
pub(super) fn stage_class(target: &TargetStory, index: usize) -> String {
    let ended_here = index + 1 == target.stages.len()
        && target
            .verdict
            .as_ref()
            .is_some_and(|(verdict, _)| !matches!(verdict.word(), "passed" | "skipped"));
    let stage = target.stages.get(index).map_or("", |s| s.stage.as_str());
    if ended_here {
        format!("s-{stage} bad")
    } else {
        format!("s-{stage}")
    }
}

fn stages(story: &Story, target: &TargetStory, scale: Scale) -> Vec<Bar> {
    let spans = target.stages.iter().enumerate();
    spans
        .map(|(index, span)| {
            let end = span.end_ms.unwrap_or(story.duration_ms);
            let took = text::took(end.saturating_sub(span.start_ms));
            let title = text::harmless(&format!("{}: {took} ({})", span.stage, span.by));
            let class = stage_class(target, index);
            Bar::new(
                scale,
                span.start_ms,
                end,
                &class,
                span.stage.as_str(),
                title,
            )
        })
        .collect()
}

fn power(story: &Story, target: &TargetStory, scale: Scale) -> Vec<Bar> {
    target
        .power
        .iter()
        .map(|span| {
            let end = span.end_ms.unwrap_or(story.duration_ms);
            let took = text::took(end.saturating_sub(span.start_ms));
            let name = format!("on, boots from {}", span.boot);
            let title = format!("{name}, for {took}");
            Bar::new(scale, span.start_ms, end, "b-power", &name, title)
        })
        .collect()
}

fn phases(target: &TargetStory, scale: Scale) -> Vec<Bar> {
    target
        .phases
        .iter()
        .map(|phase| {
            let name = text::phase(phase.phase);
            let title = format!(
                "{name}: {} of {}",
                text::bytes(phase.done),
                text::bytes(phase.total)
            );
            Bar::new(scale, phase.start_ms, phase.end_ms, "b-agent", name, title)
        })
        .collect()
}

/// When the console spoke: at most 500 marks, each for a five-hundredth of the axis.
fn activity(events: &[Event], target: &TargetName, scale: Scale) -> Vec<Bar> {
    let mut bytes = BTreeMap::<u64, u64>::new();
    for event in events.iter().filter(|e| e.target.as_ref() == Some(target)) {
        if let Some(EventKind::ConsoleChunk { len, .. }) = event.kind() {
            *bytes.entry(event.mono_ms() * 500 / scale.0).or_default() += len;
        }
    }
    bytes
        .into_iter()
        .map(|(slot, len)| {
            let start = slot * scale.0 / 500;
            let title = format!("{} of console", text::bytes(len));
            Bar::new(scale, start, start, "b-console", "", title)
        })
        .collect()
}

/// The rows of a lane as dots; those that would cover each other are one.
fn dots(rows: &[Row], lane: &str, scale: Scale) -> Vec<Dot> {
    let mut dots: Vec<Dot> = Vec::new();
    let mut more = 0;
    for row in rows.iter().filter(|row| row.lane == lane) {
        let left = scale.percent(row.at_ms);
        let line = format!("{} {}", row.at, row.text);
        match dots.last_mut() {
            Some(last) if left - last.left < 0.2 => {
                more += 1;
                if more < 6 {
                    last.title.push('\n');
                    last.title.push_str(&line);
                } else if more == 6 {
                    last.title.push_str("\n…");
                }
                if row.bad {
                    last.class = "d-bad";
                }
            }
            _ => {
                more = 0;
                dots.push(Dot {
                    left,
                    class: if row.bad { "d-bad" } else { row.lane_class() },
                    title: line,
                });
            }
        }
    }
    dots
}
