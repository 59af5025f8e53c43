//! The matrix as JUnit: a suite for the scenario, a case for each cell.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{CellEntry, MatrixFile};
use crate::text;

pub(super) fn render(matrix: &MatrixFile) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(text::harmless(&matrix.scenario));
    suite.set_time(Duration::from_millis(matrix.duration_ms));
    for cell in &matrix.cells {
        suite.add_test_case(case(cell, &matrix.scenario));
    }
    let mut report = Report::new("bootgate");
    report.add_test_suite(suite);
    report.to_string()
}

fn case(cell: &CellEntry, scenario: &str) -> TestCase {
    let mut case = TestCase::new(text::harmless(&cell.name), status(cell));
    case.set_classname(text::harmless(&format!("bootgate.{scenario}")));
    case.set_time(Duration::from_millis(cell.duration_ms));
    for value in &cell.values {
        case.add_property((value.axis.as_str(), text::harmless(&value.value).as_str()));
    }
    let mut lines = Vec::new();
    for target in &cell.targets {
        lines.push(format!("{} {}", target.name, target.verdict));
        let stages = target.stages.iter();
        lines.extend(stages.map(|(stage, ms)| format!("  {stage:<10} {:>8}", text::took(*ms))));
    }
    if cell.reported {
        lines.push(format!("report: {}/report.html", cell.name));
    }
    let lines: Vec<String> = lines.iter().map(|line| text::harmless(line)).collect();
    case.set_system_out(lines.join("\n"));
    case
}

fn status(cell: &CellEntry) -> TestCaseStatus {
    let outcome = &cell.outcome;
    let mut status = match outcome.verdict.as_str() {
        "passed" => return TestCaseStatus::success(),
        "skipped" => TestCaseStatus::skipped(),
        "failed" => TestCaseStatus::non_success(NonSuccessKind::Failure),
        _ => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_message(cell.reason());
    if outcome.verdict == "skipped" {
        return status;
    }
    status.set_type(text::harmless(
        outcome.cause.as_deref().unwrap_or("no-verdict"),
    ));
    let hint = outcome.hint.iter().map(|hint| format!("hint: {hint}"));
    let evidence = outcome
        .evidence
        .iter()
        .map(|item| format!("event {}: {}", item.seq, item.text));
    let told: Vec<String> = hint
        .chain(evidence)
        .map(|line| text::harmless(&line))
        .collect();
    status.set_description(told.join("\n"));
    status
}
