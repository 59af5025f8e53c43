//! JUnit: one suite a run, one case a target.

use std::time::Duration;

use bootgate_events::Verdict;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{Story, TargetStory, text};

/// The run as JUnit XML.
pub(crate) fn render(story: &Story) -> String {
    let mut suite = TestSuite::new(story.scenario.clone());
    suite.set_time(Duration::from_millis(story.duration_ms));
    suite.add_property(("accel", story.host.accel.as_str()));
    suite.add_property(("run", story.run.as_str()));
    for target in &story.targets {
        suite.add_test_case(case(story, target));
    }
    let mut report = Report::new("bootgate");
    report.add_test_suite(suite);
    report.to_string().unwrap_or_default()
}

fn case(story: &Story, target: &TargetStory) -> TestCase {
    let fallback = story.verdict.clone().unwrap_or(Verdict::Infra {
        what: "log-ends-early".to_owned(),
        error: "the log ends before a verdict".to_owned(),
    });
    let (verdict, ended) = target
        .verdict
        .clone()
        .unwrap_or((fallback, story.duration_ms));
    let mut case = TestCase::new(target.facts.name.as_str(), status(&verdict));
    case.set_classname(format!("bootgate.{}", story.scenario));
    let began = target.stages.first().map_or(0, |span| span.start_ms);
    case.set_time(Duration::from_millis(ended.saturating_sub(began)));
    let stages: Vec<String> = target
        .stages
        .iter()
        .map(|span| {
            let end = span.end_ms.unwrap_or(ended);
            format!(
                "{:<10} {}",
                span.stage.as_str(),
                text::seconds(end.saturating_sub(span.start_ms))
            )
        })
        .collect();
    case.set_system_out(stages.join("\n"));
    case
}

fn status(verdict: &Verdict) -> TestCaseStatus {
    match verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.clone());
            status
        }
        Verdict::Failed {
            stage,
            cause,
            evidence,
        } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(cause.word());
            status.set_message(format!("{stage}: {cause}"));
            let lines: Vec<String> = evidence
                .iter()
                .map(|item| format!("event {}: {}", item.seq, item.text))
                .collect();
            status.set_description(lines.join("\n"));
            status
        }
        Verdict::Infra { what, error } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type(what.clone());
            status.set_message(error.clone());
            status
        }
        Verdict::Interrupted { signal } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("interrupted");
            status.set_message(format!("stopped by {signal}"));
            status
        }
    }
}
