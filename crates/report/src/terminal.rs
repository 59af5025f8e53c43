//! The live terminal report: a line per target with stage and time, a bar while bytes move.

use std::collections::BTreeMap;
use std::time::Duration;

use bootgate_events::{Event, EventKind, FlashPhase, TargetName, Verdict};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{Reporter, Story, TargetStory, plain, text};

/// Draws on the terminal's standard error.
pub struct Live {
    bars: MultiProgress,
    lines: BTreeMap<TargetName, TargetLine>,
    story: Story,
}

struct TargetLine {
    status: ProgressBar,
    bytes: Option<ProgressBar>,
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
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self {
            bars,
            lines: BTreeMap::new(),
            story: Story::default(),
        }
    }

    fn start(&mut self) {
        let width = self
            .story
            .targets
            .iter()
            .map(|t| t.facts.name.as_str().len())
            .max()
            .unwrap_or(0);
        for target in &self.story.targets {
            let name = target.facts.name.as_str();
            let status = self.bars.add(ProgressBar::new_spinner());
            status.set_style(style("{spinner} {prefix:.bold} {elapsed:>4} {msg}"));
            status.set_prefix(format!("{name:<width$}"));
            status.enable_steady_tick(Duration::from_millis(200));
            self.lines.insert(
                target.facts.name.clone(),
                TargetLine {
                    status,
                    bytes: None,
                },
            );
        }
    }

    fn redraw(&mut self, name: &TargetName) {
        let (Some(line), Some(target)) = (self.lines.get_mut(name), self.story.target(name)) else {
            return;
        };
        if let Some((verdict, _)) = &target.verdict {
            if let Some(bar) = line.bytes.take() {
                bar.finish_and_clear();
            }
            let sign = if *verdict == Verdict::Passed {
                "✓"
            } else {
                "✗"
            };
            line.status
                .set_style(style("{prefix:.bold} {elapsed:>4} {msg}"));
            line.status
                .finish_with_message(format!("{sign} {}", text::verdict(verdict)));
            return;
        }
        if let Some(span) = target.stages.last() {
            line.status
                .set_message(format!("{:<10} {}", span.stage.as_str(), span.by));
        }
        match moving(target) {
            Some((what, done, total)) => {
                let bar = line.bytes.get_or_insert_with(|| {
                    let bar = self
                        .bars
                        .insert_after(&line.status, ProgressBar::new(total));
                    bar.set_style(style("    {bar:32} {bytes:>10}/{total_bytes} {msg}"));
                    bar
                });
                bar.set_length(total);
                bar.set_position(done);
                bar.set_message(what);
            }
            None => {
                if let Some(bar) = line.bytes.take() {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
            }
        }
    }
}

/// What moves now: the agent's phase where it has one, else a transfer of some size.
fn moving(target: &TargetStory) -> Option<(String, u64, u64)> {
    if let Some((phase, done, total)) = target.progress {
        let what = match phase {
            FlashPhase::Compare => "comparing",
            FlashPhase::Write => "writing",
            FlashPhase::Verify => "reading back",
        };
        return Some((what.to_owned(), done, total));
    }
    let transfer = target.moving()?;
    let size = transfer.size.filter(|size| *size > 64 * 1024)?;
    Some((transfer.path.clone(), transfer.bytes, size))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Reporter for Live {
    fn event(&mut self, event: &Event, _console: &[u8]) {
        self.story.add(event);
        match event.kind() {
            Some(EventKind::RunStarted { host, .. }) => {
                let accel = if host.accel.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", host.accel)
                };
                let _ = self.bars.println(format!("{}{accel}", self.story.scenario));
                self.start();
            }
            Some(
                kind @ (EventKind::InfraFailed { .. }
                | EventKind::FaultInjected { .. }
                | EventKind::StaleCallback { .. }),
            ) => {
                if let Some((_, line)) = text::line(kind) {
                    let _ = self.bars.println(format!("  {line}"));
                }
            }
            Some(EventKind::RunFinished { .. }) => {
                for line in self.lines.values() {
                    if !line.status.is_finished() {
                        line.status.finish();
                    }
                }
                let _ = self.bars.println(plain::summary(&self.story).trim_end());
            }
            _ => {}
        }
        if let Some(name) = &event.target {
            self.redraw(name);
        }
    }

    fn finish(&mut self) {
        for line in self.lines.values() {
            line.status.disable_steady_tick();
        }
    }
}
