//! The HTML report in a real browser: its script runs under its own content policy, without a network.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

mod common;

use std::path::Path;
use std::process::Command;

/// The page as the browser has it after its script ran, and what the browser complained of.
fn opened(report: &Path, fragment: &str) -> (String, String) {
    let profile = tempfile::tempdir().expect("a folder");
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("file://{}{fragment}", report.display()))
        .output()
        .expect("chromium runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_report_opens_offline_and_its_script_runs() {
    bootgate_testkit::require_commands!("chromium");
    let folder = common::with_consoles("failed");
    let source = common::report(folder.path(), &common::events("failed"), "report.html");
    let link = source.split("<a href=\"#").find_map(|rest| {
        let (fragment, _) = rest.split_once('"')?;
        fragment.contains('-').then_some(fragment)
    });
    let link = link.expect("the evidence links to its events").to_owned();
    let (page, complaints) = opened(&folder.path().join("report.html"), &format!("#{link}"));
    assert!(
        page.contains(" shown</"),
        "the filter did not count its rows:\n{page}"
    );
    assert!(
        !complaints.contains("Content Security Policy"),
        "{complaints}"
    );
    assert!(!complaints.contains("Uncaught"), "{complaints}");
    let row = page
        .split("<details")
        .find(|part| part.contains(&format!("id=\"{link}\"")));
    let (opening, _) = row
        .and_then(|part| part.split_once('>'))
        .expect("the event's table");
    assert!(
        opening.contains("open"),
        "the link does not open its table: <details{opening}>"
    );
}

#[test]
fn the_matrixs_page_opens_offline() {
    bootgate_testkit::require_commands!("chromium");
    let folder = tempfile::tempdir().expect("a folder");
    let value = |axis: &str, value: &str| bootgate_report::AxisValue {
        axis: axis.to_owned(),
        value: value.to_owned(),
    };
    let values = vec![
        value("firmware", "uefi-secureboot"),
        value("nic", "virtio-net"),
    ];
    let detail = "a word that is longer than any screen is wide: ".to_owned() + &"x".repeat(400);
    let cell = bootgate_report::CellEntry::without("a".to_owned(), values, "infra", detail);
    let matrix = bootgate_report::MatrixFile {
        schema: 1,
        scenario: "matrix".to_owned(),
        duration_ms: 1,
        cells: vec![cell; 3],
    };
    matrix.write(folder.path()).expect("a page");
    let (page, complaints) = opened(&folder.path().join("index.html"), "");
    assert!(page.contains("uefi-secureboot"), "{page}");
    assert!(
        !complaints.contains("Content Security Policy"),
        "{complaints}"
    );
}
