//! Reports made from the event log: terminal, `verdict.json`, JUnit and one-file HTML.
//!
//! Every report is a consumer of [`Event`]s and of nothing else, so that a report made again from the log of an old
//! run is the same report.

mod console;
mod files;
mod html;
mod junit;
mod log;
mod matrix;
mod plain;
mod screen;
mod several;
mod story;
mod terminal;
mod text;
mod told;
mod verdict_file;
pub mod words;

pub use files::{ReportError, write_reports};
pub use log::{LogError, read_log};
pub use matrix::{AxisValue, CellEntry, CellTarget, MatrixFile, summary as matrix_summary};
pub use plain::Plain;
pub use several::LiveRuns;
pub use story::{DiskStory, Phase, PowerSpan, Span, Story, TargetStory, Transfer};
pub use terminal::Live;
pub use verdict_file::{TargetEntry, VerdictFile};

use bootgate_events::Event;

/// Somebody who is told of every event of a run, in order.
pub trait Reporter: Send + Sync {
    /// An event was recorded. `console` holds the bytes of a console chunk and is empty for all other kinds.
    fn event(&mut self, event: &Event, console: &[u8]);

    /// The run is over; nothing more comes.
    fn finish(&mut self);
}
