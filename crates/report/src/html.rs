//! The HTML report: one file that opens without a network.

use std::collections::BTreeMap;
use std::path::Path;

use bootgate_events::{Event, EventKind, TargetName};
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use crate::{Story, TargetStory, text};

/// Longest console text shown per target; the raw log has the rest.
const CONSOLE_LIMIT: usize = 400_000;

#[derive(Serialize)]
struct Row {
    at_ms: u64,
    at: String,
    lane: &'static str,
    text: String,
    left: f64,
}

#[derive(Serialize)]
struct Bar {
    stage: String,
    by: String,
    took: String,
    left: f64,
    width: f64,
    failed: bool,
}

#[derive(Serialize)]
struct TransferBar {
    text: String,
    lane: &'static str,
    left: f64,
    width: f64,
    aborted: bool,
}

#[derive(Serialize)]
struct ConsoleLine {
    at: String,
    text: String,
}

/// The report of the run in `folder`.
pub(crate) fn render(story: &Story, events: &[Event], folder: &Path) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let scale = Scale(story.duration_ms.max(1));
    let targets: Vec<_> = story
        .targets
        .iter()
        .map(|target| target_view(story, target, events, folder, scale))
        .collect();
    let common: Vec<Row> = rows(events, None, scale);
    let ticks: Vec<_> = (0..=10u64)
        .map(|tick| {
            let at = story.duration_ms * tick / 10;
            context! { left => scale.percent(at), at => text::seconds(at) }
        })
        .collect();
    let view = context! {
        scenario => story.scenario.as_str(),
        run => story.run.as_str(),
        version => story.version.as_str(),
        accel => story.host.accel.as_str(),
        accel_reason => story.host.accel_reason.as_str(),
        qemu => story.host.qemu_version.as_deref(),
        kernel => story.host.kernel.as_str(),
        started => wall(story.started_wall_us),
        duration => text::seconds(story.duration_ms),
        verdict => story.verdict.as_ref().map_or("no verdict", |verdict| verdict.word()),
        sentence => story.verdict.as_ref().map(text::verdict),
        targets, ticks,
        common => Value::from(Serde(&common)),
    };
    let template = include_str!("../templates/report.html");
    environment
        .render_named_str("report.html", template, view)
        .unwrap_or_else(|error| format!("<!doctype html><title>report</title><pre>{error}</pre>"))
}

#[derive(Clone, Copy)]
struct Scale(u64);

impl Scale {
    fn percent(self, ms: u64) -> f64 {
        (ms as f64 * 10_000.0 / self.0 as f64).round() / 100.0
    }
}

fn target_view(
    story: &Story,
    target: &TargetStory,
    events: &[Event],
    folder: &Path,
    scale: Scale,
) -> Value {
    let failed = target
        .verdict
        .as_ref()
        .is_some_and(|(verdict, _)| verdict.word() != "passed");
    let last = target.stages.len();
    let stages: Vec<Bar> = target
        .stages
        .iter()
        .enumerate()
        .map(|(index, span)| {
            let end = span.end_ms.unwrap_or(story.duration_ms);
            Bar {
                stage: span.stage.to_string(),
                by: span.by.clone(),
                took: text::seconds(end.saturating_sub(span.start_ms)),
                left: scale.percent(span.start_ms),
                width: scale.percent(end.saturating_sub(span.start_ms)).max(0.2),
                failed: failed && index + 1 == last,
            }
        })
        .collect();
    let transfers: Vec<TransferBar> = target
        .transfers
        .values()
        .map(|transfer| {
            let end = transfer.end_ms.unwrap_or(story.duration_ms);
            let ended = transfer
                .aborted
                .as_ref()
                .map(|reason| format!(", {reason}"))
                .unwrap_or_default();
            let took = text::seconds(end.saturating_sub(transfer.start_ms));
            TransferBar {
                text: format!(
                    "{} {} in {took}{ended}",
                    transfer.path,
                    text::bytes(transfer.bytes)
                ),
                lane: match transfer.protocol {
                    bootgate_events::Protocol::Tftp => "tftp",
                    bootgate_events::Protocol::Http => "http",
                },
                left: scale.percent(transfer.start_ms),
                width: scale
                    .percent(end.saturating_sub(transfer.start_ms))
                    .max(0.2),
                aborted: transfer.aborted.is_some(),
            }
        })
        .collect();
    let evidence: Vec<String> = match &target.verdict {
        Some((bootgate_events::Verdict::Failed { evidence, .. }, _)) => {
            evidence.iter().map(|item| item.text.clone()).collect()
        }
        _ => Vec::new(),
    };
    let (console, cut) = console(events, &target.facts.name, folder);
    let proof = target.disk.as_ref().map(|disk| {
        context! { by => Value::from(Serde(disk.proof)), image => disk.image_sha256.as_str(), disk => disk.disk_sha256.as_str() }
    });
    context! {
        name => target.facts.name.as_str(),
        mac => target.facts.mac.to_string(),
        firmware => target.facts.firmware.as_str(),
        driver => target.facts.driver.as_str(),
        verdict => target.verdict.as_ref().map_or("no verdict", |(verdict, _)| verdict.word()),
        sentence => target.verdict.as_ref().map(|(verdict, _)| text::verdict(verdict)),
        rows => Value::from(Serde(rows(events, Some(&target.facts.name), scale))),
        stages => Value::from(Serde(&stages)),
        transfers => Value::from(Serde(&transfers)),
        console => Value::from(Serde(&console)),
        evidence,
        cut,
        proof,
    }
}

fn rows(events: &[Event], target: Option<&TargetName>, scale: Scale) -> Vec<Row> {
    events
        .iter()
        .filter(|event| event.target.as_ref() == target)
        .filter_map(|event| {
            let kind = event.kind()?;
            let (lane, text) = text::line(kind)?;
            let at_ms = event.mono_ms();
            Some(Row {
                at_ms,
                at: text::seconds(at_ms),
                lane,
                text,
                left: scale.percent(at_ms),
            })
        })
        .collect()
}

/// The console as lines with the time at which each began.
fn console(events: &[Event], target: &TargetName, folder: &Path) -> (Vec<ConsoleLine>, bool) {
    let path = folder.join("console").join(format!("{target}.log"));
    let bytes = std::fs::read(path).unwrap_or_default();
    let mut times = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event.target.as_ref() == Some(target))
    {
        if let Some(EventKind::ConsoleChunk { offset, .. }) = event.kind() {
            times.insert(
                usize::try_from(*offset).unwrap_or(usize::MAX),
                event.mono_ms(),
            );
        }
    }
    let shown = &bytes[..bytes.len().min(CONSOLE_LIMIT)];
    let mut lines = Vec::new();
    let mut start = 0;
    for line in shown.split_inclusive(|byte| *byte == b'\n') {
        let at = times.range(..=start).next_back().map_or(0, |(_, at)| *at);
        let text = printable(&String::from_utf8_lossy(line));
        start += line.len();
        if !text.trim().is_empty() {
            lines.push(ConsoleLine {
                at: text::seconds(at),
                text,
            });
        }
    }
    (lines, shown.len() < bytes.len())
}

/// The text without control sequences, as a person saw it.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => {
                if letters.next_if_eq(&'[').is_some() {
                    for parameter in letters.by_ref() {
                        if ('\u{40}'..='\u{7e}').contains(&parameter) {
                            break;
                        }
                    }
                } else {
                    letters.next();
                }
            }
            '\u{8}' => {
                out.pop();
            }
            letter if letter == '\t' || !letter.is_control() => out.push(letter),
            _ => {}
        }
    }
    out
}

fn wall(us: u64) -> String {
    let us = i64::try_from(us).unwrap_or(0);
    jiff::Timestamp::from_microsecond(us)
        .map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}
