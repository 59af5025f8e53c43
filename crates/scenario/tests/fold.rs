//! The verdict fold, on event logs written by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop so")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use bootgate_events::{Event, EventBody, EventKind, TargetName, Verdict};
use bootgate_scenario::fold::{Action, Fold, Replay, replay};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/events")
}

struct Log {
    events: Vec<Event>,
    consoles: BTreeMap<TargetName, Vec<u8>>,
}

fn log(name: &str) -> Log {
    let text = fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let events: Vec<Event> = text
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"))
        })
        .collect();
    let names = events.iter().filter_map(|event| event.target.clone());
    let console = |target: TargetName| {
        let bytes = fs::read(folder().join(format!("{name}.{target}.log"))).unwrap_or_default();
        (target, bytes)
    };
    Log {
        consoles: names.map(console).collect(),
        events,
    }
}

impl Log {
    fn bytes(&self, event: &Event) -> &[u8] {
        let (Some(EventKind::ConsoleChunk { offset, len }), Some(target)) =
            (event.kind(), &event.target)
        else {
            return &[];
        };
        let start = usize::try_from(*offset).unwrap();
        &self.consoles[target][start..start + usize::try_from(*len).unwrap()]
    }

    fn fold(&self) -> Fold {
        match self.events[0].kind() {
            Some(EventKind::RunStarted { rules, .. }) => Fold::new(rules).unwrap(),
            other => panic!("the log begins with {other:?}"),
        }
    }

    fn replay(&self) -> Replay {
        replay(&self.events, |target, offset, len| {
            let start = usize::try_from(offset).unwrap();
            Ok(self.consoles[target][start..start + usize::try_from(len).unwrap()].to_vec())
        })
        .unwrap()
    }
}

/// What the fold makes of a log, as a person would tell it.
fn told(log: &Log) -> String {
    let mut fold = log.fold();
    let mut text = String::new();
    for event in &log.events {
        let step = fold.apply(event, log.bytes(event));
        for (target, kind) in step.conclusions {
            let target = target.map_or_else(|| "run".to_owned(), |target| target.to_string());
            let at = event.mono_ms();
            match kind {
                EventKind::StageEntered { stage, by } => {
                    writeln!(text, "{at:>6} {target}: {stage} ({by})")
                }
                EventKind::MarkerMatched { name, offset, line } => {
                    writeln!(
                        text,
                        "{at:>6} {target}: marker {name} by byte {offset}: {line}"
                    )
                }
                EventKind::ForbiddenMatched { name, stage, line } => {
                    writeln!(
                        text,
                        "{at:>6} {target}: forbidden {name} in {stage}: {line}"
                    )
                }
                EventKind::VerdictReached { verdict } => {
                    writeln!(text, "{at:>6} {target}: verdict {}", said(&verdict))
                }
                other => writeln!(text, "{at:>6} {target}: {other:?}"),
            }
            .unwrap();
        }
        for action in step.actions {
            writeln!(text, "       -> {action:?}").unwrap();
        }
    }
    for target in fold.target_verdicts() {
        write!(text, "{} {}:", target.name, target.verdict.word()).unwrap();
        for span in &target.stages {
            write!(text, " {} {}-{}", span.stage, span.start_ms, span.end_ms).unwrap();
        }
        writeln!(
            text,
            "; proof {:?} over {:?}",
            target.disk_proof, target.disk_ranges
        )
        .unwrap();
    }
    match fold.verdict() {
        Some(verdict) => writeln!(text, "run: {}", said(&verdict)).unwrap(),
        None => writeln!(text, "run: no verdict; next {:?}", fold.next_deadline()).unwrap(),
    }
    text
}

fn said(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Failed {
            stage,
            cause,
            evidence,
        } => {
            let mut text = format!("failed in {stage}: {}: {cause}", cause.word());
            for evidence in evidence {
                write!(text, "\n           {}: {}", evidence.seq, evidence.text).unwrap();
            }
            text
        }
        Verdict::Infra { what, error } => format!("infra {what}: {error}"),
        other => format!("{other:?}"),
    }
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()?
                .strip_suffix(".jsonl")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 30, "event logs are missing");
    names
}

#[test]
fn logs_are_judged_as_told() {
    for name in names() {
        insta::assert_snapshot!(name.clone(), told(&log(&name)));
    }
}

/// The log as the harness would have written it: every fact with its conclusions behind it.
fn with_conclusions(plain: &Log) -> Log {
    let mut fold = plain.fold();
    let mut events = Vec::new();
    for fact in &plain.events {
        events.push(fact.clone());
        for (target, kind) in fold.apply(fact, plain.bytes(fact)).conclusions {
            events.push(Event {
                target,
                body: EventBody::Known(kind),
                ..fact.clone()
            });
        }
    }
    if let Some(verdict) = fold.verdict() {
        let last = events.last().unwrap().clone();
        let body = EventBody::Known(EventKind::RunFinished { verdict });
        events.push(Event {
            target: None,
            body,
            ..last
        });
    }
    Log {
        events,
        consoles: plain.consoles.clone(),
    }
}

#[test]
fn a_replay_draws_the_same_conclusions_again() {
    for name in names() {
        let plain = log(&name);
        let again = with_conclusions(&plain).replay();
        assert_eq!(again.differences, [], "{name}");
        assert_eq!(again.verdict, plain.replay().verdict, "{name}");
    }
}

#[test]
fn a_replay_tells_where_a_log_was_changed() {
    let mut changed = with_conclusions(&log("kernel-panics"));
    for event in &mut changed.events {
        if let EventBody::Known(
            EventKind::VerdictReached { verdict } | EventKind::RunFinished { verdict },
        ) = &mut event.body
        {
            *verdict = Verdict::Passed;
        }
    }
    let again = changed.replay();
    assert_eq!(again.verdict.unwrap().word(), "failed");
    assert_eq!(again.differences.len(), 2);
    assert!(matches!(
        &again.differences[0].logged,
        Some((
            Some(_),
            EventKind::VerdictReached {
                verdict: Verdict::Passed
            }
        ))
    ));
}

/// Cuts every console chunk into single bytes.
fn byte_by_byte(log: &Log) -> Log {
    let mut events = Vec::new();
    for event in &log.events {
        match event.kind() {
            Some(EventKind::ConsoleChunk { offset, len }) => {
                events.extend((*offset..offset + len).map(|offset| Event {
                    body: EventBody::Known(EventKind::ConsoleChunk { offset, len: 1 }),
                    ..event.clone()
                }));
            }
            _ => events.push(event.clone()),
        }
    }
    Log {
        events,
        consoles: log.consoles.clone(),
    }
}

#[test]
fn how_the_console_was_read_changes_no_verdict() {
    for name in names() {
        let whole = log(&name);
        let (told, again) = (told(&whole), byte_by_byte(&whole).replay());
        let verdict = whole.replay().verdict;
        let (Some(verdict), Some(again)) = (&verdict, &again.verdict) else {
            assert_eq!(verdict, again.verdict, "{name}\n{told}");
            continue;
        };
        assert_eq!(verdict.word(), again.word(), "{name}");
        if let (
            Verdict::Failed { stage, cause, .. },
            Verdict::Failed {
                stage: stage_again,
                cause: cause_again,
                ..
            },
        ) = (verdict, again)
        {
            assert_eq!((stage, cause), (stage_again, cause_again), "{name}");
        }
    }
}

#[test]
fn the_next_deadline_is_the_one_that_would_expire() {
    let log = log("no-dhcp");
    let mut fold = log.fold();
    assert_eq!(fold.next_deadline(), None);
    for event in &log.events[..log.events.len() - 1] {
        fold.apply(event, log.bytes(event));
    }
    let due = fold.next_deadline().unwrap();
    let last = log.events.last().unwrap();
    assert_eq!(Some(&due.expired()), last.kind());
    let early = Event {
        mono_us: due.at_us - 1,
        ..last.clone()
    };
    assert_eq!(fold.apply(&early, &[]).conclusions, []);
    let punctual = Event {
        mono_us: due.at_us,
        ..last.clone()
    };
    let step = fold.apply(&punctual, &[]);
    assert_eq!(step.actions, [Action::Finish { target: due.target }]);
    assert_eq!(fold.next_deadline(), None);
}

#[test]
fn rules_that_prove_nothing_are_refused() {
    let Some(EventKind::RunStarted { rules, .. }) =
        log("uefi-flash-passes").events[0].kind().cloned()
    else {
        panic!("no rules");
    };
    let refused = |change: &dyn Fn(&mut bootgate_events::TargetRules)| {
        let mut rules = rules.clone();
        change(&mut rules.targets[0]);
        Fold::new(&rules).map(|_| ()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        "rules-refused",
        [
            refused(&|rules| rules.expect.clear()),
            refused(&|rules| rules.expect.last_mut().unwrap().stage =
                Some(bootgate_events::Stage::Live)),
            refused(&|rules| rules.disk_proof = None),
            refused(&|rules| {
                rules.expect.clear();
                rules.disk_proof = None;
                rules.disk_boot = false;
            }),
            refused(&|rules| rules.expect[0].pattern = "(".to_owned()),
            refused(&|rules| rules.forbid[0].pattern = "x*".to_owned()),
        ]
        .join("\n")
    );
}
