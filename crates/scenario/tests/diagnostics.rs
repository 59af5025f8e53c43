//! What a person is told about a scenario or lab that cannot be used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests end the test, too

use std::path::{Path, PathBuf};

use bootgate_scenario::{ScenarioError, load, load_all, load_lab};
use miette::{GraphicalReportHandler, GraphicalTheme};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("../../fixtures/scenarios").join(folder);
    let mut files: Vec<PathBuf> = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn rendered(error: &ScenarioError) -> String {
    let mut text = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
        .with_width(100)
        .with_links(false)
        .render_report(&mut text, error)
        .unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

#[test]
fn each_bad_scenario_has_its_diagnostic() {
    for path in fixtures("bad") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let error = load_all(&path).expect_err(&name);
        assert!(error.line().is_some(), "{name} has no line");
        insta::assert_snapshot!(name, rendered(&error));
    }
}

#[test]
fn each_bad_lab_has_its_diagnostic() {
    for path in fixtures("bad/labs") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let error = load_lab(&path).expect_err(&name);
        insta::assert_snapshot!(format!("lab-{name}"), rendered(&error));
    }
}

#[test]
fn plain_text_names_file_and_line() {
    let error = load(Path::new("../../fixtures/scenarios/bad/unknown-key.toml")).unwrap_err();
    assert_eq!(
        error.one_line(),
        "../../fixtures/scenarios/bad/unknown-key.toml:11: unknown key `memroy` in `[[target]]`"
    );
    assert_eq!(error.line(), Some(11));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Path::new("no/such.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("read `no/such.toml`: "),
        "{error}"
    );
    let error = load(Path::new(".")).unwrap_err();
    assert_eq!(error.to_string(), "read `.`: it is a folder");
}

#[test]
fn a_huge_file_and_a_binary_one_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.toml");
    std::fs::write(&path, vec![b'\n'; (1 << 20) + 1]).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.ends_with("it is longer than 1 MiB"), "{error}");
    std::fs::write(&path, b"name = \"x\"\n\xff\xfe").unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(error.ends_with("line 2 is not UTF-8 text"), "{error}");
}
