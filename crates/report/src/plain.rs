//! The terminal report where there is no terminal: one line a fact worth reading.

use std::io::Write;

use bootgate_events::{Event, EventKind, Verdict};

use crate::{Reporter, Story, text};

/// Writes plain lines: stages, markers, faults and verdicts, each with the time since the start.
pub struct Plain<W> {
    out: W,
    story: Story,
}

impl<W: Write + Send> Plain<W> {
    /// A report on `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            story: Story::default(),
        }
    }

    fn line(&mut self, event: &Event, text: &str) {
        let at = text::seconds(event.mono_ms());
        let who = event
            .target
            .as_ref()
            .map_or(self.story.scenario.as_str(), |name| name.as_str());
        // A reader that went away must not end the run.
        let _ = writeln!(self.out, "{at:>8}  {who:<12} {text}");
    }
}

impl<W: Write + Send> Reporter for Plain<W> {
    fn event(&mut self, event: &Event, _console: &[u8]) {
        self.story.add(event);
        let Some(kind) = event.kind() else { return };
        if let Some(text) = headline(kind) {
            self.line(event, &text);
        }
        if let EventKind::VerdictReached {
            verdict: Verdict::Failed {
                evidence, cause, ..
            },
        } = kind
        {
            if let bootgate_events::Cause::ForbiddenMarker { hint, .. } = cause
                && !hint.is_empty()
            {
                self.line(event, &format!("  hint: {hint}"));
            }
            for item in evidence {
                self.line(event, &format!("  evidence: {}", item.text));
            }
        }
        if matches!(kind, EventKind::RunFinished { .. }) {
            let summary = summary(&self.story);
            let _ = self.out.write_all(summary.as_bytes());
        }
    }

    fn finish(&mut self) {
        let _ = self.out.flush();
    }
}

/// The facts that a person follows a run by.
fn headline(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::RunStarted { host, targets, .. } => format!(
            "{} target{}{}",
            targets.len(),
            if targets.len() == 1 { "" } else { "s" },
            if host.accel.is_empty() {
                String::new()
            } else {
                format!(", {} ({})", host.accel, host.accel_reason)
            }
        ),
        EventKind::StageEntered { stage, by } => format!("{:<10} {by}", stage.as_str()),
        EventKind::MarkerMatched { name, .. } => format!("  marker `{name}`"),
        EventKind::FaultInjected { .. }
        | EventKind::InfraFailed { .. }
        | EventKind::Interrupted { .. }
        | EventKind::StaleCallback { .. }
        | EventKind::DiskCompared { .. }
        | EventKind::ServerFailed { .. }
        | EventKind::RequestRefused { .. } => format!("  {}", text::line(kind)?.1),
        EventKind::VerdictReached { verdict } => text::verdict(verdict).to_uppercase_first(),
        _ => return None,
    })
}

trait UppercaseFirst {
    fn to_uppercase_first(&self) -> String;
}

impl UppercaseFirst for String {
    fn to_uppercase_first(&self) -> String {
        let mut letters = self.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters).collect()
        })
    }
}

/// The closing lines: one a target, with the time of every stage, then the run's verdict.
pub(crate) fn summary(story: &Story) -> String {
    let mut text = String::new();
    for target in &story.targets {
        let verdict = target
            .verdict
            .as_ref()
            .map_or("no verdict", |(verdict, _)| verdict.word());
        text.push_str(&format!(
            "\n{} {} ({})\n  ",
            target.facts.name, verdict, target.facts.firmware
        ));
        for span in &target.stages {
            let end = span.end_ms.unwrap_or(story.duration_ms);
            let took = text::seconds(end.saturating_sub(span.start_ms));
            text.push_str(&format!("{} {took}  ", span.stage));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    if let Some(verdict) = &story.verdict {
        let scenario = &story.scenario;
        text.push_str(&format!(
            "\n{scenario}: {} after {}\n",
            text::verdict(verdict),
            text::seconds(story.duration_ms)
        ));
    }
    text
}
