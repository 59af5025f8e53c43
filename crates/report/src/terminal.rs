//! The live terminal report: a line per target with time, stage, and a bar while bytes move.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{IsTerminal as _, Stderr};
use std::time::Duration;

use bootgate_events::{Event, EventKind, TargetName, Verdict};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::screen::{self, Screen};
use crate::{Reporter, Story, TargetStory, plain, text};

/// Cells of a bar of bytes.
const BAR: u64 = 16;
/// Smallest transfer that is worth a bar, in bytes.
const BAR_FROM: u64 = 64 * 1024;

/// Draws on the terminal's standard error.
pub struct Live {
    bars: MultiProgress,
    screen: Option<Screen<Stderr>>,
    lines: BTreeMap<TargetName, ProgressBar>,
    story: Story,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// A report on the terminal. Draws nothing where standard error is none.
    #[must_use]
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::on(ProgressDrawTarget::hidden());
        }
        let screen = screen::stderr();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 15);
        Self {
            screen: Some(screen),
            ..Self::on(target)
        }
    }

    /// A report on another terminal.
    #[must_use]
    pub fn on(terminal: ProgressDrawTarget) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(terminal),
            screen: None,
            lines: BTreeMap::new(),
            story: Story::default(),
        }
    }

    fn start(&mut self) {
        for target in &self.story.targets {
            let line = self.bars.add(ProgressBar::new_spinner());
            line.set_style(running());
            line.enable_steady_tick(Duration::from_millis(200));
            self.lines.insert(target.facts.name.clone(), line);
        }
        for name in self.lines.keys() {
            self.redraw(name);
        }
    }

    fn redraw(&self, name: &TargetName) {
        let (Some(line), Some(target)) = (self.lines.get(name), self.story.target(name)) else {
            return;
        };
        if line.is_finished() {
            return;
        }
        let shown = plain::name(name.as_str());
        let width = plain::name_width(&self.story.targets);
        match &target.verdict {
            None => line.set_message(format!("{shown:<width$}  {}", doing(target))),
            Some((verdict, at_ms)) => {
                let (sign, colour) = match verdict {
                    Verdict::Passed => ("✓", "green"),
                    Verdict::Failed { .. } => ("✗", "red"),
                    _ => ("!", "yellow"),
                };
                line.disable_steady_tick();
                line.set_style(style(&format!("{{prefix:.{colour}.bold}} {{wide_msg}}")));
                line.set_prefix(sign);
                let at = text::seconds(*at_ms);
                let verdict = text::harmless(&text::verdict(verdict));
                line.finish_with_message(format!("{at:>8}  {shown:<width$}  {verdict}"));
            }
        }
    }

    /// Takes the lines away and prints what stays: why targets did not pass, then the summary.
    fn conclude(&mut self) {
        for line in std::mem::take(&mut self.lines).values() {
            line.finish_and_clear();
        }
        for target in &self.story.targets {
            let Some((verdict, _)) = &target.verdict else {
                continue;
            };
            if matches!(verdict, Verdict::Passed) {
                continue;
            }
            self.print(&format!(
                "{}: {}",
                target.facts.name,
                text::verdict(verdict)
            ));
            for line in plain::why(verdict, &self.story) {
                self.print(&format!("  {line}"));
            }
            self.print("");
        }
        for line in plain::summary(&self.story).lines() {
            self.print(line);
        }
    }

    /// Prints a line above the others.
    fn print(&self, line: &str) {
        // A terminal that went away must not end the run.
        let _ = self.bars.println(text::harmless(line));
    }
}

/// What the target does now: its stage, and what moves or what moved it there.
pub(crate) fn doing(target: &TargetStory) -> String {
    let Some(span) = target.stages.last() else {
        return "waiting".to_owned();
    };
    let what = moving(target).unwrap_or_else(|| span.by.clone());
    text::harmless(&format!("{:<9}  {what}", span.stage.as_str()))
}

/// What moves now, with a bar: the agent's phase where it has one, else a transfer of some size.
fn moving(target: &TargetStory) -> Option<String> {
    if let Some((phase, done, total)) = target.progress {
        return Some(bar(text::phase(phase), done, total));
    }
    let transfer = target.moving()?;
    let size = transfer.size.filter(|size| *size >= BAR_FROM)?;
    let name = transfer.path.rsplit('/').next().unwrap_or_default();
    Some(bar(name, transfer.bytes, size))
}

/// A bar of bytes, then their numbers, then whose they are: what matters least is cut off first.
fn bar(what: &str, done: u64, total: u64) -> String {
    let total = total.max(1);
    let done = done.min(total);
    let full = done.saturating_mul(BAR) / total;
    let cells: String = (0..BAR)
        .map(|cell| if cell < full { '█' } else { '░' })
        .collect();
    let percent = done.saturating_mul(100) / total;
    format!("{cells} {percent:>3}% of {}  {what}", text::bytes(total))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The time comes first, since it has a fixed width; all the rest is cut at the edge of the terminal.
pub(crate) fn running() -> ProgressStyle {
    let elapsed = |state: &ProgressState, out: &mut dyn Write| {
        let ms = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _ = out.write_str(&text::seconds(ms));
    };
    style("{spinner:.cyan} {at:>8}  {wide_msg}").with_key("at", elapsed)
}

impl Reporter for Live {
    fn event(&mut self, event: &Event, _console: &[u8]) {
        self.story.add(event);
        match event.kind() {
            Some(EventKind::RunStarted { host, .. }) => {
                let accel = match host.accel.as_str() {
                    "" => String::new(),
                    accel => format!(" ({accel})"),
                };
                self.print(&format!("{}{accel}", self.story.scenario));
                self.start();
            }
            Some(
                kind @ (EventKind::FaultInjected { .. }
                | EventKind::ServerFailed { .. }
                | EventKind::StaleCallback { .. }),
            ) => {
                if let Some((_, line)) = text::line(kind) {
                    let at = text::seconds(event.mono_ms());
                    let who = event.target.as_ref().map(|name| format!("{name}: "));
                    self.print(&format!("  {at:>8}  {}{line}", who.unwrap_or_default()));
                }
            }
            Some(EventKind::RunFinished { .. }) => self.conclude(),
            _ => {}
        }
        if let Some(name) = &event.target {
            self.redraw(name);
        }
    }

    fn finish(&mut self) {
        // Where the run broke off without a verdict the lines stay as they were, and stand still.
        for line in self.lines.values() {
            line.disable_steady_tick();
            if !line.is_finished() {
                line.abandon();
            }
        }
        if let Some(screen) = &self.screen {
            screen.end();
        }
    }
}
