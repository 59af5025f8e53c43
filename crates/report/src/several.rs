//! The live terminal report of runs that go on side by side: a line for each while it goes on, one that stays once it
//! has ended, and one for all.

use std::io::{IsTerminal as _, Stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bootgate_events::{Event, EventKind, Verdict};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use crate::screen::{self, Screen};
use crate::terminal::{doing, running};
use crate::{Reporter, Story, TargetStory, plain, text};

/// Draws on the terminal's standard error. Clones draw on the same one.
#[derive(Clone)]
pub struct LiveRuns {
    bars: MultiProgress,
    screen: Option<Screen<Stderr>>,
    all: ProgressBar,
    runs: usize,
    /// Width of the column of names.
    column: usize,
    ended: Arc<Mutex<Vec<&'static str>>>,
}

impl LiveRuns {
    /// A report of so many runs on the terminal, their names in a column of this width. Draws nothing where standard
    /// error is none.
    #[must_use]
    pub fn new(runs: usize, column: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::on(ProgressDrawTarget::hidden(), runs, column);
        }
        let screen = screen::stderr();
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 15);
        Self {
            screen: Some(screen),
            ..Self::on(target, runs, column)
        }
    }

    /// A report on another terminal.
    #[must_use]
    pub fn on(terminal: ProgressDrawTarget, runs: usize, column: usize) -> Self {
        let bars = MultiProgress::with_draw_target(terminal);
        let all = bars.add(ProgressBar::new_spinner());
        all.set_style(running());
        let several = Self {
            bars,
            screen: None,
            all,
            runs,
            column,
            ended: Arc::default(),
        };
        several.count();
        several.all.enable_steady_tick(Duration::from_millis(200));
        several
    }

    /// Who shows the run of this name. Its line stands from its first event to its last.
    #[must_use]
    pub fn run(&self, name: &str) -> Box<dyn Reporter> {
        Box::new(OneRun {
            several: self.clone(),
            name: text::harmless(name),
            line: None,
            story: Story::default(),
        })
    }

    /// Prints a line above the others.
    pub fn print(&self, line: &str) {
        // A terminal that went away must not end the runs.
        let _ = self.bars.println(text::harmless(line));
    }

    /// Takes the lines away; those of runs that have ended stay.
    pub fn finish(&self) {
        self.all.finish_and_clear();
        if let Some(screen) = &self.screen {
            screen.end();
        }
    }

    /// Counts the runs that have ended, all together and by verdict.
    fn count(&self) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = format!("{} of {}", ended.len(), text::count(self.runs, "run"));
        for word in ["passed", "failed", "infra", "interrupted", "skipped"] {
            let same = ended.iter().filter(|verdict| **verdict == word).count();
            if same > 0 {
                told.push_str(&format!(", {same} {word}"));
            }
        }
        self.all.set_message(told);
    }

    fn ended(&self, verdict: &'static str) {
        let ended = &self.ended;
        ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(verdict);
        self.count();
    }
}

/// One of the runs.
struct OneRun {
    several: LiveRuns,
    name: String,
    line: Option<ProgressBar>,
    story: Story,
}

impl OneRun {
    /// What its targets do now: stage and what moved them there; of several targets the stages alone.
    fn doing(&self) -> String {
        let stage = |target: &TargetStory| match (&target.verdict, target.stages.last()) {
            (Some((verdict, _)), _) => verdict.word().to_owned(),
            (None, Some(span)) => span.stage.as_str().to_owned(),
            (None, None) => "waiting".to_owned(),
        };
        match &self.story.targets[..] {
            [target] => doing(target),
            targets => {
                let all = targets
                    .iter()
                    .map(|target| format!("{}: {}", target.facts.name, stage(target)));
                text::harmless(&all.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn redraw(&mut self) {
        let column = self.several.column;
        let message = format!("{:<column$}  {}", self.name, self.doing());
        let line = self.line.get_or_insert_with(|| {
            let line = ProgressBar::new_spinner();
            // The line for all stays the last one.
            let line = self.several.bars.insert_before(&self.several.all, line);
            line.set_style(running());
            line.enable_steady_tick(Duration::from_millis(200));
            line
        });
        line.set_message(message);
    }

    /// Takes the line away and prints what stays: the verdict, and why it is none to be glad about.
    fn conclude(&mut self, verdict: &Verdict) {
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
        let sign = match verdict {
            Verdict::Passed => "✓",
            Verdict::Failed { .. } => "✗",
            Verdict::Skipped { .. } => "-",
            _ => "!",
        };
        let (several, column) = (&self.several, self.several.column);
        let at = text::seconds(self.story.duration_ms);
        let told = text::verdict(verdict);
        several.print(&format!("{sign} {at:>8}  {:<column$}  {told}", self.name));
        let failed = self.story.targets.iter().filter_map(|target| {
            let (own, _) = target.verdict.as_ref()?;
            matches!(own, Verdict::Failed { .. } | Verdict::Infra { .. }).then_some(own)
        });
        for own in failed {
            for line in plain::why(own, &self.story) {
                several.print(&format!("    {line}"));
            }
        }
        several.ended(verdict.word());
    }
}

impl Reporter for OneRun {
    fn event(&mut self, event: &Event, _console: &[u8]) {
        self.story.add(event);
        match event.kind() {
            Some(EventKind::RunFinished { verdict }) => self.conclude(&verdict.clone()),
            // A skipped run has nothing that goes on.
            Some(EventKind::RunSkipped { .. } | EventKind::VerdictReached { .. }) | None => {}
            Some(_) => self.redraw(),
        }
    }

    fn finish(&mut self) {
        // A run that broke off without a verdict has told why elsewhere.
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
    }
}
