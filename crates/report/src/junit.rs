//! JUnit: one suite a run, one case a target.

use std::path::Path;
use std::time::Duration;

use bootgate_events::{Event, Verdict};
use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::console::Console;
use crate::told::Told;
use crate::{Story, TargetStory, text};

/// Console lines in a case that did not pass.
const CONSOLE_LINES: usize = 40;

/// The run as JUnit XML. A run that did not pass has a case that says so, also where no target was reached.
///
/// # Errors
/// Where the text is no XML; control characters are left out, so that this does not happen.
pub(crate) fn render(
    story: &Story,
    events: &[Event],
    folder: &Path,
) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(text::harmless(&story.scenario));
    suite.set_time(Duration::from_millis(story.duration_ms));
    suite.add_property(("accel", story.host.accel.as_str()));
    suite.add_property(("run", story.run.as_str()));
    let verdict = story.verdict.clone().unwrap_or_else(no_verdict);
    for target in &story.targets {
        suite.add_test_case(case(story, target, events, folder));
    }
    let mut verdicts = story.targets.iter().map(|target| story.verdict_on(target));
    let told = verdicts.any(|own| !own.is_some_and(is_good));
    if !told && (story.targets.is_empty() || !is_good(&verdict)) {
        let mut case = TestCase::new("run", status(&verdict, story));
        case.set_classname(format!("bootgate.{}", story.scenario));
        case.set_time(Duration::from_millis(story.duration_ms));
        suite.add_test_case(case);
    }
    let mut report = Report::new("bootgate");
    report.add_test_suite(suite);
    report.to_string()
}

fn no_verdict() -> Verdict {
    Verdict::Infra {
        what: "log-ends-early".to_owned(),
        error: "the log ends before a verdict".to_owned(),
    }
}

fn is_good(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Passed | Verdict::Skipped { .. })
}

fn case(story: &Story, target: &TargetStory, events: &[Event], folder: &Path) -> TestCase {
    let verdict = story.verdict_on(target).cloned().unwrap_or_else(no_verdict);
    let ended = target
        .verdict
        .as_ref()
        .map_or(story.duration_ms, |(_, at)| *at);
    let name = &target.facts.name;
    let mut case = TestCase::new(name.as_str(), status(&verdict, story));
    case.set_classname(format!("bootgate.{}", story.scenario));
    let began = target.stages.first().map_or(0, |span| span.start_ms);
    case.set_time(Duration::from_millis(ended.saturating_sub(began)));
    let mut out: Vec<String> = target
        .stages
        .iter()
        .map(|span| {
            let end = span.end_ms.unwrap_or(ended);
            let took = text::took(end.saturating_sub(span.start_ms));
            format!("{:<10} {took:>8}  {}", span.stage.as_str(), span.by)
        })
        .collect();
    if !is_good(&verdict) {
        let console = Console::read(folder, name, events);
        let lines = console.last(CONSOLE_LINES);
        if !lines.is_empty() {
            out.push(format!("\nend of console/{name}.log:"));
        }
        out.extend(
            lines
                .iter()
                .map(|line| format!("{:>8}  {}", text::seconds(line.at_ms), line.text)),
        );
    }
    let out: Vec<String> = out
        .iter()
        .flat_map(|lines| lines.split('\n'))
        .map(text::harmless)
        .collect();
    case.set_system_out(out.join("\n"));
    case
}

fn status(verdict: &Verdict, story: &Story) -> TestCaseStatus {
    let told = Told::of(verdict, story);
    let error = |what: &str, message: &str| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type(text::harmless(what));
        status.set_message(text::harmless(message));
        if let Some(hint) = &told.hint {
            status.set_description(format!("hint: {hint}"));
        }
        status
    };
    match verdict {
        Verdict::Passed => TestCaseStatus::success(),
        Verdict::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(text::harmless(reason));
            status
        }
        Verdict::Failed { stage, cause, .. } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(cause.word());
            status.set_message(text::harmless(&format!("{stage}: {cause}")));
            let hint = told.hint.iter().map(|hint| format!("hint: {hint}"));
            let evidence = told
                .evidence
                .iter()
                .map(|item| format!("event {}: {}", item.seq, item.text));
            status.set_description(hint.chain(evidence).collect::<Vec<_>>().join("\n"));
            status
        }
        Verdict::Infra { what, error: text } => error(what, text),
        Verdict::Interrupted { signal } => error("interrupted", &format!("stopped by {signal}")),
    }
}
