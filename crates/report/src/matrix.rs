//! One table over the cells of a matrix: for the terminal, as `matrix.json`, as JUnit and as one HTML page.

mod junit;
mod page;
mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::replace;
use crate::verdict_file::Outcome;
use crate::{ReportError, VerdictFile};

pub use table::summary;

const JUNIT: &str = "junit.xml";
const PAGE: &str = "index.html";

/// What the cells of a matrix came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixFile {
    /// Version of this file's format; 1.
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// Milliseconds from the start of the first cell to the end of the last.
    pub duration_ms: u64,
    /// The cells, in the matrix's order.
    pub cells: Vec<CellEntry>,
}

/// What one cell came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellEntry {
    /// Its name, which is its run folder's: `uefi+e1000+nvme`.
    pub name: String,
    /// Axis and value, in the order of the matrix.
    pub values: Vec<AxisValue>,
    /// Its outcome. A run that left no verdict is `infra`, one that never began `interrupted`.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Milliseconds from its start to its verdict.
    pub duration_ms: u64,
    /// Whether it has a run folder with a report in it.
    pub reported: bool,
    /// Name and verdict of each target, and its last stage.
    pub targets: Vec<CellTarget>,
}

/// A value of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AxisValue {
    /// The axis.
    pub axis: String,
    /// The value as it is shown.
    pub value: String,
}

/// A target of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellTarget {
    /// Its name.
    pub name: String,
    /// Its verdict in one word.
    pub verdict: String,
    /// How long each stage took in milliseconds, in order.
    pub stages: Vec<(String, u64)>,
}

impl CellEntry {
    /// The cell with this name and these values, by what its run left.
    #[must_use]
    pub fn of(name: String, values: Vec<AxisValue>, file: &VerdictFile) -> Self {
        let failed = file
            .targets
            .iter()
            .find(|target| target.outcome.verdict == file.outcome.verdict);
        let outcome = match failed {
            // The target's outcome says more of the same.
            Some(target) if file.outcome.verdict == "failed" => target.outcome.clone(),
            _ => file.outcome.clone(),
        };
        let targets = file.targets.iter().map(|target| CellTarget {
            name: target.name.to_string(),
            verdict: target.outcome.verdict.clone(),
            stages: target
                .stages
                .iter()
                .map(|span| {
                    let took = span.end_ms.saturating_sub(span.start_ms);
                    (span.stage.to_string(), took)
                })
                .collect(),
        });
        Self {
            name,
            values,
            outcome,
            // Saying so takes no time worth telling.
            duration_ms: match file.outcome.verdict.as_str() {
                "skipped" => 0,
                _ => file.duration_ms,
            },
            reported: true,
            targets: targets.collect(),
        }
    }

    /// The cell without a verdict: `verdict` is `infra` or `interrupted`, `detail` says why there is none.
    #[must_use]
    pub fn without(name: String, values: Vec<AxisValue>, verdict: &str, detail: String) -> Self {
        Self {
            name,
            values,
            outcome: Outcome {
                verdict: verdict.to_owned(),
                cause: Some("no-verdict".to_owned()),
                detail: Some(detail),
                ..Outcome::default()
            },
            duration_ms: 0,
            reported: false,
            targets: Vec::new(),
        }
    }

    /// Where and why it did not pass, in one line; empty for a pass.
    #[must_use]
    pub fn reason(&self) -> String {
        let outcome = &self.outcome;
        let stage = outcome.stage.map(|stage| format!("{stage}: "));
        let detail = outcome.detail.as_deref().unwrap_or_default();
        crate::text::harmless(&format!("{}{detail}", stage.unwrap_or_default()))
    }
}

impl MatrixFile {
    /// Its name in the folder that [`MatrixFile::write`] is given.
    pub const JSON: &str = "matrix.json";

    /// How many cells came to each verdict, the good ones first; verdicts that none came to are left out.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        ["passed", "failed", "infra", "interrupted", "skipped"]
            .into_iter()
            .map(|word| {
                let same = self
                    .cells
                    .iter()
                    .filter(|cell| cell.outcome.verdict == word);
                (word, same.count())
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// The counts in a sentence: `12 cells: 10 passed, 2 skipped`.
    #[must_use]
    pub fn told(&self) -> String {
        let counts: Vec<String> = self
            .counts()
            .into_iter()
            .map(|(word, count)| format!("{count} {word}"))
            .collect();
        format!(
            "{}: {}",
            crate::text::count(self.cells.len(), "cell"),
            counts.join(", ")
        )
    }

    /// The axes, in the order in which cells name them first.
    #[must_use]
    pub fn axes(&self) -> Vec<&str> {
        let mut axes: Vec<&str> = Vec::new();
        for value in self.cells.iter().flat_map(|cell| &cell.values) {
            if !axes.contains(&value.axis.as_str()) {
                axes.push(&value.axis);
            }
        }
        axes
    }

    /// Writes `matrix.json`, `junit.xml` and `index.html` into `folder`, in which the cells' run folders are.
    ///
    /// # Errors
    /// The file that could not be written, and why.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        let broken = |name: &str, error: Box<dyn std::error::Error + Send + Sync>| ReportError {
            path: folder.join(name),
            error: std::io::Error::other(error),
        };
        let mut json =
            serde_json::to_vec_pretty(self).map_err(|error| broken(Self::JSON, error.into()))?;
        json.push(b'\n');
        replace(folder, Self::JSON, &json)?;
        let xml = junit::render(self).map_err(|error| broken(JUNIT, error.into()))?;
        replace(folder, JUNIT, xml.as_bytes())?;
        let page = page::render(self).map_err(|error| broken(PAGE, error.into()))?;
        replace(folder, PAGE, page.as_bytes())
    }
}

impl CellEntry {
    /// The value on this axis; empty where the cell has none.
    pub(crate) fn value(&self, axis: &str) -> &str {
        let found = self.values.iter().find(|value| value.axis == axis);
        found.map_or("", |value| value.value.as_str())
    }
}
