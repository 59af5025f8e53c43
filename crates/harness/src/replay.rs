//! A run judged again from its log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bootgate_events::{Event, EventBody, EventKind, TargetName, Verdict, VerdictRules};
use bootgate_report::VerdictFile;
use bootgate_scenario::fold::Fold;

use crate::{HarnessError, folder};

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The verdict drawn again.
    pub verdict: Verdict,
    /// The content of `verdict.json`, written anew.
    pub file: VerdictFile,
    /// Differences between the conclusions in the log and those drawn again; empty where the log is sound.
    pub differences: Vec<String>,
}

/// Judges the run in `run_folder` again, from its event log and console logs alone, and writes its reports anew.
///
/// # Errors
/// The log cannot be read, does not begin with the run's rules, or the reports cannot be written.
pub fn replay(run_folder: &Path) -> Result<Replay, HarnessError> {
    let logged = bootgate_report::read_log(&run_folder.join(folder::EVENTS))?;
    let mut fold =
        Fold::new(rules(&logged)?).map_err(|error| HarnessError::Rules(error.to_string()))?;
    let mut consoles = Consoles {
        folder: run_folder.to_owned(),
        loaded: BTreeMap::new(),
    };
    let mut events: Vec<Event> = Vec::new();
    for event in logged.iter().filter(|event| !is_conclusion(event)) {
        events.push(Event {
            seq: events.len() as u64,
            ..event.clone()
        });
        let step = fold.apply(event, consoles.chunk(event)?);
        for (target, kind) in step.conclusions {
            let seq = events.len() as u64;
            let body = EventBody::Known(kind);
            events.push(Event {
                seq,
                attempt: None,
                target,
                body,
                ..event.clone()
            });
        }
    }
    let verdict = fold.verdict().unwrap_or(Verdict::Infra {
        what: "no-verdict".to_owned(),
        error: "the log ends before every target has a verdict".to_owned(),
    });
    if let Some(finished) = logged
        .iter()
        .rfind(|event| matches!(event.kind(), Some(EventKind::RunFinished { .. })))
    {
        let body = EventBody::Known(EventKind::RunFinished {
            verdict: verdict.clone(),
        });
        events.push(Event {
            seq: events.len() as u64,
            body,
            ..finished.clone()
        });
    }
    let differences = differences(&logged, &events);
    let file = bootgate_report::write_reports(run_folder, &events)?;
    Ok(Replay {
        verdict,
        file,
        differences,
    })
}

fn rules(events: &[Event]) -> Result<&VerdictRules, HarnessError> {
    match events.first().and_then(Event::kind) {
        Some(EventKind::RunStarted { rules, .. }) => Ok(rules),
        _ => Err(HarnessError::Rules(
            "the log does not begin with `run-started`".to_owned(),
        )),
    }
}

fn is_conclusion(event: &Event) -> bool {
    matches!(
        event.kind(),
        Some(
            EventKind::StageEntered { .. }
                | EventKind::MarkerMatched { .. }
                | EventKind::ForbiddenMatched { .. }
                | EventKind::VerdictReached { .. }
                | EventKind::RunFinished { .. }
        )
    )
}

/// Where the logged conclusions and the ones drawn again part, the first few of them.
fn differences(logged: &[Event], drawn: &[Event]) -> Vec<String> {
    let conclusions = |events: &[Event]| -> Vec<(Option<TargetName>, EventBody)> {
        events
            .iter()
            .filter(|event| is_conclusion(event))
            .map(|event| (event.target.clone(), event.body.clone()))
            .collect()
    };
    let (logged, drawn) = (conclusions(logged), conclusions(drawn));
    let show = |entry: Option<&(Option<TargetName>, EventBody)>| {
        entry.map_or_else(|| "nothing".to_owned(), |entry| format!("{entry:?}"))
    };
    (0..logged.len().max(drawn.len()))
        .filter(|index| logged.get(*index) != drawn.get(*index))
        .take(3)
        .map(|index| {
            format!(
                "logged {}, drawn {}",
                show(logged.get(index)),
                show(drawn.get(index))
            )
        })
        .collect()
}

/// The console logs of a run folder, each read once.
struct Consoles {
    folder: PathBuf,
    loaded: BTreeMap<TargetName, Vec<u8>>,
}

impl Consoles {
    /// The bytes a console chunk stands for; none for other events.
    fn chunk(&mut self, event: &Event) -> Result<&[u8], HarnessError> {
        let (Some(EventKind::ConsoleChunk { offset, len }), Some(target)) =
            (event.kind(), &event.target)
        else {
            return Ok(&[]);
        };
        if !self.loaded.contains_key(target) {
            let path = folder::console_log(&self.folder, target);
            let bytes =
                std::fs::read(&path).map_err(HarnessError::io("read the console log", &path))?;
            self.loaded.insert(target.clone(), bytes);
        }
        let bytes = self.loaded.get(target).map_or(&[][..], Vec::as_slice);
        let start = usize::try_from(*offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(*len).unwrap_or(usize::MAX));
        bytes.get(start..end).ok_or_else(|| {
            HarnessError::Rules(format!(
                "the console log of `{target}` ends before byte {end}, which the event log names"
            ))
        })
    }
}
