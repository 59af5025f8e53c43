//! Reading logs that are not as they should be.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod common;

use std::path::PathBuf;

use bootgate_events::EventBody;
use bootgate_report::{LogError, read_log};

/// A log with this text behind the first lines of a recorded one.
fn log(lines: usize, then: &str) -> (tempfile::TempDir, PathBuf) {
    let recorded = std::fs::read_to_string(common::run_folder("infra").join("events.jsonl"));
    let mut text: String = recorded
        .expect("a log")
        .split_inclusive('\n')
        .take(lines)
        .collect();
    text.push_str(then);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, text).expect("a file");
    (folder, path)
}

fn refusal(then: &str) -> (usize, String) {
    let (_folder, path) = log(3, then);
    match read_log(&path) {
        Err(LogError::Line { line, error, .. }) => (line, error),
        other => panic!("no refusal of a line: {other:?}"),
    }
}

#[test]
fn a_cut_last_line_is_left_out() {
    let (_folder, path) = log(3, r#"{"schema":1,"seq":3,"mono_us":99,"wall"#);
    assert_eq!(read_log(&path).expect("a log").len(), 3);
}

#[test]
fn a_last_line_without_its_line_end_counts() {
    let line = r#"{"schema":1,"seq":3,"mono_us":99,"wall_us":1,"run":"r","kind":"interrupted","signal":"SIGINT"}"#;
    let (_folder, path) = log(3, line);
    assert_eq!(read_log(&path).expect("a log").len(), 4);
}

#[test]
fn a_garbage_line_is_named_by_its_number() {
    let (line, error) = refusal("what is this\n");
    assert_eq!(line, 4);
    assert!(error.contains("expected value"), "{error}");
    let (line, _) = refusal("{\"schema\":1,\"seq\":3}\n{}\n");
    assert_eq!(line, 4);
}

#[test]
fn a_field_of_the_wrong_type_is_refused() {
    let line = r#"{"schema":1,"seq":3,"mono_us":99,"wall_us":1,"run":"r","kind":"interrupted","signal":7}"#;
    let (number, error) = refusal(&format!("{line}\n"));
    assert_eq!(number, 4);
    assert!(error.contains("invalid type"), "{error}");
}

#[test]
fn a_newer_schema_is_refused_also_where_its_shape_is_unknown() {
    let same = r#"{"schema":2,"seq":3,"mono_us":99,"wall_us":1,"run":"r","kind":"interrupted","signal":"S"}"#;
    for line in [same, r#"{"schema":9,"when":"now"}"#] {
        let (number, error) = refusal(&format!("{line}\n"));
        assert_eq!(number, 4);
        assert!(error.contains("is newer than `1`"), "{error}");
    }
}

#[test]
fn unknown_kinds_are_kept_as_they_came() {
    let line = r#"{"schema":1,"seq":3,"mono_us":99,"wall_us":1,"run":"r","target":"client","kind":"fan-stalled","rpm":12}"#;
    let (_folder, path) = log(3, &format!("{line}\n"));
    let events = read_log(&path).expect("a log");
    let EventBody::Unknown(unknown) = &events[3].body else {
        panic!("known: {:?}", events[3]);
    };
    assert_eq!(unknown.kind, "fan-stalled");
    assert_eq!(unknown.fields["rpm"], 12);
    let (_folder, _) = log(0, "");
    let page = common::report(_folder.path(), &events, "report.html");
    assert!(page.contains("`fan-stalled`, which this version does not know"));
}

#[test]
fn a_missing_log_is_named() {
    let error = read_log(&PathBuf::from("/nowhere/events.jsonl")).expect_err("no log");
    let text = error.to_string();
    assert!(
        text.contains("read the event log `/nowhere/events.jsonl`"),
        "{text}"
    );
}

#[test]
fn an_empty_log_is_an_infrastructure_fault() {
    let (folder, path) = log(0, "");
    let events = read_log(&path).expect("a log");
    let file = bootgate_report::write_reports(folder.path(), &events).expect("reports");
    assert_eq!(file.outcome.verdict, "infra");
    let junit = std::fs::read_to_string(folder.path().join("junit.xml")).expect("junit");
    assert!(junit.contains("errors=\"1\""), "{junit}");
}

#[test]
fn a_fault_before_any_target_is_told_of_every_target() {
    let (folder, path) = log(1, "");
    let finished = r#"{"schema":1,"seq":1,"mono_us":9,"wall_us":1,"run":"r","kind":"run-finished","verdict":{"verdict":"infra","what":"port-taken","error":"port 67 is taken"}}"#;
    let text = std::fs::read_to_string(&path).expect("a log");
    std::fs::write(&path, format!("{text}{finished}\n")).expect("a log");
    let events = read_log(&path).expect("a log");
    let file = bootgate_report::write_reports(folder.path(), &events).expect("reports");
    assert_eq!(file.targets[0].outcome.verdict, "infra");
    assert_eq!(file.targets[0].outcome.cause.as_deref(), Some("port-taken"));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a report");
    assert!(
        read("junit.xml").contains("<error message=\"port 67 is taken\" type=\"port-taken\"/>")
    );
    assert!(read("report.html").contains("port 67 is taken"));
}
