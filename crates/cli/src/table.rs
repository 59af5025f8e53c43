//! Answers as aligned text, and as JSON.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::{SystemTime, UNIX_EPOCH};

use bootgate_api::UnixMicros;
use bootgate_report::words::{harmless, short};
use serde::Serialize;
use serde_json::Value;

use crate::args::Format;
use crate::client::Trouble;
use crate::exit;

/// Columns that a table may fill.
const WIDTH: usize = 100;
/// Columns between two.
const GAP: usize = 2;
/// Names of the fields that are times.
const TIMES: [&str; 9] = [
    "first_seen",
    "last_seen",
    "ends",
    "changed",
    "opened",
    "finished",
    "started",
    "at",
    "created",
];

/// How a text stands out, on a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    #[default]
    Plain,
    Good,
    Bad,
    Odd,
}

impl Style {
    fn code(self) -> Option<&'static str> {
        match self {
            Style::Plain => None,
            Style::Good => Some("32"),
            Style::Bad => Some("31"),
            Style::Odd => Some("33"),
        }
    }

    /// The text with this style, where standard output is a terminal that shows it.
    pub(crate) fn paint(self, text: &str) -> String {
        match self.code().filter(|_| colours()) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            None => text.to_owned(),
        }
    }
}

/// Colours only on a terminal, and not where the user wants none (no-color.org).
fn colours() -> bool {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let able = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    wanted && able && std::io::stdout().is_terminal()
}

/// A cell of a table.
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: &str, style: Style) -> Self {
        let text = harmless(text);
        Self { text, style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text.as_ref(), Style::Plain)
    }
}

/// Rows below headings, aligned.
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(headings: [&'static str; N]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [Cell; N]) {
        self.rows.push(cells);
    }

    /// Prints it; `none` where it has no rows.
    pub(crate) fn print(&self, none: &str) {
        if self.rows.is_empty() {
            return exit::say(none);
        }
        let widths = self.widths();
        let headings = self.headings.map(Cell::from);
        for row in std::iter::once(&headings).chain(&self.rows) {
            exit::say(line(row, &widths).trim_end());
        }
    }

    /// As wide as the widest cell. Where all together are too wide, the widest columns give.
    fn widths(&self) -> [usize; N] {
        let mut widths = self.headings.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let room = WIDTH - GAP * (N - 1);
        while widths.iter().sum::<usize>() > room {
            match widths.iter_mut().max() {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }
}

fn line<const N: usize>(row: &[Cell; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let text = short(&cell.text, *width);
        let pad = width + GAP - text.chars().count();
        line.push_str(&cell.style.paint(&text));
        line.extend(std::iter::repeat_n(' ', pad));
    }
    line
}

/// Names and what they stand for, one on each line.
#[derive(Default)]
pub(crate) struct Facts {
    lines: Vec<(Cow<'static, str>, Cell)>,
}

impl Facts {
    pub(crate) fn add(&mut self, name: impl Into<Cow<'static, str>>, what: impl Into<Cell>) {
        self.lines.push((name.into(), what.into()));
    }

    pub(crate) fn print(&self) {
        let width = self.lines.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or(0) + GAP;
        for (name, cell) in &self.lines {
            let text = cell.style.paint(&cell.text);
            exit::say(format!("{name:<width$}{text}").trim_end());
        }
    }
}

/// Prints values as JSON, one on each line, with their times as text; `null` for what never was.
pub(crate) fn json<T: Serialize>(values: &[T]) -> Result<(), Trouble> {
    for value in values {
        let value = serde_json::to_value(value);
        let mut value = value.map_err(|error| Trouble::infra(format!("print: {error}"), ""))?;
        times_as_text(&mut value);
        exit::say(&value.to_string());
    }
    Ok(())
}

/// Prints one value as JSON, or as `text` prints it.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T),
) -> Result<(), Trouble> {
    match format {
        Format::Json => json(std::slice::from_ref(value)),
        Format::Text => {
            text(value);
            Ok(())
        }
    }
}

fn times_as_text(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_u64().filter(|_| TIMES.contains(&name.as_str())) {
                    Some(0) => *value = Value::Null,
                    Some(micros) => *value = Value::String(iso(UnixMicros(micros))),
                    None => times_as_text(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(times_as_text),
        _ => {}
    }
}

/// A time as ISO 8601 has it, in UTC, to the second.
pub(crate) fn iso(at: UnixMicros) -> String {
    let seconds = i64::try_from(at.0 / 1_000_000).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.to_string(),
        Err(_) => "for ever".to_owned(),
    }
}

/// A time as seen from now.
pub(crate) fn ago(at: UnixMicros) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    relative(at.0 / 1_000_000, now.map_or(0, |now| now.as_secs()))
}

/// Whether a time has passed.
pub(crate) fn is_past(at: UnixMicros) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.is_ok_and(|now| u128::from(at.0) <= now.as_micros())
}

fn relative(at: u64, now: u64) -> String {
    let length = at.abs_diff(now);
    let words = match length {
        0..5 => return "now".to_owned(),
        5..120 => format!("{length} s"),
        120..7200 => format!("{} min", length / 60),
        7200..172_800 => format!("{} h", length / 3600),
        _ => format!("{} days", length / 86_400),
    };
    match (at > now, length) {
        (_, 0x1_0000_0000..) => "never".to_owned(),
        (true, _) => format!("in {words}"),
        (false, _) => format!("{words} ago"),
    }
}

/// A time as seen from now and by the clock.
pub(crate) fn when(at: UnixMicros) -> String {
    match at.0 {
        0 => "never".to_owned(),
        _ => format!("{} ({})", ago(at), iso(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now = 1_800_000_000;
        for (at, told) in [
            (now, "now"),
            (now - 30, "30 s ago"),
            (now - 180, "3 min ago"),
            (now - 3 * 3600, "3 h ago"),
            (now - 9 * 86_400, "9 days ago"),
            (now + 3600, "in 60 min"),
            (u64::MAX / 1_000_000, "never"),
        ] {
            assert_eq!(relative(at, now), told);
        }
        assert_eq!(
            iso(UnixMicros(1_800_000_000_999_999)),
            "2027-01-15T08:00:00Z"
        );
    }

    #[test]
    fn a_wide_table_gives_where_it_is_widest() {
        let mut table = Table::new(["A", "B"]);
        table.row(["x".into(), "y".repeat(200).into()]);
        assert_eq!(table.widths(), [1, 97]);
        let text = line(&table.rows[0], &table.widths());
        assert!(text.trim_end().chars().count() <= WIDTH, "{text}");
        assert!(text.contains('…'));
    }

    #[test]
    fn json_has_times_as_text() {
        let mut value = serde_json::json!({ "opened": 1_800_000_000_000_000_u64, "size": 7, "in": [{ "ends": 0 }] });
        times_as_text(&mut value);
        let told = value.to_string();
        assert!(
            told.contains(r#""opened":"2027-01-15T08:00:00Z""#),
            "{told}"
        );
        assert!(
            told.contains(r#""size":7"#) && told.contains(r#""ends":null"#),
            "{told}"
        );
    }
}
