//! The table on the terminal.

use super::{CellEntry, MatrixFile};
use crate::text;

/// Columns of a terminal that the table is made for.
const WIDTH: usize = 80;

/// A row a cell: a column for each axis, verdict, time, and stage and cause of a failure. Then why cells did not pass,
/// each reason once, and the counts. Lines are of 80 columns at most, unless the values alone take more.
#[must_use]
pub fn summary(matrix: &MatrixFile) -> String {
    let axes = matrix.axes();
    let head = ["verdict", "time"].into_iter().map(str::to_owned);
    let names = axes.iter().map(|axis| (*axis).to_owned());
    let mut rows = vec![names.chain(head).collect::<Vec<String>>()];
    rows.extend(matrix.cells.iter().map(|cell| row(cell, &axes)));
    let columns = axes.len() + 2;
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|text| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let causes = std::iter::once(String::new()).chain(matrix.cells.iter().map(cause));
    let mut out = String::new();
    for (row, cause) in rows.iter().zip(causes) {
        let mut line = String::new();
        for (index, (text, width)) in row.iter().zip(&widths).enumerate() {
            // Times stand at the right.
            match index + 1 == columns {
                true => line.push_str(&format!("{text:>width$}  ")),
                false => line.push_str(&format!("{text:<width$}  ")),
            }
        }
        let room = WIDTH.saturating_sub(line.chars().count());
        line.push_str(&text::short(&cause, room));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for reason in reasons(matrix) {
        wrap(&reason, &mut out);
    }
    let took = text::took(matrix.duration_ms);
    let name = text::harmless(&matrix.scenario);
    out.push_str(&format!("{name}: {} in {took}\n", matrix.told()));
    out
}

/// Stage and cause, each in a word.
fn cause(cell: &CellEntry) -> String {
    let stage = cell.outcome.stage.map(|stage| format!("{stage} "));
    let cause = cell.outcome.cause.as_deref().unwrap_or_default();
    text::harmless(&format!("{}{cause}", stage.unwrap_or_default()))
}

/// Why cells did not pass: each reason with the first cell that has it, and how many more do.
fn reasons(matrix: &MatrixFile) -> Vec<String> {
    let mut reasons: Vec<(String, &CellEntry, usize)> = Vec::new();
    for cell in &matrix.cells {
        let reason = cell.reason();
        if reason.is_empty() {
            continue;
        }
        let same = |(known, first, _): &&mut (String, &CellEntry, usize)| {
            *known == reason && first.outcome.verdict == cell.outcome.verdict
        };
        match reasons.iter_mut().find(same) {
            Some((.., count)) => *count += 1,
            None => reasons.push((reason, cell, 0)),
        }
    }
    reasons
        .into_iter()
        .map(|(reason, first, more)| {
            let (name, verdict) = (text::harmless(&first.name), &first.outcome.verdict);
            match more {
                0 => format!("{name} {verdict}: {reason}"),
                _ => format!("{name} and {more} more {verdict}: {reason}"),
            }
        })
        .collect()
}

/// Writes the text in lines of `WIDTH` columns, the later ones indented. A longer word stays whole.
fn wrap(text: &str, out: &mut String) {
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.push_str("\n   ");
            column = 3;
        }
        if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
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
