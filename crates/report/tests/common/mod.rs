//! What the tests share: recorded runs, and events made up.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test file uses its part; a helper that fails fails its test"
)]

use std::path::{Path, PathBuf};

use bootgate_events::{Event, EventBody, EventKind};

/// The names of the recorded runs.
pub const RUNS: [&str; 4] = ["passed", "failed", "infra", "interrupted"];

/// The folder of a recorded run.
pub fn run_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/events/recorded")
        .join(name)
}

/// The events of a recorded run.
pub fn events(name: &str) -> Vec<Event> {
    bootgate_report::read_log(&run_folder(name).join("events.jsonl")).expect("a recorded log")
}

/// A run folder with the consoles of a recorded run, to write reports into.
pub fn with_consoles(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let console = folder.path().join("console");
    std::fs::create_dir(&console).expect("a folder");
    let recorded = run_folder(name).join("console");
    for entry in std::fs::read_dir(recorded).into_iter().flatten() {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), console.join(entry.file_name())).expect("a copy");
    }
    folder
}

/// Writes the reports of these events and reads one back.
pub fn report(folder: &Path, events: &[Event], name: &str) -> String {
    bootgate_report::write_reports(folder, events).expect("reports");
    std::fs::read_to_string(folder.join(name)).expect("a report")
}

/// Puts an event of the first target before the last event of the log.
pub fn insert(events: &mut Vec<Event>, kind: EventKind) {
    let mut event = events.last().expect("events").clone();
    event.target = events.iter().find_map(|event| event.target.clone());
    event.body = EventBody::Known(kind);
    let last = events.pop().expect("events");
    events.push(event);
    events.push(last);
    for (seq, event) in events.iter_mut().enumerate() {
        event.seq = seq as u64;
    }
}
