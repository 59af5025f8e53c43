//! A verdict as it is told to a person: a sentence, a hint, and what shows it, each thing said once.

use bootgate_events::{Cause, Evidence, Verdict};

use crate::{Story, text};

/// A verdict in words.
pub(crate) struct Told {
    /// What came out and why.
    pub(crate) sentence: String,
    /// What it means or what to do.
    pub(crate) hint: Option<String>,
    /// What shows it, in the order of the log, without repeats of the sentence and the hint.
    pub(crate) evidence: Vec<Evidence>,
}

/// How the fold begins a hint among the evidence.
const HINT: &str = "hint: ";

impl Told {
    /// The verdict on a run, or on a target of it, as the story of the run knows it.
    pub(crate) fn of(verdict: &Verdict, story: &Story) -> Self {
        let mut told = Self {
            sentence: text::harmless(&text::verdict(verdict)),
            hint: None,
            evidence: Vec::new(),
        };
        if let Verdict::Infra { what, error } = verdict {
            let known = story.hints.get(what);
            told.hint = known
                .filter(|hint| !hint.is_empty() && !error.contains(hint.as_str()))
                .map(|hint| text::harmless(hint));
        }
        let Verdict::Failed {
            cause, evidence, ..
        } = verdict
        else {
            return told;
        };
        told.hint = hint(cause, evidence).map(|hint| text::harmless(&hint));
        told.evidence = once(cause, evidence);
        told
    }

    /// The pieces of evidence that say most, at most `limit`: the last ones, starts of fetches only where there is
    /// room for them.
    pub(crate) fn telling(&self, limit: usize) -> Vec<&Evidence> {
        let mut kept: Vec<&Evidence> = self.evidence.iter().collect();
        while kept.len() > limit {
            let weakest = kept
                .iter()
                .position(|item| item.text.starts_with("fetch of") && item.text.contains(" began"));
            kept.remove(weakest.unwrap_or(0));
        }
        kept
    }
}

fn hint(cause: &Cause, evidence: &[Evidence]) -> Option<String> {
    if let Cause::ForbiddenMarker { hint, .. } = cause
        && !hint.is_empty()
    {
        return Some(hint.clone());
    }
    evidence
        .iter()
        .find_map(|item| item.text.strip_prefix(HINT))
        .map(str::to_owned)
}

/// The evidence without hints, repeats of the cause, and repeats of itself.
fn once(cause: &Cause, evidence: &[Evidence]) -> Vec<Evidence> {
    let mut said = vec![cause.to_string()];
    match cause {
        Cause::ForbiddenMarker { line, .. } => said.push(format!("console: {line}")),
        Cause::AgentFailed { error } => said.push(format!("agent gave up: {error}")),
        Cause::FileRefused { path, code, reason } => {
            said.push(format!("`{path}` refused ({code}): {reason}"));
        }
        _ => {}
    }
    let mut kept: Vec<(usize, Evidence)> = Vec::new();
    for item in evidence {
        if item.text.starts_with(HINT) || said.contains(&item.text) {
            continue;
        }
        match kept.iter_mut().find(|(_, known)| known.text == item.text) {
            Some((times, _)) => *times += 1,
            None => kept.push((1, item.clone())),
        }
    }
    kept.into_iter()
        .map(|(times, item)| Evidence {
            seq: item.seq,
            text: match times {
                1 => text::harmless(&item.text),
                _ => format!("{} ({times} times)", text::harmless(&item.text)),
            },
        })
        .collect()
}
