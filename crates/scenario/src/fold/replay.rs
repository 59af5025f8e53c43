//! A log judged again.

use std::io;

use bootgate_events::{Event, EventKind, TargetName, TargetVerdict, Verdict};

use super::{Fold, RulesError};

/// A conclusion and whom it is about.
pub type Conclusion = (Option<TargetName>, EventKind);

/// What a log says when its facts are judged again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The run's verdict; `None` where the log ends before there is one.
    pub verdict: Option<Verdict>,
    /// The targets' verdicts.
    pub targets: Vec<TargetVerdict>,
    /// The log with its conclusions drawn again, numbered anew: what reports are made from.
    pub events: Vec<Event>,
    /// Every conclusion, drawn again, in order.
    pub conclusions: Vec<Conclusion>,
    /// Where the log has other conclusions; empty for a log that was made by this version of the fold and not
    /// changed since.
    pub differences: Vec<Difference>,
}

/// A place where the conclusions in a log and those drawn again part.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Position among the conclusions, from 0.
    pub position: usize,
    /// What the log has there.
    pub logged: Option<Conclusion>,
    /// What follows from the facts.
    pub drawn: Option<Conclusion>,
}

/// A log cannot be judged again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log does not begin with [`EventKind::RunStarted`], which holds the rules.
    #[error("the log does not begin with `run-started`")]
    NoRules,
    /// The rules in the log cannot be judged by.
    #[error("the log's rules cannot be judged by: {0}")]
    Rules(#[from] RulesError),
    /// The console bytes of a chunk cannot be read.
    #[error("read `{len}` console bytes of `{target}` at `{offset}`: {error}")]
    Console {
        /// Whose.
        target: TargetName,
        /// Where the chunk begins.
        offset: u64,
        /// Its length in bytes.
        len: u64,
        /// Why.
        error: io::Error,
    },
}

/// Whether the fold draws this kind from others, rather than being told it.
#[must_use]
pub fn is_conclusion(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::StageEntered { .. }
            | EventKind::MarkerMatched { .. }
            | EventKind::ForbiddenMatched { .. }
            | EventKind::VerdictReached { .. }
            | EventKind::RunFinished { .. }
    )
}

/// Judges a log again by the rules in its first event. `console` reads so many bytes of a target's console log at an
/// offset.
///
/// # Errors
/// The log has no usable rules, or console bytes that it names cannot be read.
pub fn replay(
    events: &[Event],
    mut console: impl FnMut(&TargetName, u64, u64) -> io::Result<Vec<u8>>,
) -> Result<Replay, ReplayError> {
    let Some(EventKind::RunStarted { rules, .. }) = events.first().and_then(Event::kind) else {
        return Err(ReplayError::NoRules);
    };
    let mut fold = Fold::new(rules)?;
    let (mut logged, mut drawn, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        let mut payload = Vec::new();
        match (event.kind(), &event.target) {
            (Some(EventKind::ConsoleChunk { offset, len }), Some(target)) => {
                payload = console(target, *offset, *len).map_err(|error| ReplayError::Console {
                    target: target.clone(),
                    offset: *offset,
                    len: *len,
                    error,
                })?;
            }
            (Some(EventKind::RunFinished { .. }), _) => {}
            (Some(kind), target) if is_conclusion(kind) => {
                logged.push((target.clone(), kind.clone()));
            }
            _ => {}
        }
        if !event.kind().is_some_and(is_conclusion) {
            told.push(event.clone());
        }
        for (target, kind) in fold.apply(event, &payload).conclusions {
            told.push(concluded(event, target.clone(), kind.clone()));
            drawn.push((target, kind));
        }
    }
    let verdict = fold.verdict();
    told.extend(finished(events, verdict.as_ref()));
    for (seq, event) in (0..).zip(&mut told) {
        event.seq = seq;
    }
    let mut differences = differences(&logged, &drawn);
    differences.extend(finish_differs(events, verdict.as_ref(), drawn.len()));
    Ok(Replay {
        verdict,
        targets: fold.target_verdicts(),
        events: told,
        conclusions: drawn,
        differences,
    })
}

/// A conclusion, as it stands in a log behind the event it was drawn from.
fn concluded(event: &Event, target: Option<TargetName>, kind: EventKind) -> Event {
    Event {
        attempt: None,
        target,
        body: kind.into(),
        ..event.clone()
    }
}

/// The log's last event with the verdict drawn again.
fn finished(events: &[Event], verdict: Option<&Verdict>) -> Option<Event> {
    let is_finish = |event: &&Event| matches!(event.kind(), Some(EventKind::RunFinished { .. }));
    let event = events.iter().rfind(is_finish)?;
    let verdict = verdict?.clone();
    Some(concluded(event, None, EventKind::RunFinished { verdict }))
}

fn differences(logged: &[Conclusion], drawn: &[Conclusion]) -> Vec<Difference> {
    (0..logged.len().max(drawn.len()))
        .filter(|position| logged.get(*position) != drawn.get(*position))
        .map(|position| Difference {
            position,
            logged: logged.get(position).cloned(),
            drawn: drawn.get(position).cloned(),
        })
        .collect()
}

fn finish_differs(
    events: &[Event],
    drawn: Option<&Verdict>,
    position: usize,
) -> Option<Difference> {
    let logged = events.iter().rev().find_map(|event| match event.kind() {
        Some(EventKind::RunFinished { verdict }) => Some(verdict),
        _ => None,
    })?;
    let finished = |verdict: &Verdict| {
        (
            None,
            EventKind::RunFinished {
                verdict: verdict.clone(),
            },
        )
    };
    (Some(logged) != drawn).then(|| Difference {
        position,
        logged: Some(finished(logged)),
        drawn: drawn.map(finished),
    })
}
