//! Reporters on writers and terminals that are narrow, or gone.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod common;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use bootgate_events::{Event, EventBody, EventKind, TargetName};
use bootgate_report::{Live, LiveRuns, Plain, Reporter};
use indicatif::{InMemoryTerm, ProgressDrawTarget};

/// A writer whose reader went away.
struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn tell(reporter: &mut dyn Reporter, events: &[Event]) {
    for event in events {
        reporter.event(event, &[]);
    }
}

/// What a terminal of this width shows after these events, once what stood still for a moment is drawn.
fn screen(events: &[Event], columns: u16, finish: bool) -> String {
    let terminal = InMemoryTerm::new(40, columns);
    let mut live = Live::on(ProgressDrawTarget::term_like(Box::new(terminal.clone())));
    tell(&mut live, events);
    if finish {
        live.finish();
        return terminal.contents();
    }
    // Draws are limited in number, and each line has its own; the clock in a line tells that it came after the events.
    let (title, targets) = match events[0].kind() {
        Some(EventKind::RunStarted {
            scenario, targets, ..
        }) => (format!("{scenario} (tcg)"), targets.len()),
        other => panic!("a log begins with its rules: {other:?}"),
    };
    let lines = title.len().div_ceil(usize::from(columns)) + targets;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let screen = terminal.contents();
        let whole = screen.lines().all(|line| !line.trim().is_empty());
        let drawn = screen.lines().count() >= lines && whole && !screen.contains(" 0.0 s");
        if drawn || Instant::now() > deadline {
            return screen;
        }
        std::thread::yield_now();
    }
}

/// The events up to and with the first that `last` accepts.
fn until(name: &str, last: impl Fn(&EventKind) -> bool) -> Vec<Event> {
    let mut events = common::events(name);
    let end = events
        .iter()
        .position(|event| event.kind().is_some_and(&last));
    events.truncate(end.expect("such an event") + 1);
    events
}

fn rename(events: &mut [Event], new: &str) {
    for event in events {
        if event.target.is_some() {
            event.target = Some(TargetName::from(new));
        }
        if let EventBody::Known(EventKind::RunStarted { targets, .. }) = &mut event.body {
            targets[0].name = TargetName::from(new);
        }
    }
}

#[test]
fn a_reader_that_went_away_ends_nothing() {
    for name in common::RUNS {
        let mut plain = Plain::new(Broken);
        tell(&mut plain, &common::events(name));
        plain.finish();
    }
}

#[test]
fn control_sequences_of_clients_do_not_reach_the_terminal() {
    let mut events = common::events("failed");
    let reason = "\u{1b}]0;mine\u{7}\u{1b}[2Jgone\nforged line".to_owned();
    let path = "/x".to_owned();
    let code = 404;
    let refused = EventKind::RequestRefused {
        protocol: bootgate_events::Protocol::Http,
        role: bootgate_events::ArtifactRole::Other,
        path,
        peer: "10.0.0.1".parse().expect("an address"),
        code,
        reason,
    };
    common::insert(&mut events, refused);
    let mut out = Vec::new();
    tell(&mut Plain::new(&mut out), &events);
    let text = String::from_utf8(out).expect("text");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
    assert!(text.contains(r"\u{1b}[2Jgone\nforged line"), "{text}");
}

#[test]
fn a_line_a_target_with_its_stage_and_a_bar() {
    let events = until(
        "passed",
        |kind| matches!(kind, EventKind::AgentProgressed { done, .. } if *done > 0),
    );
    let screen = screen(&events, 90, false);
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(lines[0], "pair (tcg)");
    assert_eq!(lines.len(), 3, "{screen}");
    assert!(lines[1].contains("bios  flash"), "{screen}");
    assert!(
        lines[1].contains("░") && lines[1].contains("% of 64.0 MiB"),
        "{screen}"
    );
    assert!(lines[2].contains("uefi  "), "{screen}");
}

#[test]
fn a_narrow_terminal_and_a_long_name_take_one_line() {
    let mut events = until("failed", |kind| {
        matches!(kind, EventKind::AgentProgressed { .. })
    });
    rename(&mut events, "the-machine-in-the-third-rack-behind-the-door");
    for columns in [80, 44, 24, 12] {
        let screen = screen(&events, columns, false);
        let title = "uefi-flash (tcg)".len().div_ceil(usize::from(columns));
        assert_eq!(
            screen.lines().count(),
            title + 1,
            "at {columns} columns:\n{screen}"
        );
        assert!(
            columns < 44 || screen.contains("the-machine-in-the-thir… "),
            "{screen}"
        );
    }
}

#[test]
fn the_end_is_the_verdict_with_its_reason_once() {
    let screen = screen(&common::events("failed"), 200, true);
    assert_eq!(screen.matches("uefi-load-failed").count(), 1, "{screen}");
    assert!(
        screen.contains("hint: the firmware finds no boot program"),
        "{screen}"
    );
    assert!(screen.contains("disk-boot 2."), "{screen}");
    assert!(
        screen
            .trim_end()
            .ends_with("failed at disk-boot after 16.7 s"),
        "{screen}"
    );
}

#[test]
fn a_run_that_breaks_off_leaves_its_lines() {
    let events = until("failed", |kind| {
        matches!(kind, EventKind::AgentStarted { .. })
    });
    let screen = screen(&events, 80, true);
    assert!(screen.contains("client  live"), "{screen}");
}

#[test]
fn several_runs_have_a_line_each_and_one_for_all() {
    let terminal = InMemoryTerm::new(60, 100);
    let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
    let runs = LiveRuns::on(target, 3, 14);
    let (mut good, mut bad) = (runs.run("uefi+nvme"), runs.run("bios+e1000"));
    tell(&mut *good, &common::events("passed"));
    let failed = common::events("failed");
    let going = until("failed", |kind| {
        matches!(kind, EventKind::VerdictReached { .. })
    });
    let (before, after) = failed.split_at(going.len());
    tell(&mut *bad, before);
    let deadline = Instant::now() + Duration::from_secs(5);
    let drawn = |terminal: &InMemoryTerm| terminal.contents().contains("1 of 3 runs, 1 passed");
    while !drawn(&terminal) && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let text = terminal.contents();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert!(lines[0].starts_with("✓ "), "{text}");
    assert!(lines[0].ends_with("uefi+nvme       passed"), "{text}");
    assert!(lines[1].contains("bios+e1000 "), "{text}");
    assert!(lines[2].ends_with("1 of 3 runs, 1 passed"), "{text}");

    // The end of a failed one stays, with what shows it, above what goes on.
    tell(&mut *bad, after);
    bad.finish();
    runs.finish();
    let text = terminal.contents();
    let told: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert!(told[1].starts_with("✗ "), "{text}");
    assert!(told[1].contains("bios+e1000      failed at "), "{text}");
    let hint = |line: &&str| line.starts_with("    hint: ");
    assert!(told.iter().any(hint), "{text}");
    assert!(!text.contains("of 3 runs"), "{text}");
}
