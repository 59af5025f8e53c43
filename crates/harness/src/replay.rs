//! A run judged again from its log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bootgate_events::{EventKind, TargetName, Verdict};
use bootgate_report::VerdictFile;
use bootgate_scenario::fold::{self, Difference};

use crate::{HarnessError, folder};

/// Differences that are told at most; a log of another version has many.
const TOLD: usize = 3;

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
    let mut consoles = Consoles {
        folder: run_folder.to_owned(),
        loaded: BTreeMap::new(),
    };
    let replayed = fold::replay(&logged, |target, offset, len| {
        consoles.read(target, offset, len)
    })
    .map_err(|error| HarnessError::Replay {
        folder: run_folder.to_owned(),
        error,
    })?;
    let verdict = replayed.verdict.unwrap_or(Verdict::Infra {
        what: "no-verdict".to_owned(),
        error: "the log ends before every target has a verdict".to_owned(),
    });
    // A run that was killed may not have come to write what follows from its last fact.
    let whole = logged
        .iter()
        .any(|event| matches!(event.kind(), Some(EventKind::RunFinished { .. })));
    let differences = replayed
        .differences
        .iter()
        .filter(|difference| whole || difference.logged.is_some())
        .take(TOLD)
        .map(describe)
        .collect();
    let file = bootgate_report::write_reports(run_folder, &replayed.events)?;
    Ok(Replay {
        verdict,
        file,
        differences,
    })
}

fn describe(difference: &Difference) -> String {
    let show = |conclusion: &Option<fold::Conclusion>| match conclusion {
        Some((target, kind)) => {
            let target = target.as_ref().map_or("the run", |target| target.as_str());
            let body = serde_json::to_string(kind).unwrap_or_default();
            format!("{target}: {body}")
        }
        None => "nothing".to_owned(),
    };
    format!(
        "logged {}, drawn {}",
        show(&difference.logged),
        show(&difference.drawn)
    )
}

/// The console logs of a run folder, each read once.
struct Consoles {
    folder: PathBuf,
    loaded: BTreeMap<TargetName, Vec<u8>>,
}

impl Consoles {
    fn read(&mut self, target: &TargetName, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        if !self.loaded.contains_key(target) {
            let bytes = std::fs::read(folder::console_log(&self.folder, target))?;
            self.loaded.insert(target.clone(), bytes);
        }
        let bytes = self.loaded.get(target).map_or(&[][..], Vec::as_slice);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
        let chunk = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(chunk.to_vec())
    }
}
