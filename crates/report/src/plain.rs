//! The terminal report where there is no terminal: one line a fact worth reading.

use std::io::Write;

use bootgate_events::{Event, EventKind, FlashPhase, Verdict};

use crate::told::Told;
use crate::{Reporter, Story, TargetStory, text};

/// Most pieces of evidence shown; the reports have all.
const EVIDENCE: usize = 6;
/// Widest column of names.
const NAME_LIMIT: usize = 24;

/// Writes plain lines: stages, markers, faults and verdicts, each with the time since the start.
pub struct Plain<W> {
    out: W,
    story: Story,
    moves: Option<Moves>,
    /// Whether whoever writes the lines out names the machine, so that they need not.
    named: bool,
}

/// What was last told of bytes that move.
#[derive(Default)]
struct Moves {
    phase: Option<(FlashPhase, u64)>,
}

impl<W: Write + Send + Sync> Plain<W> {
    /// A report on `out`.
    pub fn new(out: W) -> Self {
        Self {
            out,
            story: Story::default(),
            moves: None,
            named: false,
        }
    }

    /// A report on `out` that tells of transfers and of the flash's progress as well: for a boot that is followed
    /// by itself.
    pub fn following(out: W) -> Self {
        Self {
            moves: Some(Moves::default()),
            ..Self::new(out)
        }
    }

    /// The same for one of several boots that are followed side by side: `out` names the machine in each line, so
    /// the lines themselves do not, and no summary closes them.
    pub fn one_of_several(out: W) -> Self {
        Self {
            named: true,
            ..Self::following(out)
        }
    }

    fn line(&mut self, event: &Event, text: &str) {
        let at = text::seconds(event.mono_ms());
        if self.named {
            // A reader that went away must not end the run.
            let _ = writeln!(self.out, "{at:>8}  {}", text::harmless(text));
            return;
        }
        let who = event
            .target
            .as_ref()
            .map_or(self.story.scenario.as_str(), |name| name.as_str());
        let who = name(who);
        let width = name_width(&self.story.targets).max(name(&self.story.scenario).chars().count());
        let text = text::harmless(text);
        // A reader that went away must not end the run.
        let _ = writeln!(self.out, "{at:>8}  {who:<width$}  {text}");
    }
}

/// A name as it stands in a column.
pub(crate) fn name(name: &str) -> String {
    text::short(&text::harmless(name), NAME_LIMIT)
}

/// The width of the column of the targets' names.
pub(crate) fn name_width(targets: &[TargetStory]) -> usize {
    let names = targets.iter().map(|target| target.facts.name.as_str());
    let widths = names.map(|text| name(text).chars().count());
    widths.max().unwrap_or(0)
}

impl<W: Write + Send + Sync> Reporter for Plain<W> {
    fn event(&mut self, event: &Event, _console: &[u8]) {
        self.story.add(event);
        let Some(kind) = event.kind() else { return };
        if self.named && matches!(kind, EventKind::RunStarted { .. }) {
            return;
        }
        if let Some(text) = headline(kind) {
            self.line(event, &text);
        } else if let Some(text) = self.moves.as_mut().and_then(|moves| moves.told(kind)) {
            self.line(event, &text);
        }
        if let EventKind::VerdictReached { verdict } = kind {
            for text in why(verdict, &self.story) {
                self.line(event, &format!("  {text}"));
            }
        }
        if matches!(kind, EventKind::RunFinished { .. }) && !self.named {
            let summary = format!("\n{}", summary(&self.story));
            let _ = self.out.write_all(summary.as_bytes());
        }
        let _ = self.out.flush();
    }

    fn finish(&mut self) {
        let _ = self.out.flush();
    }
}

impl Moves {
    /// A line for bytes that began or ended to move, and for each tenth of a flash.
    fn told(&mut self, kind: &EventKind) -> Option<String> {
        match kind {
            EventKind::TransferStarted {
                path,
                size,
                protocol,
                ..
            } => {
                let size = size.map(|size| format!(", {}", text::bytes(size)));
                let (lane, size) = (text::lane(*protocol), size.unwrap_or_default());
                Some(format!("  fetches {path} ({lane}{size})"))
            }
            EventKind::TransferCompleted { path, bytes, .. } => {
                Some(format!("  has {path} ({})", text::bytes(*bytes)))
            }
            EventKind::TransferAborted {
                path,
                reason,
                benign: false,
                ..
            } => Some(format!("  fetch of {path} ended early: {reason}")),
            EventKind::AgentProgressed { phase, done, total } => {
                let tenth = done.saturating_mul(10).checked_div(*total).unwrap_or(0);
                if self.phase.replace((*phase, tenth)) == Some((*phase, tenth)) {
                    return None;
                }
                let (done, total) = (text::bytes(*done), text::bytes(*total));
                let percent = tenth * 10;
                let phase = text::phase(*phase);
                Some(format!("  {phase} {percent} % ({done} of {total})"))
            }
            _ => None,
        }
    }
}

/// The facts that a person follows a run by.
fn headline(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::RunStarted { host, targets, .. } => {
            let accel = match host.accel.as_str() {
                "" => String::new(),
                accel => format!(", {accel} ({})", host.accel_reason),
            };
            format!("{}{accel}", text::count(targets.len(), "target"))
        }
        EventKind::StageEntered { stage, by } => format!("{:<10} {by}", stage.as_str()),
        EventKind::MarkerMatched { name, .. } => format!("  marker `{name}`"),
        EventKind::FaultInjected { .. }
        | EventKind::InfraFailed { .. }
        | EventKind::Interrupted { .. }
        | EventKind::StaleCallback { .. }
        | EventKind::DiskCompared { .. }
        | EventKind::AgentFlashed { .. }
        | EventKind::ServerFailed { .. }
        | EventKind::AttemptOpened { .. }
        | EventKind::LocalBootServed { .. }
        | EventKind::BootRefused { .. }
        | EventKind::InventoryReceived { .. }
        | EventKind::InstallReported { .. }
        | EventKind::RequestRefused { .. } => format!("  {}", text::line(kind)?.1),
        EventKind::VerdictReached { verdict } => text::sentence(&text::verdict(verdict)),
        _ => return None,
    })
}

/// The lines under a verdict: the hint, then the evidence that says most.
pub(crate) fn why(verdict: &Verdict, story: &Story) -> Vec<String> {
    let told = Told::of(verdict, story);
    let hint = told.hint.iter().map(|hint| format!("hint: {hint}"));
    let evidence = told.telling(EVIDENCE).into_iter();
    hint.chain(evidence.map(|item| item.text.clone())).collect()
}

/// The closing lines: the stages of every target with their times, then the run's verdict.
pub(crate) fn summary(story: &Story) -> String {
    let mut text = String::new();
    for target in &story.targets {
        let verdict = target
            .verdict
            .as_ref()
            .map_or("no verdict", |(verdict, _)| verdict.word());
        let name = text::harmless(target.facts.name.as_str());
        text.push_str(&format!("{name} {verdict} ({})\n", target.facts.firmware));
        let stages: Vec<String> = target
            .stages
            .iter()
            .map(|span| {
                let end = span.end_ms.unwrap_or(story.duration_ms);
                let took = text::took(end.saturating_sub(span.start_ms));
                format!("{} {took}", span.stage)
            })
            .collect();
        for line in wrap(&stages) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    if let Some(verdict) = &story.verdict {
        let outcome = match verdict {
            Verdict::Failed { stage, .. } => format!("failed at {stage}"),
            other => text::verdict(other),
        };
        text.push_str(&format!(
            "{}: {} after {}\n",
            text::harmless(&story.scenario),
            text::harmless(&outcome),
            text::took(story.duration_ms)
        ));
    }
    text
}

/// The items joined by commas, in lines of at most 76 columns.
fn wrap(items: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.len() + item.len() < 76 => {
                line.push_str(", ");
                line.push_str(item);
            }
            Some(line) => {
                line.push(',');
                lines.push(item.clone());
            }
            None => lines.push(item.clone()),
        }
    }
    lines
}
