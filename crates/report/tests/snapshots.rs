//! The reports of recorded runs, as they were approved.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod common;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bootgate_report::{Plain, Reporter, Story};

/// A writer whose text can be read after.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a lock").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn plain(name: &str) -> String {
    let out = Shared::default();
    let mut reporter = Plain::new(out.clone());
    for event in common::events(name) {
        reporter.event(&event, &[]);
    }
    reporter.finish();
    let bytes = out.0.lock().expect("a lock").clone();
    String::from_utf8(bytes).expect("text")
}

#[test]
fn plain_lines() {
    for name in common::RUNS {
        insta::assert_snapshot!(format!("plain-{name}"), plain(name));
    }
}

#[test]
fn junit() {
    for name in common::RUNS {
        let folder = common::with_consoles(name);
        let xml = common::report(folder.path(), &common::events(name), "junit.xml");
        insta::assert_snapshot!(format!("junit-{name}"), xml);
    }
}

#[test]
fn verdict_json() {
    for name in common::RUNS {
        let folder = common::with_consoles(name);
        let json = common::report(folder.path(), &common::events(name), "verdict.json");
        insta::assert_snapshot!(format!("verdict-{name}"), json);
    }
}

#[test]
fn story() {
    for name in common::RUNS {
        let story = Story::of(&common::events(name));
        insta::assert_debug_snapshot!(format!("story-{name}"), story.targets);
    }
}
