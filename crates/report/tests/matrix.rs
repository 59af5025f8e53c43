//! The table over the cells of a matrix.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

mod common;

use bootgate_report::{AxisValue, CellEntry, MatrixFile, VerdictFile, matrix_summary};

fn values(values: &[(&str, &str)]) -> Vec<AxisValue> {
    let owned = |(axis, value): &(&str, &str)| AxisValue {
        axis: (*axis).to_owned(),
        value: (*value).to_owned(),
    };
    values.iter().map(owned).collect()
}

fn verdict(run: &str) -> VerdictFile {
    let path = common::run_folder(run);
    let events = bootgate_report::read_log(&path.join("events.jsonl")).expect("a log");
    let folder = common::with_consoles(run);
    bootgate_report::write_reports(folder.path(), &events).expect("reports")
}

/// A cell for each recorded run, one that was skipped and one that never began.
fn matrix() -> MatrixFile {
    let cell = |firmware: &str, nic: &str, run: &str| {
        let values = values(&[("firmware", firmware), ("nic", nic), ("disk", "virtio")]);
        CellEntry::of(format!("{firmware}+{nic}+virtio"), values, &verdict(run))
    };
    let mut skipped = cell("arm64", "e1000", "passed");
    skipped.outcome = serde_json::from_value(serde_json::json!({
        "verdict": "skipped",
        "detail": "qemu-system-aarch64 is not installed: apt-get install qemu-system-arm",
    }))
    .expect("an outcome");
    skipped.duration_ms = 0;
    let hostile = values(&[("firmware", "<b>uefi</b>"), ("memory", "1GiB")]);
    MatrixFile {
        schema: 1,
        scenario: "matrix".to_owned(),
        duration_ms: 83_000,
        cells: vec![
            cell("bios", "virtio-net", "passed"),
            cell("uefi", "e1000", "failed"),
            cell("uefi", "rtl8139", "infra"),
            skipped,
            CellEntry::without(
                "odd".to_owned(),
                hostile,
                "interrupted",
                "not run".to_owned(),
            ),
        ],
    }
}

#[test]
fn the_terminals_table_fits_80_columns() {
    let table = matrix_summary(&matrix());
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    insta::assert_snapshot!("matrix-terminal", table);
}

#[test]
fn the_files_say_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let matrix = matrix();
    matrix.write(folder.path()).expect("reports");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a report");
    let again: MatrixFile = serde_json::from_str(&read("matrix.json")).expect("JSON");
    assert_eq!(again, matrix);
    let junit = read("junit.xml");
    insta::assert_snapshot!("matrix-junit", junit);
    let page = read("index.html");
    assert!(
        page.contains("href=\"bios+virtio-net+virtio/report.html\""),
        "{page}"
    );
    assert!(page.contains("&lt;b&gt;uefi&lt;&#x2f;b&gt;"), "{page}");
    assert!(
        !page.contains("<script") && !page.contains("http://"),
        "{page}"
    );
    assert!(
        !page.contains("odd/report.html"),
        "a cell without a report has no link"
    );
}

#[test]
fn the_gravest_cell_is_the_matrixs_badge() {
    let folder = tempfile::tempdir().expect("a folder");
    let badge = |matrix: &MatrixFile| {
        matrix.write(folder.path()).expect("reports");
        let page = std::fs::read_to_string(folder.path().join("index.html")).expect("a page");
        let rest = page.split("<span class=\"badge ").nth(1).expect("a badge");
        rest.split('"').next().expect("a word").to_owned()
    };
    let mut matrix = matrix();
    assert_eq!(badge(&matrix), "infra");
    matrix.cells.truncate(2);
    assert_eq!(badge(&matrix), "failed");
    matrix.cells.truncate(1);
    assert_eq!(badge(&matrix), "passed");
}
