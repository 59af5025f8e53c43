//! The table on the terminal.

use super::{CellEntry, MatrixFile};
use crate::text;

/// Columns of a terminal that the table is made for.
const WIDTH: usize = 80;

/// A row a cell with a column for each axis, its verdict, its time, and where and why it did not pass; then the counts.
/// Lines are of 80 columns at most, unless the values alone take more.
#[must_use]
pub fn summary(matrix: &MatrixFile) -> String {
    let axes = matrix.axes();
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(matrix.cells.len() + 1);
    let head = ["verdict", "time"].into_iter().map(str::to_owned);
    rows.push(
        axes.iter()
            .map(|axis| (*axis).to_owned())
            .chain(head)
            .collect(),
    );
    rows.extend(matrix.cells.iter().map(|cell| row(cell, &axes)));
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let reasons = std::iter::once(String::new()).chain(matrix.cells.iter().map(CellEntry::reason));
    let mut out = String::new();
    for (row, reason) in rows.iter().zip(reasons) {
        let mut line = String::new();
        for (index, (text, width)) in row.iter().zip(&widths).enumerate() {
            // Times stand at the right.
            let padded = if index + 1 == columns {
                format!("{text:>width$}")
            } else {
                format!("{text:<width$}")
            };
            line.push_str(&padded);
            line.push_str("  ");
        }
        let room = WIDTH.saturating_sub(line.chars().count());
        if !reason.is_empty() && room > 12 {
            line.push_str(&text::short(&reason, room));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    let took = text::took(matrix.duration_ms);
    out.push_str(&format!(
        "{}: {} in {took}\n",
        text::harmless(&matrix.scenario),
        matrix.told()
    ));
    out
}

fn row(cell: &CellEntry, axes: &[&str]) -> Vec<String> {
    let mut row: Vec<String> = axes
        .iter()
        .map(|axis| match cell.value(axis) {
            "" => "-".to_owned(),
            value => text::harmless(value),
        })
        .collect();
    row.push(cell.outcome.verdict.clone());
    row.push(match cell.duration_ms {
        0 => "-".to_owned(),
        ms => text::took(ms),
    });
    row
}
