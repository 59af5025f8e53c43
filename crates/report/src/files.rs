//! The report files of a run folder.

use std::path::{Path, PathBuf};

use bootgate_events::Event;

use crate::{Story, VerdictFile, html, junit};

const VERDICT: &str = "verdict.json";
const JUNIT: &str = "junit.xml";
const HTML: &str = "report.html";

/// A report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("write the report `{path}`: {error}", path = path.display())]
pub struct ReportError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: std::io::Error,
}

/// Writes `verdict.json`, `junit.xml` and `report.html` beside the log in `folder`, from `events` and the console
/// logs there. Each file is complete or absent: it is written under another name first.
///
/// # Errors
/// The file that could not be written, and why.
pub fn write_reports(folder: &Path, events: &[Event]) -> Result<VerdictFile, ReportError> {
    let story = Story::of(events);
    let verdict = VerdictFile::of(&story);
    let broken = |name: &str, error: Box<dyn std::error::Error + Send + Sync>| ReportError {
        path: folder.join(name),
        error: std::io::Error::other(error),
    };
    let mut json =
        serde_json::to_vec_pretty(&verdict).map_err(|error| broken(VERDICT, error.into()))?;
    json.push(b'\n');
    replace(folder, VERDICT, &json)?;
    let xml = junit::render(&story, events, folder).map_err(|error| broken(JUNIT, error.into()))?;
    replace(folder, JUNIT, xml.as_bytes())?;
    let page = html::render(&story, events, folder).map_err(|error| broken(HTML, error.into()))?;
    replace(folder, HTML, page.as_bytes())?;
    Ok(verdict)
}

pub(crate) fn replace(folder: &Path, name: &str, content: &[u8]) -> Result<(), ReportError> {
    let path = folder.join(name);
    let unfinished = folder.join(format!(".{name}.unfinished"));
    std::fs::write(&unfinished, content)
        .and_then(|()| std::fs::rename(&unfinished, &path))
        .map_err(|error| ReportError { path, error })
}
