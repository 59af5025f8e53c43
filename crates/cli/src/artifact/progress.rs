//! How far long work is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use bootgate_report::words::bytes;
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit;

/// Time between two lines where there is no terminal.
const LINES: Duration = Duration::from_secs(10);

/// Work on so many bytes.
pub(crate) struct Work {
    what: String,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    told: Instant,
}

impl Work {
    /// Work called `what` ("upload vmlinuz"), on standard error.
    pub(crate) fn new(what: impl Into<String>, total: Option<u64>) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = match total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            let style = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            // The template is fixed; without it the bar has indicatif's own.
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar
        });
        Self {
            what,
            total,
            bar,
            told: Instant::now(),
        }
    }

    /// So many bytes are done.
    pub(crate) fn at(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            return bar.set_position(done);
        }
        if self.told.elapsed() < LINES {
            return;
        }
        self.told = Instant::now();
        let what = &self.what;
        match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let percent = u128::from(done) * 100 / u128::from(total);
                exit::note(&format!("{what}: {percent} % of {}", bytes(total)));
            }
            None => exit::note(&format!("{what}: {}", bytes(done))),
        }
    }

    /// A line for a person, above the bar.
    pub(crate) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => exit::note(line),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
