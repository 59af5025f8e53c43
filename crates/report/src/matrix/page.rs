//! The matrix as one HTML page, which links to the cells' reports.

use serde::Serialize;

use super::MatrixFile;
use crate::{html, text};

#[derive(Serialize)]
struct Page {
    scenario: String,
    word: &'static str,
    told: String,
    took: String,
    axes: Vec<AxisRow>,
    cells: Vec<CellRow>,
}

/// An axis, and how the cells with each of its values ended.
#[derive(Serialize)]
struct AxisRow {
    name: String,
    values: Vec<ValueRow>,
}

#[derive(Serialize)]
struct ValueRow {
    value: String,
    passed: usize,
    bad: usize,
    skipped: usize,
}

#[derive(Serialize)]
struct CellRow {
    values: Vec<String>,
    word: String,
    /// Path of its run folder from this page; empty where it has no report.
    folder: String,
    took: String,
    stage: String,
    cause: String,
    detail: String,
    hint: String,
}

pub(super) fn render(matrix: &MatrixFile) -> Result<String, minijinja::Error> {
    html::rendered(
        "matrix.html",
        include_str!("../../templates/matrix.html"),
        &page(matrix),
    )
}

fn page(matrix: &MatrixFile) -> Page {
    let axes = matrix.axes();
    let cells = matrix.cells.iter().map(|cell| CellRow {
        values: axes
            .iter()
            .map(|axis| cell.value(axis).to_owned())
            .collect(),
        word: cell.outcome.verdict.clone(),
        folder: if cell.reported {
            link(&cell.name)
        } else {
            String::new()
        },
        took: match cell.duration_ms {
            0 => String::new(),
            ms => text::took(ms),
        },
        stage: cell
            .outcome
            .stage
            .map(|stage| stage.to_string())
            .unwrap_or_default(),
        cause: cell.outcome.cause.clone().unwrap_or_default(),
        detail: cell.outcome.detail.clone().unwrap_or_default(),
        hint: cell.outcome.hint.clone().unwrap_or_default(),
    });
    Page {
        scenario: matrix.scenario.clone(),
        word: word(matrix),
        told: matrix.told(),
        took: text::took(matrix.duration_ms),
        axes: axes.iter().map(|axis| axis_row(matrix, axis)).collect(),
        cells: cells.collect(),
    }
}

/// The gravest verdict of the cells, and `skipped` only where all are.
fn word(matrix: &MatrixFile) -> &'static str {
    let has = |word: &str| matrix.cells.iter().any(|cell| cell.outcome.verdict == word);
    ["infra", "interrupted", "failed", "passed"]
        .into_iter()
        .find(|word| has(word))
        .unwrap_or("skipped")
}

fn axis_row(matrix: &MatrixFile, axis: &str) -> AxisRow {
    let mut values: Vec<ValueRow> = Vec::new();
    for cell in &matrix.cells {
        let value = cell.value(axis);
        if value.is_empty() {
            continue;
        }
        let known = values.iter().position(|row| row.value == value);
        let index = known.unwrap_or_else(|| {
            values.push(ValueRow {
                value: value.to_owned(),
                passed: 0,
                bad: 0,
                skipped: 0,
            });
            values.len() - 1
        });
        let row = &mut values[index];
        match cell.outcome.verdict.as_str() {
            "passed" => row.passed += 1,
            "skipped" => row.skipped += 1,
            _ => row.bad += 1,
        }
    }
    AxisRow {
        name: axis.to_owned(),
        values,
    }
}

/// The folder as a relative reference: what is not unreserved there is escaped (RFC 3986, 2.3).
fn link(name: &str) -> String {
    let mut path = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}
