//! What the runs came to, in one table, and the reports of a matrix.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bootgate_report::{AxisValue, CellEntry, MatrixFile};
use bootgate_scenario::Cell;

use super::{Ended, Job};
use crate::exit::{self, INFRA};

/// All runs, those that ended and those that did not.
pub(super) struct Table {
    rows: Vec<Row>,
}

struct Row {
    shown: String,
    scenario: String,
    folder: PathBuf,
    cell: Option<Cell>,
    ended: Option<Ended>,
}

impl Table {
    pub(super) fn of(jobs: &VecDeque<Job>) -> Self {
        let rows = jobs.iter().map(|job| Row {
            shown: job.shown.clone(),
            scenario: job.plan.name.clone(),
            folder: job.folder.clone(),
            cell: job.plan.cell.clone(),
            ended: None,
        });
        Self {
            rows: rows.collect(),
        }
    }

    /// Width of the column of names; `None` where there is one run, whose lines need no name.
    pub(super) fn column(&self) -> Option<usize> {
        let widths = self.rows.iter().map(|row| row.shown.chars().count());
        widths.max().filter(|_| self.rows.len() > 1)
    }

    pub(super) fn add(&mut self, ended: Vec<Ended>) {
        for one in ended {
            let index = one.index;
            if let Some(row) = self.rows.get_mut(index) {
                row.ended = Some(one);
            }
        }
    }

    /// Whether every run has ended.
    pub(super) fn is_complete(&self) -> bool {
        self.rows.iter().all(|row| row.ended.is_some())
    }

    /// Says what came out, writes the reports of each matrix, and gives the exit code: the gravest verdict's, and that
    /// of a fault of the host where nothing was run at all. A gate that tried nothing has shown nothing. `chosen`: some
    /// cells were picked by hand.
    pub(super) fn conclude(&self, interrupted: bool, chosen: bool) -> u8 {
        let missing = if interrupted { "not run" } else { "no verdict" };
        if let Some(column) = self.column() {
            exit::say("");
            for row in self.rows.iter().filter(|row| row.cell.is_none()) {
                let verdict = row.ended.as_ref().map_or(missing, |ended| ended.verdict);
                exit::say(&format!("{:<column$} | {verdict}", row.shown));
            }
        }
        let mut code = 0;
        let mut names: Vec<&str> = Vec::new();
        for row in self.rows.iter().filter(|row| row.cell.is_some()) {
            if !names.contains(&row.scenario.as_str()) {
                names.push(&row.scenario);
                code = code.max(self.matrix(&row.scenario, missing, chosen));
            }
        }
        let ended = || self.rows.iter().filter_map(|row| row.ended.as_ref());
        if self.is_complete() && ended().all(|ended| ended.verdict == "skipped") {
            exit::complain(
                "nothing was run: every cell was skipped",
                "install what the reasons name, or run the cells elsewhere",
            );
            code = INFRA;
        }
        ended().map(|ended| ended.code).fold(code, u8::max)
    }

    /// The table and the reports of one matrix.
    fn matrix(&self, scenario: &str, missing: &str, chosen: bool) -> u8 {
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.scenario == scenario && row.cell.is_some())
            .collect();
        let ended = || rows.iter().filter_map(|row| row.ended.as_ref());
        let began = ended().map(|ended| ended.began).min();
        let last = ended().map(|ended| ended.ended).max();
        let took = began.zip(last).map(|(began, last)| last - began);
        let took = took.unwrap_or_default().as_millis();
        let matrix = MatrixFile {
            schema: 1,
            scenario: scenario.to_owned(),
            duration_ms: u64::try_from(took).unwrap_or(u64::MAX),
            cells: rows.iter().map(|row| row.entry(missing)).collect(),
        };
        exit::say(bootgate_report::matrix_summary(&matrix).trim_end());
        let folder = rows.first().and_then(|row| row.folder.parent());
        let Some(folder) = folder else { return 0 };
        if let (true, Some(others)) = (chosen, others(folder, &matrix)) {
            exit::say(&format!(
                "the table in {} is of an earlier run and stays as it was: it has {others} that --cell left out",
                folder.join("index.html").display()
            ));
            return 0;
        }
        // Where no cell made its run folder, there is none for the table.
        let written = std::fs::create_dir_all(folder)
            .map_err(|error| error.to_string())
            .and_then(|()| matrix.write(folder).map_err(|error| error.to_string()));
        match written {
            Ok(()) => {
                exit::say(&format!("table in {}", folder.join("index.html").display()));
                0
            }
            Err(error) => {
                exit::complain(&format!("write the table: {error}"), "");
                INFRA
            }
        }
    }
}

/// How many cells the table in `folder` has that are not in this one; `None` where there are none, or no table.
fn others(folder: &Path, matrix: &MatrixFile) -> Option<String> {
    let text = std::fs::read(folder.join(MatrixFile::JSON)).ok()?;
    let earlier: MatrixFile = serde_json::from_slice(&text).ok()?;
    let ours = |cell: &&CellEntry| matrix.cells.iter().any(|own| own.name == cell.name);
    match earlier.cells.iter().filter(|cell| !ours(cell)).count() {
        0 => None,
        1 => Some("a cell".to_owned()),
        count => Some(format!("{count} cells")),
    }
}

impl Row {
    fn entry(&self, missing: &str) -> CellEntry {
        let cell = self.cell.clone().unwrap_or(Cell { values: Vec::new() });
        let name = cell.to_string();
        let values = cell.values.into_iter();
        let values = values
            .map(|(axis, value)| AxisValue { axis, value })
            .collect();
        match &self.ended {
            None if missing == "not run" => CellEntry::without(
                name,
                values,
                "interrupted",
                "not run: somebody stopped all".to_owned(),
            ),
            None => CellEntry::without(name, values, "infra", "the run broke off".to_owned()),
            Some(Ended { file: Ok(file), .. }) => CellEntry::of(name, values, file),
            Some(Ended {
                file: Err(error), ..
            }) => CellEntry::without(name, values, "infra", error.clone()),
        }
    }
}
